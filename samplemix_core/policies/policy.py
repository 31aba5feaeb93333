"""What a policy is: a small model of its parameters, and pure functions from what is known about samples to their weights.

A weight is proportional to the copies a sample should get; its scale is free, because the solver finds it. Weights are published,
so they must be the same to the last bit on every machine: see exponential.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from samplemix_core.errors import BudgetError, ConfigError
from samplemix_core.frozen import FrozenModel, IdentifiedModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Float32Array = npt.NDArray[np.float32]
    Float64Array = npt.NDArray[np.float64]
    Int64Array = npt.NDArray[np.int64]
    IntegerArray = npt.NDArray[np.integer]


_QUANTILES = 101

_MISSED = 1e-6
"""Share of a budget: more than rounding."""


class Ranks(NamedTuple):
    """Some values, ascending, and the place of each in 0..1: the share of documents with less, and half of those with just that."""

    values: tuple[float, ...]
    places: tuple[float, ...]

    @classmethod
    def over(cls, values: "npt.NDArray[np.floating]", documents: "npt.NDArray[np.integer] | None" = None) -> "Ranks":
        """About a hundred quantiles of values (n,), each of so many documents (one each by default), with their places."""
        import numpy as np

        order = np.argsort(values, kind="stable") if documents is not None else None
        ordered = np.sort(values) if order is None else values[order]
        counts = np.ones(values.size, dtype=np.int64) if order is None or documents is None else documents[order].astype(np.int64)
        ends = np.cumsum(counts)
        total = int(ends[-1])
        at = np.searchsorted(ends, np.linspace(0, total - 1, _QUANTILES).astype(np.int64), side="right")
        chosen = np.unique(ordered[at])
        first = np.searchsorted(ordered, chosen, side="left")
        last = np.searchsorted(ordered, chosen, side="right") - 1
        below, through = ends[first] - counts[first], ends[last]
        return cls(tuple(chosen.astype(np.float64).tolist()), tuple(((below + through) / (2 * total)).tolist()))

    def of(self, values: "Float64Array") -> "Float64Array":
        """The places of values (n,), those between two in proportion."""
        import numpy as np

        return np.interp(values, self.values, self.places)


class Scale(NamedTuple):
    """How quality and diversity become 0..1: by the range of the quality model's scores, or by ranks.

    They belong to the models, not to the samples of a run, so a new crawl moves no old weight.
    """

    low: float
    high: float
    quality_ranks: Ranks | None = None
    diversity_ranks: Ranks | None = None


@dataclass(frozen=True)
class Columns:
    """What policies may use, one entry per sample: quality on its scorer's scale, diversity in 0..1; float32 (n,) each.

    Policies that need more are given it: codes of domains, clusters and kinds (content types); distance to the cluster's centroid,
    in ten-thousandths; uniform: the sample's own number in [0, 1); closest: the highest cosine to a document of its cluster that is
    farther from the centroid, in ten-thousandths, 0 if it is under .9; tokens, which may be means.
    """

    quality: "Float32Array"
    diversity: "Float32Array"
    domain: "IntegerArray | None" = None
    cluster: "IntegerArray | None" = None
    distance: "IntegerArray | None" = None
    kind: "IntegerArray | None" = None
    uniform: "Float64Array | None" = None
    closest: "IntegerArray | None" = None
    tokens: "npt.NDArray[Any] | None" = None

    def known_tokens(self) -> "Float64Array":
        """Tokens of each sample. ConfigError where they aren't known."""
        import numpy as np

        if self.tokens is None:
            raise ConfigError("By this policy, weights depend on tokens.", "The mixture's rows have the weights they were given.")
        return np.asarray(np.maximum(self.tokens, 1), dtype=np.float64)

    def finite_quality(self) -> "Float64Array":
        """Quality as it is. ConfigError for one that is not finite."""
        return _finite("quality", self.quality)

    def unit_quality(self, scale: Scale) -> "Float64Array":
        """Quality as 0..1; scores beyond the scale count as its ends. ConfigError for one that is not finite."""
        if scale.quality_ranks is not None:
            return scale.quality_ranks.of(self.finite_quality())
        return self.ranged_quality(scale)

    def ranged_quality(self, scale: Scale) -> "Float64Array":
        """Quality as 0..1 by its range, whatever its ranks."""
        import numpy as np

        return np.clip((self.finite_quality() - scale.low) / (scale.high - scale.low), 0.0, 1.0)

    def unit_diversity(self, scale: Scale) -> "Float64Array":
        """Diversity as 0..1. ConfigError for one that is not finite."""
        import numpy as np

        diversity = _finite("diversity", self.diversity)
        return np.clip(diversity, 0.0, 1.0) if scale.diversity_ranks is None else scale.diversity_ranks.of(diversity)


def _finite(column: str, values: "Float32Array") -> "Float64Array":
    import numpy as np

    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise ConfigError(
            f"The {column} of sample {bad[0]} is {float(values[bad[0]])!r}, which is not a number to weigh by.",
            "Score its shard again: a score must be finite.",
        )
    return values.astype(np.float64)


@dataclass(frozen=True, eq=False)
class Survey:
    """What is known of the whole source: D domains, K clusters, L levels of quality from the lower to the upper end of its scale.

    domain_tokens: (D,). cluster_tokens, cluster_documents, cluster_diversity: (K,). domain_room, cluster_room: tokens of all copies
    that they may have. level_tokens: (D, L), tokens by domain and level of quality. quality_mean, quality_spread: over documents,
    on the scorer's scale. diversity_bounds: compactness * separation of clusters whose diversity is 0 and 1. kinds: T content
    types, with (D, T) and (K, T) of them, for policies with this label; else none.
    """

    budget_tokens: int
    max_copies: int
    domains: tuple[str, ...]
    domain_tokens: "Int64Array"
    domain_room: "Float64Array"
    cluster_room: "Float64Array"
    cluster_tokens: "Int64Array"
    cluster_documents: "Int64Array"
    cluster_diversity: "Float32Array"
    level_tokens: "Int64Array"
    quality_mean: float
    quality_spread: float
    diversity_bounds: tuple[float, float]
    kinds: tuple[str, ...]
    domain_kind_tokens: "Int64Array"
    domain_kind_room: "Float64Array"
    cluster_kind_tokens: "Int64Array"
    cluster_kind_room: "Float64Array"

    def ranks(self) -> "Float64Array":
        """Percentile of each level within its domain, by tokens, (D, L): 0 the best, 1 the worst; a level's is its middle."""
        import numpy as np

        better = np.cumsum(self.level_tokens[:, ::-1], axis=1)[:, ::-1] - self.level_tokens
        return np.asarray((better + self.level_tokens / 2) / np.maximum(self.domain_tokens, 1)[:, None])

    def levels(self, columns: Columns, scale: Scale) -> "Int64Array":
        """The level of each sample's quality."""
        return levels_of(columns, scale, self.level_tokens.shape[1])


def levels_of(columns: Columns, scale: Scale, levels: int) -> "Int64Array":
    """The level of each sample's quality, of so many between the ends of its scale; what lies outside is in the first or last."""
    import numpy as np

    return np.minimum((columns.unit_quality(scale) * levels).astype(np.int64), levels - 1)


class Targets(NamedTuple):
    """Tokens of each group, which add up to the budget: float64, one axis for each column that tells groups apart.

    Columns are domain, cluster and content_type; names are in the survey's order.
    """

    by: tuple[str, ...]
    tokens: "Float64Array"


Weigh = Callable[[Columns], "Float64Array"]
"""A policy with its parameters and the quality model's scale: weights float64 (n,) of n samples."""


@dataclass(frozen=True)
class Slider:
    """How the what-if page moves a parameter: as Annotated[float, Slider(0, 1, 0.01, "words")]."""

    low: float
    high: float
    step: float
    says: str


class Policy(IdentifiedModel):
    """A policy's parameters, each with its bounds, default and meaning; and its weights.

    A policy is a file of this package with a subclass that is `registered`. Its docstring begins with its formula and names its
    source. Configuration, form, options, the what-if page, the manifest's record and docs/policies.md are made from it. Its
    parameters can't have the names of RunConfig's fields, which are in the same forms and options. Policies whose parameters have
    one name share a field and an option.

    FIRST_FIELDS names its first parameters, which manifests always record. A parameter that is added later isn't recorded at its
    default, so that published bytes stay the same.
    """

    summary: ClassVar[str]
    """In a few words, for forms and help."""

    when: ClassVar[str] = ""
    """When to use it, as a sentence for docs/policies.md."""

    reads_scale: ClassVar[bool] = True
    """Whether weights depend on quality and its range: the manifest then records the range too, as q_low and q_high."""

    reads_diversity: ClassVar[bool] = True
    """Whether weights depend on diversity or clusters; if they don't, a corpus needs no healthy clusters."""

    alone: ClassVar[bool] = True
    """Whether a sample's weight depends on the sample alone, and not on a survey of the source."""

    chance: ClassVar[bool] = True
    """Whether a sample that is wanted 1.3 times has one copy or two by chance. Without it, copies are given out strictly in the
    order of weights: see in_order()."""

    labels: ClassVar[tuple[str, ...]] = ()
    """Columns besides domains and clusters that it needs: content_type."""

    reads_distance: ClassVar[bool] = False
    """Whether weights depend on a sample's distance to its centroid."""

    reads_closest: ClassVar[bool] = False
    """Whether weights depend on a sample's closest neighbour, for which documents' vectors are compared first."""

    draws: ClassVar[bool] = False
    """Whether weights depend on samples' own numbers."""

    brings: ClassVar[Mapping[str, Any]] = {}
    """Settings of a run that belong to it: a run has them wherever it would have the default. See registry.with_brought()."""

    name: str
    """In a subclass, a Literal with its default, by which it is registered."""

    @property
    def counts_documents(self) -> bool:
        """Whether a budget's share of the source is one of documents, as copies count them, whatever their tokens."""
        return False

    def weights(self, columns: Columns, scale: Scale) -> "Float64Array":
        """Weights float64 (n,), finite, and positive or 0 for no copy, of a policy that is `alone`."""
        raise NotImplementedError(f"policy {self.name!r} has neither weights() nor surveyed()")

    def surveyed(self, scale: Scale, survey: Survey) -> Weigh:
        """The weights as a function of the columns, of a policy that isn't `alone`. Each sample is still weighed by itself."""
        raise NotImplementedError(f"policy {self.name!r} has no surveyed()")

    def targets(self, survey: Survey) -> Targets | None:
        """What domains or clusters are to have; None where that follows from the weights. Raises ConfigError if it can't be had."""
        return None

    def met_targets(self, survey: Survey) -> Targets | None:
        """The targets, if they add up to the budget. Raises BudgetError if the policy can't give so much."""
        targets = self.targets(survey)
        if targets is not None and (most := float(targets.tokens.sum())) < survey.budget_tokens * (1 - _MISSED):
            raise BudgetError(
                f"Policy {self.name!r} gives at most {most:,.0f} tokens of this source, and not {survey.budget_tokens:,}.",
                "Lower the budget, or allow more epochs or copies.",
            )
        return targets

    def weigh(self, scale: Scale, survey: Survey | None = None) -> Weigh:
        """The weights as a function of the columns. Raises ConfigError for an empty scale, or without a survey that is needed."""
        if self.reads_scale and not scale.low < scale.high:
            raise ConfigError(
                f"Quality from {scale.low!r} to {scale.high!r} is not a range.", "The upper end must exceed the lower one."
            )
        if self.alone:
            return lambda columns: self.weights(columns, scale)
        if survey is None:
            raise ConfigError(
                f"By policy {self.name!r}, a weight depends on the whole source.",
                "The mixture's rows have the weights they were given.",
            )
        return self.surveyed(scale, survey)

    @classmethod
    def parameter_names(cls) -> tuple[str, ...]:
        """Its parameters, in order."""
        return tuple(name for name in cls.model_fields if name != "name")

    @classmethod
    def require_own_names(cls) -> None:
        """Raise ValueError for a parameter that has the name of a setting."""
        if taken := SETTINGS.intersection(cls.parameter_names()):
            raise ValueError(f"{cls.__name__} has a parameter {min(taken)!r}, which is the name of a setting: call it otherwise")

    def parameters(self) -> dict[str, Any]:
        """Its parameters as JSON values; one that was added later is left out at its default."""
        return {name: value for name, value in self.canonical().items() if name != "name"}

    @classmethod
    def variants(cls) -> "Mapping[str, type[FrozenModel]]":
        """See FrozenModel.variants."""
        return POLICIES if cls is Policy else {}


def in_order(keys: "Float64Array", max_copies: int) -> "Float64Array":
    """Weights by which samples take copies in descending order of their keys, which are 0 to 1, round after round, without chance.

    The k-th copy comes at kappa = k / w. All weights lie so near to each other that everyone's first copy comes before the second
    of any: (k + 1) / k is more than the ratio of any two.
    """
    return 1.0 + keys / (max_copies + 1)


_FARTHEST = 600.0
"""Of a drawn order's key from 0: it is cut off beyond, and scaled to 0..1."""


def drawn_order(scores: "Float64Array", columns: Columns, max_copies: int) -> "Float64Array":
    """Weights by which samples are drawn without replacement, with probabilities in proportion to exp(scores): Gumbel top-k.

    The Gumbel number is made of a sample's own number, so it doesn't depend on the order of files.
    """
    import numpy as np

    from samplemix_core.policies.exponential import exact_log

    assert columns.uniform is not None
    # Inside (0, 1), both logarithms are numbers.
    gumbel = -exact_log(-exact_log(np.clip(columns.uniform, 2.0**-54, 1 - 2.0**-53)))
    key = np.clip(scores + gumbel, -_FARTHEST, _FARTHEST)
    return in_order((key + _FARTHEST) / (2 * _FARTHEST), max_copies)


def filled(shares: "Float64Array", room: "Float64Array", budget: float) -> "Float64Array":
    """Tokens in proportion to shares (m,), none above its `room` (m,); what does not fit is shared out among the others."""
    import numpy as np

    tokens, left = np.zeros(shares.size), float(budget)
    wanted = np.flatnonzero(shares > 0)
    order = wanted[np.argsort(room[wanted] / shares[wanted], kind="stable")]
    # Those that are full first; each takes its part of what is left for itself and all after it.
    for place, weight in zip(order, np.cumsum(shares[order][::-1])[::-1], strict=True):
        tokens[place] = min(room[place], left * shares[place] / weight)
        left = max(0.0, left - tokens[place])
    return tokens


POLICIES: dict[str, type[Policy]] = {}
"""Every policy by its name."""

PHASES = "phases"
"""What a manifest with phases says for its policy: each phase has its own. No policy has this name."""

SETTINGS: set[str] = set()
"""Names of the settings next to a policy, in any configuration that has one."""

SomePolicy = TypeVar("SomePolicy", bound=Policy)


def registered(kind: type[SomePolicy]) -> type[SomePolicy]:
    """Class decorator: make a policy known by its name. ValueError if that can't be."""
    name = kind.model_fields["name"].default
    if "name" not in kind.FIRST_FIELDS:
        raise ValueError(f"policy {name!r} doesn't say in FIRST_FIELDS what it begins with: its name, and its parameters")
    if name == PHASES:
        raise ValueError(f"no policy can be called {name!r}, which manifests say of mixtures with phases")
    if name in POLICIES:
        raise ValueError(f"there is a policy {name!r} already: {POLICIES[name].__module__}")
    if kind.alone and kind.reads_closest:
        raise ValueError(f"policy {name!r} can't be alone and read how close samples are to others")
    kind.require_own_names()
    # In the order of their names, whichever is imported first.
    POLICIES[name] = kind
    for known in sorted(POLICIES):
        POLICIES[known] = POLICIES.pop(known)
    return kind
