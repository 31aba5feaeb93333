"""Texts of scored documents, read again from the files they were scored from."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.corpus.reader import ShardReader
from samplemix_core.corpus.records import Block, RejectedRecordError
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
    corpus: ObjectStore, shard: Shard, reader: ReaderConfig, rows: npt.NDArray[np.int64], blocks: Sequence[Block] = ()
) -> Iterator[pa.LargeStringArray]:
    """Yield the texts at some rows of a scored shard, ascending, some at a time.

    With `blocks`, those that the shard was cut into, what lies between the rows is passed over where the format allows it.
    Raises CorpusError if the file isn't the one that was scored.
    """
    read = 0
    with corpus.open(shard.path) as stream:
        try:
            opened = ShardReader(stream, shard.path, reader)
            for block, wanted in _by_place(opened, rows, blocks):
                for batch in opened.pick(wanted, block):
                    read += batch.num_rows
                    yield batch.column("text")
        except (RejectedRecordError, ShardRefusedError) as error:
            require_unchanged(corpus, shard)
            raise CorpusError(
                f"{corpus.uri}/{shard.path} can't be read as it was scored: {error}.",
                "Put back the file that was scored, or run again.",
            ) from error
    require_unchanged(corpus, shard)
    if read != rows.size:
        raise CorpusError(f"{corpus.uri}/{shard.path}: row {rows[read]} is missing.", "Run again: what changed is scored again.")


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
