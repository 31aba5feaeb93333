"""A format of corpus files: how a shard is cut into blocks and read, and how any file of it is read as a table."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.corpus.records import Block, Document, Record, documents_of

ROWS_AT_ONCE = 10_000
"""Rows per batch of columns, if a format has no batch size of its own."""


class Format(ABC):
    """A shard, read from a seekable stream, which stays open. A format is a module with a subclass, and a row in shards.FORMATS.

    The constructor and all methods raise ShardRefusedError for a file that can't be trusted as a whole. Errors of the stream itself
    pass unchanged.
    """

    @abstractmethod
    def __init__(self, stream: BinaryIO, path: str, path_domain: str | None, config: ReaderConfig) -> None:
        """`path_domain` is the domain of each record, if the path names it."""

    @abstractmethod
    def plan(self, documents: int, n_bytes: int) -> list[Block]:
        """Cut the shard into blocks of at most these numbers of rows and bytes, or one longer record. Each row is in one block."""

    @abstractmethod
    def place_before(self, block: Block) -> tuple[int, int]:
        """Return the nearest row and byte, at or before a block's start, where reading can begin."""

    def starts(self) -> list[int] | None:
        """Return the rows where reading can begin, ascending; None if a block's byte offset decides."""
        return [0]

    def pick(self, rows: npt.NDArray[np.int64], block: Block) -> Iterator[pa.RecordBatch]:
        """See ShardReader.pick. A format that can make columns of many records at once does so."""
        wanted = set(rows.tolist())
        found = takewhile(lambda record: record.row <= rows[-1], self.records(*self.place_before(block)))
        return documents_of((record for record in found if record.row in wanted), self.parse)

    @abstractmethod
    def records(self, row: int, byte_offset: int) -> Iterator[Record]:
        """Yield the records from such a place on, in order."""

    @abstractmethod
    def parse(self, record: Record) -> Document:
        """Return a record's document; raise RejectedRecordError if it isn't one."""

    @abstractmethod
    def share_read(self, position: int, size: int, records: int) -> float:
        """Estimate how many of a file's `size` bytes the first `records` records take, with the stream at `position`."""

    @classmethod
    @abstractmethod
    def rows(cls, stream: BinaryIO, path: str, max_bytes: int) -> Iterator[object]:
        """Yield every record of a file as plain values, or a RejectedRecordError in place of one that can't be read.

        Numbers stay numbers, as labels and scores have to be, and a field without a value is None or missing.
        Raises CorpusError or ShardRefusedError for a file that can't be read.
        """

    @classmethod
    def columns(cls, stream: BinaryIO, path: str, names: Sequence[str], max_bytes: int) -> Iterator[pa.RecordBatch]:
        """Yield these fields of every record of a file, null if a record lacks one or can't be read.

        Raises as rows() does, and ConfigError for a column that the file can't have.
        """
        rows = cls.rows(stream, path, max_bytes)
        while part := list(islice(rows, ROWS_AT_ONCE)):
            fields = [row if isinstance(row, dict) else {} for row in part]
            yield pa.record_batch([_array([row.get(name) for row in fields]) for name in names], names=list(names))


def _array(values: list[Any]) -> pa.Array:
    """Convert values to an Arrow array; as text if they are of several types or too large."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
