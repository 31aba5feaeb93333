"""A published mixture as a stream of documents: on any number of ranks and workers, to be stopped and resumed anywhere."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, ManifestError
from samplemix_core.manifest.sources import read_sources
from samplemix_core.reading.feed import Feed, Part, Phases, Ready, State, Stream
from samplemix_core.reading.mixture_samples import load_samples
from samplemix_core.reading.order import Epoch, Int, Piece, Place, Read
from samplemix_core.reading.texts import Cache, Fetched, Lane, Texts, default_cache_directory
from samplemix_core.reading.versions import open_version
from samplemix_core.settings import Settings

CACHE_BYTES = 16 * 2**30
THREADS = 4


class Document(NamedTuple):
    """One copy of a sample, as a training job reads it.

    `id` is the document's own id, if it has one. `position` counts the documents of the epoch over all ranks. `copy` is 0 to the
    sample's copies (in its phase) less one, in no order. `n_tokens` is the manifest's count. `phase` is None if there are none.
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
    phase: str | None = None


@dataclass(frozen=True, eq=False)
class Mixture(Feed[Document, Read]):
    """A published version, open for reading. Its order is a function of its content digest, the seed and the epoch.

    Its length is that of an epoch: all copies. It may be given to other processes.
    """

    @property
    def phase_lengths(self) -> tuple[int, ...]:
        """Documents of each phase."""
        return tuple(phase.copies for phase in self.manifest.phases) or (self.manifest.copies,)

    @property
    def packing_name(self) -> None:
        """Its items are documents."""

    def epoch(self, number: int) -> Phases[Epoch]:
        """The order of an epoch, from 0."""
        return Phases(number, self.phases, [order.epoch(number) for order in self.document_orders])

    def pieces(self, epoch: int, positions: Int) -> list[list[Piece]]:
        """The documents at positions (n,), each whole."""
        pieces: list[list[Piece]] = [[] for _ in range(positions.size)]
        for order, at, inside in self.epoch(epoch).parted(positions):
            for place, row, copy in zip(at.tolist(), *(found.tolist() for found in order.at(inside)), strict=True):
                pieces[place] = [Piece(row, copy, 0, int(self.samples.n_tokens[row]))]
        return pieces

    def places(self, epoch: int, row: int) -> list[Place]:
        """Where the copies of a row come, in the order of positions."""
        n_tokens, places = int(self.samples.n_tokens[row]), []
        for phase, order in zip(self.phases, self.epoch(epoch).epochs, strict=True):
            for copy, position in enumerate(order.places(row).tolist()):
                places.append(Place(phase.start + position, 0, Piece(row, copy, 0, n_tokens)))
        return sorted(places)

    def ready(self, lane: Lane, read: Read, epoch: int) -> "Ready[Document] | None":
        """What makes the documents of a read, if the cache has them open."""
        order = np.argsort(read.rows)
        fetched = lane.fetched(read.rows[order])
        return None if fetched is None else partial(self._documents_of, read, order, fetched, epoch)

    def fetch(self, lane: Lane, read: Read, epoch: int) -> "Ready[Document]":
        """What makes the documents of a read, after fetching them."""
        order = np.argsort(read.rows)
        fetched = lane.fetch(read.rows[order], self.samples.layout.stretch_rows(read.run))
        return partial(self._documents_of, read, order, fetched, epoch)

    def _documents_of(self, read: Read, order: Int, fetched: Fetched, epoch: int) -> list[Document]:
        """The documents of a read whose rows were fetched in this order, which is ascending; in the order of its positions."""
        samples = self.samples
        rows = read.rows[order]
        shard = samples.shards[samples.shard_of(int(rows[0]))]
        ids, domains, texts = fetched.values()
        columns = samples.row[rows], samples.n_tokens[rows], rows, read.positions[order]
        row, n_tokens, sample, position = (column.tolist() for column in columns)
        constant = (repeat(value) for value in (shard, read.copy, epoch, self.phases[read.phase].name))
        shards, copies, epochs, phases = constant
        values = zip(texts, ids, domains, shards, row, copies, n_tokens, sample, epochs, position, phases, strict=False)
        # Without a call of Python's for each.
        found = list(map(tuple.__new__, repeat(Document), values))
        return [found[at] for at in np.argsort(order).tolist()]

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
    ) -> Stream[Document]:
        """Read the documents of one process: with those of all ranks and workers, each copy of an epoch exactly once.

        `epochs` counts from epoch 0, and None goes on for ever; an epoch's last batch is filled from the next epoch. With `state`,
        go on from there, with as many ranks and workers as there are now.
        """
        return Stream(self, Part(rank, world_size, worker, workers, batch_size), epochs, state)


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
        config=(manifest.reader or ReaderConfig()).of_texts(),
        sources=read_sources(found),
        samples=samples,
        content_digest=manifest.content_digest,
        cache=Cache(Path(cache_directory or default_cache_directory()), cache_bytes),
    )
    return Mixture(found, operator.index(seed), texts, threads)
