"""The corpus's shards as they were mixed, in a file beside a version's parts: the way back from a row to its document."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from samplemix_core.errors import ManifestError
from samplemix_core.manifest.catalogue import Version
from samplemix_core.manifest.format import SOURCES, ShardEntry, SourcesFile
from samplemix_core.manifest.parts import file_sha256

SHARDS_PER_GROUP = 2**14
"""Rows of a Parquet row group. Part of the format: it decides the bytes."""

_OFFSETS = pa.list_(pa.field("element", pa.int64(), nullable=False))

SOURCES_SCHEMA = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("etag", pa.string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("first_rows", _OFFSETS, nullable=False),
        pa.field("byte_offsets", _OFFSETS, nullable=False),
    ]
)
"""Every shard of the version's snapshots, sorted by path: the file it was, and rows where reading can begin.

Row first_rows[i] begins at byte byte_offsets[i]. Both are empty where a format has its own way to a row, or none.
"""


class SourceShard(NamedTuple):
    """One shard: its path below the corpus root, etag, size, and rows where reading can begin, with the bytes where they begin."""

    shard: str
    etag: str
    size_bytes: int
    first_rows: list[int]
    byte_offsets: list[int]

    @property
    def entry(self) -> ShardEntry:
        """The shard as a listing has it."""
        return self.shard, self.etag, self.size_bytes


def write_sources(sources: Iterable[SourceShard], directory: Path) -> SourcesFile:
    """Write shards, sorted by path, as sources.parquet into an existing directory; the bytes depend on the shards alone."""
    path = directory / SOURCES
    rows, shards = 0, iter(sources)
    with pq.ParquetWriter(path, SOURCES_SCHEMA, version="2.6", compression="zstd", compression_level=3) as writer:
        while group := list(islice(shards, SHARDS_PER_GROUP)):
            columns = [pa.array(column, field.type) for column, field in zip(zip(*group, strict=True), SOURCES_SCHEMA, strict=True)]
            writer.write_table(pa.table(columns, schema=SOURCES_SCHEMA), row_group_size=len(group))
            rows += len(group)
    return SourcesFile(path=SOURCES, rows=rows, sha256=file_sha256(path))


def read_sources(version: Version) -> pa.Table:
    """The shards of a version (SOURCES_SCHEMA), without a row where the version is of a release that wrote none.

    Raises ManifestError for a file that was changed.
    """
    if version.manifest.sources is None:
        return SOURCES_SCHEMA.empty_table()
    data = version.file(SOURCES, version.manifest.sources.sha256)
    try:
        table = pq.read_table(pa.BufferReader(data), columns=SOURCES_SCHEMA.names)
        return pa.Table.from_arrays(table.columns, schema=SOURCES_SCHEMA)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ManifestError(f"{version.uri}: {SOURCES} can't be read: {error}.", "Restore it, or use another version.") from None


def entries(sources: pa.Table) -> Iterator[ShardEntry]:
    """Yield the shards as a listing has them, in order."""
    for batch in sources.select(["shard", "etag", "size_bytes"]).to_batches():
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
