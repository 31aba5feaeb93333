"""A shard's records, whatever its format, block by block."""

from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.corpus.records import BLANK, Block, Record, ShardBatch, gather
from samplemix_core.corpus.shards import READ_SUFFIXES, format_of, parse_shard_path
from samplemix_core.errors import ShardRefusedError

WHOLE_SHARD = Block()
"""The block that holds every row."""


class ShardReader:
    """Reads a shard's blocks from a seekable stream, which stays open.

    Blocks read in order, with gaps or without, cost one pass: the reader stays where a block ended, and starts over only for
    earlier rows, or where it can jump (plain JSON lines to any block, Parquet to a row group). Skipped parts of a compressed file
    are decompressed and split into lines, but not parsed.

    `path`, relative to the corpus root, decides format and compression by its suffix, and the domain unless a field does. Memory is
    bounded by a batch and a line of `config.max_record_bytes`, and for Parquet also by a row group's pages.

    Raises CorpusError if the path is too shallow to name snapshot and domain, ShardRefusedError if its suffix has no known format
    or the file can't be trusted as a whole: an archive cut short or with a wrong checksum, a broken Parquet file, or one without
    the columns asked for. Errors of the stream itself pass unchanged.
    """

    def __init__(self, stream: BinaryIO, path: str, config: ReaderConfig) -> None:
        _, path_domain = parse_shard_path(path, config)
        known = format_of(path)
        if known is None:
            raise ShardRefusedError(
                f"Shard {path!r} has a suffix of no known format.",
                f"A shard's name ends in {READ_SUFFIXES}.",
            )
        self._format = known.kind(stream, path, path_domain, config)
        self._records: Iterator[Record] | None = None
        self._put_back: list[Record] = []
        self._row = 0

    def plan(self, documents: int, n_bytes: int) -> list[Block]:
        """Cut the shard into blocks of at most `documents` rows and `n_bytes` bytes, or one longer record.

        Together they hold each row once, in order. An archive is read to its end, so that a broken one is refused here.
        """
        return self._format.plan(documents, n_bytes)

    def share_read(self, position: int, size: int, records: int) -> float:
        """Estimate how many of the file's `size` bytes the first `records` records take, with the stream at `position`."""
        return self._format.share_read(position, size, records)

    def read(self, block: Block = WHOLE_SHARD) -> Iterator[ShardBatch]:
        """Read a block in order, in batches of at most 128 records and 32 MiB of records (or one longer record).

        Every record ends either in a batch's documents or in its quarantine. `row` is the line's index in JSON lines, where a
        blank line takes a row but is neither document nor quarantined, and the record's index in Parquet. `byte_offset` is where
        the line begins in the decompressed bytes; -1 in Parquet.

        ShardRefusedError may be raised after batches have been yielded. They must be dropped: a refused shard leaves no trace.
        """
        yield from gather(self._within(block), self._format.parse)

    def starts(self) -> list[int] | None:
        """Rows where reading can begin, ascending; None if only the bytes of a block tell (plain JSON lines)."""
        return self._format.starts()

    def pick(self, rows: npt.NDArray[np.int64], block: Block = WHOLE_SHARD) -> Iterator[pa.RecordBatch]:
        """Yield some rows of a block as schemas.DOCUMENTS, ascending; the block begins where reading can begin.

        Others are passed over. These are rows that read() gave as documents before: what decides whether a record is one isn't
        looked at again. A row that isn't there isn't yielded. Raises ShardRefusedError as read() does, and RejectedRecordError for
        a record that can't be a document.
        """
        return self._format.pick(rows, block)

    def _within(self, block: Block) -> Iterator[Record]:
        row, byte_offset = self._format.place_before(block)
        if self._records is None or block.first_row < self._row or row > self._row:
            self._records, self._row = self._format.records(row, byte_offset), row
            self._put_back = []
        end = None if block.rows is None else block.first_row + block.rows
        for record in chain(self._put_back, self._records):
            self._put_back, self._row = [], record.row + 1
            if end is not None and record.row >= end:
                # The first record after the block.
                self._put_back, self._row = [record], record.row
                return
            if record.row >= block.first_row and record.value != BLANK:
                yield record
