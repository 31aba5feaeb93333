"""An interpolated Kneser-Ney model of 4-grams, which learns as it reads: the quick check of a mixture.

Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling", equation 20, with one discount for each
order, n1 / (n1 + 2 n2), from all that was read so far. Exact: nothing is pruned, and a table's key is the n-gram itself. Reading
one more document changes the counts and nothing else, so the losses after each part of a stream make a learning curve in one pass.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from samplemix_core.compiled import compiled

ORDER = 4
MOST_TOKENS = 2**16 - 2
"""Largest vocabulary: four tokens and what stands before a text fit into a key of 64 bits."""

Ids = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.uint32]

_FIRST_SLOTS = 2**16
_FULLEST = 0.6
_AT_ONCE = 2**18
"""Tokens read before tables are asked again whether they have room."""

# Columns of the tables of shorter n-grams: an n-gram's count, which is how many different tokens it was seen after; and of those
# that it is the context of, the sum of the counts, and how many there are.
_COUNT, _SUM, _KINDS = 0, 1, 2


class _Table:
    """Counts by n-gram, in a table with open addressing that grows. A key of 0 is a free slot."""

    def __init__(self, columns: int) -> None:
        self.keys: Keys = np.zeros(_FIRST_SLOTS, dtype=np.uint64)
        self.counts: Counts = np.zeros((_FIRST_SLOTS, columns), dtype=np.uint32)

    def make_room(self, used: int, more: int) -> None:
        """Grow until so many more n-grams fit in."""
        slots = len(self.keys)
        while used + more > _FULLEST * slots:
            slots *= 2
        if slots > len(self.keys):
            keys, counts = np.zeros(slots, dtype=np.uint64), np.zeros((slots, self.counts.shape[1]), dtype=np.uint32)
            _move(self.keys, self.counts, keys, counts)
            self.keys, self.counts = keys, counts


class _Counted(NamedTuple):
    """All counts, for compiled functions. sizes: n-grams by order, (ORDER,). rare: those with a count of 1 and of 2, (ORDER, 2)."""

    keys4: Keys
    fours: Counts
    keys3: Keys
    threes: Counts
    keys2: Keys
    twos: Counts
    ones: Counts
    sizes: npt.NDArray[np.int64]
    rare: npt.NDArray[np.int64]


class NgramModel:
    """A model over a vocabulary of V tokens, 0 to V - 1, that has read nothing yet. Before a text stands a token of its own, V."""

    def __init__(self, vocabulary: int) -> None:
        """Raise ValueError for a vocabulary that doesn't fit into keys."""
        if not 1 <= vocabulary <= MOST_TOKENS:
            raise ValueError(f"A vocabulary has 1 to {MOST_TOKENS} tokens, not {vocabulary}.")
        self.vocabulary = vocabulary
        self._fours, self._threes, self._twos = _Table(1), _Table(3), _Table(3)
        self._ones: Counts = np.zeros((vocabulary + 1, 3), dtype=np.uint32)
        self._sizes = np.zeros(ORDER, dtype=np.int64)
        self._rare = np.zeros((ORDER, 2), dtype=np.int64)

    def read(self, ids: Ids, ends: Ids) -> None:
        """Learn from texts: tokens (n,), one text after another, and where each ends (m,), the last at n."""
        first = 0
        while first < len(ends):
            start = int(ends[first - 1]) if first else 0
            # Whole texts, and at least one.
            last = max(int(np.searchsorted(ends, start + _AT_ONCE, side="right")), first + 1)
            more = int(ends[last - 1]) - start
            for table, order in ((self._fours, 4), (self._threes, 3), (self._twos, 2)):
                # A new 4-gram may bring two new 3-grams, as a context and as what ends it.
                table.make_room(int(self._sizes[order - 1]), more if order == ORDER else 2 * more)
            _read(ids, ends[first:last], start, self.vocabulary, self._counted())
            first = last

    def losses(self, ids: Ids, ends: Ids) -> npt.NDArray[np.float64]:
        """Nats of each text, (m,), by what was read so far: the sum of -log p over its tokens. See read() for ids and ends."""
        found = np.zeros(len(ends))
        _losses(ids, ends, self.vocabulary, self._counted(), _discounts(self._rare), found)
        return found

    def _counted(self) -> _Counted:
        fours, threes, twos = self._fours, self._threes, self._twos
        return _Counted(
            fours.keys, fours.counts, threes.keys, threes.counts, twos.keys, twos.counts, self._ones, self._sizes, self._rare
        )


def _discounts(rare: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return what is taken off each count, by order from 1; .5 where no n-gram has a count of 1, or of 2."""
    once, twice = rare[:, 0], rare[:, 1]
    return np.where((once > 0) & (twice > 0), once / np.maximum(once + 2 * twice, 1), 0.5)


@compiled
def _slot(keys: Keys, key: np.uint64) -> np.int64:
    """Where a key is, or would be."""
    # The finaliser of SplitMix64 spreads n-grams that differ in one token only.
    h = key
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    h = h ^ (h >> np.uint64(31))
    mask = np.uint64(len(keys) - 1)
    i = h & mask
    while keys[i] != np.uint64(0) and keys[i] != key:
        i = (i + np.uint64(1)) & mask
    return np.int64(i)


@compiled
def _move(old_keys: Keys, old: Counts, keys: Keys, counts: Counts) -> None:
    for i in range(len(old_keys)):
        if old_keys[i] != np.uint64(0):
            slot = _slot(keys, old_keys[i])
            keys[slot] = old_keys[i]
            for column in range(old.shape[1]):
                counts[slot, column] = old[i, column]


@compiled
def _own_slot(keys: Keys, key: np.uint64, sizes: npt.NDArray[np.int64], order: int) -> np.int64:
    """Where a key is, entering it if it is new."""
    slot: np.int64 = _slot(keys, key)
    if keys[slot] == np.uint64(0):
        keys[slot] = key
        sizes[order - 1] += 1
    return slot


@compiled
def _count(rare: npt.NDArray[np.int64], order: int, before: int) -> None:
    """Note that an n-gram's count rises by one."""
    if before == 0:
        rare[order - 1, 0] += 1
    elif before == 1:
        rare[order - 1, 0] -= 1
        rare[order - 1, 1] += 1
    elif before == 2:
        rare[order - 1, 1] -= 1


@compiled
def _key(a: int, b: int, c: int, d: int) -> np.uint64:
    """Up to four tokens, each one more than itself, so that no n-gram is 0 and shorter ones differ."""
    found = np.uint64(a + 1) << np.uint64(48) | np.uint64(b + 1) << np.uint64(32)
    return found | np.uint64(c + 1) << np.uint64(16) | np.uint64(d + 1)


@compiled
def _read(ids: Ids, ends: Ids, start: int, pad: int, counted: _Counted) -> None:
    """Count every 4-gram; whichever is new is one more of the shorter n-gram that ends it, and so on."""
    keys4, fours, keys3, threes, keys2, twos, ones, sizes, rare = counted
    at = start
    for text in range(len(ends)):
        a, b, c = pad, pad, pad
        while at < ends[text]:
            d = ids[at]
            at += 1
            four = _own_slot(keys4, _key(a, b, c, d), sizes, 4)
            count = fours[four, _COUNT]
            fours[four, _COUNT] = count + 1
            _count(rare, 4, count)
            context = _own_slot(keys3, _key(-1, a, b, c), sizes, 3)
            threes[context, _SUM] += 1
            if count == 0:
                threes[context, _KINDS] += 1
                three = _own_slot(keys3, _key(-1, b, c, d), sizes, 3)
                count = threes[three, _COUNT]
                threes[three, _COUNT] = count + 1
                _count(rare, 3, count)
                context = _own_slot(keys2, _key(-1, -1, b, c), sizes, 2)
                twos[context, _SUM] += 1
                if count == 0:
                    twos[context, _KINDS] += 1
                    two = _own_slot(keys2, _key(-1, -1, c, d), sizes, 2)
                    count = twos[two, _COUNT]
                    twos[two, _COUNT] = count + 1
                    _count(rare, 2, count)
                    ones[c, _SUM] += 1
                    if count == 0:
                        ones[c, _KINDS] += 1
                        _count(rare, 1, ones[d, _COUNT])
                        ones[d, _COUNT] += 1
            a, b, c = b, c, d


@compiled
def _losses(
    ids: Ids, ends: Ids, pad: int, counted: _Counted, discounts: npt.NDArray[np.float64], losses: npt.NDArray[np.float64]
) -> None:
    keys4, fours, keys3, threes, keys2, twos, ones, _, _ = counted
    total, kinds = 0, 0
    for d in range(pad):
        total += ones[d, _COUNT]
        kinds += 1 if ones[d, _COUNT] > 0 else 0
    at = 0
    for text in range(len(ends)):
        a, b, c = pad, pad, pad
        nats = 0.0
        while at < ends[text]:
            d = ids[at]
            at += 1
            p = 1.0 / pad
            if total > 0:
                p = (max(ones[d, _COUNT] - discounts[0], 0.0) + discounts[0] * kinds * p) / total
            if ones[c, _SUM] > 0:
                two = twos[_slot(keys2, _key(-1, -1, c, d)), _COUNT]
                p = (max(two - discounts[1], 0.0) + discounts[1] * ones[c, _KINDS] * p) / ones[c, _SUM]
                context = _slot(keys2, _key(-1, -1, b, c))
                if twos[context, _SUM] > 0:
                    three = threes[_slot(keys3, _key(-1, b, c, d)), _COUNT]
                    p = (max(three - discounts[2], 0.0) + discounts[2] * twos[context, _KINDS] * p) / twos[context, _SUM]
                    context = _slot(keys3, _key(-1, a, b, c))
                    if threes[context, _SUM] > 0:
                        four = fours[_slot(keys4, _key(a, b, c, d)), _COUNT]
                        p = (max(four - discounts[3], 0.0) + discounts[3] * threes[context, _KINDS] * p) / threes[context, _SUM]
            nats -= np.log(p)
            a, b, c = b, c, d
        losses[text] = nats
