"""What a mixture would be under other settings, from its roll-up: in milliseconds, and without reading a sample.

A sample of weight w is copied min(cap, kappa * w) times on average, because floor(c + u) averages c over u. So a cell of samples
with similar weights yields its tokens times that, and kappa is where all cells together meet the budget. Each cell is split into
two halves, one standard deviation of quality above and below its mean, so that the halves have its mean and spread. This ignores
that longer documents of a cell may be better ones, and that a mixture is one draw and not the average of all.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.special import ndtri

from samplemix_core.errors import BudgetError, ConfigError
from samplemix_core.mixing.shard_samples import SCALE
from samplemix_core.mixing.survey import SurveyPart, survey
from samplemix_core.policies.policy import Columns, Policy, Scale

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

_DRAWN = np.concatenate([np.linspace(0, 1, 33)[:-1], 1 - 0.5 ** np.arange(6, 20), [1.0]])
"""Ends of the strata of [0, 1) that stand for samples' own numbers, for policies that draw; finer where the first drawn lie."""

_NORMAL = ndtri((np.arange(32) + 0.5) / 32)
"""Middles of as many parts of a normal distribution: how far samples of a cell are from their centroid, about the mean."""

_TOLERANCE = 1e-4
_STEPS = 60
"""Bisections of kappa's logarithm: more than a double can tell apart."""


@dataclass(frozen=True, eq=False)
class EstimatedMixture:
    """Expected sums of a mixture for each of D domains, in the order of `domains`, each (D,).

    tokens: of copies. samples: distinct ones. copies. source_tokens, source_samples: of what it chooses from.
    by_copies: (cap + 1,), how many samples have 0, 1 ... cap copies.
    """

    domains: tuple[str, ...]
    source_samples: Int64Array
    source_tokens: Int64Array
    tokens: Float64Array
    samples: Float64Array
    copies: Float64Array
    by_copies: Float64Array

    @property
    def shares(self) -> Float64Array:
        """Each domain's share of the mixture's tokens."""
        shares: Float64Array = self.tokens / self.tokens.sum()
        return shares


class Estimator:
    """A mixture's cells as columns of halves, for any number of estimates."""

    def __init__(self, cells: pa.Table, bounds: tuple[float, float] = (0.0, 1.0)) -> None:
        """`cells` are schemas.CELLS of one mixture, at least one: domain (encoded or not), diversity, and sums of the source.

        `bounds` are the raw diversities that diversity was scaled with.
        """
        self._bounds = bounds
        names = cells["domain"].combine_chunks()
        names = names if pa.types.is_dictionary(names.type) else names.dictionary_encode()
        order = np.argsort(names.dictionary.to_numpy(zero_copy_only=False))
        self.domains = tuple(names.dictionary.take(pa.array(order)).to_pylist())
        place = np.empty(order.size, dtype=np.int64)
        place[order] = np.arange(order.size)
        domain = place[names.indices.to_numpy()]
        documents, tokens = cells["documents"].to_numpy(), cells["tokens"].to_numpy()
        mean = cells["quality_sum"].to_numpy() / documents / SCALE
        spread = np.sqrt(np.maximum(0.0, cells["quality_square_sum"].to_numpy() / documents / SCALE**2 - mean * mean))
        self.source_samples = np.bincount(domain, documents, len(self.domains)).astype(np.int64)
        self.source_tokens = np.bincount(domain, tokens, len(self.domains)).astype(np.int64)
        clusters, cluster = np.unique(cells["cluster"].to_numpy(), return_inverse=True)
        self._diversity = np.zeros(clusters.size, dtype=np.float32)
        self._diversity[cluster] = cells["diversity"].to_numpy()
        apart = cells["distance_sum"].to_numpy() / documents
        square = cells["distance_square_sum"].to_numpy() / documents
        self._distance_spread = np.tile(np.sqrt(np.maximum(0.0, square - apart * apart)), 2)
        columns = Columns(
            # A score that is never negative has no negative half.
            quality=np.concatenate([np.maximum(mean - spread, np.minimum(mean, 0.0)), mean + spread]).astype(np.float32),
            diversity=np.tile(cells["diversity"].to_numpy(), 2),
            domain=np.tile(domain, 2),
            cluster=np.tile(cluster, 2),
            distance=np.tile(np.rint(apart).astype(np.int64), 2),
        )
        self._halves = SurveyPart(columns, np.tile(documents, 2) / 2, np.tile(tokens, 2) / 2)

    def estimate(self, policy: Policy, scale: Scale, budget: int, max_copies: int) -> EstimatedMixture:
        """Estimate what a policy would make of the budget; raise BudgetError if no copies meet it.

        ConfigError for a policy that needs what cells don't have.
        """
        total = int(self.source_tokens.sum())
        if not 0 < budget <= max_copies * total:
            raise BudgetError(
                f"{budget:,} tokens can't be made of {total:,} with at most {max_copies} copies of each sample.",
                f"Ask for at most {max_copies * total:,}.",
            )
        if policy.labels:
            raise ConfigError(
                f"Policy {policy.name!r} needs {', '.join(policy.labels)}, which this version's sums don't tell apart.",
                "Choose another policy here, or mix with it.",
            )
        if policy.reads_closest:
            raise ConfigError(
                f"Policy {policy.name!r} compares documents, and this version's sums don't tell them apart.",
                "Plan it with 'samplemix mixture plan', or mix with it.",
            )
        found = None
        if not policy.alone:
            found = survey([self._halves], self.domains, self._diversity, scale, budget, max_copies, self._bounds)
        targets = policy.met_targets(found) if found is not None else None
        columns, documents, tokens = self._parts(policy)[:3]
        assert columns.domain is not None
        assert columns.cluster is not None
        weight = policy.weigh(scale, found)(columns)
        if policy.counts_documents:
            one, share = np.zeros(weight.size, dtype=np.int64), np.array([documents.sum() * budget / total])
            counted = _copies(np.where(weight > 0, documents, 0.0), weight, one, share, max_copies, policy.chance)
            budget = round(float(np.dot(counted, tokens)))
        if targets is None:
            group: npt.NDArray[np.integer] = np.zeros(weight.size, dtype=np.int64)
            budgets = np.array([float(budget)])
        else:
            group, budgets = columns.domain if targets.by == ("domain",) else columns.cluster, targets.tokens
        copies = _copies(np.where(weight > 0, tokens, 0.0), weight, group, budgets, max_copies, policy.chance)
        whole = np.floor(copies)
        part = copies - whole
        by_copies = np.zeros(max_copies + 2)
        by_copies += np.bincount(whole.astype(np.int64), documents * (1 - part), max_copies + 2)
        by_copies += np.bincount(whole.astype(np.int64) + 1, documents * part, max_copies + 2)

        own = columns.domain

        def added(values: npt.NDArray[Any]) -> Float64Array:
            return np.bincount(own, values, len(self.domains)).astype(np.float64)

        return EstimatedMixture(
            domains=self.domains,
            source_samples=self.source_samples,
            source_tokens=self.source_tokens,
            tokens=added(tokens * copies),
            samples=added(documents * np.minimum(1.0, copies)),
            copies=added(documents * copies),
            by_copies=by_copies[: max_copies + 1],
        )

    def _parts(self, policy: Policy) -> SurveyPart:
        """The halves, cut further by what a policy reads that differs within them: samples' own numbers, or their distances."""
        halves = self._halves
        if policy.draws:
            middle = (_DRAWN[1:] + _DRAWN[:-1]) / 2
            halves = _each(halves, np.diff(_DRAWN), "uniform", np.repeat(middle, halves.tokens.size))
        elif policy.reads_distance:
            apart = halves.columns.distance + _NORMAL[:, None] * self._distance_spread
            halves = _each(halves, np.full(_NORMAL.size, 1 / _NORMAL.size), "distance", np.rint(np.maximum(apart, 0)))
        return halves


def _each(halves: SurveyPart, shares: Float64Array, column: str, values: npt.NDArray[Any]) -> SurveyPart:
    """Each half in parts with these shares, whose values in a column are (shares, halves)."""
    own: dict[str, Any] = {
        name: None if known is None else np.tile(known, shares.size) for name, known in vars(halves.columns).items()
    }
    own[column] = values.ravel()
    documents, tokens = (np.repeat(shares, known.size) * np.tile(known, shares.size) for known in halves[1:3])
    return SurveyPart(Columns(**own), documents, tokens)


def _copies(
    tokens: Float64Array,
    weight: Float64Array,
    group: npt.NDArray[np.integer],
    budgets: Float64Array,
    max_copies: int,
    chance: bool,
) -> Float64Array:
    """Return the copies of all halves, of which each group meets its budget; raise BudgetError if one can't."""
    room = max_copies * np.bincount(group, tokens, budgets.size)
    if (short := budgets > room * (1 + _TOLERANCE)).any():
        worst = int(np.flatnonzero(short)[0])
        raise BudgetError(
            f"{budgets[worst]:,.0f} tokens can't be made of {room[worst] / max_copies:,.0f} with at most {max_copies} copies.",
            "Ask for fewer tokens, or allow more copies.",
        )

    def at(kappa: Float64Array) -> Float64Array:
        wanted = kappa[group] * weight
        return np.asarray(np.minimum(max_copies, wanted if chance else np.floor(wanted)))

    positive = weight[weight > 0]
    low = np.full(budgets.size, np.log(1e-12 / positive.max()))
    high = np.full(budgets.size, np.log((max_copies + 1) / positive.min()))
    for _ in range(_STEPS):
        middle = (low + high) / 2
        under = np.bincount(group, tokens * at(np.exp(middle)), budgets.size) < budgets
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    below, above = at(np.exp(low)), at(np.exp(high))
    # Halves that step together do so in part.
    have, more = (np.bincount(group, tokens * copies, budgets.size) for copies in (below, above - below))
    fitting = np.clip(np.divide(budgets - have, more, out=np.zeros(budgets.size), where=more > 0), 0.0, 1.0)
    return np.asarray(below + fitting[group] * (above - below))
