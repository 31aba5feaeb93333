"""What a policy is: a small model of its parameters, and a pure function from what is known about samples to their weights.

A weight is proportional to the copies a sample should get; its scale is free, because the solver finds it. Weights are published,
so they must be the same to the last bit on every machine: see exponential.py.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from samplemix_core.errors import ConfigError
from samplemix_core.frozen import FrozenModel, IdentifiedModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Float32Array = npt.NDArray[np.float32]
    Float64Array = npt.NDArray[np.float64]


class Scale(NamedTuple):
    """The range of a quality model's scores. It belongs to the model, not to the samples, so a new crawl moves no old weight."""

    low: float
    high: float


@dataclass(frozen=True)
class Columns:
    """What policies may use, one entry per sample: quality on its scorer's scale, diversity in 0..1; float32 (n,) each."""

    quality: "Float32Array"
    diversity: "Float32Array"

    def unit_quality(self, scale: Scale) -> "Float64Array":
        """Quality, scaled to 0..1; scores beyond the scale count as its ends. ConfigError for one that is not finite."""
        import numpy as np

        return np.clip((_finite("quality", self.quality) - scale.low) / (scale.high - scale.low), 0.0, 1.0)

    def unit_diversity(self) -> "Float64Array":
        """Diversity, clipped to 0..1. ConfigError for one that is not finite."""
        import numpy as np

        return np.clip(_finite("diversity", self.diversity), 0.0, 1.0)


def _finite(column: str, values: "Float32Array") -> "Float64Array":
    import numpy as np

    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise ConfigError(
            f"The {column} of sample {bad[0]} is {float(values[bad[0]])!r}, which is not a number to weigh by.",
            "Score its shard again: a score must be finite.",
        )
    return values.astype(np.float64)


Weigh = Callable[[Columns], "Float64Array"]
"""A policy with its parameters and the quality model's scale: weights float64 (n,) of n samples."""


@dataclass(frozen=True)
class Slider:
    """How the what-if page moves a parameter: as Annotated[float, Slider(0, 1, 0.01, "words")]."""

    low: float
    high: float
    step: float
    says: str


class Policy(IdentifiedModel, ABC):
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

    reads_quality: ClassVar[bool] = True
    """Whether weights depend on quality: the manifest then records the scale too, as q_low and q_high."""

    reads_diversity: ClassVar[bool] = True
    """Whether weights depend on diversity; if they don't, a corpus needs no healthy clusters."""

    name: str
    """In a subclass, a Literal with its default, by which it is registered."""

    @abstractmethod
    def weights(self, columns: Columns, scale: Scale) -> "Float64Array":
        """Weights float64 (n,), finite and positive. They depend on one sample at a time, so shards may be weighed one by one."""

    def weigh(self, scale: Scale) -> Weigh:
        """The weights as a function of the columns alone. Raises ConfigError for an empty scale."""
        if self.reads_quality and not scale.low < scale.high:
            raise ConfigError(
                f"Quality from {scale.low!r} to {scale.high!r} is not a range.", "The upper end must exceed the lower one."
            )
        return lambda columns: self.weights(columns, scale)

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


POLICIES: dict[str, type[Policy]] = {}
"""Every policy by its name."""

PHASES = "phases"
"""What a manifest with phases says for its policy: each phase has its own. No policy has this name."""

SETTINGS: set[str] = set()
"""Names of the settings next to a policy, in any configuration that has one."""

SomePolicy = TypeVar("SomePolicy", bound=Policy)


def registered(kind: type[SomePolicy]) -> type[SomePolicy]:
    """Class decorator: make a policy known by its name. ValueError if a name is taken, or FIRST_FIELDS is missing."""
    name = kind.model_fields["name"].default
    if "name" not in kind.FIRST_FIELDS:
        raise ValueError(f"policy {name!r} doesn't say in FIRST_FIELDS what it begins with: its name, and its parameters")
    if name == PHASES:
        raise ValueError(f"no policy can be called {name!r}, which manifests say of mixtures with phases")
    if name in POLICIES:
        raise ValueError(f"there is a policy {name!r} already: {POLICIES[name].__module__}")
    kind.require_own_names()
    POLICIES[name] = kind
    return kind
