"""What a mixture would be under other settings, from its roll-up: in milliseconds, and without reading a sample.

A sample of weight w is copied min(cap, kappa * w) times on average, because floor(c + u) averages c over u. So a cell of samples
with similar weights yields its tokens times that, and kappa is where all cells together meet the budget. Each cell is split into
two halves, one standard deviation of quality above and below its mean, so that the halves have its mean and spread. This ignores
that longer documents of a cell may be better ones, and that a mixture is one draw and not the average of all.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.errors import BudgetError
from samplemix_core.mixing.shard_samples import SCALE
from samplemix_core.policies.policy import Columns, Weigh

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

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

    def __init__(self, cells: pa.Table) -> None:
        """`cells` are schemas.CELLS of one mixture, at least one: domain (encoded or not), diversity, and sums of the source."""
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
        self._domain = np.concatenate([domain, domain])
        self._documents = np.concatenate([documents, documents]) / 2
        self._tokens = np.concatenate([tokens, tokens]) / 2
        diversity = cells["diversity"].to_numpy()
        self._columns = Columns(
            np.concatenate([mean - spread, mean + spread]).astype(np.float32), np.concatenate([diversity, diversity])
        )

    def estimate(self, weigh: Weigh, budget: int, max_copies: int) -> EstimatedMixture:
        """Estimate what a policy would make of the budget; raise BudgetError if no copies meet it."""
        total = int(self.source_tokens.sum())
        if not 0 < budget <= max_copies * total:
            raise BudgetError(
                f"{budget:,} tokens can't be made of {total:,} with at most {max_copies} copies of each sample.",
                f"Ask for at most {max_copies * total:,}.",
            )
        weight = weigh(self._columns)
        copies = np.minimum(max_copies, self._kappa(weight, budget, max_copies) * weight)
        whole = np.floor(copies)
        part = copies - whole
        by_copies = np.zeros(max_copies + 2)
        by_copies += np.bincount(whole.astype(np.int64), self._documents * (1 - part), max_copies + 2)
        by_copies += np.bincount(whole.astype(np.int64) + 1, self._documents * part, max_copies + 2)

        def added(values: Float64Array) -> Float64Array:
            return np.bincount(self._domain, values, len(self.domains)).astype(np.float64)

        return EstimatedMixture(
            domains=self.domains,
            source_samples=self.source_samples,
            source_tokens=self.source_tokens,
            tokens=added(self._tokens * copies),
            samples=added(self._documents * np.minimum(1.0, copies)),
            copies=added(self._documents * copies),
            by_copies=by_copies[: max_copies + 1],
        )

    def _kappa(self, weight: Float64Array, budget: int, max_copies: int) -> float:
        """Return the factor at which the halves meet the budget."""
        low, high = np.log(budget / (self._tokens @ weight)), np.log(max_copies / weight.min())
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if self._tokens @ np.minimum(max_copies, np.exp(middle) * weight) < budget:
                low = middle
            else:
                high = middle
        return float(np.exp(high))
