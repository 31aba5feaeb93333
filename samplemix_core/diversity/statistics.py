"""Clusters' diversity from mergeable sums.

d_j = compactness_j * separation_j, after Abbas et al. 2024, "Effective pruning of web-scale datasets based on complexity of
concept clusters", as used by SampleMix (Xi et al. 2025, section 3): compactness is the mean cosine distance of a cluster's
documents to its centroid, separation the mean cosine distance of its centroid to the other centroids.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClusterSums:
    """What a set of documents adds to their clusters' statistics.

    counts: int64 (K,), documents. distance_sum: float64 (K,), their cosine distances to the centroid, added up.
    """

    counts: npt.NDArray[np.int64]
    distance_sum: Float64Array

    @classmethod
    def of(cls, cluster: npt.NDArray[np.int32], distance: npt.NDArray[np.float32], n_clusters: int) -> "ClusterSums":
        """Sums of an assignment, in the order of its documents. Noise counts as a document of its nearest cluster."""
        return cls(
            counts=np.bincount(cluster, minlength=n_clusters).astype(np.int64),
            distance_sum=np.bincount(cluster, weights=distance, minlength=n_clusters).astype(np.float64),
        )

    @classmethod
    def merge(cls, parts: Iterable["ClusterSums"], n_clusters: int) -> "ClusterSums":
        """Add sums up in the order given: the same order gives the same bits, so merge in shard order."""
        counts = np.zeros(n_clusters, dtype=np.int64)
        distance_sum = np.zeros(n_clusters, dtype=np.float64)
        for part in parts:
            if part.counts.shape != (n_clusters,):
                raise ValueError(f"sums of {part.counts.size} clusters can't be added to sums of {n_clusters}")
            counts += part.counts
            distance_sum += part.distance_sum
        return cls(counts, distance_sum)

    def compactness(self, of_empty: Float64Array) -> Float64Array:
        """Mean distance of each cluster's documents, (K,); for a cluster without any, its entry of `of_empty` (K,)."""
        return np.where(self.counts > 0, self.distance_sum / np.maximum(self.counts, 1), of_empty)


@dataclass(frozen=True)
class Bounds:
    """The least and the greatest compactness * separation of the clusters of a fit: what d is normalised with."""

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


def separation(centroids: npt.NDArray[np.float32]) -> Float64Array:
    """Mean cosine distance of each centroid to the others, (K,), from unit centroids (K, dim); 0 if there is only one.

    By linearity, the mean over the others of 1 - <c_j, c_i> is 1 - (<c_j, sum_i c_i> - <c_j, c_j>) / (K - 1): no K x K matrix.
    """
    n_clusters = centroids.shape[0]
    if n_clusters == 1:
        return np.zeros(1)
    exact = centroids.astype(np.float64)
    to_all = (exact * exact.sum(axis=0)).sum(axis=1)
    to_itself = (exact * exact).sum(axis=1)
    mean_distance: Float64Array = 1.0 - (to_all - to_itself) / (n_clusters - 1)
    return mean_distance
