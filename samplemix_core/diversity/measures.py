"""What a cluster's diversity is made from, besides the paper's product; and d by a document's own neighbours in the sample.

Values only order clusters or documents: what a place in that order is worth as d is for the model to say.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

_MOST_TIMES = 4.0
"""A cluster's share in a tree that is filled evenly is at most so many times its own, as a document has so many copies."""


def weighted_places(values: Float64Array, documents: Int64Array) -> Float64Array:
    """Return the place of each cluster's documents in the order of the values (K,): the share below, and half of those alike."""
    order = np.argsort(values, kind="stable")
    distinct, first = np.unique(values[order], return_index=True)
    counts = np.add.reduceat(documents[order], first)
    places = (np.cumsum(counts) - counts / 2) / max(int(documents.sum()), 1)
    return np.asarray(places[np.searchsorted(distinct, values)])


def hierarchical(centroids: Float32Array, documents: Int64Array) -> Float64Array:
    """Return what each cluster's share becomes, over what it is, if a tree of the clusters is filled evenly from its root; (K,).

    The tree joins the clusters whose centroids (K, dim) are nearest (Ward 1963). Each branching gives both sides half, and what one
    side has no room for goes to the other, as water would: so a topic with one cluster has as much as one with fifty (Vo et al.
    2024, arXiv 2405.15613). A cluster has room for _MOST_TIMES its documents.
    """
    from scipy.cluster.hierarchy import linkage

    own = documents / documents.sum()
    k = len(centroids)
    if k == 1:
        return np.ones(1)
    tree = linkage(centroids.astype(np.float64), "ward")[:, :2].astype(int)
    room = np.concatenate([own * _MOST_TIMES, np.zeros(k - 1)])
    for number, (left, right) in enumerate(tree.tolist()):
        room[k + number] = room[left] + room[right]
    share = np.zeros(2 * k - 1)
    share[-1] = 1.0
    for number in range(k - 2, -1, -1):
        left, right = tree[number].tolist()
        half = share[k + number] / 2
        share[left] = min(room[left], max(half, share[k + number] - room[right]))
        share[right] = share[k + number] - share[left]
    return np.asarray(share[:k] / np.maximum(own, 1e-12))


@dataclass(frozen=True, eq=False)
class Neighbours:
    """A sample among which documents look for their neighbours.

    vectors: float16 (n, dim), unit vectors. distances: float32 (n,), ascending, each one's cosine distance to its k-th neighbour.
    """

    vectors: npt.NDArray[np.float16]
    distances: Float32Array
    k: int

    @classmethod
    def of(cls, vectors: Float32Array, k: int) -> "Neighbours":
        """The neighbours that unit vectors (n, dim) have among themselves."""
        bare = cls(vectors.astype(np.float16), np.zeros(0, dtype=np.float32), k)
        return cls(bare.vectors, np.sort(bare.found(vectors)[1]), k)

    def found(self, vectors: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Cosine distances of unit vectors (m, dim) to the nearest in the sample, and to the k-th; (m,) each.

        Vectors are rounded to half precision, in which they are kept, so that a document of the sample finds itself there and is
        no neighbour of its own. Others with the same vector, copies of it, are.
        """
        from samplemix_core.diversity.nearest import nearest_others

        distance = nearest_others(vectors.astype(np.float16).astype(np.float32), self.vectors.astype(np.float32), self.k)
        there = min(self.k, max(len(self.vectors) - 1, 1))
        return distance[:, 0], distance[:, there - 1]

    def places(self, kth: Float32Array) -> Float64Array:
        """Places of documents in the sample's order by the distance to the k-th neighbour, (m,)."""
        low, high = (np.searchsorted(self.distances, kth, side) for side in ("left", "right"))
        return np.asarray((low + high) / 2 / max(len(self.distances), 1))
