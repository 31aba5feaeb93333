"""How far clusters are apart, and how compactness and separation become diversity.

d_j = compactness_j * separation_j, after Abbas et al. 2024, "Effective pruning of web-scale datasets based on complexity of concept
clusters", as used by SampleMix (Xi et al. 2025, section 3): compactness is the mean cosine distance of a cluster's documents to its
centroid, separation the mean cosine distance of its centroid to the other centroids.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

_ROWS_AT_ONCE = 1_024


@dataclass(frozen=True)
class Bounds:
    """The least and the greatest compactness * separation among a fit's clusters, with which d is normalised."""

    low: float
    high: float

    @classmethod
    def of(cls, raw: Float64Array) -> "Bounds":
        """The bounds of raw diversities (K,), K at least 1."""
        return cls(float(raw.min()), float(raw.max()))

    def normalise(self, raw: Float64Array) -> Float64Array:
        """Raw diversities as shares of the way from low to high, clipped to [0, 1].

        If the bounds coincide, no cluster is more diverse than another: all get 0.5, and quality alone decides.
        """
        if self.high <= self.low:
            return np.full(raw.shape, 0.5)
        return np.clip((raw - self.low) / (self.high - self.low), 0.0, 1.0)


def separation(centroids: npt.NDArray[np.float32], neighbours: int | None = None) -> Float64Array:
    """Mean cosine distance of each centroid to the others, (K,), from unit centroids (K, dim); 0 if there is only one.

    With `neighbours`, the mean over so many nearest ones, as in the code of Abbas et al. By linearity, the mean over all others of
    1 - <c_j, c_i> is 1 - (<c_j, sum_i c_i> - <c_j, c_j>) / (K - 1): no K x K matrix.
    """
    n_clusters = centroids.shape[0]
    if n_clusters == 1:
        return np.zeros(1)
    exact = centroids.astype(np.float64)
    if neighbours is not None and neighbours < n_clusters - 1:
        found = np.empty(n_clusters)
        for start in range(0, n_clusters, _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            cosine = exact[rows] @ exact.T
            own = np.arange(len(cosine))
            cosine[own, start + own] = -np.inf
            found[rows] = 1 - np.partition(cosine, -neighbours, axis=1)[:, -neighbours:].mean(axis=1)
        return found
    own = (exact * exact).sum(axis=1)
    others: Float64Array = 1.0 - ((exact * exact.sum(axis=0)).sum(axis=1) - own) / (n_clusters - 1)
    return others


def centred(vectors: npt.NDArray[np.float32], mean: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Vectors (n, dim) less a mean (dim,), as unit vectors again; one that is the mean itself is 0."""
    moved = vectors - mean
    norms = np.sqrt(np.einsum("ij,ij->i", moved, moved, dtype=np.float64))
    moved /= np.maximum(norms, np.finfo(np.float32).tiny).astype(np.float32)[:, None]
    return moved


def rank_correlation(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    """Return Spearman's correlation; 0 if one side is constant, so there is no order to agree on."""
    from scipy.stats import spearmanr

    if np.ptp(left) == 0 or np.ptp(right) == 0:
        return 0.0
    return float(spearmanr(left, right).statistic)
