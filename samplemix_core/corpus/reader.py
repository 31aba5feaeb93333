"""A shard as batches of documents, whatever its format."""

from collections.abc import Iterator
from typing import BinaryIO

from samplemix_core.config import ReaderConfig
from samplemix_core.corpus.json_lines import read_json_lines
from samplemix_core.corpus.listing import JSON_LINES_SUFFIXES, PARQUET_SUFFIX, SHARD_SUFFIXES, parse_shard_path
from samplemix_core.corpus.parquet import read_parquet
from samplemix_core.corpus.records import ShardBatch
from samplemix_core.corpus.streams import open_decompressed
from samplemix_core.errors import ShardRefusedError


def read_shard(stream: BinaryIO, path: str, config: ReaderConfig) -> Iterator[ShardBatch]:
    """Read a shard in order, in batches of at most 2,048 records and 64 MiB of records (or one longer record).

    `path`, relative to the corpus root, decides format and compression by its suffix, and the domain where no field does.
    Every record ends either in a batch's documents or in its quarantine. `row` is the line's index in JSON lines, where a
    blank line takes a row but is neither document nor quarantined, and the record's index in Parquet. `byte_offset` is where
    the line begins in the decompressed bytes; -1 in Parquet. The stream stays open; it is read once, forwards, except
    for Parquet, which seeks.

    Memory is bounded by a batch and a line of `config.max_record_bytes`; for Parquet by a row group's pages in addition.

    Raises CorpusError if the path is too shallow to name snapshot and domain; ShardRefusedError if the file can't be trusted as
    a whole: an unknown suffix, an archive cut short or with a wrong checksum, a broken Parquet file, or one without the columns
    asked for. That may come after batches have been yielded: keep nothing of a shard before this generator has ended, and
    a refused shard leaves no trace. Errors of the stream itself pass unchanged.
    """
    _, path_domain = parse_shard_path(path, config)
    suffixed = path.lower()
    if suffixed.endswith(JSON_LINES_SUFFIXES):
        yield from read_json_lines(open_decompressed(stream, path), path_domain, config)
    elif suffixed.endswith(PARQUET_SUFFIX):
        yield from read_parquet(stream, path, path_domain, config)
    else:
        raise ShardRefusedError(
            f"Shard {path!r} has a suffix of no known format.",
            f"A shard's name ends in one of {', '.join(SHARD_SUFFIXES)}.",
        )
