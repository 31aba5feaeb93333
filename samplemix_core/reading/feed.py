"""Items of a mixture in the order of its epochs: shared by any number of ranks and workers, to be stopped and resumed anywhere.

An item is a document, or a packed sequence of tokens.
"""

import sys
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from threading import Lock
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar, overload

import numpy as np
import numpy.typing as npt

from samplemix_core.errors import ConfigError, ManifestError
from samplemix_core.manifest.catalogue import Version
from samplemix_core.manifest.format import Manifest
from samplemix_core.reading.mixture_samples import Samples
from samplemix_core.reading.order import ORDER_VERSION, Int, Order, Piece, Place, Turns
from samplemix_core.reading.texts import Lane, Texts

_POSITIONS_AT_ONCE = 2048
_READS_AHEAD = 2


class Placed(Protocol):
    """An item that knows where it comes."""

    @property
    def position(self) -> int:
        """Its place among the items of the epoch."""


class LaneRead(Protocol):
    """Items that a lane reads at once, by their positions, ascending."""

    @property
    def positions(self) -> Int:
        """Int64 (n,)."""

    def within(self, phase: int, start: int) -> Self:
        """The same as a read of a phase that begins at position `start`."""

    def of(self, own: npt.NDArray[np.bool_]) -> Self:
        """Some of them: bool (n,)."""


Item = TypeVar("Item", bound=Placed)
AnyRead = TypeVar("AnyRead", bound=LaneRead)

Ready = Callable[[], list[Item]]
"""Makes the items of a read that was fetched."""


class EpochOrder(Protocol):
    """The order of one epoch, of one phase."""

    turns: Turns

    def reads(self, lane: int, position: int = 0) -> Iterator[Any]:
        """Yield what a lane reads, in order, from this position on."""


AnyEpoch = TypeVar("AnyEpoch", bound=EpochOrder)


class Phase(NamedTuple):
    """A phase of a mixture: its items have positions [start, stop) of each epoch. Without phases, there is one without a name."""

    name: str | None
    start: int
    stop: int


class Phases(Generic[AnyEpoch]):
    """An epoch: that of each phase, one after another. Positions are 0 to the number of all items less one."""

    def __init__(self, number: int, phases: Sequence[Phase], epochs: Sequence[AnyEpoch]) -> None:
        self.number, self.phases, self.epochs = number, phases, epochs
        segments = [epoch.turns.segments + phase.start for phase, epoch in zip(phases, epochs, strict=True)]
        self.turns = Turns(np.concatenate([*(bounds[:-1] for bounds in segments), segments[-1][-1:]]), epochs[0].turns.lanes)
        self._starts = np.array([phase.start for phase in phases])

    def reads(self, lane: int, position: int = 0) -> Iterator[Any]:
        """Yield what a lane reads, in order, from this position on."""
        for number, (phase, epoch) in enumerate(zip(self.phases, self.epochs, strict=True)):
            if position < phase.stop:
                reads = epoch.reads(lane, max(0, position - phase.start))
                # Those of the first are within it already.
                yield from reads if number == 0 else (read.within(number, phase.start) for read in reads)

    def parted(self, positions: Int) -> Iterator[tuple[AnyEpoch, Int, Int]]:
        """Yield positions (n,) phase by phase: the phase's epoch, which of them are in it, and where in the phase they are."""
        own = np.searchsorted(self._starts, positions, side="right") - 1
        for number in np.unique(own).tolist():
            at = np.flatnonzero(own == number)
            yield self.epochs[number], at, positions[at] - self._starts[number]


class State(NamedTuple):
    """Where a job is: every item before `position` of the epoch has been read, and none after it. `packing` says what items are."""

    content_digest: str
    seed: int
    epoch: int
    position: int
    packing: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The state as JSON values, for a checkpoint."""
        values = {"order": ORDER_VERSION, **self._asdict()}
        return values if self.packing else {name: value for name, value in values.items() if name != "packing"}


@dataclass(frozen=True)
class Part:
    """What one process reads: rank of world_size, and of that rank worker of workers.

    Ranks take the items in turns. A rank's batches, of `batch_size` items, go to its workers in turns, as a PyTorch DataLoader
    expects: so a step reads the same items whatever the number of workers.
    """

    rank: int = 0
    world_size: int = 1
    worker: int = 0
    workers: int = 1
    batch_size: int = 1

    def __post_init__(self) -> None:
        if not all(isinstance(value, int) for value in vars(self).values()):
            raise ConfigError(f"Ranks, workers and batch sizes are whole numbers: {vars(self)}.", "Give whole numbers.")
        for index, count, name in ((self.rank, self.world_size, "rank"), (self.worker, self.workers, "worker")):
            if not 0 <= index < count:
                raise ConfigError(f"There is no {name} {index} of {count}.", f"Count from 0: the last is {count - 1}.")
        if self.batch_size < 1:
            raise ConfigError(f"A batch of {self.batch_size} is none.", "Give a batch size of at least 1.")

    def turns(self, start: int, count: int) -> Int:
        """Places of its items, from its number `start` on, in the stream of all ranks: int64 (count,), ascending."""
        own = np.arange(start, start + count, dtype=np.int64)
        batch, inside = np.divmod(own, self.batch_size)
        return ((batch * self.workers + self.worker) * self.batch_size + inside) * self.world_size + self.rank

    @property
    def is_all(self) -> bool:
        """Whether it reads everything: one rank, one worker."""
        return self.world_size * self.workers == 1

    def owns(self, places: Int) -> npt.NDArray[np.bool_]:
        """Whether places in the stream of all ranks are its own."""
        batch = places // self.world_size // self.batch_size
        own = (places >= 0) & (places % self.world_size == self.rank) & (batch % self.workers == self.worker)
        return np.asarray(own)


@dataclass(frozen=True, eq=False)
class Feed(ABC, Generic[Item, AnyRead]):
    """A published version's items, in the order of its epochs. It may be given to other processes. `threads` read ahead."""

    version: Version
    seed: int
    texts: Texts
    threads: int

    @property
    def manifest(self) -> Manifest:
        """The version's manifest."""
        return self.version.manifest

    @property
    def samples(self) -> Samples:
        """The version's rows."""
        return self.texts.samples

    @cached_property
    def document_orders(self) -> tuple[Order, ...]:
        """The order of its documents, of each phase."""
        samples, digest = self.samples, self.manifest.content_digest
        each = samples.in_phases or (samples.copies,)
        return tuple(Order(digest, self.seed, samples.layout, copies, phase) for phase, copies in enumerate(each))

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """Where each phase is in an epoch; one without a name if the mixture has no phases."""
        stops = np.cumsum(self.phase_lengths).tolist()
        names = self.manifest.phase_names or (None,)
        return tuple(Phase(name, start, stop) for name, start, stop in zip(names, [0, *stops], stops, strict=False))

    def phase_number(self, position: int) -> int:
        """Which of its phases a position is in."""
        return next(number for number, phase in enumerate(self.phases) if position < phase.stop)

    @property
    @abstractmethod
    def phase_lengths(self) -> tuple[int, ...]:
        """Items of each phase."""

    def __len__(self) -> int:
        return self.phases[-1].stop

    @property
    @abstractmethod
    def packing_name(self) -> str | None:
        """How its items are packed; None if they are documents."""

    @abstractmethod
    def epoch(self, number: int) -> Phases[Any]:
        """The order of an epoch, from 0."""

    @abstractmethod
    def pieces(self, epoch: int, positions: Int) -> list[list[Piece]]:
        """What the items at positions (n,) hold."""

    @abstractmethod
    def places(self, epoch: int, row: int) -> list[Place]:
        """Where the copies of a row come, in the order of positions."""

    @abstractmethod
    def ready(self, lane: Lane, read: AnyRead, epoch: int) -> "Ready[Item] | None":
        """What makes a read's items, if nothing need be fetched for it; else None."""

    @abstractmethod
    def fetch(self, lane: Lane, read: AnyRead, epoch: int) -> "Ready[Item]":
        """The same, after fetching what it needs, which may take long."""

    def source(self, epoch: int = 0) -> "EpochSource[Item]":
        """An epoch as a sequence, for random access."""
        return EpochSource(self, epoch)

    def state(self, position: int = 0, epoch: int = 0) -> State:
        """The state of a job that has read every item before a position; positions past an epoch's end go on in the next."""
        more, position = divmod(position, len(self))
        return State(self.manifest.content_digest, self.seed, epoch + more, position, self.packing_name)

    def after(self, start: State, items: int, epochs: int | None, *, ended: bool = False) -> State:
        """The state after so many items of all ranks; the end, if they are more than there are in so many epochs."""
        if epochs is not None:
            left = max(0, (epochs - start.epoch) * len(self) - start.position)
            items = left if ended else min(items, left)
        return self.state(start.position + items, start.epoch)

    def resume(self, state: "State | dict[str, Any]") -> State:
        """Check a state that a job saved. Raises ManifestError if it belongs to another version, seed, order or packing."""
        saved = state.as_dict() if isinstance(state, State) else state
        numbers = ("order", "seed", "epoch", "position")
        if (
            not isinstance(saved, dict)
            or not all(type(saved.get(name)) is int for name in numbers)
            or "content_digest" not in saved
        ):
            raise ManifestError(f"This is no state of a mixture: {state!s:.200}.", "Give what state_dict() returned.")
        found = State(saved["content_digest"], saved["seed"], saved["epoch"], saved["position"], saved.get("packing"))
        here = {"order": ORDER_VERSION, **self.state()._asdict()}
        for name in ("order", "content_digest", "seed", "packing"):
            if saved.get(name) != here[name]:
                raise ManifestError(
                    f"The state was saved with {name.replace('_', ' ')} {saved.get(name)}, and this mixture has {here[name]}:"
                    f" {self.version.uri}.",
                    {
                        "order": "Resume with the release of SampleMix that saved it, or start a new epoch.",
                        "content_digest": "Open the version that the job was reading, or start without the state.",
                        "seed": "Open the mixture with the state's seed, or start without the state.",
                        "packing": "Pack as the job did, or start without the state.",
                    }[name],
                )
        if found.epoch < 0 or not 0 <= found.position < len(self):
            raise ManifestError(f"The state's place is not in the mixture: {saved}.", "Give what state_dict() returned, unchanged.")
        return found


class EpochSource(Sequence[Item]):
    """An epoch as a sequence: item i is that of position i. A source for Grain, and a map-style dataset for PyTorch.

    Reading forwards, as a sampler without a shuffle does, is fast; the epoch is shuffled already. Threads may share it. close()
    closes its files, as does dropping it.
    """

    def __init__(self, feed: Feed[Item, Any], epoch: int = 0) -> None:
        self.feed, self.epoch = feed, epoch
        self._prepare()

    def _prepare(self) -> None:
        self._order = self.feed.epoch(self.epoch)
        self._lanes = [Lane(self.feed.texts) for _ in range(self._order.turns.lanes)]
        self._locks = [Lock() for _ in self._lanes]
        self.close = weakref.finalize(self, _close, self._lanes)
        # What each lane read last.
        self._held: list[list[Item]] = [[] for _ in self._lanes]

    def __getstate__(self) -> dict[str, Any]:
        return {"feed": self.feed, "epoch": self.epoch}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def __len__(self) -> int:
        return len(self.feed)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"position {index} of an epoch of {len(self)}")
        lane = int(self._order.turns.lanes_of(np.array([position]))[0])
        with self._locks[lane]:
            held = self._held[lane]
            if not held or not held[0].position <= position <= held[-1].position:
                read = next(self._order.reads(lane, position))
                held = self._held[lane] = self.feed.fetch(self._lanes[lane], read, self.epoch)()
        # A lane's positions in a read have equal steps.
        step = held[1].position - held[0].position if len(held) > 1 else 1
        return held[(position - held[0].position) // step]


def _close(lanes: Sequence[Lane]) -> None:
    for lane in lanes:
        lane.close()


class Stream(Iterator[Item]):
    """The items of one process, in order.

    Over all ranks and workers, each item of an epoch comes exactly once. `epochs` counts from epoch 0, and None goes on for ever;
    an epoch's last batch is filled from the next epoch. With `state`, go on from there, with as many ranks and workers as there
    are now.
    """

    def __init__(
        self, feed: Feed[Item, Any], part: Part, epochs: int | None = 1, state: "State | dict[str, Any] | None" = None
    ) -> None:
        if epochs is not None and epochs < 0:
            raise ConfigError(f"{epochs} epochs are none.", "Give 0 or more, or None to go on for ever.")
        self.feed, self.part = feed, part
        self.start = feed.state() if state is None else feed.resume(state)
        self._epochs = epochs
        self._read = 0
        self._ended = False
        self._failure: Exception | None = None
        self._stream: Generator[Item, None, None] | None = None

    def __next__(self) -> Item:
        if self._failure is not None:
            # Not the end, which is what a stream that has failed once would say.
            raise self._failure
        if self._stream is None:
            self._stream = _Reader(self.feed, self.part).stream(self.start, self._epochs)
        try:
            item = next(self._stream)
        except StopIteration:
            self._ended = True
            raise
        except Exception as error:
            self._failure = error
            raise
        self._read += 1
        return item

    def state_dict(self) -> dict[str, Any]:
        """Where all ranks are, if each has read as many items as this one: for a checkpoint that one rank saves.

        Raises ConfigError for one of several workers, because the others may be elsewhere: use torch_data.Loader, which counts the
        training loop's steps.
        """
        if self.part.workers > 1:
            raise ConfigError("One of several workers can't tell where the others are.", "Ask the loader, or give state(position).")
        return self.feed.after(self.start, self._read * self.part.world_size, self._epochs, ended=self._ended).as_dict()

    def close(self) -> None:
        """Stop reading ahead, and close what is open."""
        if self._stream is not None:
            self._stream.close()


class _Reader(Generic[Item, AnyRead]):
    """Reads ahead of one process's items: each of its lanes holds what it reads now, and what comes next."""

    def __init__(self, feed: Feed[Item, AnyRead], part: Part) -> None:
        self._feed, self._part = feed, part
        self._own = 0
        self._lanes: list[Lane] = []
        # A lane has one thread, so that it reads forwards.
        self._threads = [ThreadPoolExecutor(1, "samplemix-reading") for _ in range(feed.threads)]
        self._is_exiting = sys.is_finalizing

    def stream(self, start: State, epochs: int | None) -> Generator[Item, None, None]:
        """Yield the items from a state on."""
        try:
            number, first = start.epoch, -start.position
            while epochs is None or number < epochs:
                yield from self._epoch(self._feed.epoch(number), first)
                number += 1
                first += len(self._feed)
        finally:
            # As the interpreter exits, threads have ended, and what ends them is gone, as may be all that modules hold.
            if not self._is_exiting():
                for thread in self._threads:
                    thread.shutdown(wait=True, cancel_futures=True)
                _close(self._lanes)

    def _epoch(self, epoch: Phases[Any], first: int) -> Iterator[Item]:
        """Yield the items of an epoch.

        Its position 0 has the place `first` in the stream of all ranks, which is below 0 if the epoch was begun before.
        """
        self._lanes = self._lanes or [Lane(self._feed.texts) for _ in range(epoch.turns.lanes)]
        lanes: dict[int, Iterator[Item]] = {}
        while True:
            places = self._part.turns(self._own, _POSITIONS_AT_ONCE)
            positions = places[places < first + len(self._feed)] - first
            if not positions.size:
                return
            self._own += positions.size
            order = epoch.turns.lanes_of(positions)
            for at in np.sort(np.unique(order, return_index=True)[1]).tolist():
                lane = int(order[at])
                if lane not in lanes:
                    lanes[lane] = self._lane(epoch, first, lane, int(positions[at]))
            for lane in order.tolist():
                yield next(lanes[lane])

    def _lane(self, epoch: Phases[Any], first: int, lane: int, position: int) -> Iterator[Item]:
        """The own items of a lane, from a position on; two reads are begun at once."""
        begun = self._begin(epoch, first, lane, position)
        ahead = deque(islice(begun, _READS_AHEAD))

        def items() -> Iterator[Item]:
            while ahead:
                found = ahead.popleft()
                ready = found.result() if isinstance(found, Future) else found
                yield from ready()
                ahead.extend(islice(begun, 1))

        return items()

    def _begin(self, epoch: Phases[Any], first: int, lane: int, position: int) -> Iterator["Ready[Item] | Future[Ready[Item]]"]:
        """Yield a lane's reads; what they need is fetched by a thread, or is there already."""
        for read in epoch.reads(lane, position):
            if self._part.is_all or (own := self._part.owns(read.positions + first)).any():
                mine = read if self._part.is_all else read.of(own)
                ready = self._feed.ready(self._lanes[lane], mine, epoch.number)
                thread = self._threads[lane % len(self._threads)]
                yield ready or thread.submit(self._feed.fetch, self._lanes[lane], mine, epoch.number)
