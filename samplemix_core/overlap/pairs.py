"""Pairs of texts that may be alike, how alike they are, and which of them stays."""

from typing import Any

import numpy as np
import numpy.typing as npt

from samplemix_core.compiled import compiled
from samplemix_core.overlap.words import Hashes, Places

WHOLE_BUCKET = 256
"""In a bucket of at most so many texts each is compared with each."""

CELL = 64
"""A larger bucket is cut into cells of about so many texts, in each band others; texts are compared with those of their cell."""

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def candidates(keys: Hashes, texts: Int64Array, spread: Hashes, is_new: Bools) -> Int64Array:
    """Pairs of texts with the same key in a band, of which one at least is new: int64 (k, 2), each once, the smaller first.

    keys (m,) are a band's, of texts (m,), which are numbers. `spread` and `is_new` are by text: a random number that decides the
    cell of a large bucket, and whether it has not been compared before. The order of the entries changes nothing.
    """
    order = np.lexsort((texts, keys))
    keys, texts = keys[order], texts[order]
    # A text that is there more than once counts once.
    kept = np.ones(keys.size, dtype=np.bool_)
    kept[1:] = (keys[1:] != keys[:-1]) | (texts[1:] != texts[:-1])
    keys, texts = keys[kept], texts[kept]
    cells = _cells(keys, spread[texts])
    order = np.lexsort((texts, cells, keys))
    keys, cells, texts = keys[order], cells[order], texts[order]
    begins = np.ones(keys.size, dtype=np.bool_)
    begins[1:] = (keys[1:] != keys[:-1]) | (cells[1:] != cells[:-1])
    found = _pairs(texts, np.append(np.flatnonzero(begins), keys.size), is_new)
    return np.unique(found, axis=0) if found.size else found


def _cells(keys: Hashes, spread: Hashes) -> Hashes:
    """The cell of each entry, uint64 (m,): 0 in buckets that aren't cut."""
    _, bucket, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    size = sizes[bucket]
    number = -(-size // CELL)
    mixed = (spread ^ keys) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(32)
    return np.where(size > WHOLE_BUCKET, mixed % number.astype(np.uint64), np.uint64(0))


@compiled
def _pairs(texts: Int64Array, bounds: Int64Array, is_new: Bools) -> Int64Array:
    found = np.empty((0, 2), dtype=np.int64)
    # Counted first, then filled.
    for turn in range(2):
        used = 0
        for bucket in range(bounds.size - 1):
            for i in range(bounds[bucket], bounds[bucket + 1]):
                for j in range(i + 1, bounds[bucket + 1]):
                    if is_new[texts[i]] or is_new[texts[j]]:
                        if turn:
                            found[used, 0], found[used, 1] = texts[i], texts[j]
                        used += 1
        if not turn:
            found = np.empty((used, 2), dtype=np.int64)
    return found


@compiled
def similarities(hashes: Hashes, begins: Places, left: Int64Array, right: Int64Array) -> Float64Array:
    """The Jaccard similarity of pairs of texts, float64 (k,): |A and B| / |A or B| of their sets, by words.shingle_sets().

    left and right (k,) are their numbers. A text without shingles is like no other.
    """
    found = np.zeros(left.size, dtype=np.float64)
    for pair in range(left.size):
        i, j = begins[left[pair]], begins[right[pair]]
        end_i, end_j = begins[left[pair] + 1], begins[right[pair] + 1]
        together = end_i - i + end_j - j
        common = 0
        while i < end_i and j < end_j:
            if hashes[i] == hashes[j]:
                common += 1
                i += 1
                j += 1
            elif hashes[i] < hashes[j]:
                i += 1
            else:
                j += 1
        if together:
            found[pair] = common / (together - common)
    return found


def settle(first: Int64Array, second: Int64Array, similarity: npt.NDArray[np.floating[Any]], n: int) -> Int64Array:
    """The pair by which each of n texts gives way to its first, int64 (n,): -1 if it stays.

    Texts are numbered by their right to stay. Pairs (k,) are alike, with first < second. A text stays unless it is like one before
    it that stays; it gives way to the most similar of these. So each goes for one that it is like itself, and nothing is passed on
    from text to text.
    """
    order = np.lexsort((first, -similarity, second))
    return np.asarray(_settle(order, first, second, n))


@compiled
def _settle(order: Int64Array, first: Int64Array, second: Int64Array, n: int) -> Int64Array:
    goes_by = np.full(n, -1, dtype=np.int64)
    for pair in order:
        if goes_by[first[pair]] < 0 and goes_by[second[pair]] < 0:
            goes_by[second[pair]] = pair
    return goes_by
