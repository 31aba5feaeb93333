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
    """Count the rows of every visit; `copies` are those of each row."""
    n_runs = layout.stretch.size
    most = np.maximum.reduceat(copies, layout.first[:-1]).astype(np.int64)
    of_run = np.concatenate([[0], np.cumsum(most)])
    run = np.repeat(np.arange(n_runs, dtype=np.int32), most)
    copy = (np.arange(run.size) - of_run[run]).astype(np.int32)
    rows = np.empty(run.size, dtype=np.int64)
    counted = 0
    if copies.all():
        rows[of_run[:-1]] = np.diff(layout.first)
        counted = 1
    left = np.flatnonzero(copies > counted)
    for number in range(counted, int(most.max())):
        counts = np.bincount(np.searchsorted(layout.first, left, side="right") - 1, minlength=n_runs)
        has = np.flatnonzero(most > number)
        rows[of_run[has] + number] = counts[has]
        left = left[copies[left] > number + 1]
    return Visits(run, copy, rows, of_run)


class Turns(NamedTuple):
    """Items in segments, which are read one after another; those of a segment are cut into lanes, which are read in turns.

    segments: int64 (s + 1,), the first item of each segment, and the number of items. lanes: how many.
    """

    segments: Int
    lanes: int

    def lanes_of(self, positions: Int) -> Int:
        """The lanes (n,) that the items at positions (n,) come from."""
        return np.asarray((positions - self.segments[self._segment(positions)]) % self.lanes)

    def items(self, positions: Int) -> Int:
        """The items (n,) at positions (n,)."""
        segment = self._segment(positions)
        start = self.segments[segment]
        least, longer = np.divmod(self.segments[segment + 1] - start, self.lanes)
        turn, lane = np.divmod(positions - start, self.lanes)
        return np.asarray(start + lane * least + np.minimum(lane, longer) + turn)

    def position(self, item: int) -> int:
        """The position of an item."""
        segment = int(np.searchsorted(self.segments, item, side="right")) - 1
        start = int(self.segments[segment])
        least, longer = divmod(int(self.segments[segment + 1]) - start, self.lanes)
        lane, turn = divmod(item - start, least + 1)
        if lane >= longer:
            lane, turn = divmod(item - start - longer * (least + 1), least)
            lane += longer
        return start + turn * self.lanes + lane

    def stretches(self, lane: int, position: int) -> Iterator[tuple[Int, Int]]:
        """Yield a lane's items from a position on, segment by segment: their positions, and the items, which are consecutive."""
        for segment in range(int(self._segment(np.array(position))), self.segments.size - 1):
            start, stop = self.segments[segment : segment + 2].tolist()
            least, longer = divmod(stop - start, self.lanes)
            low = start + lane * least + min(lane, longer)
            turns = np.arange(max(0, -((start + lane - position) // self.lanes)), least + (lane < longer))
            if turns.size:
                yield start + turns * self.lanes + lane, low + turns

    def _segment(self, positions: Int) -> Int:
        return np.searchsorted(self.segments, positions, side="right") - 1


class Piece(NamedTuple):
    """Tokens [start, stop) of a copy of a row."""

    row: int
    copy: int
    start: int
    stop: int


class Place(NamedTuple):
    """Where a piece comes in an epoch: in the item at a position, as its piece number `inside`."""

    position: int
    inside: int
    piece: Piece


class Read(NamedTuple):
    """Rows of one run that a lane reads at once, each with copy `copy`: positions and rows are int64 (n,), positions ascending."""

    lane: int
    run: int
    copy: int
    positions: Int
    rows: Int
    phase: int = 0

    def of(self, own: npt.NDArray[np.bool_]) -> "Read":
        """Some of its positions."""
        return self._replace(positions=self.positions[own], rows=self.rows[own])

    def within(self, phase: int, start: int) -> "Read":
        """The same as a read of a phase that begins at position `start`."""
        return self._replace(positions=self.positions + start, phase=phase)


@dataclass(frozen=True, eq=False)
class Order:
    """The order of a mixture's documents, or of those of one of its phases: `copies` (n,) are those of each row."""

    content_digest: str
    seed: int
    layout: Layout
    copies: npt.NDArray[np.unsignedinteger]
    phase: int = 0

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
    """One epoch: position -> (row, copy), and back. Positions are 0 to the order's length less one.

    visits: int64 (v,), the visits of the order in the order in which they are read. starts: int64 (v + 1,), the documents before
    each, and all. turns: how documents are read in turns.
    """

    def __init__(self, order: Order, number: int) -> None:
        self.order = order
        # A mixture without phases is its own first phase.
        name = [order.content_digest, order.seed, number, *([order.phase] if order.phase else [])]
        digest = hashlib.blake2b(canonical_json(name), digest_size=16).digest()
        self._salt, self._row_salt = (np.uint64(int.from_bytes(digest[start : start + 8], "big")) for start in (0, 8))
        found, layout = order.visits, order.layout
        stretches = layout.shard.size
        n_sweeps = 1 << int(found.copy.max()).bit_length()
        rank = np.empty(stretches, dtype=np.int64)
        rank[np.argsort(_hash(np.arange(stretches), self._salt))] = np.arange(stretches)
        stretch = layout.stretch[found.run].astype(np.int64)
        sweep = (rank[stretch] + _reversed_bits(n_sweeps)[found.copy]) % n_sweeps
        segment = sweep * GROUPS + rank[stretch] // n_sweeps % GROUPS
        # Each sweep has its own order of stretches.
        key = _hash(stretch * n_sweeps + sweep, self._salt)
        self.visits = np.lexsort((found.run, key, segment))
        self.starts = np.concatenate([[0], np.cumsum(found.rows[self.visits])])
        sizes = np.bincount(segment, weights=found.rows, minlength=n_sweeps * GROUPS).astype(np.int64)
        self.turns = Turns(np.concatenate([[0], np.cumsum(sizes)]), order.lanes)
        self.members = lru_cache(maxsize=4 * order.lanes)(self._members)

    def at(self, positions: Int) -> tuple[Int, npt.NDArray[np.int32]]:
        """Rows (n,) and numbers of copies (n,) at positions (n,)."""
        read = self.turns.items(positions)
        at = np.searchsorted(self.starts, read, side="right") - 1
        inside, visit = read - self.starts[at], self.visits[at]
        rows = np.empty(positions.size, dtype=np.int64)
        order = np.argsort(visit, kind="stable")
        bounds = np.flatnonzero(np.diff(visit[order], prepend=-1))
        for start, stop in zip(bounds, [*bounds[1:], order.size], strict=True):
            some = order[start:stop]
            rows[some] = self.members(int(visit[some[0]]))[inside[some]]
        return rows, self.order.visits.copy[visit]

    def reads(self, lane: int, position: int = 0) -> Iterator[Read]:
        """Yield what a lane reads, in order, from this position on."""
        found = self.order.visits
        for positions, items in self.turns.stretches(lane, position):
            done = 0
            while done < items.size:
                first = int(items[done])
                at = int(np.searchsorted(self.starts, first, side="right")) - 1
                visit, last = int(self.visits[at]), min(int(items[-1]) + 1, int(self.starts[at + 1]))
                rows = self.members(visit)[first - self.starts[at] : last - self.starts[at]]
                yield Read(lane, int(found.run[visit]), int(found.copy[visit]), positions[done : done + last - first], rows)
                done += last - first

    def places(self, row: int) -> Int:
        """The positions of the copies of a row, int64 (copies,)."""
        return np.array([self.turns.position(int(self.starts[at]) + inside) for at, inside in self.visited(row)])

    def visited(self, row: int) -> Iterator[tuple[int, int]]:
        """Yield where each copy of a row is: which place its visit has among `visits`, and its place in the visit."""
        found, run = self.order.visits, int(np.searchsorted(self.order.layout.first, row, side="right")) - 1
        for copy in range(int(self.order.copies[row])):
            visit = int(found.of_run[run]) + copy
            yield int(self._place_of[visit]), int(np.flatnonzero(self.members(visit) == row)[0])

    @cached_property
    def _place_of(self) -> Int:
        """Where each visit comes among all of them."""
        places = np.empty(self.visits.size, dtype=np.int64)
        places[self.visits] = np.arange(self.visits.size)
        return places

    def _members(self, visit: int) -> Int:
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
