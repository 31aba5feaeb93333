"""Texts of benchmarks within documents: found by runs of words they share, measured by the words of a stretch, weighted by rarity.

Each run of a document's words is looked up in an index of the benchmark's. Where one is met, the document's stretch around it, as
long as the benchmark's text and a tenth more on either side, is compared with that text word by word: overlap is the share of its
words that the stretch has, each weighted by its inverse document frequency in the benchmark. So re-wrapped and edited copies are
found, and texts that only share phrases are not. (To grow from shared n-grams, and to weight by IDF, are ideas of decon, which was
used for OLMo 3.)
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.compiled import compiled
from samplemix_core.overlap.recipe import LEAST_PART_WORDS, SHINGLE_WORDS
from samplemix_core.overlap.words import Hashes, Places, run_hash, words

MOST_PLACES = 64
"""A run that is in more places of the benchmark leads to the first of them, and to texts that have no rarer one."""

_NEEDED_WORDS, _NEEDED = (10, 30), (1.0, 0.75)
_ROUNDING = 1e-9

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]


def needed_overlap(n_words: int | Int64Array) -> Float64Array:
    """The overlap from which a text of so many words counts as found: 1 for up to 10 words, falling to .75 at 30 and more."""
    return np.asarray(np.interp(n_words, _NEEDED_WORDS, _NEEDED))


class Found(NamedTuple):
    """Pairs (k,) of a document and a benchmark's text in it, by their numbers, and the overlap, 0 to 1."""

    document: Int64Array
    part: Int64Array
    overlap: Float64Array


@dataclass(frozen=True, eq=False)
class PartIndex:
    """An index of P texts of a benchmark: their words as numbers of a vocabulary, and where its runs of words are.

    vocabulary (V,) has the words' hashes, weight (V,) their inverse document frequencies, word (total,) those of each text from
    begins (P + 1,) on. run (R,) has the hashes of runs. The places of each, which are texts (part) and positions in them, are those
    from first (R + 1,) on. total and needed (P,) are the weight of all words of a text, and the overlap from which it is found.
    """

    vocabulary: Hashes
    weight: Float64Array
    word: Int64Array
    begins: Places
    run: Hashes
    first: Int64Array
    part: Int64Array
    position: Int64Array
    word_table: Int64Array
    run_table: Int64Array
    total: Float64Array
    needed: Float64Array

    @property
    def n_words(self) -> Int64Array:
        """Words of each text, (P,)."""
        return np.diff(self.begins)

    @property
    def is_sought(self) -> npt.NDArray[np.bool_]:
        """Whether each text, (P,), has words enough to be looked for."""
        return self.n_words >= LEAST_PART_WORDS


def index_parts(texts: pa.LargeStringArray) -> PartIndex:
    """Index texts of a benchmark. Those of fewer than LEAST_PART_WORDS words can't be found."""
    hashes, begins = words(texts)
    vocabulary, word = np.unique(hashes, return_inverse=True)
    owner = np.repeat(np.arange(len(texts)), np.diff(begins))
    # In how many texts each word is.
    pairs = np.unique(np.stack([word, owner]), axis=1) if word.size else np.empty((2, 0), dtype=np.int64)
    frequency = np.bincount(pairs[0], minlength=vocabulary.size)
    weight = np.log1p(len(texts) / np.maximum(frequency, 1))
    run, part, position = _places(hashes, begins)
    order = np.lexsort((position, part, run))
    run, part, position = run[order], part[order], position[order]
    _, at, count = np.unique(run, return_inverse=True, return_counts=True)
    rarest = np.full(len(texts), np.iinfo(np.int64).max)
    np.minimum.at(rarest, part, count[at])
    # By their places in a run's list.
    rank = np.arange(run.size) - np.repeat(np.cumsum(count) - count, count)
    leads = (rank < MOST_PLACES) | (count[at] == rarest[part])
    run, part, position = run[leads], part[leads], position[leads]
    keys, first = np.unique(run, return_index=True)
    n_words = np.diff(begins)
    needed = np.where(n_words >= LEAST_PART_WORDS, needed_overlap(n_words) - _ROUNDING, np.inf)
    return PartIndex(
        vocabulary=vocabulary,
        weight=weight,
        word=word.astype(np.int64),
        begins=begins,
        run=keys,
        first=np.append(first, run.size).astype(np.int64),
        part=part,
        position=position,
        word_table=_table(vocabulary),
        run_table=_table(keys),
        total=np.asarray(np.bincount(owner, weights=weight[word], minlength=len(texts)), dtype=np.float64),
        needed=needed,
    )


def find_parts(index: PartIndex, hashes: Hashes, begins: Places) -> Found:
    """Find the index's texts in n documents, whose words are given as words.words() does: those that have the overlap they need.

    In the order of documents and texts, each pair once, with its largest overlap.
    """
    room = 1024
    while True:
        document, part = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
        overlap = np.empty(room, dtype=np.float64)
        used = _find(
            *(hashes, begins, index.run_table, index.run, index.first, index.part, index.position),
            *(index.word_table, index.vocabulary, index.begins, index.word, index.weight, index.total, index.needed),
            *(document, part, overlap),
        )
        if used <= room:
            order = np.lexsort((part[:used], document[:used]))
            return Found(document[:used][order], part[:used][order], overlap[:used][order])
        room = used


def _table(keys: Hashes) -> Int64Array:
    """A hash table of keys: their numbers at the places that their last bits say, or the next ones that were free; else -1."""
    table = np.full(1 << max(4, int(2 * keys.size).bit_length()), -1, dtype=np.int64)
    _fill(table, keys)
    return table


@compiled
def _fill(table: Int64Array, keys: Hashes) -> None:
    mask = table.size - 1
    for number in range(keys.size):
        at = np.int64(keys[number] & np.uint64(mask))
        while table[at] >= 0:
            at = (at + 1) & mask
        table[at] = number


@compiled
def _number(table: Int64Array, keys: Hashes, key: np.uint64) -> int:
    """A key's number; -1 if it is not there."""
    mask = table.size - 1
    at = np.int64(key & np.uint64(mask))
    while table[at] >= 0:
        if keys[table[at]] == key:
            return int(table[at])
        at = (at + 1) & mask
    return -1


@compiled
def _places(hashes: Hashes, begins: Places) -> tuple[Hashes, Int64Array, Int64Array]:
    """All runs of SHINGLE_WORDS words, and of which text and from which of its words on they are."""
    run = np.empty(hashes.size, dtype=np.uint64)
    part, position = np.empty(hashes.size, dtype=np.int64), np.empty(hashes.size, dtype=np.int64)
    used = 0
    for text in range(begins.size - 1):
        for i in range(begins[text], begins[text + 1] - SHINGLE_WORDS + 1):
            run[used], part[used], position[used] = run_hash(hashes, i, SHINGLE_WORDS), text, i - begins[text]
            used += 1
    return run[:used], part[:used], position[:used]


@compiled
def _find(
    hashes: Hashes,
    begins: Places,
    run_table: Int64Array,
    runs: Hashes,
    first: Int64Array,
    part: Int64Array,
    position: Int64Array,
    word_table: Int64Array,
    vocabulary: Hashes,
    part_begins: Places,
    word: Int64Array,
    weight: Float64Array,
    total: Float64Array,
    needed: Float64Array,
    found_document: Int64Array,
    found_part: Int64Array,
    found_overlap: Float64Array,
) -> int:
    """Write what is found as far as there is room; returns how much it is."""
    parts = part_begins.size - 1
    looked_in = np.full(parts, -1, dtype=np.int64)
    best, met = np.zeros(parts, dtype=np.float64), np.empty(parts, dtype=np.int64)
    stretch = np.zeros(vocabulary.size, dtype=np.int64)
    used = 0
    for document in range(begins.size - 1):
        begin, end = begins[document], begins[document + 1]
        n_met = 0
        # Stretches that begin near each other are as good as one: texts and beginnings, as one number.
        compared = {np.int64(-1)}
        for i in range(begin, end - SHINGLE_WORDS + 1):
            number = _number(run_table, runs, run_hash(hashes, i, SHINGLE_WORDS))
            if number < 0:
                continue
            for place in range(first[number], first[number + 1]):
                own = part[place]
                length = part_begins[own + 1] - part_begins[own]
                margin = max(SHINGLE_WORDS, length // 10)
                start = i - position[place]
                if looked_in[own] != document:
                    looked_in[own], best[own], met[n_met] = document, 0.0, own
                    n_met += 1
                stretch_of = np.int64(own) * np.int64(1 << 40) + (start - begin + length) // (margin // 2)
                if best[own] >= 1.0 or stretch_of in compared:
                    continue
                compared.add(stretch_of)
                low, high = max(begin, start - margin), min(end, start + length + margin)
                for k in range(low, high):
                    number_of = _number(word_table, vocabulary, hashes[k])
                    if number_of >= 0:
                        stretch[number_of] += 1
                shared = 0.0
                for k in range(part_begins[own], part_begins[own + 1]):
                    if stretch[word[k]] > 0:
                        stretch[word[k]] -= 1
                        shared += weight[word[k]]
                for k in range(low, high):
                    number_of = _number(word_table, vocabulary, hashes[k])
                    if number_of >= 0:
                        stretch[number_of] = 0
                best[own] = max(best[own], min(1.0, shared / total[own]))
        for k in range(n_met):
            if best[met[k]] >= needed[met[k]]:
                if used < found_document.size:
                    found_document[used], found_part[used], found_overlap[used] = document, met[k], best[met[k]]
                used += 1
    return used
