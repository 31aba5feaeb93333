"""The order of an epoch: a pure function of a mixture's content digest, a seed and the epoch. There is no other state.

Rows of a mixture that follow each other in a shard form runs of about 2**18 tokens, and runs form stretches of about 2**23. A
stretch is read forwards, so that reading is by ranges of shards and never by single rows; only the documents of a run are shuffled
among themselves. The rest of the shuffle is where stretches come and how they are interleaved:

- An epoch is a number of sweeps, a power of two of at least the most copies of a sample. A stretch begins in a sweep of its own;
  copy j of its samples comes as many sweeps later as j has with its bits reversed. Copies of a sample thus lie in different sweeps,
  far apart, and documents with few copies make a stretch be read few times more.
- A sweep is GROUPS groups of stretches, in the same order in every sweep: two copies have most of a sweep between them.
- The documents of a group, stretch after stretch in random order, are cut into lanes of equal length, and the lanes are read in
  turns. Neighbours in the epoch thus come from as many places as there are lanes, and a rank that takes every W-th position reads
  whole stretches if W divides the number of lanes or is a multiple of it.

A reader keeps one run of each of its lanes in memory: that is the shuffle's buffer. `bench/readers.py` measures what this costs
in reading and gives in spread.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from samplemix_core.identity import canonical_json
from samplemix_core.sample_key import mix64

Int = npt.NDArray[np.int64]

RUN_TOKENS = 2**18
STRETCH_TOKENS = 2**23
ARCHIVE_TOKENS = 2**28
"""Most tokens of a run (about 1 MB of text), of a stretch, and of a stretch in a file that is compressed as a whole."""

STRETCHES = 512
ARCHIVE_STRETCHES = 128
"""A mixture is cut into some so many stretches at least, and more if its samples have more than 16 copies."""

ORDER_VERSION = 1
"""Another order for the same mixture and seed gets another number: a state that was saved is then refused."""

GROUPS = 4
LANES = (8, 256)

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Layout(NamedTuple):
    """How the n rows of a mixture are cut: r runs in s stretches, in the order of rows.

    first: int64 (r + 1,), the first row of each run, and n.
    stretch: int32 (r,), the stretch of each run.
    shard: int32 (s,), the shard of each stretch.
    """

    first: Int
    stretch: npt.NDArray[np.int32]
    shard: npt.NDArray[np.int32]

    def stretch_rows(self, run: int) -> tuple[int, int]:
        """The rows [first, last) of the stretch that a run is in."""
        low, high = np.searchsorted(self.stretch, self.stretch[run] + np.arange(2))
        return int(self.first[low]), int(self.first[high])


def lay_out(shard_first: Int, is_archive: npt.NDArray[np.bool_], n_tokens: npt.NDArray[np.int32], max_copies: int) -> Layout:
    """Cut a mixture's rows into runs and stretches.

    `shard_first` (shards + 1,) are the first row of each shard and the number of rows, `is_archive` (shards,) says which are
    compressed as a whole, `n_tokens` (n,) are the rows' tokens.
    """
    total = int(n_tokens.sum(dtype=np.int64))
    more = max(1, max_copies // 16)
    longest = min(STRETCH_TOKENS, max(2, total // (STRETCHES * more)))
    run_tokens = min(RUN_TOKENS, longest // 2)
    archive = min(ARCHIVE_TOKENS, max(longest, total // (ARCHIVE_STRETCHES * more)))
    runs_each = np.where(is_archive, archive, longest) // run_tokens
    first, stretches, shards = [], [], []
    for shard, (start, stop) in enumerate(pairwise(shard_first.tolist())):
        ended = np.cumsum(n_tokens[start:stop], dtype=np.int64)
        run = (ended - n_tokens[start:stop]) // run_tokens
        begins = np.flatnonzero(np.diff(run, prepend=-1))
        stretch = np.cumsum(np.diff(run[begins] // runs_each[shard], prepend=-1) != 0) - 1
        first.append(begins + start)
        stretches.append(stretch)
        shards.append(np.full(int(stretch[-1]) + 1, shard, dtype=np.int32))
    before = np.cumsum([0, *map(len, shards)])
    return Layout(
        np.append(np.concatenate(first), shard_first[-1]),
        np.concatenate([stretch + offset for stretch, offset in zip(stretches, before[:-1], strict=True)]).astype(np.int32),
        np.concatenate(shards),
    )


class Visits(NamedTuple):
    """The v pairs of a run and a number of a copy, run after run: copy j of those rows of the run that have more than j copies.

    run, copy: int32 (v,). rows: int64 (v,), how many rows. of_run: int64 (r + 1,), the first pair of each run.
    """

    run: npt.NDArray[np.int32]
    copy: npt.NDArray[np.int32]
    rows: Int
    of_run: Int


def visits(layout: Layout, copies: npt.NDArray[np.unsignedinteger]) -> Visits:
    """Count the rows of every visit; `copies` are those of each row, at least 1."""
    n_runs = layout.stretch.size
    most = np.maximum.reduceat(copies, layout.first[:-1]).astype(np.int64)
    of_run = np.concatenate([[0], np.cumsum(most)])
    run = np.repeat(np.arange(n_runs, dtype=np.int32), most)
    copy = (np.arange(run.size) - of_run[run]).astype(np.int32)
    rows = np.empty(run.size, dtype=np.int64)
    rows[of_run[:-1]] = np.diff(layout.first)
    left = np.flatnonzero(copies > 1)
    for number in range(1, int(most.max())):
        counts = np.bincount(np.searchsorted(layout.first, left, side="right") - 1, minlength=n_runs)
        has = np.flatnonzero(most > number)
        rows[of_run[has] + number] = counts[has]
        left = left[copies[left] > number + 1]
    return Visits(run, copy, rows, of_run)


class Place(NamedTuple):
    """Where one copy of a row comes in an epoch."""

    position: int
    copy: int


class Read(NamedTuple):
    """Rows of one run that a lane reads at once, each with copy `copy`: positions and rows are int64 (n,), positions ascending."""

    lane: int
    run: int
    copy: int
    positions: Int
    rows: Int


@dataclass(frozen=True, eq=False)
class Order:
    """The order of a mixture's documents: `copies` (n,) are those of each row, at least 1."""

    content_digest: str
    seed: int
    layout: Layout
    copies: npt.NDArray[np.unsignedinteger]

    @cached_property
    def visits(self) -> Visits:
        """Every visit that an epoch makes."""
        return visits(self.layout, self.copies)

    @cached_property
    def length(self) -> int:
        """Documents of an epoch: all copies."""
        return int(self.visits.rows.sum())

    @cached_property
    def lanes(self) -> int:
        """Lanes that an epoch is read in: one for some 16 stretches."""
        least, most = LANES
        return max(least, min(most, 1 << max(1, self.layout.shard.size // 16).bit_length() - 1))

    def epoch(self, number: int) -> "Epoch":
        """The order of an epoch, from 0."""
        return Epoch(self, number)


class Epoch:
    """One epoch: position -> (row, copy), and back. Positions are 0 to the order's length less one."""

    def __init__(self, order: Order, number: int) -> None:
        self.order, self.number = order, number
        self._lanes = order.lanes
        digest = hashlib.blake2b(canonical_json([order.content_digest, order.seed, number]), digest_size=16).digest()
        self._salt, self._row_salt = (np.uint64(int.from_bytes(digest[start : start + 8], "big")) for start in (0, 8))
        found, layout = order.visits, order.layout
        stretches = layout.shard.size
        self._n_sweeps = 1 << int(found.copy.max()).bit_length()
        rank = np.empty(stretches, dtype=np.int64)
        rank[np.argsort(_hash(np.arange(stretches), self._salt))] = np.arange(stretches)
        stretch = layout.stretch[found.run].astype(np.int64)
        sweep = (rank[stretch] + _reversed_bits(self._n_sweeps)[found.copy]) % self._n_sweeps
        segment = sweep * GROUPS + rank[stretch] // self._n_sweeps % GROUPS
        # Each sweep has its own order of stretches.
        key = _hash(stretch * self._n_sweeps + sweep, self._salt)
        self._visits = np.lexsort((found.run, key, segment))
        self._starts = np.concatenate([[0], np.cumsum(found.rows[self._visits])])
        sizes = np.bincount(segment, weights=found.rows, minlength=self._n_sweeps * GROUPS).astype(np.int64)
        self._segments = np.concatenate([[0], np.cumsum(sizes)])
        self._members = lru_cache(maxsize=4 * self._lanes)(self._sorted_members)

    def at(self, positions: Int) -> tuple[Int, npt.NDArray[np.int32]]:
        """Rows (n,) and numbers of copies (n,) at positions (n,)."""
        read, at = self._located(positions)
        inside, visit = read - self._starts[at], self._visits[at]
        rows = np.empty(positions.size, dtype=np.int64)
        order = np.argsort(visit, kind="stable")
        bounds = np.flatnonzero(np.diff(visit[order], prepend=-1))
        for start, stop in zip(bounds, [*bounds[1:], order.size], strict=True):
            some = order[start:stop]
            rows[some] = self._members(int(visit[some[0]]))[inside[some]]
        return rows, self.order.visits.copy[visit]

    def lanes(self, positions: Int) -> npt.NDArray[np.int64]:
        """The lanes (n,) that documents at positions (n,) come from."""
        segment = np.searchsorted(self._segments, positions, side="right") - 1
        return np.asarray((positions - self._segments[segment]) % self._lanes)

    def reads(self, lane: int, position: int = 0) -> Iterator[Read]:
        """Yield what a lane reads, in order, from this position on."""
        found = self.order.visits
        for segment in range(int(np.searchsorted(self._segments, position, side="right")) - 1, self._segments.size - 1):
            start, stop = self._segments[segment : segment + 2].tolist()
            least, longer = divmod(stop - start, self._lanes)
            low = start + lane * least + min(lane, longer)
            high = low + least + (lane < longer)
            turn = max(0, -((start + lane - position) // self._lanes))
            while low + turn < high:
                at = int(np.searchsorted(self._starts, low + turn, side="right")) - 1
                first, last = low + turn, min(high, int(self._starts[at + 1]))
                visit = int(self._visits[at])
                rows = self._members(visit)[first - self._starts[at] : last - self._starts[at]]
                positions = start + (np.arange(first, last) - low) * self._lanes + lane
                yield Read(lane, int(found.run[visit]), int(found.copy[visit]), positions, rows)
                turn = last - low

    def _located(self, positions: Int) -> tuple[Int, Int]:
        """For each position, where it comes in reading order, and where its visit comes."""
        segment = np.searchsorted(self._segments, positions, side="right") - 1
        start = self._segments[segment]
        least, longer = np.divmod(self._segments[segment + 1] - start, self._lanes)
        turn, lane = np.divmod(positions - start, self._lanes)
        read = start + lane * least + np.minimum(lane, longer) + turn
        return read, np.searchsorted(self._starts, read, side="right") - 1

    def places(self, row: int) -> list[Place]:
        """Where the copies of a row come, in the order of positions."""
        found, run = self.order.visits, int(np.searchsorted(self.order.layout.first, row, side="right")) - 1
        places = []
        for copy in range(int(self.order.copies[row])):
            visit = int(found.of_run[run]) + copy
            inside = int(np.flatnonzero(self._members(visit) == row)[0])
            places.append(Place(self._position(int(self._starts[self._place_of[visit]]) + inside), copy))
        return sorted(places)

    def _position(self, read: int) -> int:
        segment = int(np.searchsorted(self._segments, read, side="right")) - 1
        start = int(self._segments[segment])
        least, longer = divmod(int(self._segments[segment + 1]) - start, self._lanes)
        inside = read - start
        lane, turn = divmod(inside, least + 1)
        if lane >= longer:
            lane, turn = divmod(inside - longer * (least + 1), least)
            lane += longer
        return int(start + turn * self._lanes + lane)

    @cached_property
    def _place_of(self) -> Int:
        """Where each visit comes among all of them."""
        places = np.empty(self._visits.size, dtype=np.int64)
        places[self._visits] = np.arange(self._visits.size)
        return places

    def _sorted_members(self, visit: int) -> Int:
        """The rows of a visit, in the order in which they come."""
        found = self.order.visits
        run, copy = int(found.run[visit]), int(found.copy[visit])
        start, stop = self.order.layout.first[run : run + 2]
        rows = start + np.flatnonzero(self.order.copies[start:stop] > copy)
        return np.asarray(rows[np.argsort(_hash(rows, self._row_salt + np.uint64(copy)))])


def _hash(numbers: Int, salt: np.uint64) -> npt.NDArray[np.uint64]:
    """A random word for each number: a bijection, so that no two are equal."""
    return mix64(mix64(numbers.astype(np.uint64) * _GOLDEN ^ salt) + salt)


def _reversed_bits(size: int) -> Int:
    """0 .. size - 1, a power of two, with their bits reversed: each next one is far from those before."""
    found = np.zeros(1, dtype=np.int64)
    while found.size < size:
        found = np.concatenate([2 * found, 2 * found + 1])
    return found
