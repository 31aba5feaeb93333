"""Nearest centroids and nearest neighbours of vectors, by blocked matrix products."""

import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from samplemix_core.compiled import compiled
from samplemix_core.errors import ModelError

BLOCK_ROWS = 1024
_BLOCK_CELLS = 2**24
_NEIGHBOUR_ROWS = 512

_ERROR = 1e-5
"""Twice the most by which a float32 similarity of unit vectors can be wrong."""

Float32Array = npt.NDArray[np.float32]

Found = tuple[npt.NDArray[np.int32], Float32Array]
"""Nearest centroids, int32 (n,), and the cosine distances to them, float32 (n,)."""


def nearest_centroid(vectors: Float32Array, centroids: Float32Array) -> Found:
    """Nearest centroid of each vector and the cosine distance to it. See nearest_centroids."""
    return nearest_centroids(vectors, [centroids])[0]


def nearest_centroids(vectors: Float32Array, sets: Sequence[Float32Array]) -> list[Found]:
    """Nearest centroid of each vector in each set, and the cosine distance to it, 1 - cos, not below 0; ties go to the lowest.

    `vectors` (n, dim) and each set's centroids (K, dim) are unit vectors, K at least 1. The results are for each vector the same to
    the bit whatever other vectors come with it, whatever else is in the sets, and on any processor: one matrix product for all sets
    finds which centroids could be the nearest, and the cosines to these are summed in float64, in one order.

    Memory beyond the result is one block of at most 1,024 vectors by all similarities (64 MiB at most, or one vector's).

    Raises ModelError if the dimensions differ, or a vector holds NaN or infinity.
    """
    n, dim = vectors.shape
    for centroids in sets:
        if centroids.shape[1] != dim:
            raise ModelError(
                f"Vectors have {dim} dimensions, the cluster model's centroids {centroids.shape[1]}.",
                "The clusters were fitted with another encoder: fit them again.",
            )
    every = np.ascontiguousarray(np.concatenate(sets))
    ends = np.cumsum([0, *(len(centroids) for centroids in sets)])
    cluster = np.empty((len(sets), n), dtype=np.int32)
    cosine = np.empty((len(sets), n), dtype=np.float32)
    rows = max(1, min(BLOCK_ROWS, _BLOCK_CELLS // len(every)))
    product = _Products.of(every, rows)
    for start in range(0, n, rows):
        block = np.require(vectors[start : start + rows], requirements=("C", "W"))
        near = product.with_all(block)
        for i, (first, end) in enumerate(itertools.pairwise(ends.tolist())):
            own = near[:, first:end]
            largest = own.max(axis=1)
            if not np.all(np.isfinite(largest)):
                position = start + int(np.flatnonzero(~np.isfinite(largest))[0])
                raise ModelError(
                    f"Vector {position} holds a value that is not finite.", "Its shard's embedding file is damaged: score it again."
                )
            here = slice(start, start + len(block))
            _nearest(own, largest - np.float32(product.error), block, every[first:end], cluster[i, here], cosine[i, here])
    return [(cluster[i], np.maximum(np.float32(1) - cosine[i], np.float32(0))) for i in range(len(sets))]


@dataclass(frozen=True, eq=False)
class _Products:
    """Matrix products with centroids, in float32, or in bfloat16 where that is faster.

    error: twice the most by which a similarity can be wrong, whatever the matrices' shapes and the processor. In bfloat16, each
    factor is rounded by up to 2^-8 of itself, and so is the result: the similarity of unit vectors by 3 * 2^-8, and a little more
    for squares of these and for vectors that are only nearly of length 1.
    """

    centroids: Float32Array
    halves: Any
    error: float
    out: Float32Array

    FASTER = 1.3
    """How much faster bfloat16 has to be: it leaves more centroids to compare exactly."""

    @classmethod
    def of(cls, centroids: Float32Array, rows: int) -> "_Products":
        """Products of at most so many vectors with centroids (K, dim)."""
        out = np.empty((rows, len(centroids)), dtype=np.float32)
        exact = cls(centroids, None, _ERROR, out)
        # Whoever has loaded torch has a trial of both: loading it takes longer than most files.
        if "torch" not in sys.modules or centroids.size < 2**16:
            return exact
        import torch

        rough = cls(centroids, torch.from_numpy(centroids).to(torch.bfloat16).T, 6.2 * 2.0**-8, out)
        if _faster(rows, *centroids.shape) >= cls.FASTER:
            return rough
        return exact

    def with_all(self, vectors: Float32Array) -> Float32Array:
        """Similarities of vectors (n, dim) to the centroids, (n, K), until the next call."""
        found = self.out[: len(vectors)]
        if self.halves is None:
            np.matmul(vectors, self.centroids.T, out=found)
        else:
            import torch

            torch.from_numpy(found).copy_(torch.from_numpy(vectors).to(torch.bfloat16) @ self.halves)
        return found


@lru_cache(maxsize=16)
def _faster(rows: int, k: int, dim: int) -> float:
    """How many times faster products of these shapes are in bfloat16, here and now."""
    import torch

    draw = np.random.default_rng(0)
    vectors, centroids = (draw.standard_normal((size, dim)).astype(np.float32) for size in (rows, k))
    out = np.empty((rows, k), dtype=np.float32)
    halves = torch.from_numpy(centroids).to(torch.bfloat16).T
    best = []
    for kind in (_Products(centroids, None, 0.0, out), _Products(centroids, halves, 0.0, out)):
        seconds = []
        for _ in range(4):
            started = time.perf_counter()
            kind.with_all(vectors)
            seconds.append(time.perf_counter() - started)
        best.append(min(seconds))
    return best[0] / best[1]


@compiled
def _cosine(vectors: Float32Array, i: int, others: Float32Array, j: int) -> float:
    """The product of one row with another in float64: eight sums, which processors add at once, in this order everywhere."""
    dim = vectors.shape[1]
    whole = dim - dim % 8
    a, b, c, d, e, f, g, h = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(0, whole, 8):
        a += np.float64(vectors[i, k]) * np.float64(others[j, k])
        b += np.float64(vectors[i, k + 1]) * np.float64(others[j, k + 1])
        c += np.float64(vectors[i, k + 2]) * np.float64(others[j, k + 2])
        d += np.float64(vectors[i, k + 3]) * np.float64(others[j, k + 3])
        e += np.float64(vectors[i, k + 4]) * np.float64(others[j, k + 4])
        f += np.float64(vectors[i, k + 5]) * np.float64(others[j, k + 5])
        g += np.float64(vectors[i, k + 6]) * np.float64(others[j, k + 6])
        h += np.float64(vectors[i, k + 7]) * np.float64(others[j, k + 7])
    total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for k in range(whole, dim):
        total += np.float64(vectors[i, k]) * np.float64(others[j, k])
    return total


@compiled
def _nearest(
    near: Float32Array,
    least: Float32Array,
    vectors: Float32Array,
    centroids: Float32Array,
    cluster: npt.NDArray[np.int32],
    cosine: Float32Array,
) -> None:
    """Of centroids whose similarity (n, K) is at least `least` (n,), find the nearest by exact cosines; ties go to the lowest."""
    for i in range(vectors.shape[0]):
        best = -np.inf
        for j in range(near.shape[1]):
            if near[i, j] < least[i]:
                continue
            exact = _cosine(vectors, i, centroids, j)
            if exact > best:
                best = exact
                cluster[i] = j
        cosine[i] = best


def nearest_others(vectors: Float32Array, sample: Float32Array, k: int) -> Float32Array:
    """Cosine distances of unit vectors (n, dim) to the k nearest of a sample (m, dim), ascending, float32 (n, k).

    One of the sample that equals a vector is taken for the document itself, and left out; further ones are copies of it. Where
    there are fewer than k, the rest is 2. The same to the bit whatever other vectors come with it, as in nearest_centroids.
    """
    found = np.full((len(vectors), k), 2.0, dtype=np.float32)
    products = _Products(sample, None, _ERROR, np.empty((min(len(vectors), _NEIGHBOUR_ROWS), len(sample)), dtype=np.float32))
    kth = max(len(sample) - k - 1, 0)
    for start in range(0, len(vectors), _NEIGHBOUR_ROWS):
        block = vectors[start : start + _NEIGHBOUR_ROWS]
        near = products.with_all(block)
        # The document itself may be among the nearest, so one more than k.
        least = np.partition(near, kth, axis=1)[:, kth] - np.float32(_ERROR)
        _nearest_others(near, least, block, sample, found[start : start + len(block)])
    return np.clip(found, np.float32(0), np.float32(2))


@compiled
def _nearest_others(
    near: Float32Array, least: Float32Array, vectors: Float32Array, sample: Float32Array, distance: Float32Array
) -> None:
    """Of those whose similarity (n, m) is at least `least` (n,), the smallest exact distances but for one that is equal; (n, k)."""
    k = distance.shape[1]
    for i in range(vectors.shape[0]):
        itself = False
        for j in range(near.shape[1]):
            if near[i, j] < least[i]:
                continue
            if not itself and np.array_equal(vectors[i], sample[j]):
                itself = True
                continue
            value = np.float32(1.0 - _cosine(vectors, i, sample, j))
            if value < distance[i, k - 1]:
                place = k - 1
                while place > 0 and distance[i, place - 1] > value:
                    distance[i, place] = distance[i, place - 1]
                    place -= 1
                distance[i, place] = value


def nearest_neighbours(vectors: Float32Array, k: int) -> tuple[npt.NDArray[np.int32], Float32Array]:
    """The k nearest of each unit vector (n, dim) among all, itself first, and the cosine distances to them; each (n, k)."""
    n = len(vectors)
    index, cosine = np.empty((n, k), dtype=np.int32), np.empty((n, k), dtype=np.float32)
    near = np.empty((min(n, BLOCK_ROWS), n), dtype=np.float32)
    for start in range(0, n, BLOCK_ROWS):
        rows = slice(start, min(n, start + BLOCK_ROWS))
        block = near[: rows.stop - start]
        np.matmul(vectors[rows], vectors.T, out=block)
        block[np.arange(len(block)), np.arange(start, rows.stop)] = 2.0
        _largest(block, index[rows], cosine[rows])
    return index, np.clip(1 - cosine, np.float32(0), np.float32(2))


@compiled
def _largest(near: Float32Array, index: npt.NDArray[np.int32], cosine: Float32Array) -> None:
    """The largest of each row (n, m), as many as there are columns (n, k), in descending order; of equal ones the first."""
    k = index.shape[1]
    for i in range(near.shape[0]):
        for j in range(k):
            cosine[i, j] = -np.inf
        least = cosine[i, k - 1]
        for j in range(near.shape[1]):
            value = near[i, j]
            if value > least:
                place = k - 1
                while place > 0 and cosine[i, place - 1] < value:
                    cosine[i, place] = cosine[i, place - 1]
                    index[i, place] = index[i, place - 1]
                    place -= 1
                cosine[i, place] = value
                index[i, place] = j
                least = cosine[i, k - 1]
