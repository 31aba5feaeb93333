"""Words of texts, hashed over Arrow's buffers, and shingles: hashes of runs of consecutive words."""

import unicodedata
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.compiled import compiled
from samplemix_core.overlap.recipe import SHINGLE_WORDS

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Folds = npt.NDArray[np.uint32]

_IS_ALONE = 1 << 31
ALONE = (
    *((0x0E00, 0x0F00), (0x1000, 0x10A0), (0x1780, 0x1800)),  # Thai, Lao, Myanmar, Khmer
    *((0x3040, 0x3100), (0x3400, 0xA000), (0xF900, 0xFB00), (0x20000, 0x30000)),  # kana, ideographs
)
"""Code points, from and to before, of scripts that write no spaces: each letter is a word."""


@lru_cache(maxsize=1)
def folds() -> Folds:
    """What each code point counts for in a word, uint32 (196,608,): its small letter; 0 between words, as beyond the table.

    Letters, digits and marks make words. Those of scripts that write no spaces are words by themselves: they have the top bit.
    """
    found = np.zeros(0x30000, dtype=np.uint32)
    for code in range(found.size):
        if unicodedata.category(chr(code))[0] in "LNM":
            small = chr(code).lower()
            found[code] = ord(small) if len(small) == 1 else code
    for first, end in ALONE:
        part = found[first:end]
        part[part > 0] |= np.uint32(_IS_ALONE)
    return found


def words(texts: pa.LargeStringArray) -> tuple[Hashes, Places]:
    """Hashes of each text's words, in order: uint64 (total,), and where each text's begin, int64 (n + 1,).

    Case, punctuation and white space don't count.
    """
    data, places = _buffers(texts)
    # Each word takes a byte at least.
    room = int(places[-1] - places[0]) + len(texts)
    found, begins = np.empty(room, dtype=np.uint64), np.zeros(len(texts) + 1, dtype=np.int64)
    used = _words(data, places, folds(), found, begins)
    return found[:used], begins


def shingles(texts: pa.LargeStringArray) -> tuple[Hashes, Places]:
    """Hashes of each text's runs of SHINGLE_WORDS words, in order: uint64 (total,), and where each text's begin, int64 (n + 1,).

    A text with fewer words is one shingle, one without words none.
    """
    hashes, begins = words(texts)
    used = _runs(hashes, begins)
    return hashes[:used], begins


def _buffers(texts: pa.LargeStringArray) -> tuple[Bytes, Places]:
    """The UTF-8 of texts, and where each begins in it."""
    if not len(texts):
        return np.empty(0, dtype=np.uint8), np.zeros(1, dtype=np.int64)
    _, offsets, data = texts.buffers()
    places = np.frombuffer(offsets, dtype=np.int64, count=len(texts) + 1, offset=8 * texts.offset)
    return np.frombuffer(b"" if data is None else data, dtype=np.uint8), places


def shingle_sets(texts: pa.LargeStringArray) -> tuple[Hashes, Places]:
    """The different shingles of each text, as shingles() returns them, ascending."""
    hashes, begins = shingles(texts)
    used = _sort_each(hashes, begins)
    return hashes[:used], begins


@compiled
def _words(data: Bytes, places: Places, folds: Folds, found: Hashes, begins: Places) -> int:
    used = 0
    for text in range(places.size - 1):
        i, end = places[text], places[text + 1]
        hashed, inside = np.uint64(14695981039346656037), False
        while i <= end:
            fold, i = (np.uint32(0), i + 1) if i == end else _next(data, i, folds)
            alone = fold >= np.uint32(_IS_ALONE)
            if fold and not alone:
                # FNV-1a over code points.
                hashed, inside = (hashed ^ np.uint64(fold)) * np.uint64(1099511628211), True
                continue
            if inside:
                found[used] = hashed
                used += 1
                hashed, inside = np.uint64(14695981039346656037), False
            if alone:
                found[used] = (hashed ^ np.uint64(fold)) * np.uint64(1099511628211)
                used += 1
        begins[text + 1] = used
    return used


@compiled
def _runs(hashes: Hashes, begins: Places) -> int:
    """Put runs of words in the place of words; returns how many there are."""
    used = 0
    first = begins[0]
    for text in range(begins.size - 1):
        end = begins[text + 1]
        if end > first:
            length = min(SHINGLE_WORDS, end - first)
            for i in range(first, end - length + 1):
                hashes[used] = run_hash(hashes, i, length)
                used += 1
        first, begins[text + 1] = end, used
    return used


@compiled
def run_hash(words: Hashes, first: int, length: int) -> np.uint64:
    """One hash of some words in order."""
    mixed = np.uint64(length)
    for i in range(first, first + length):
        mixed = (mixed ^ words[i]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
    return mixed


@compiled
def _next(data: Bytes, i: int, folds: Folds) -> tuple[np.uint32, int]:
    """What the character at i counts for, and where the next begins. The bytes are valid UTF-8."""
    first = np.uint32(data[i])
    if first < 0x80:
        return folds[first], i + 1
    code, more = (first & 0x1F, 1) if first < 0xE0 else (first & 0x0F, 2) if first < 0xF0 else (first & 0x07, 3)
    for k in range(more):
        code = (code << np.uint32(6)) | (np.uint32(data[i + 1 + k]) & np.uint32(0x3F))
    return folds[code] if code < folds.size else np.uint32(0), i + 1 + more


@compiled
def _sort_each(hashes: Hashes, begins: Places) -> int:
    """Sort each text's hashes and drop repeated ones, in place; returns how many are left."""
    used = 0
    for text in range(begins.size - 1):
        own = np.sort(hashes[begins[text] : begins[text + 1]])
        begins[text] = used
        for k in range(own.size):
            if k == 0 or own[k] != own[k - 1]:
                hashes[used] = own[k]
                used += 1
    begins[-1] = used
    return used
