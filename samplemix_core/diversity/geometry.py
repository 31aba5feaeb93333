"""Nearest centroids, by blocked matrix products in float32, and how far clusters are apart.

d_j = compactness_j * separation_j, after Abbas et al. 2024, "Effective pruning of web-scale datasets based on complexity of concept
clusters", as used by SampleMix (Xi et al. 2025, section 3): compactness is the mean cosine distance of a cluster's documents to its
centroid, separation the mean cosine distance of its centroid to the other centroids.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from samplemix_core.errors import ModelError

Float64Array = npt.NDArray[np.float64]


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
        for start in range(0, n_clusters, BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
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


BLOCK_ROWS = 1024
_BLOCK_CELLS = 2**24
_PAIRS = 4096

_MATRIX_ERROR = 1e-5
"""More than the error of a cosine from a float32 matrix product, which depends on the matrices' shapes and the processor."""


def nearest_centroid(
    vectors: npt.NDArray[np.float32], centroids: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Nearest centroid of each vector and the cosine distance to it, 1 - cos, not below 0; ties go to the lowest number.

    `vectors` (n, dim) and `centroids` (K, dim) are unit vectors, K at least 1. The results are (n,), and for each vector the same
    to the bit whatever other vectors come with it: a matrix product finds which centroids could be the nearest, and the cosines to
    these are summed in float64, in one order.

    Memory beyond the result is one block of at most 1,024 vectors by K similarities (64 MiB at most, or one vector's).

    Raises ModelError if the dimensions differ, or a vector holds NaN or infinity.
    """
    n, dim = vectors.shape
    n_clusters = centroids.shape[0]
    if centroids.shape[1] != dim:
        raise ModelError(
            f"Vectors have {dim} dimensions, the cluster model's centroids {centroids.shape[1]}.",
            "The clusters were fitted with another encoder: fit them again.",
        )
    rows = max(1, min(BLOCK_ROWS, _BLOCK_CELLS // n_clusters))
    similarity = np.empty((min(rows, n), n_clusters), dtype=np.float32)
    cluster = np.empty(n, dtype=np.int32)
    cosine = np.empty(n, dtype=np.float32)
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        block = similarity[: stop - start]
        np.matmul(vectors[start:stop], centroids.T, out=block)
        largest = block.max(axis=1)
        if not np.all(np.isfinite(largest)):
            position = start + int(np.flatnonzero(~np.isfinite(largest))[0])
            raise ModelError(
                f"Vector {position} holds a value that is not finite.", "Its shard's embedding file is damaged: score it again."
            )
        row, candidate = np.nonzero(block >= (largest - np.float32(_MATRIX_ERROR))[:, None])
        exact = _cosines(vectors[start:stop], row, centroids, candidate)
        best = np.maximum.reduceat(exact, np.searchsorted(row, np.arange(stop - start)))
        wins = np.flatnonzero(exact == best[row])[::-1]
        # Of several that tie, the lowest is written last.
        cluster[start:stop][row[wins]] = candidate[wins]
        cosine[start:stop] = best
    return cluster, np.maximum(np.float32(1) - cosine, np.float32(0))


def _cosines(
    vectors: npt.NDArray[np.float32],
    row: npt.NDArray[np.intp],
    centroids: npt.NDArray[np.float32],
    column: npt.NDArray[np.intp],
) -> Float64Array:
    """Cosine of each pair of a vector and a centroid, (pairs,)."""
    found = np.empty(row.size)
    for first in range(0, row.size, _PAIRS):
        pairs = slice(first, first + _PAIRS)
        found[pairs] = (vectors[row[pairs]].astype(np.float64) * centroids[column[pairs]]).sum(axis=1)
    return found
