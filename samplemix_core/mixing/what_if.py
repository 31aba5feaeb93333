"""What a mixture would be under other settings, from its roll-up: in milliseconds, and without reading a sample.

A sample of weight w is copied min(cap, kappa * w) times on average, because floor(c + u) averages c over u. So a cell of samples
with similar weights yields its tokens times that, and kappa is where all cells together meet the budget. Each cell is split into
halves, one standard deviation of quality above and below its mean, and these by diversity where it differs within cells, so that
the parts have its mean and spread, as far as 0 to 1 allows. This ignores that longer documents of a cell may be better ones, that
quality and diversity may go together in it, and that a mixture is one draw and not the average of all. Constraints are met as a
mixture meets them, with a kappa for each group.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.special import ndtri

from samplemix_core.config.constraints import ConstraintsConfig, Group, group_of, group_or_band_of
from samplemix_core.errors import BudgetError, ConfigError
from samplemix_core.mixing.constraints import Groups, require_feasible, shared_out
from samplemix_core.mixing.groups import Column, grouped, most_copies
from samplemix_core.mixing.line import Weights
from samplemix_core.mixing.rollup import LABELS
from samplemix_core.mixing.shard_samples import SCALE
from samplemix_core.mixing.survey import SurveyPart, survey
from samplemix_core.policies.policy import Columns, Policy, Ranks, Scale, Targets

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

_DRAWN = np.concatenate([np.linspace(0, 1, 33)[:-1], 1 - 0.5 ** np.arange(6, 20), [1.0]])
"""Ends of the strata of [0, 1) that stand for samples' own numbers, for policies that draw; finer where the first drawn lie."""

_STRATA = 32
"""Equal parts of a normal distribution: how far samples of a cell are from their centroid, about the mean."""

_MOST_PARTS = 2_000_000
"""Of all halves together: with more, they are cut less."""

_ADDED = "documents", "tokens", "quality_sum", "quality_square_sum", "distance_sum", "distance_square_sum"
_SPREAD = 0.01
"""Standard deviation of diversity within a cell that is worth cutting it for."""

_NEARLY = 0.01
"""Share of documents by which an estimate may be wrong."""

_TOLERANCE = 1e-4
_STEPS = 60
"""Bisections of kappa's logarithm: more than a double can tell apart."""


@dataclass(frozen=True, eq=False)
class EstimatedGroups:
    """Expected sums of a mixture for each of G groups of samples, in the order of `names`, each (G,).

    tokens: of copies. samples: distinct ones. source_tokens, source_samples: of what it chooses from. published_tokens: of
    the copies in the mixture that is estimated from.
    """

    names: Sequence[str]
    source_samples: Int64Array
    source_tokens: Int64Array
    published_tokens: Int64Array
    tokens: Float64Array
    samples: Float64Array

    @property
    def shares(self) -> Float64Array:
        """Each group's share of the mixture's tokens."""
        shares: Float64Array = self.tokens / self.tokens.sum()
        return shares


@dataclass(frozen=True, eq=False)
class EstimatedMixture:
    """Expected sums of a mixture: by domain, and by the other columns that its source is told apart by.

    copies: of all samples. by_copies: (cap + 1,), how many samples have 0, 1 ... cap copies.
    """

    domains: EstimatedGroups
    labels: Mapping[str, EstimatedGroups]
    copies: float
    by_copies: Float64Array


_NO_CONSTRAINTS = ConstraintsConfig()


class Estimator:
    """A mixture's cells as columns of halves, for any number of estimates."""

    def __init__(
        self, cells: pa.Table, bounds: tuple[float, float] = (0.0, 1.0), of_clusters: Mapping[int, float] | None = None
    ) -> None:
        """`cells` are schemas.CELLS of one mixture, at least one: domain (encoded or not), diversity, and sums of the source.

        `bounds` are the raw diversities that diversity was scaled with, and `of_clusters` that of clusters by themselves, where it
        is another than that of their documents.
        """
        self._bounds = bounds
        self._columns = {name: _column(cells[name]) for name in ("domain", *LABELS) if name in cells.column_names}
        # Versions that are older than labels don't have them.
        self._columns = {name: column for name, column in self._columns.items() if list(column.names) != [""]}
        self.domains = tuple(self._columns["domain"].names)
        clusters, cluster = np.unique(cells["cluster"].to_numpy(), return_inverse=True)
        self._columns["cluster"] = Column([str(number) for number in clusters.tolist()], cluster)
        self._band = cells["quality_band"].to_numpy()
        self._of_cells = {name: cells[name].to_numpy() for name in _ADDED}
        mean, spread = (cells[name].to_numpy() * float(SCALE) for name in ("diversity", "diversity_spread"))
        self._of_cells["diversity_sum"] = self._of_cells["documents"] * mean
        self._of_cells["diversity_square_sum"] = self._of_cells["documents"] * (mean * mean + spread * spread)
        sums = [cells[name].to_numpy() for name in ("documents", "tokens", "mixture_tokens")]
        self._sums: dict[str, list[Any]] = {
            name: [
                np.bincount(self._columns[name].codes, values, len(self._columns[name].names)).astype(np.int64) for values in sums
            ]
            for name in ("domain", *self.labels)
        }
        self.source_tokens = int(self._of_cells["tokens"].sum())
        sums_of = (np.bincount(cluster, self._of_cells[name]) for name in ("diversity_sum", "documents"))
        means = (np.divide(*sums_of) / SCALE).tolist()
        own = of_clusters or {}
        self._diversity = np.array([own.get(*pair) for pair in zip(clusters.tolist(), means, strict=True)], dtype=np.float32)
        self._merged: dict[tuple[str, ...], _Halves] = {}

    @property
    def labels(self) -> list[str]:
        """The columns besides the domain that estimates are told by."""
        return [name for name in LABELS if name in self._columns]

    def _halves(self, labels: Iterable[str]) -> "_Halves":
        """The cells as halves, with those added up that differ only in other labels."""
        names = ("domain", "cluster", *sorted(set(labels) - {"domain", "cluster"}))
        if names not in self._merged:
            size = [len(self._columns[name].names) for name in names]
            key = np.ravel_multi_index([self._columns[name].codes for name in names], size)
            _, first, cell = np.unique(key * (int(self._band.max()) + 1) + self._band, return_index=True, return_inverse=True)
            columns = {name: Column(self._columns[name].names, self._columns[name].codes[first]) for name in names}
            sums = {name: np.bincount(cell, values) for name, values in self._of_cells.items()}
            self._merged[names] = _Halves.of(columns, sums, cell)
        return self._merged[names]

    def estimate(
        self, policy: Policy, scale: Scale, budget: int, max_copies: int, constraints: ConstraintsConfig = _NO_CONSTRAINTS
    ) -> EstimatedMixture:
        """Estimate what a policy would make of the budget under constraints; raise BudgetError if no copies meet these.

        What constraints exclude isn't in the cells. ConfigError for a policy or constraint that needs what cells don't have.
        """
        if not 0 < budget <= max_copies * self.source_tokens:
            raise BudgetError(
                f"{budget:,} tokens can't be made of {self.source_tokens:,} with at most {max_copies} copies of each sample.",
                f"Ask for at most {max_copies * self.source_tokens:,}.",
            )
        if policy.reads_closest:
            raise ConfigError(
                f"Policy {policy.name!r} compares documents, and this version's sums don't tell them apart.",
                "Plan it with 'samplemix mixture plan', or mix with it.",
            )
        if missing := sorted({*policy.labels, *constraints.columns()} - self._columns.keys()):
            raise ConfigError(
                f"{', '.join(missing)} would have to be told apart, which this version's sums don't do.",
                "Plan it with 'samplemix mixture plan', or mix again: a new version's sums do.",
            )
        if policy.counts_documents:
            budget = self._tokens_of_documents(policy, scale, budget, max_copies)
        # As pipeline.solve does it: the largest cap that gives the least number of documents.
        wanted, low, high = (1 - _NEARLY) * constraints.documents, 1, max_copies
        found = self._estimate(policy, scale, budget, high, constraints)
        if found.domains.samples.sum() >= wanted:
            return found
        while high - low > 1:
            middle = (low + high) // 2
            try:
                enough = self._estimate(policy, scale, budget, middle, constraints).domains.samples.sum() >= wanted
            except BudgetError:
                # So few copies don't meet the budget: a cap that does is above.
                enough = True
            low, high = (middle, high) if enough else (low, middle)
        found = self._estimate(policy, scale, budget, low, constraints)
        if (documents := found.domains.samples.sum()) < wanted:
            raise BudgetError(
                f"The mixture would have about {documents:,.0f} distinct documents, and not {constraints.documents:,}.",
                "Raise the budget, or choose a policy with flatter weights.",
            )
        return replace(found, by_copies=np.pad(found.by_copies, (0, max_copies - low)))

    def ranked(self, scale: Scale) -> Scale:
        """A scale by the ranks of quality and diversity, as far as the cells tell."""
        columns, documents = self._halves(()).part[:2]
        counts = np.maximum(np.rint(documents), 1).astype(np.int64)
        return scale._replace(
            quality_ranks=Ranks.over(columns.quality, counts), diversity_ranks=Ranks.over(columns.diversity, counts)
        )

    def _tokens_of_documents(self, policy: Policy, scale: Scale, budget: int, max_copies: int) -> int:
        """The tokens of as many copies as the budget's share of all documents."""
        columns, documents, tokens = self._halves(()).part[:3]
        weight = policy.weigh(scale)(columns)
        one, share = np.zeros(weight.size, dtype=np.int64), np.array([documents.sum() * budget / self.source_tokens])
        most = np.full(weight.size, max_copies)
        counted = _copies(np.where(weight > 0, documents, 0.0), weight, one, share, most, policy.chance)
        return round(float(np.dot(counted, tokens)))

    def _estimate(
        self, policy: Policy, scale: Scale, budget: int, max_copies: int, constraints: ConstraintsConfig
    ) -> EstimatedMixture:
        halves = self._halves({*policy.labels, *constraints.columns()})
        found, kinds = None, self._columns["content_type"].names if policy.labels else ()
        if not policy.alone:
            known = _with_names(halves.tiled(halves.part), constraints)
            room = most_copies(known, halves.part.columns.quality, constraints, max_copies)
            looked = [halves.part._replace(room=room)]
            found = survey(looked, self.domains, self._diversity, scale, budget, max_copies, self._bounds, tuple(kinds))
        targets = policy.met_targets(found) if found is not None else None
        parts = halves.cut(policy)
        columns, documents, tokens = parts[:3]
        known = _with_names(halves.tiled(parts), constraints)
        weight = policy.weigh(scale, found)(columns)
        caps = most_copies(known, columns.quality, constraints, max_copies)
        most = np.full(weight.size, max_copies) if caps is None else caps.astype(np.int64)
        able = np.where(weight > 0, tokens, 0.0)
        group, budgets = _budgets(known, tokens, able, weight, most, budget, constraints, targets, chance=policy.chance)
        copies = _copies(able, weight, group, budgets, most, policy.chance)
        whole = np.floor(copies)
        part = copies - whole
        by_copies = np.zeros(max_copies + 2)
        by_copies += np.bincount(whole.astype(np.int64), documents * (1 - part), max_copies + 2)
        by_copies += np.bincount(whole.astype(np.int64) + 1, documents * part, max_copies + 2)
        expected = (
            halves.shared(tokens * copies, self._of_cells["tokens"]),
            halves.shared(documents * np.minimum(1.0, copies), self._of_cells["documents"]),
        )
        groups = {}
        for name in ("domain", *self.labels):
            own = self._columns[name]
            sums = [np.bincount(own.codes, values, len(own.names)) for values in expected]
            groups[name] = EstimatedGroups(tuple(own.names), *self._sums[name], *sums)
        total = float(np.dot(documents, copies))
        return EstimatedMixture(groups.pop("domain"), groups, total, by_copies[: max_copies + 1])


@dataclass(frozen=True, eq=False)
class _Halves:
    """C cells as halves or quarters, first all lower ones: what they are told apart by, and the cell of F finer ones, each (F,)."""

    columns: Mapping[str, Column]
    part: SurveyPart
    distance_spread: Float64Array
    cell: Int64Array

    @classmethod
    def of(cls, columns: Mapping[str, Column], sums: Mapping[str, npt.NDArray[Any]], cell: Int64Array) -> "_Halves":
        """Split cells, each with its sums over documents, (C,) by name."""
        documents, tokens = sums["documents"], sums["tokens"]
        mean, spread = _moments(sums, "quality")
        diverse, diverse_spread = _moments(sums, "diversity")
        apart, apart_spread = _moments(sums, "distance")
        # A score that is never negative has no negative half.
        quality = [np.maximum(mean - spread, np.minimum(mean, 0.0)), mean + spread]
        diversity = [diverse, diverse]
        if np.any(diverse_spread > _SPREAD):
            quality += quality
            diversity = [diverse - diverse_spread] * 2 + [diverse + diverse_spread] * 2
        times = len(quality)
        parts = Columns(
            quality=np.concatenate(quality).astype(np.float32),
            diversity=np.clip(np.concatenate(diversity), 0.0, 1.0).astype(np.float32),
            domain=np.tile(columns["domain"].codes, times),
            cluster=np.tile(columns["cluster"].codes, times),
            distance=np.tile(np.rint(apart * SCALE).astype(np.int64), times),
            kind=np.tile(columns["content_type"].codes, times) if "content_type" in columns else None,
            tokens=np.tile(tokens / documents, times),
        )
        part = SurveyPart(parts, np.tile(documents, times) / times, np.tile(tokens, times) / times)
        return cls(columns, part, np.tile(apart_spread * SCALE, times), cell)

    def tiled(self, parts: SurveyPart) -> dict[str, Column]:
        """The columns of some parts, into which the cells are cut."""
        return {
            name: Column(own.names, np.tile(own.codes, parts.tokens.size // own.codes.size)) for name, own in self.columns.items()
        }

    def shared(self, values: Float64Array, by: npt.NDArray[Any]) -> Float64Array:
        """Sums over each finer cell (F,) of values of parts (n,), which belong to it in proportion to `by` (F,)."""
        size = self.columns["domain"].codes.size
        whole = np.bincount(self.cell, by, size)
        return np.asarray((values.reshape(-1, size).sum(axis=0) / np.maximum(whole, 1.0))[self.cell] * by)

    def cut(self, policy: Policy) -> SurveyPart:
        """The halves, cut further by what a policy reads that differs within them: samples' own numbers, or their distances."""
        # Many cells are fine enough together.
        step = -(-self.part.tokens.size * _DRAWN.size // _MOST_PARTS)
        if policy.draws:
            ends = np.union1d(_DRAWN[::step], _DRAWN[-1:])
            middle = (ends[1:] + ends[:-1]) / 2
            return _each(self.part, np.diff(ends), "uniform", np.repeat(middle, self.part.tokens.size))
        if policy.reads_distance:
            normal = ndtri((np.arange(_STRATA // step or 1) + 0.5) / (_STRATA // step or 1))
            apart = self.part.columns.distance + normal[:, None] * self.distance_spread
            return _each(self.part, np.full(normal.size, 1 / normal.size), "distance", np.rint(np.maximum(apart, 0)))
        return self.part


def _moments(sums: Mapping[str, npt.NDArray[Any]], name: str) -> tuple[Float64Array, Float64Array]:
    """Mean and standard deviation of a column over the documents of each cell."""
    mean, square = (sums[f"{name}_{power}"] / sums["documents"] for power in ("sum", "square_sum"))
    return mean / SCALE, np.sqrt(np.maximum(0.0, square - mean * mean)) / SCALE


def _each(halves: SurveyPart, shares: Float64Array, column: str, values: npt.NDArray[Any]) -> SurveyPart:
    """Each half in parts with these shares, whose values in a column are (shares, halves)."""
    own: dict[str, Any] = {
        name: None if known is None else np.tile(known, shares.size) for name, known in vars(halves.columns).items()
    }
    own[column] = values.ravel()
    documents, tokens = (np.repeat(shares, known.size) * np.tile(known, shares.size) for known in halves[1:3])
    return SurveyPart(Columns(**own), documents, tokens)


def _column(names: pa.ChunkedArray) -> Column:
    """A column of cells, encoded or not, by places among its sorted names."""
    array = names.combine_chunks()
    array = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    order = np.argsort(array.dictionary.to_numpy(zero_copy_only=False))
    place = np.empty(order.size, dtype=np.int64)
    place[order] = np.arange(order.size)
    return Column(array.dictionary.take(pa.array(order)).to_pylist(), place[array.indices.to_numpy()])


def _with_names(columns: Mapping[str, Column], constraints: ConstraintsConfig) -> dict[str, Column]:
    """The columns with the names that constraints are about: the source may have had samples of these that no cell has."""
    about = [group_of(text) for text in constraints.shares]
    about += [found for found in map(group_or_band_of, constraints.copies) if isinstance(found, Group)]
    return {
        name: Column([*own.names, *sorted({group.name for group in about if group.column == name} - set(own.names))], own.codes)
        for name, own in columns.items()
    }


def _budgets(
    columns: Mapping[str, Column],
    all_tokens: npt.NDArray[Any],
    tokens: Float64Array,
    weight: Float64Array,
    most: Int64Array,
    budget: int,
    constraints: ConstraintsConfig,
    targets: Targets | None,
    *,
    chance: bool,
) -> tuple[npt.NDArray[np.integer], Float64Array]:
    """The group of each part (n,), and what each group is to have. `tokens` (n,) are those of parts that have a weight."""
    if not constraints.hold and not constraints.shares:
        if targets is None:
            return np.zeros(tokens.size, dtype=np.int64), np.array([float(budget)])
        codes = tuple(columns[name].codes for name in targets.by)
        return np.ravel_multi_index(codes, targets.tokens.shape), targets.tokens.ravel()
    groups = grouped(columns, all_tokens, budget, constraints, targets)
    assert groups is not None
    by_weight = _by_weight(tokens, weight, most, groups, chance=chance)
    largest = np.ceil(np.bincount(groups.cell, tokens * most, len(groups.cells))).astype(np.int64)
    budget, limits = min(budget, int(largest.sum())), list(groups.limits)
    try:
        require_feasible(largest, budget, limits)
    except BudgetError:
        # What documents can do, cells may just miss.
        ends = ((max(0.0, limit.least - _TOLERANCE), min(1.0, limit.most + _TOLERANCE)) for limit in limits)
        limits = [limit._replace(least=least, most=most) for limit, (least, most) in zip(limits, ends, strict=True)]
        require_feasible(largest, budget, limits)
    return groups.cell, shared_out(by_weight, largest, budget, limits)[0].astype(np.float64)


_MOST_BINS, _MOST_ENTRIES = 2**11, 2**22


def _by_weight(tokens: Float64Array, weight: Float64Array, most: Int64Array, groups: Groups, *, chance: bool) -> Weights:
    """Tokens by group and weight: as many weights as there are, or quantiles of tokens."""
    size = len(groups.cells)
    order = np.argsort(weight, kind="stable")
    order = order[weight[order] > 0]
    reached = np.cumsum(tokens[order])
    bins = max(16, min(_MOST_BINS, _MOST_ENTRIES // size))
    edges = np.unique(weight[order])
    if edges.size > bins:
        edges = np.unique(weight[order[np.searchsorted(reached, np.linspace(0, reached[-1], bins, endpoint=False), side="right")]])
    at = np.searchsorted(edges, weight[order], side="right") - 1
    mean = np.bincount(at, tokens[order] * weight[order], edges.size) / np.maximum(
        np.bincount(at, tokens[order], edges.size), 1e-300
    )
    place = groups.cell[order].astype(np.int64) * edges.size + at
    once, all_copies = (
        np.rint(np.bincount(place, values[order], size * edges.size)).astype(np.int64).reshape(size, edges.size)
        for values in (tokens, tokens * most)
    )
    return Weights(mean, once, all_copies, chance)


def _copies(
    tokens: Float64Array,
    weight: Float64Array,
    group: npt.NDArray[np.integer],
    budgets: Float64Array,
    most: Int64Array,
    chance: bool,
) -> Float64Array:
    """Return the copies of all parts, at most `most` (n,), of which each group meets its budget; raise BudgetError if one can't."""
    room = np.bincount(group, tokens * most, budgets.size)
    if (short := budgets > room + _TOLERANCE * budgets.sum()).any():
        worst = int(np.flatnonzero(short)[0])
        raise BudgetError(
            f"{budgets[worst]:,.0f} tokens can't be made where all copies have {room[worst]:,.0f} at most.",
            "Ask for fewer tokens, or allow more copies.",
        )

    def at(kappa: Float64Array) -> Float64Array:
        wanted = kappa[group] * weight
        return np.asarray(np.minimum(most, wanted if chance else np.floor(wanted)))

    positive = weight[weight > 0]
    low = np.full(budgets.size, np.log(1e-12 / positive.max()))
    high = np.full(budgets.size, np.log((most.max() + 1) / positive.min()))
    for _ in range(_STEPS):
        middle = (low + high) / 2
        under = np.bincount(group, tokens * at(np.exp(middle)), budgets.size) < budgets
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    below, above = at(np.exp(low)), at(np.exp(high))
    # Halves that step together do so in part.
    have, more = (np.bincount(group, tokens * copies, budgets.size) for copies in (below, above - below))
    fitting = np.clip(np.divide(budgets - have, more, out=np.zeros(budgets.size), where=more > 0), 0.0, 1.0)
    return np.asarray(below + fitting[group] * (above - below))
