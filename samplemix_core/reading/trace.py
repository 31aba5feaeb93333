"""From a training step to the documents that it read, and back: from the manifest alone."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from samplemix_core.errors import ConfigError, ManifestError
from samplemix_core.reading.mixture import Mixture, State
from samplemix_core.sample_key import keys_to_bytes, sample_keys


class Traced(NamedTuple):
    """One copy of a sample, and where it is read: by `rank`, as document `in_batch` of its batch in `step`."""

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


@dataclass(frozen=True)
class Steps:
    """How a job takes its steps: `batch_size` documents a rank and step. Step 0 is the first after `start`."""

    mixture: Mixture
    batch_size: int
    world_size: int
    start: State

    def __post_init__(self) -> None:
        for value, name in ((self.batch_size, "batch size"), (self.world_size, "world size")):
            if value < 1:
                raise ConfigError(f"The {name} is {value}.", "Give at least 1.")

    @property
    def step_documents(self) -> int:
        """Documents of a step over all ranks."""
        return self.batch_size * self.world_size

    def documents(self, step: int, rank: int | None = None) -> Iterator[Traced]:
        """Yield what a step reads, rank by rank or of one rank alone, in the order of each rank's batch."""
        if not 0 <= step < 2**40 or (rank is not None and not 0 <= rank < self.world_size):
            raise ConfigError(
                f"There is no step {step} of rank {rank} of {self.world_size}.", "Steps and ranks are counted from 0."
            )
        ranks = np.arange(self.world_size) if rank is None else np.array([rank])
        # Rank by rank, the places of its batch in the stream of all ranks.
        inside = (ranks[:, None] + self.world_size * np.arange(self.batch_size, dtype=np.int64)).ravel()
        epochs, positions = np.divmod(step * self.step_documents + inside + self.start.position, len(self.mixture))
        samples, copies = np.empty_like(positions), np.empty_like(positions)
        for epoch in np.unique(epochs).tolist():
            at = epochs == epoch
            samples[at], copies[at] = self.mixture.order.epoch(self.start.epoch + epoch).at(positions[at])
        for place, epoch, *rest in zip(*(part.tolist() for part in (inside, epochs, positions, samples, copies)), strict=True):
            in_batch, number = divmod(place, self.world_size)
            yield self._traced(step, number, in_batch, self.start.epoch + epoch, *rest)

    def of_sample(self, sample: int, epochs: int = 1) -> Iterator[Traced]:
        """Yield where the copies of a sample are read in so many epochs, the one of `start` included, in order."""
        length = len(self.mixture)
        for epoch in range(self.start.epoch, self.start.epoch + epochs):
            for position, copy in self.mixture.order.epoch(epoch).places(sample):
                place = (epoch - self.start.epoch) * length + position - self.start.position
                if place >= 0:
                    step, inside = divmod(place, self.step_documents)
                    in_batch, rank = divmod(inside, self.world_size)
                    yield self._traced(step, rank, in_batch, epoch, position, sample, copy)

    def _traced(self, step: int, rank: int, in_batch: int, epoch: int, position: int, sample: int, copy: int) -> Traced:
        samples = self.mixture.samples
        return Traced(
            step=step,
            rank=rank,
            in_batch=in_batch,
            epoch=epoch,
            position=position,
            shard=samples.shards[samples.shard_of(sample)],
            row=int(samples.row[sample]),
            copy=copy,
            copies=int(samples.copies[sample]),
            domain=samples.domains[int(samples.domain[sample])],
            n_tokens=int(samples.n_tokens[sample]),
            sample_key=samples.key(sample),
        )


def read_state(path: Path) -> dict[str, Any]:
    """A state that a job saved as JSON. Raises ConfigError if the file holds none."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be read as a state: {error}.", "Give the JSON of state_dict().") from None
    if not isinstance(found, dict):
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
