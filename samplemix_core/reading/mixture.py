"""A published mixture as a stream of documents: on any number of ranks and workers, to be stopped and resumed anywhere."""

import operator
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, ManifestError
from samplemix_core.manifest.catalogue import Version
from samplemix_core.manifest.format import Manifest
from samplemix_core.manifest.sources import read_sources
from samplemix_core.reading.mixture_samples import Samples, load_samples
from samplemix_core.reading.order import ORDER_VERSION, Epoch, Int, Order, Read
from samplemix_core.reading.texts import Cache, Fetched, Lane, Texts, default_cache_directory
from samplemix_core.reading.versions import open_version
from samplemix_core.settings import Settings

CACHE_BYTES = 16 * 2**30
THREADS = 4

_POSITIONS_AT_ONCE = 2048
_READS_AHEAD = 2


class Document(NamedTuple):
    """One copy of a sample, as a training job reads it.

    `id` is the document's own id, if it has one. `position` counts the documents of the epoch over all ranks. `copy` is 0 to the
    sample's copies less one, in no order. `n_tokens` is the manifest's count.
    """

    text: str
    id: str | None
    domain: str
    shard: str
    row: int
    copy: int
    n_tokens: int
    sample: int
    epoch: int
    position: int


class State(NamedTuple):
    """Where a job is: every document before `position` of the epoch has been read, and none after it."""

    content_digest: str
    seed: int
    epoch: int
    position: int

    def as_dict(self) -> dict[str, Any]:
        """The state as JSON values, for a checkpoint."""
        return {"order": ORDER_VERSION, **self._asdict()}


@dataclass(frozen=True)
class Part:
    """What one process reads: rank of world_size, and of that rank worker of workers.

    Ranks take the documents in turns. A rank's batches, of `batch_size` documents, go to its workers in turns, as a PyTorch
    DataLoader expects: so a step reads the same documents whatever the number of workers.
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
            raise ConfigError(f"A batch of {self.batch_size} documents is none.", "Give a batch size of at least 1.")

    def turns(self, start: int, count: int) -> Int:
        """Places of its documents, from its number `start` on, in the stream of all ranks: int64 (count,), ascending."""
        own = np.arange(start, start + count, dtype=np.int64)
        batch, inside = np.divmod(own, self.batch_size)
        return ((batch * self.workers + self.worker) * self.batch_size + inside) * self.world_size + self.rank

    def owns(self, places: Int) -> npt.NDArray[np.bool_]:
        """Whether places in the stream of all ranks are its own."""
        batch = places // self.world_size // self.batch_size
        own = (places >= 0) & (places % self.world_size == self.rank) & (batch % self.workers == self.worker)
        return np.asarray(own)


@dataclass(frozen=True, eq=False)
class Mixture:
    """A published version, open for reading. Its order is a function of its content digest, the seed and the epoch.

    Its length is that of an epoch: all copies. It may be given to other processes.
    """

    version: Version
    seed: int
    samples: Samples
    texts: Texts
    threads: int = THREADS

    @property
    def manifest(self) -> Manifest:
        """Its manifest."""
        return self.version.manifest

    @cached_property
    def order(self) -> Order:
        """The order of its epochs."""
        return Order(self.manifest.content_digest, self.seed, self.samples.layout, self.samples.copies)

    def __len__(self) -> int:
        return self.manifest.copies

    def documents_of(self, read: Read, fetched: Fetched, epoch: int) -> list[Document]:
        """The documents of a read whose rows, in ascending order, were fetched; in the order of its positions."""
        samples = self.samples
        order = np.argsort(read.rows)
        rows = read.rows[order]
        shard = samples.shards[samples.shard_of(int(rows[0]))]
        columns = samples.row[rows], samples.n_tokens[rows], rows, read.positions[order], order
        documents: list[Any] = [None] * rows.size
        facts = zip(fetched.documents(), *(column.tolist() for column in columns), strict=True)
        for (identifier, domain, text), row, n_tokens, sample, position, at in facts:
            documents[at] = Document(text, identifier, domain, shard, row, read.copy, n_tokens, sample, epoch, position)
        return documents

    def source(self, epoch: int = 0) -> "EpochSource":
        """An epoch as a sequence, for random access."""
        return EpochSource(self, epoch)

    def state(self, position: int = 0, epoch: int = 0) -> State:
        """The state of a job that has read every document before a position; positions past an epoch's end go on in the next."""
        more, position = divmod(position, len(self))
        return State(self.manifest.content_digest, self.seed, epoch + more, position)

    def after(self, start: State, documents: int, epochs: int | None, *, ended: bool = False) -> State:
        """The state after so many documents of all ranks; the end, if they are more than there are in so many epochs."""
        if epochs is not None:
            left = max(0, (epochs - start.epoch) * len(self) - start.position)
            documents = left if ended else min(documents, left)
        return self.state(start.position + documents, start.epoch)

    def resume(self, state: "State | dict[str, Any]") -> State:
        """Check a state that a job saved. Raises ManifestError if it belongs to another version, seed or order."""
        saved = state.as_dict() if isinstance(state, State) else state
        numbers = ("order", "seed", "epoch", "position")
        if (
            not isinstance(saved, dict)
            or not all(type(saved.get(name)) is int for name in numbers)
            or "content_digest" not in saved
        ):
            raise ManifestError(f"This is no state of a mixture: {state!s:.200}.", "Give what state_dict() returned.")
        found = State(*(saved[name] for name in State._fields))
        here = {"order": ORDER_VERSION, "content_digest": self.manifest.content_digest, "seed": self.seed}
        for name, value in here.items():
            if saved[name] != value:
                raise ManifestError(
                    f"The state was saved with {name.replace('_', ' ')} {saved[name]}, and this mixture has {value}:"
                    f" {self.version.uri}.",
                    {
                        "order": "Resume with the release of SampleMix that saved it, or start a new epoch.",
                        "content_digest": "Open the version that the job was reading, or start without the state.",
                        "seed": "Open the mixture with the state's seed, or start without the state.",
                    }[name],
                )
        if found.epoch < 0 or not 0 <= found.position < len(self):
            raise ManifestError(f"The state's place is not in the mixture: {saved}.", "Give what state_dict() returned, unchanged.")
        return found

    def documents(
        self,
        rank: int = 0,
        world_size: int = 1,
        worker: int = 0,
        workers: int = 1,
        *,
        batch_size: int = 1,
        epochs: int | None = 1,
        state: "State | dict[str, Any] | None" = None,
    ) -> "Documents":
        """Read the documents of one process.

        Over all ranks and workers, each copy of an epoch comes exactly once. `epochs` counts from epoch 0, and None goes on for
        ever; an epoch's last batch is filled from the next epoch. With `state`, go on from there, with as many ranks and workers as
        there are now.
        """
        if epochs is not None and epochs < 0:
            raise ConfigError(f"{epochs} epochs are none.", "Give 0 or more, or None to go on for ever.")
        start = self.state() if state is None else self.resume(state)
        return Documents(self, Part(rank, world_size, worker, workers, batch_size), start, epochs)


class EpochSource(Sequence[Document]):
    """An epoch as a sequence: document i is that of position i. A source for Grain, and a map-style dataset for PyTorch.

    Reading forwards, as a sampler without a shuffle does, is fast; the epoch is shuffled already. Threads may share it. close()
    closes its files, as does dropping it.
    """

    def __init__(self, mixture: Mixture, epoch: int = 0) -> None:
        self.mixture, self.epoch = mixture, epoch
        self._prepare()

    def _prepare(self) -> None:
        self._order = self.mixture.order.epoch(self.epoch)
        self._lanes = [Lane(self.mixture.texts) for _ in range(self.mixture.order.lanes)]
        self._locks = [Lock() for _ in self._lanes]
        self.close = weakref.finalize(self, _close, self._lanes)
        # What each lane read last.
        self._held: list[list[Document]] = [[] for _ in self._lanes]

    def __getstate__(self) -> dict[str, Any]:
        return {"mixture": self.mixture, "epoch": self.epoch}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def __len__(self) -> int:
        return len(self.mixture)

    @overload
    def __getitem__(self, index: int) -> Document: ...
    @overload
    def __getitem__(self, index: slice) -> list[Document]: ...
    def __getitem__(self, index: int | slice) -> Document | list[Document]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"position {index} of an epoch of {len(self)} documents")
        lane = int(self._order.lanes(np.array([position]))[0])
        with self._locks[lane]:
            held = self._held[lane]
            if not held or not held[0].position <= position <= held[-1].position:
                read = next(self._order.reads(lane, position))
                fetched = self._lanes[lane].fetch(np.sort(read.rows), self.mixture.samples.layout.stretch_rows(read.run))
                held = self._held[lane] = self.mixture.documents_of(read, fetched, self.epoch)
        # A lane's positions in a read have equal steps.
        step = held[1].position - held[0].position if len(held) > 1 else 1
        return held[(position - held[0].position) // step]


def _close(lanes: Sequence[Lane]) -> None:
    for lane in lanes:
        lane.close()


class Documents(Iterator[Document]):
    """The documents of one process, in order."""

    def __init__(self, mixture: Mixture, part: Part, start: State, epochs: int | None) -> None:
        self.mixture, self.part, self.start = mixture, part, start
        self._epochs = epochs
        self._read = 0
        self._ended = False
        self._failure: Exception | None = None
        self._stream: Generator[Document, None, None] | None = None

    def __next__(self) -> Document:
        if self._failure is not None:
            # Not the end, which is what a stream that has failed once would say.
            raise self._failure
        if self._stream is None:
            self._stream = _Reader(self.mixture, self.part).stream(self.start, self._epochs)
        try:
            document = next(self._stream)
        except StopIteration:
            self._ended = True
            raise
        except Exception as error:
            self._failure = error
            raise
        self._read += 1
        return document

    def state_dict(self) -> dict[str, Any]:
        """Where all ranks are, if each has read as many documents as this one: for a checkpoint that one rank saves.

        Raises ConfigError for one of several workers, because the others may be elsewhere: use torch_data.Loader, which counts the
        training loop's steps.
        """
        if self.part.workers > 1:
            raise ConfigError(
                "One of several workers can't tell where the others are.", "Ask the loader, or give mixture.state(position)."
            )
        return self.mixture.after(self.start, self._read * self.part.world_size, self._epochs, ended=self._ended).as_dict()

    def close(self) -> None:
        """Stop reading ahead, and close what is open."""
        if self._stream is not None:
            self._stream.close()


class _Reader:
    """Reads ahead of one process's documents: each of its lanes holds what it reads now, and what comes next."""

    def __init__(self, mixture: Mixture, part: Part) -> None:
        self._mixture, self._part = mixture, part
        self._own = 0
        self._lanes = [Lane(mixture.texts) for _ in range(mixture.order.lanes)]
        # A lane has one thread, so that it reads forwards.
        self._threads = [ThreadPoolExecutor(1, "samplemix-reading") for _ in range(min(mixture.threads, len(self._lanes)))]

    def stream(self, start: State, epochs: int | None) -> Generator[Document, None, None]:
        """Yield the documents from a state on."""
        try:
            number, first = start.epoch, -start.position
            while epochs is None or number < epochs:
                yield from self._epoch(self._mixture.order.epoch(number), first)
                number += 1
                first += len(self._mixture)
        finally:
            for thread in self._threads:
                thread.shutdown(wait=True, cancel_futures=True)
            _close(self._lanes)

    def _epoch(self, epoch: Epoch, first: int) -> Iterator[Document]:
        """Yield the documents of an epoch.

        Its position 0 has the place `first` in the stream of all ranks, which is below 0 if the epoch was begun before.
        """
        lanes: dict[int, Iterator[Document]] = {}
        while True:
            places = self._part.turns(self._own, _POSITIONS_AT_ONCE)
            positions = places[places < first + len(self._mixture)] - first
            if not positions.size:
                return
            self._own += positions.size
            order = epoch.lanes(positions)
            for at in np.sort(np.unique(order, return_index=True)[1]).tolist():
                lane = int(order[at])
                if lane not in lanes:
                    lanes[lane] = self._lane(epoch, first, lane, int(positions[at]))
            for lane in order.tolist():
                yield next(lanes[lane])

    def _lane(self, epoch: Epoch, first: int, lane: int, position: int) -> Iterator[Document]:
        """The own documents of a lane, from a position on; two reads are begun at once."""
        begun = self._begin(epoch, first, lane, position)
        ahead = deque(islice(begun, _READS_AHEAD))

        def documents() -> Iterator[Document]:
            while ahead:
                read, fetched = ahead.popleft()
                done = fetched.result() if isinstance(fetched, Future) else fetched
                yield from self._mixture.documents_of(read, done, epoch.number)
                ahead.extend(islice(begun, 1))

        return documents()

    def _begin(self, epoch: Epoch, first: int, lane: int, position: int) -> Iterator[tuple[Read, Fetched | Future[Fetched]]]:
        """Yield a lane's reads; what they need is fetched by a thread, or is there already."""
        for read in epoch.reads(lane, position):
            own = self._part.owns(read.positions + first)
            if own.any():
                mine = read._replace(positions=read.positions[own], rows=read.rows[own])
                rows = np.sort(mine.rows)
                fetched = self._lanes[lane].fetched(rows)
                if fetched is None:
                    thread = self._threads[lane % len(self._threads)]
                    stretch = self._mixture.samples.layout.stretch_rows(read.run)
                    yield mine, thread.submit(self._lanes[lane].fetch, rows, stretch)
                else:
                    yield mine, fetched


def open_mixture(
    uri: str,
    *,
    version: int | None = None,
    seed: int = 0,
    corpus_root: str | None = None,
    cache_directory: str | Path | None = None,
    cache_bytes: int = CACHE_BYTES,
    threads: int = THREADS,
    settings: Settings | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Mixture:
    """Open a published mixture: by the URI of its manifest.json or latest.json, or by name on a platform.

    `seed` decides the order of documents. `corpus_root` says where the corpus is now, if it was copied. `cache_directory` is where
    texts are kept: all of them if they fit in `cache_bytes`, else those of parts that are read more than once. All processes of a
    machine may share it.
    `threads` read ahead. `settings` are read from the environment if none are given. `on_progress` hears how many parts of the
    manifest are read, and of how many.

    Raises ManifestError if there is no such version, if it was changed, or if a later SampleMix wrote it in a way that decides how
    texts are read.
    """
    deployment = Deployment.load() if settings is None else Deployment(**vars(settings))
    found = open_version(deployment, uri, version)
    unknown = sorted(name for name in found.unknown if name.startswith("reader."))
    if unknown:
        raise ManifestError(
            f"{found.uri} says how texts are read by {', '.join(unknown)}, which this SampleMix doesn't know.",
            "Upgrade SampleMix.",
        )
    if threads < 1:
        raise ConfigError(f"{threads} threads read nothing.", "Give at least 1.")
    manifest = found.manifest
    samples = load_samples(found, on_progress)
    texts = Texts(
        corpus_root=corpus_root or manifest.corpus_root,
        deployment=deployment,
        config=manifest.reader or ReaderConfig(),
        sources=read_sources(found),
        samples=samples,
        content_digest=manifest.content_digest,
        cache=Cache(Path(cache_directory or default_cache_directory()), cache_bytes),
    )
    return Mixture(found, operator.index(seed), samples, texts, threads)
