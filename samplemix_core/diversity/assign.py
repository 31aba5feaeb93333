"""Documents to clusters: the nearest centroid, by blocked matrix products in float32."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from samplemix_core.diversity.model import ClusterModel
from samplemix_core.errors import ModelError

_BLOCK_ROWS = 1024
_BLOCK_CELLS = 2**24


@dataclass(frozen=True, eq=False)
class Assignment:
    """Documents' clusters, in the order of their vectors.

    cluster: int32 (n,), the nearest centroid. distance: float32 (n,), cosine distance to it.
    is_noise: bool (n,), whether the distance exceeds that cluster's radius.
    """

    cluster: npt.NDArray[np.int32]
    distance: npt.NDArray[np.float32]
    is_noise: npt.NDArray[np.bool_]


def nearest_centroid(
    vectors: npt.NDArray[np.float32], centroids: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Nearest centroid of each vector and the cosine distance to it, 1 - cos, not below 0; ties go to the lowest number.

    Memory beyond the result is one block of at most 1,024 vectors by K similarities (64 MiB at most, or one vector's).

    Args:
        vectors: (n, dim), unit.
        centroids: (K, dim), unit, K at least 1.

    Raises:
        ModelError: the dimensions differ, or a vector holds NaN or infinity.
    """
    n, dim = vectors.shape
    n_clusters = centroids.shape[0]
    if centroids.shape[1] != dim:
        raise ModelError(
            f"Vectors have {dim} dimensions, the cluster model's centroids {centroids.shape[1]}.",
            "The clusters were fitted with another encoder: fit them again.",
        )
    rows = max(1, min(_BLOCK_ROWS, _BLOCK_CELLS // n_clusters))
    similarity = np.empty((min(rows, n), n_clusters), dtype=np.float32)
    cluster = np.empty(n, dtype=np.int32)
    cosine = np.empty(n, dtype=np.float32)
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        block = similarity[: stop - start]
        np.matmul(vectors[start:stop], centroids.T, out=block)
        nearest = block.argmax(axis=1)
        cluster[start:stop] = nearest
        cosine[start:stop] = block[np.arange(stop - start), nearest]
    if not np.all(np.isfinite(cosine)):
        position = int(np.flatnonzero(~np.isfinite(cosine))[0])
        raise ModelError(
            f"Vector {position} holds a value that is not finite.", "Its shard's embedding file is damaged: score it again."
        )
    return cluster, np.maximum(np.float32(1) - cosine, np.float32(0))


def assign(vectors: npt.NDArray[np.float32], model: ClusterModel) -> Assignment:
    """Assign unit vectors (n, dim) to the clusters of a model; see nearest_centroid for memory and errors."""
    cluster, distance = nearest_centroid(vectors, model.centroids)
    return Assignment(cluster, distance, distance > model.radii[cluster])
