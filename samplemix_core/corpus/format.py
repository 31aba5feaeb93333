"""A format of corpus files: how a shard is cut into blocks and read, and how any file of it is read as a table."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa

from samplemix_core.config.run import ReaderConfig
from samplemix_core.corpus.records import Block, Document, Record

ROWS_AT_ONCE = 10_000
"""Rows of a batch of columns, where a format has no sizes of its own."""


class Format(ABC):
    """A shard, read from a seekable stream, which stays open. A format is a file with a subclass, and a row in shards.FORMATS.

    What can't be trusted as a whole raises ShardRefusedError, from any method and from the constructor; errors of the stream itself
    pass unchanged.
    """

    @abstractmethod
    def __init__(self, stream: BinaryIO, path: str, path_domain: str | None, config: ReaderConfig) -> None:
        """`path_domain` is the domain of each record, where the path says it."""

    @abstractmethod
    def plan(self, documents: int, n_bytes: int) -> list[Block]:
        """Cut the shard into blocks of at most so many rows and bytes, or one longer record; together they hold each row once."""

    @abstractmethod
    def place_before(self, block: Block) -> tuple[int, int]:
        """Row and byte where reading can begin for a block: the nearest before it."""

    @abstractmethod
    def records(self, row: int, byte_offset: int) -> Iterator[Record]:
        """The records from such a place on, in order."""

    @abstractmethod
    def parse(self, record: Record) -> Document:
        """The document of a record; raise RejectedRecordError if it is none."""

    @abstractmethod
    def share_read(self, position: int, size: int, records: int) -> float:
        """About how many of a file's `size` bytes the first `records` take, the stream being at `position`."""

    @classmethod
    @abstractmethod
    def rows(cls, stream: BinaryIO, path: str, max_bytes: int) -> Iterator[object]:
        """Every record of a file as plain values; in place of one that can't be read, a RejectedRecordError.

        Numbers are numbers, as labels and scores have to be, and a field without a value is None or missing.
        Raises CorpusError or ShardRefusedError for a file that can't be read.
        """

    @classmethod
    def columns(cls, stream: BinaryIO, path: str, names: Sequence[str], max_bytes: int) -> Iterator[pa.RecordBatch]:
        """These fields of every record of a file, null where a record lacks one or can't be read. Raises as rows() does.

        ConfigError for a column that the file can't have.
        """
        rows = cls.rows(stream, path, max_bytes)
        while part := list(islice(rows, ROWS_AT_ONCE)):
            fields = [row if isinstance(row, dict) else {} for row in part]
            yield pa.record_batch([_array([row.get(name) for row in fields]) for name in names], names=list(names))


def _array(values: list[Any]) -> pa.Array:
    """Values as Arrow has them; as text, where they are of several types or too large."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
