"""Words and pairs of words in buckets, and how much likelier they are in a target than in a corpus.

As in DSIR (Xie et al. 2023, Data Selection for Language Models via Importance Resampling): words and pairs of words are hashed into
buckets, and the logarithm of the ratio of a bucket's frequencies, in the target and in the corpus, is its weight. DSIR adds the
weights up over a document, so that extremes go to long ones; here they are averaged.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.compiled import compiled

BUCKETS = 10_000
"""As many as DSIR's."""

_LEAST = 1e-8
"""Added to each frequency, as in DSIR's code."""

Counts = npt.NDArray[np.int64]
Ratios = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]


def count_buckets(texts: pa.ChunkedArray) -> Counts:
    """How often each bucket is met in all texts (large strings), int64 (BUCKETS,)."""
    counts = np.zeros(BUCKETS, dtype=np.int64)
    for data, places in _buffers(texts):
        _count(data, places, counts)
    return counts


def log_ratios(target: Counts, corpus: Counts) -> Ratios:
    """The weight of each bucket, float64 (BUCKETS,)."""
    found = (np.log(counts / max(1, counts.sum()) + _LEAST) for counts in (target, corpus))
    return np.asarray(next(found) - next(found))


def mean_ratios(texts: pa.ChunkedArray, ratios: Ratios) -> Ratios:
    """The mean weight over a text's words and pairs of words, float64 (n,)."""
    found = [np.zeros(0)]
    for data, places in _buffers(texts):
        means = np.zeros(places.size - 1)
        _mean(data, places, ratios, means)
        found.append(means)
    return np.concatenate(found)


def _buffers(texts: pa.ChunkedArray) -> list[tuple[Bytes, Counts]]:
    parts = []
    for chunk in texts.chunks:
        _, offsets, data = chunk.cast(pa.large_string()).buffers()
        places = np.frombuffer(offsets, dtype=np.int64, count=len(chunk) + 1, offset=8 * chunk.offset)
        parts.append((np.frombuffer(b"" if data is None else data, dtype=np.uint8), places))
    return parts


@compiled
def _next(data: Bytes, start: int, end: int) -> tuple[np.uint64, int]:  # pragma: no cover - compiled
    """The next word from `start` on: the hash of its small letters, and where it ends; 0 if there is none.

    A word is a run of letters, digits and bytes of other scripts, or a run of other characters that aren't blanks, as in NLTK's
    WordPunctTokenizer.
    """
    i = start
    while i < end and data[i] <= 32:
        i += 1
    if i == end:
        return np.uint64(0), end
    hashed = np.uint64(14695981039346656037)
    kind = -1
    while i < end:
        byte = np.int64(data[i])
        if byte <= 32:
            break
        low = byte | 32
        own = 1 if byte >= 128 or 97 <= low <= 122 or 48 <= byte <= 57 or byte == 95 else 0
        if kind >= 0 and own != kind:
            break
        kind = own
        small = low if 65 <= byte <= 90 else byte
        hashed = (hashed ^ np.uint64(small)) * np.uint64(1099511628211)
        i += 1
    return hashed | np.uint64(1), i


@compiled
def _bucket(hashed: np.uint64) -> np.int64:  # pragma: no cover - compiled
    mixed = hashed ^ (hashed >> np.uint64(32))
    return np.int64((mixed * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(11)) % np.uint64(10_000))


@compiled
def _count(data: Bytes, places: Counts, counts: Counts) -> None:  # pragma: no cover - compiled
    for document in range(places.size - 1):
        at, end = places[document], places[document + 1]
        before = np.uint64(0)
        while True:
            word, at = _next(data, at, end)
            if word == 0:
                break
            counts[_bucket(word)] += 1
            if before != 0:
                counts[_bucket(before * np.uint64(31) + word)] += 1
            before = word


@compiled
def _mean(data: Bytes, places: Counts, ratios: Ratios, means: Ratios) -> None:  # pragma: no cover - compiled
    for document in range(places.size - 1):
        at, end = places[document], places[document + 1]
        before = np.uint64(0)
        total, met = 0.0, 0
        while True:
            word, at = _next(data, at, end)
            if word == 0:
                break
            total += ratios[_bucket(word)]
            met += 1
            if before != 0:
                total += ratios[_bucket(before * np.uint64(31) + word)]
                met += 1
            before = word
        means[document] = total / met if met else 0.0
