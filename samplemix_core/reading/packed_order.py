"""Which tokens of which documents each packed sequence holds: a function of the order of an epoch and the manifest's token counts.

The documents of an epoch, in the order in which lanes read them and each with its end-of-document token, are one long row of
tokens. It is cut into windows, and a window into sequences of equal length; sequences are read in turns from as many lanes as
documents are. The documents of a sequence thus lie near each other in the corpus, and a rank reads only what its sequences need.

- "concatenate" cuts a window as it is.
- "best-fit" first lays the documents of a window that fit into a sequence whole, the longest first, each where the least room is
  left for it, and cuts the others to fill what is left. Fewer documents are cut (arXiv 2404.10830), and no token is lost or padded.

Only the last sequence in the order of lanes is filled up: among the last of an epoch, as many as there are lanes. Each phase of a
mixture is packed by itself, so no sequence has documents of two.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import compress
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from samplemix_core.errors import ConfigError
from samplemix_core.reading.order import Epoch, Int, Order, Piece, Place, Turns

Method = Literal["concatenate", "best-fit"]

WINDOW_TOKENS = 2**18
LEAST_SEQUENCES = 4
"""A window has at most so many tokens, but at least so many sequences."""

WINDOWS = 128
"""An epoch is cut into some so many windows at least."""


@dataclass(frozen=True)
class Packing:
    """Sequences of `length` tokens. `end_of_document` says whether a token follows each document: its pieces then hold it too."""

    length: int
    method: Method = "concatenate"
    end_of_document: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.length, int) or self.length < 2:
            raise ConfigError(f"Sequences of {self.length} tokens hold nothing to learn.", "Give a length of at least 2.")
        if self.method not in get_args(Method):
            raise ConfigError(f"There is no packing {self.method!r}.", f"Give {' or '.join(get_args(Method))}.")

    @property
    def name(self) -> str:
        """What names it in a state: one that is packed otherwise has other sequences."""
        return f"{self.length} tokens, {self.method}, {'with' if self.end_of_document else 'without'} end of document"


class PackedRead(NamedTuple):
    """Sequences of one window that a lane reads at once: positions int64 (n,), ascending, and the pieces of each."""

    lane: int
    positions: Int
    sequences: list[list[Piece]]
    phase: int = 0

    def within(self, phase: int, start: int) -> "PackedRead":
        """The same as a read of a phase that begins at position `start`."""
        return self._replace(positions=self.positions + start, phase=phase)

    def of(self, own: npt.NDArray[np.bool_]) -> "PackedRead":
        """Some of its positions."""
        return self._replace(positions=self.positions[own], sequences=list(compress(self.sequences, own)))


@dataclass(frozen=True, eq=False)
class PackedOrder:
    """The order of the sequences of a mixture, or of one of its phases: `n_tokens` int32 (n,) are those of each row."""

    order: Order
    packing: Packing
    n_tokens: npt.NDArray[np.int32]

    @cached_property
    def visit_tokens(self) -> Int:
        """Tokens of each visit of the order, int64 (v,)."""
        found, layout, end = self.order.visits, self.order.layout, self.packing.end_of_document
        tokens = np.empty(found.run.size, dtype=np.int64)
        sizes = self.n_tokens.astype(np.int64) + end
        counted = 0
        if self.order.copies.all():
            tokens[found.of_run[:-1]] = np.add.reduceat(sizes, layout.first[:-1])
            counted = 1
        left = np.flatnonzero(self.order.copies > counted)
        for number in range(counted, int(found.copy.max()) + 1):
            run = np.searchsorted(layout.first, left, side="right") - 1
            sums = np.bincount(run, weights=sizes[left], minlength=layout.stretch.size).astype(np.int64)
            has = np.flatnonzero(np.diff(found.of_run) > number)
            tokens[found.of_run[has] + number] = sums[has]
            left = left[self.order.copies[left] > number + 1]
        return tokens

    @cached_property
    def tokens(self) -> int:
        """Tokens of an epoch."""
        return int(self.visit_tokens.sum())

    @cached_property
    def length(self) -> int:
        """Sequences of an epoch."""
        return -(-self.tokens // self.packing.length)

    @cached_property
    def window(self) -> int:
        """Sequences of a window."""
        most = max(LEAST_SEQUENCES, WINDOW_TOKENS // self.packing.length)
        return max(LEAST_SEQUENCES, min(most, self.length // WINDOWS))

    def epoch(self, number: int) -> "PackedEpoch":
        """The order of an epoch, from 0."""
        return PackedEpoch(self, self.order.epoch(number))


class PackedEpoch:
    """The sequences of one epoch: position -> pieces, and back. Positions are 0 to the order's length less one."""

    def __init__(self, order: PackedOrder, documents: Epoch) -> None:
        self.order, self.documents = order, documents
        self._tokens = np.concatenate([[0], np.cumsum(order.visit_tokens[documents.visits])])
        # A window belongs to the segment in which it begins.
        bounds = self._tokens[np.searchsorted(documents.starts, documents.turns.segments)]
        windows = -(-bounds // (order.packing.length * order.window))
        self.turns = Turns(np.minimum(windows * order.window, order.length), documents.turns.lanes)
        self._packed = lru_cache(maxsize=documents.turns.lanes)(self._pack)

    def at(self, position: int) -> list[Piece]:
        """The pieces of the sequence at a position, in order."""
        window, inside = divmod(int(self.turns.items(np.array([position]))[0]), self.order.window)
        return self._packed(window)[inside]

    def reads(self, lane: int, position: int = 0) -> Iterator[PackedRead]:
        """Yield what a lane reads, in order, from this position on."""
        for positions, items in self.turns.stretches(lane, position):
            windows = items // self.order.window
            bounds = np.flatnonzero(np.diff(windows, prepend=-1)).tolist()
            for start, stop in zip(bounds, [*bounds[1:], items.size], strict=True):
                first = int(items[start]) % self.order.window
                packed = self._packed(int(windows[start]))
                yield PackedRead(lane, positions[start:stop], packed[first : first + stop - start])

    def places(self, row: int) -> list[Place]:
        """Where the tokens of a row come, in the order of positions."""
        places = []
        sizes = self._sizes(np.array([row]))
        for copy, (at, inside) in enumerate(self.documents.visited(row)):
            before = self._sizes(self.documents.members(int(self.documents.visits[at]))[:inside])
            start = int(self._tokens[at] + before.sum())
            width = self.order.packing.length * self.order.window
            for window in range(start // width, -(-(start + int(sizes[0])) // width)):
                for number, pieces in enumerate(self._packed(window), start=window * self.order.window):
                    own = [(inside, piece) for inside, piece in enumerate(pieces) if piece[:2] == (row, copy)]
                    places += [Place(self.turns.position(number), inside, piece) for inside, piece in own]
        return sorted(places)

    def _sizes(self, rows: Int) -> Int:
        return self.order.n_tokens[rows].astype(np.int64) + self.order.packing.end_of_document

    def _pack(self, window: int) -> list[list[Piece]]:
        """The pieces of each sequence of a window."""
        packing = self.order.packing
        width = packing.length * self.order.window
        pieces = list(self._pieces(window * width, min((window + 1) * width, self.order.tokens)))
        if packing.method == "best-fit":
            return _best_fit(pieces, packing.length)
        return _concatenate(pieces, packing.length)

    def _pieces(self, first: int, last: int) -> Iterator[Piece]:
        """Yield what lies between two tokens of the epoch, in the order of lanes."""
        found = self.documents.order.visits
        at = int(np.searchsorted(self._tokens, first, side="right")) - 1
        while at < self.documents.visits.size and self._tokens[at] < last:
            visit = int(self.documents.visits[at])
            rows = self.documents.members(visit)
            sizes = self._sizes(rows)
            ends = np.cumsum(sizes) + self._tokens[at]
            starts = ends - sizes
            inside = np.flatnonzero(np.minimum(ends, last) > np.maximum(starts, first))
            begin, end = np.maximum(first - starts, 0)[inside], (np.minimum(ends, last) - starts)[inside]
            copy = int(found.copy[visit])
            for row, start, stop in zip(rows[inside].tolist(), begin.tolist(), end.tolist(), strict=True):
                yield Piece(row, copy, start, stop)
            at += 1


def _concatenate(pieces: list[Piece], length: int) -> list[list[Piece]]:
    """Cut pieces, one after another, into sequences."""
    sequences: list[list[Piece]] = []
    room = 0
    for piece in pieces:
        start = piece.start
        while start < piece.stop:
            if not room:
                sequences.append([])
                room = length
            stop = min(piece.stop, start + room)
            sequences[-1].append(piece._replace(start=start, stop=stop))
            room -= stop - start
            start = stop
    return sequences


def _best_fit(pieces: list[Piece], length: int) -> list[list[Piece]]:
    """Put pieces into as few sequences as hold their tokens: whole if they fit, the others cut to fill what is left."""
    total = sum(piece.stop - piece.start for piece in pieces)
    count = -(-total // length)
    sequences: list[list[Piece]] = [[] for _ in range(count)]
    # The last is not full if the epoch ends there.
    rooms = [(length, number) for number in range(count - 1)] + [(total - (count - 1) * length, count - 1)] if count else []
    rooms.sort()
    left: list[Piece] = []
    cut = [part for piece in pieces for part in _cut(piece, length)]
    # Pieces of equal length stay in the order of lanes.
    for piece in sorted(cut, key=lambda piece: piece.start - piece.stop):
        size = piece.stop - piece.start
        if (at := bisect_left(rooms, (size, -1))) == len(rooms):
            left.append(piece)
            continue
        room, number = rooms.pop(at)
        sequences[number].append(piece)
        if room > size:
            insort(rooms, (room - size, number))
    for piece in left:
        start = piece.start
        while start < piece.stop:
            # The largest room first, so that a piece is cut the fewest times.
            room, number = rooms.pop()
            stop = min(piece.stop, start + room)
            sequences[number].append(piece._replace(start=start, stop=stop))
            if room > stop - start:
                insort(rooms, (room - (stop - start), number))
            start = stop
    return sequences


def _cut(piece: Piece, length: int) -> Iterator[Piece]:
    for start in range(piece.start, piece.stop, length):
        yield piece._replace(start=start, stop=min(start + length, piece.stop))
