"""Parquet: columns by name, records by row, judged by the same rules as JSON lines."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from samplemix_core.config import ReaderConfig
from samplemix_core.corpus.batches import MAX_BATCH_BYTES, MAX_BATCH_RECORDS, BatchBuilder, ShardBatch
from samplemix_core.corpus.records import Reason, RejectedRecordError, check_document
from samplemix_core.corpus.streams import CHUNK_BYTES, GuardedStream
from samplemix_core.errors import ShardRefusedError

_Values = list[Any]
_NO_OFFSET = -1


def read_parquet(stream: BinaryIO, path: str, path_domain: str | None, config: ReaderConfig) -> Iterator[ShardBatch]:
    """Batches of a Parquet shard's records; a stream that can't seek is first copied to a temporary file.

    Raises ShardRefusedError for a file without footer or with broken pages, and for one whose text (or domain) column is
    missing or not of strings. An error of the stream itself passes unchanged.
    """
    if stream.seekable():
        yield from _read_seekable(stream, path, path_domain, config)
    else:
        with tempfile.TemporaryFile() as spooled:
            shutil.copyfileobj(stream, spooled, CHUNK_BYTES)
            spooled.seek(0)
            yield from _read_seekable(spooled, path, path_domain, config)


def _read_seekable(stream: BinaryIO, path: str, path_domain: str | None, config: ReaderConfig) -> Iterator[ShardBatch]:
    row = 0
    batch = BatchBuilder()
    for texts, ids, domains in _slices(GuardedStream(stream), path, config):
        for i, text in enumerate(texts):
            n_bytes = 0 if text is None else len(text)
            if not batch.has_room(n_bytes):
                yield batch.take()
            try:
                if n_bytes > config.max_record_bytes:
                    raise RejectedRecordError(
                        Reason.RECORD_TOO_LONG, f"the text has {n_bytes} bytes, more than {config.max_record_bytes}"
                    )
                document = check_document(_decode(text), ids and _decode(ids[i]), _decode(domains[i]) if domains else path_domain)
                batch.add(row, document, n_bytes)
            except RejectedRecordError as rejected:
                batch.reject(row, _NO_OFFSET, rejected)
            row += 1
    if batch:
        yield batch.take()


def _slices(source: GuardedStream, path: str, config: ReaderConfig) -> Iterator[tuple[_Values, _Values | None, _Values | None]]:
    """Text, id and domain values (strings as undecoded bytes) of consecutive rows, few enough to bound memory."""
    with _refusing(source, path):
        file = pq.ParquetFile(source, buffer_size=CHUNK_BYTES, page_checksum_verification=True)
        schema = file.schema_arrow
        metadata = file.metadata
    _require_strings(schema, config.text_field, path)
    if config.domain_field is not None:
        _require_strings(schema, config.domain_field, path)
    has_id = config.id_field is not None and (
        _is_string(id_type := _type_of(schema, config.id_field)) or pa.types.is_integer(id_type) or pa.types.is_floating(id_type)
    )
    fields = [config.text_field, config.id_field if has_id else None, config.domain_field]
    n_bytes = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    batch_rows = min(MAX_BATCH_RECORDS, max(1, metadata.num_rows * MAX_BATCH_BYTES // max(n_bytes, 1)))
    slices = file.iter_batches(batch_rows, columns=sorted({field for field in fields if field}), use_threads=False)
    while True:
        with _refusing(source, path):
            part = next(slices, None)
            if part is None:
                return
            texts, ids, domains = (None if field is None else _values(part, field) for field in fields)
        assert texts is not None
        yield texts, ids, domains


def _values(part: pa.RecordBatch, field: str) -> _Values:
    name, *inner = field.split(".")
    column = part.column(name)
    if inner:
        column = pc.struct_field(column, inner)
    values: _Values = (column.cast(pa.large_binary()) if _is_string(column.type) else column).to_pylist()
    return values


def _decode(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise RejectedRecordError(Reason.INVALID_UTF8, f"byte {error.start} of a value is not UTF-8: {error.reason}") from None


def _type_of(schema: pa.Schema, field: str) -> pa.DataType:
    """Type of a column, or of a struct's field; Arrow's null type where there is no such column, or more than one."""
    name, *inner = field.split(".")
    index = schema.get_field_index(name)
    found = pa.null() if index < 0 else schema.field(index).type
    for name in inner:
        index = found.get_field_index(name) if pa.types.is_struct(found) else -1
        found = pa.null() if index < 0 else found.field(index).type
    return found


def _is_string(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _require_strings(schema: pa.Schema, field: str, path: str) -> None:
    kind = _type_of(schema, field)
    if not _is_string(kind):
        problem = "is missing" if pa.types.is_null(kind) else f"has type {kind}, not string"
        raise ShardRefusedError(
            f"Shard {path!r}: column {field!r} {problem}; its columns are {', '.join(schema.names)}.",
            "Set the reader's text_field and domain_field to string columns of the corpus, or write the file again.",
        )


@contextmanager
def _refusing(source: GuardedStream, path: str) -> Iterator[None]:
    """Turn what Arrow raises over a broken file into ShardRefusedError."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if source.failure is not None:
            raise source.failure from None
        raise ShardRefusedError(
            f"Shard {path!r} is not a whole Parquet file: {error} (after {source.n_bytes} bytes read).",
            "No row of it is used; write or upload the file again, then run again.",
        ) from error
