"""Semantic duplicates: documents of a cluster that say nearly the same, by their vectors (Abbas et al. 2023).

A document repeats another of its cluster that is farther from the centroid: of several, the least typical stays. Which pieces of
clusters are compared, and every result, follow from the documents alone: on any number of workers they are the same.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Int16Array = npt.NDArray[np.int16]
Int64Array = npt.NDArray[np.int64]

SCALE = 10_000
"""Cosines are told in ten-thousandths."""

LEAST = 9_000
"""A cosine below counts as 0: policies may ask for no less."""

MOST_COMPARED = 2**16
"""In a larger cluster, a document is compared with at least so many that come next to it by their distance to the centroid."""

OWN = 2**16
"""Most documents of a piece, besides those that these are compared with."""

_ROWS_AT_ONCE, _COLUMNS_AT_ONCE = 1_024, 4_096
_ROUNDING = 1e-4
"""Of a cosine in single precision: more than it can be wrong."""


class Piece(NamedTuple):
    """Places start to stop of a cluster's documents, farthest from the centroid first; those from `own` on are compared."""

    start: int
    own: int
    stop: int

    @property
    def rows(self) -> int:
        """All its documents."""
        return self.stop - self.start


def farthest_first(cluster: npt.NDArray[np.unsignedinteger], distance: Int16Array) -> Int64Array:
    """Places of documents (n,) by cluster, in it the farthest from the centroid first, of equals the first."""
    key = cluster.astype(np.int64) << 16
    key -= distance
    return np.argsort(key, kind="stable")


def pieces(sizes: Int64Array) -> Iterator[Piece]:
    """Cut clusters of these sizes (K,), which lie one after another, into pieces. A cluster of one document has none."""
    begin = 0
    for size in sizes.tolist():
        for own in range(begin, begin + size, OWN) if size > 1 else ():
            yield Piece(max(begin, own - MOST_COMPARED), own, min(own + OWN, begin + size))
        begin += size


def closest(vectors: npt.NDArray[np.float16], own: int) -> Int16Array:
    """Return the highest cosine of each document from `own` on to one before it, in ten-thousandths, int16 (n - own,).

    vectors: as they are stored, (n, dim), of one cluster, farthest from the centroid first. What is below LEAST is 0.
    """
    n = len(vectors)
    found = np.zeros(n - own, dtype=np.int16)
    for start in range(own, n, _ROWS_AT_ONCE):
        stop = min(n, start + _ROWS_AT_ONCE)
        rows = _units(vectors[start:stop])
        best, of = np.full(len(rows), -2.0, dtype=np.float32), np.zeros(len(rows), dtype=np.int64)
        for first in range(max(0, start - MOST_COMPARED), stop, _COLUMNS_AT_ONCE):
            end = min(stop, first + _COLUMNS_AT_ONCE)
            near = rows @ _units(vectors[first:end]).T
            if end > start:
                near[np.arange(first, end) >= np.arange(start, stop)[:, None]] = -2.0
            at = near.argmax(axis=1)
            value = near[np.arange(len(rows)), at]
            better = value > best
            best[better], of[better] = value[better], first + at[better]
        chosen = np.flatnonzero(best >= LEAST / SCALE - _ROUNDING)
        # In double precision: machines may differ only in which of two equally close neighbours it is.
        a, b = vectors[start + chosen].astype(np.float64), vectors[of[chosen]].astype(np.float64)
        cosine = np.einsum("ij,ij->i", a, b) / np.sqrt(np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b))
        told = np.rint(cosine * SCALE).astype(np.int16)
        found[start - own + chosen] = np.where(told < LEAST, 0, told)
    return found


def _units(vectors: npt.NDArray[np.float16]) -> Float32Array:
    single = vectors.astype(np.float32)
    single /= np.maximum(np.sqrt(np.einsum("ij,ij->i", single, single)), np.finfo(np.float32).tiny)[:, None]
    return single
