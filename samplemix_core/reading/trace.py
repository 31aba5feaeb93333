"""From a training step to the documents that it read, and back: from the manifest alone."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from samplemix_core.errors import ConfigError, ManifestError
from samplemix_core.reading.feed import Feed, State
from samplemix_core.reading.mixture import Mixture
from samplemix_core.reading.order import Piece, Place
from samplemix_core.sample_key import keys_to_bytes, sample_keys

MOST_ITEMS = 2**24
"""Of a step over all ranks."""


class Traced(NamedTuple):
    """A copy of a sample, or a piece of one, and where it is read: by `rank`, as item `in_batch` of its batch in `step`.

    An item is a document or a packed sequence; `inside` is the piece's place in the sequence, and tokens [start, stop) of the
    document are in it. `copies` are the document's in `phase`, which is None if there are none.
    """

    step: int
    rank: int
    in_batch: int
    epoch: int
    position: int
    shard: str
    row: int
    copy: int
    copies: int
    domain: str
    n_tokens: int
    sample_key: str
    inside: int
    start: int
    stop: int
    phase: str | None


@dataclass(frozen=True)
class Steps:
    """How a job takes its steps: `batch_size` items a rank and step. Step 0 is the first after `start`."""

    feed: Feed[Any, Any]
    batch_size: int
    world_size: int
    start: State

    def __post_init__(self) -> None:
        for value, name in ((self.batch_size, "batch size"), (self.world_size, "world size")):
            if value < 1:
                raise ConfigError(f"The {name} is {value}.", "Give at least 1.")
        if self.step_items > MOST_ITEMS:
            raise ConfigError(
                f"A step of {self.step_items:,} items can't be traced: at most {MOST_ITEMS:,} can.",
                "Give the batch size of one rank, and the number of ranks.",
            )

    @property
    def step_items(self) -> int:
        """Items of a step over all ranks."""
        return self.batch_size * self.world_size

    def documents(self, step: int, rank: int | None = None) -> Iterator[Traced]:
        """Yield what a step reads, rank by rank or of one rank alone, in the order of each rank's batch."""
        self._check_rank(rank)
        if not 0 <= step < 2**63 // MOST_ITEMS // 2:
            raise ConfigError(f"There is no step {step}.", "Steps are counted from 0: give one that the job has taken.")
        ranks = np.arange(self.world_size) if rank is None else np.array([rank])
        # Rank by rank, the places of its batch in the stream of all ranks.
        inside = (ranks[:, None] + self.world_size * np.arange(self.batch_size, dtype=np.int64)).ravel()
        epochs, positions = np.divmod(step * self.step_items + inside + self.start.position, len(self.feed))
        found: dict[int, list[Piece]] = {}
        for epoch in np.unique(epochs).tolist():
            at = np.flatnonzero(epochs == epoch)
            found |= zip(at.tolist(), self.feed.pieces(self.start.epoch + epoch, positions[at]), strict=True)
        for item, (place, epoch, position) in enumerate(zip(inside.tolist(), epochs.tolist(), positions.tolist(), strict=True)):
            for order, piece in enumerate(found[item]):
                yield self._traced(step, place, self.start.epoch + epoch, Place(position, order, piece))

    def _check_rank(self, rank: int | None) -> None:
        if rank is not None and not 0 <= rank < self.world_size:
            raise ConfigError(f"There is no rank {rank} of {self.world_size}.", "Ranks are counted from 0.")

    def of_sample(self, sample: int, epochs: int = 1, rank: int | None = None) -> Iterator[Traced]:
        """Yield where the copies of a sample are read, by all ranks or by one, in so many epochs from `start`'s on, in order."""
        self._check_rank(rank)
        for epoch in range(self.start.epoch, self.start.epoch + epochs):
            for found in self.feed.places(epoch, sample):
                place = (epoch - self.start.epoch) * len(self.feed) + found.position - self.start.position
                if place >= 0:
                    step, inside = divmod(place, self.step_items)
                    if rank is None or inside % self.world_size == rank:
                        yield self._traced(step, inside, epoch, found)

    def _traced(self, step: int, place: int, epoch: int, found: Place) -> Traced:
        """`place` is that of the item in the step."""
        samples, piece = self.feed.samples, found.piece
        in_batch, rank = divmod(place, self.world_size)
        phase = self.feed.phase_number(found.position)
        return Traced(
            step=step,
            rank=rank,
            in_batch=in_batch,
            epoch=epoch,
            position=found.position,
            shard=samples.shards[samples.shard_of(piece.row)],
            row=int(samples.row[piece.row]),
            copy=piece.copy,
            copies=int(self.feed.document_orders[phase].copies[piece.row]),
            domain=samples.domains[int(samples.domain[piece.row])],
            n_tokens=int(samples.n_tokens[piece.row]),
            sample_key=samples.key(piece.row),
            inside=found.inside,
            start=piece.start,
            stop=piece.stop,
            phase=self.feed.phases[phase].name,
        )


def read_state(path: Path) -> dict[str, Any]:
    """A state that a job saved as JSON. Raises ConfigError if the file holds none."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be read as a state: {error}.", "Give the JSON of state_dict().") from None
    if not isinstance(found, dict) or type(found.get("seed")) is not int:
        raise ConfigError(f"{path} holds no state.", "Give the JSON of state_dict().")
    return found


def find_sample(mixture: Mixture, document: str) -> int:
    """The sample that people name by its key (32 hex digits) or its place, 'shard:row'. Raises ManifestError if there is none."""
    shard, colon, row = document.rpartition(":")
    is_place = colon and row.isascii() and row.isdigit()
    found = mixture.samples.find(shard, int(row)) if is_place else _by_key(mixture, document)
    if found is None:
        raise ManifestError(
            f"{mixture.manifest.name} version {mixture.manifest.version} has no copy of {document!r}.",
            "Name a document by its sample key, or as crawl/domain/shard.jsonl:row. One that is not here was not taken.",
        )
    return found


def _by_key(mixture: Mixture, key: str) -> int | None:
    try:
        wanted = np.frombuffer(bytes.fromhex(key), dtype="V16")
    except ValueError:
        return None
    samples = mixture.samples
    for number, shard in enumerate(samples.shards if wanted.size == 1 else ()):
        start, stop = samples.shard_first[number : number + 2].tolist()
        keys = keys_to_bytes(sample_keys(shard.partition("/")[0], shard, samples.row[start:stop].astype(np.int64)))
        at = np.flatnonzero(keys == wanted[0])
        if at.size:
            return int(start + at[0])
    return None
