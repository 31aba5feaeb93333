"""Texts of scored documents, read again from the files they were scored from."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.corpus.reader import ShardReader
from samplemix_core.corpus.records import Block, RejectedRecordError, describe
from samplemix_core.database.scope import Shard
from samplemix_core.errors import CorpusError, ShardRefusedError
from samplemix_core.objects.interface import ObjectStore


def require_unchanged(corpus: ObjectStore, shard: Shard) -> None:
    """Raise CorpusError unless the shard's file is the one that was registered."""
    info = corpus.head(shard.path)
    if info is not None and shard.stamp is not None and (info.size, info.stamp) == (shard.size_bytes, shard.stamp):
        # Then its etag is the same too, and computing it would read the whole file.
        return
    if info is None or (info.size, info.etag) != (shard.size_bytes, shard.etag):
        raise CorpusError(
            f"{corpus.uri}/{shard.path} changed during the run: its etag was {shard.etag}, now it is "
            f"{info.etag if info else 'gone'}.",
            "Run again when nothing writes to it: a shard that changed is scored again.",
        )


def read_texts(
    corpus: ObjectStore,
    shard: Shard,
    reader: ReaderConfig,
    rows: npt.NDArray[np.int64],
    hashes: pa.Array,
    blocks: Sequence[Block] = (),
) -> Iterator[pa.LargeStringArray]:
    """Yield the texts at some rows of a scored shard, ascending, some at a time, whose content hashes are `hashes`, binary(16).

    With `blocks`, those that the shard was cut into, what lies between the rows is passed over where the format allows it.
    Raises CorpusError if the file isn't the one that was scored.
    """
    read = 0
    with corpus.open(shard.path) as stream:
        try:
            opened = ShardReader(stream, shard.path, reader)
            for block, wanted in _by_place(opened, rows, blocks):
                for batch in opened.pick(wanted, block):
                    texts = batch.column("text")
                    if not describe(pa.chunked_array([texts]))[1].equals(hashes.slice(read, len(texts))):
                        raise _changed(corpus, shard, "its texts are others")
                    read += len(texts)
                    yield texts
        except (RejectedRecordError, ShardRefusedError) as error:
            raise _changed(corpus, shard, str(error)) from error
    if read != rows.size:
        raise _changed(corpus, shard, f"row {rows[read]} is missing")


def _changed(corpus: ObjectStore, shard: Shard, what: str) -> CorpusError:
    return CorpusError(
        f"{corpus.uri}/{shard.path} isn't the file that was scored: {what}.",
        "Put that one back, or run again over its snapshot: a file that changed is scored again.",
    )


def _by_place(
    opened: ShardReader, rows: npt.NDArray[np.int64], blocks: Sequence[Block]
) -> Iterator[tuple[Block, npt.NDArray[np.int64]]]:
    """The rows by the places where reading can begin."""
    starts = opened.starts() if blocks else [0]
    places = blocks if starts is None else [Block(first_row=start) for start in starts]
    bounds = np.searchsorted(rows, [place.first_row for place in places[1:]])
    for place, wanted in zip(places, np.split(rows, bounds), strict=True):
        if wanted.size:
            yield place, wanted
