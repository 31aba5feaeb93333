"""Parquet: columns by name, records by row, judged by the same rules as JSON lines."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from samplemix_core import schemas
from samplemix_core.config.reader import ReaderConfig
from samplemix_core.corpus.corpus_format import ROWS_AT_ONCE, Format
from samplemix_core.corpus.records import (
    MAX_BATCH_BYTES,
    MAX_BATCH_RECORDS,
    Block,
    Document,
    Reason,
    Record,
    RejectedRecordError,
    check_document,
    documents_of,
)
from samplemix_core.corpus.streams import CHUNK_BYTES, GuardedStream
from samplemix_core.errors import ConfigError, CorpusError, ShardRefusedError

_Values = list[Any]
_NO_OFFSET = -1
_ROWS_OF_DELTAS = 16


class _TooLong(int):
    """The number of bytes of a string that is over the limit and was not read."""


class Parquet(Format):
    """A shard of Parquet: columns by name, one record per row.

    Its methods raise ShardRefusedError for a file without a footer or with broken pages, and for one whose text (or domain) column
    is missing or not of strings. An error of the stream itself passes unchanged.
    """

    def __init__(self, stream: BinaryIO, path: str, path_domain: str | None, config: ReaderConfig) -> None:
        self._source, self._path, self._path_domain, self._config = GuardedStream(stream), path, path_domain, config
        with _refusing(self._source, path):
            file = self._open()
            schema, metadata = file.schema_arrow, file.metadata
            _require_strings(schema, config.text_field, path)
            if config.domain_field is not None:
                _require_strings(schema, config.domain_field, path)
            has_id = config.id_field is not None and _is_id(_type_of(schema, config.id_field))
            notes = [
                name if name is not None and _is_note(_type_of(schema, name)) else None
                for name in (config.url_field, config.license_field)
            ]
            self._fields = [config.text_field, config.id_field if has_id else None, config.domain_field, *notes]
            self._columns = sorted({field for field in self._fields if field})
            self._metadata = metadata
            groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
            self._starts = np.cumsum([0] + [group.num_rows for group in groups])
            # Other columns are not examined, so faults in them do no harm.
            wanted = [(i, metadata.schema.column(i)) for i in range(len(metadata.schema)) if _is_wanted(metadata, i, self._columns)]
            self._group_bytes = [sum(group.column(i).total_uncompressed_size for i, _ in wanted) for group in groups]
            values = [
                (group.num_rows, group.column(i).num_values)
                for group in groups
                for i, own in wanted
                if not own.max_repetition_level
            ]
        if metadata.num_rows != self._starts[-1] or any(rows != n for rows, n in values):
            raise ShardRefusedError(
                f"Shard {path!r} is not a whole Parquet file: its row groups or columns don't have the rows that it states.",
                "No row of it is used; write or upload the file again, then run again.",
            )

    def _open(self, **options: Any) -> pq.ParquetFile:
        with _refusing(self._source, self._path):
            self._source.seek(0)
            return pq.ParquetFile(self._source, buffer_size=CHUNK_BYTES, page_checksum_verification=True, **options)

    def plan(self, documents: int, n_bytes: int) -> list[Block]:
        """Cut the shard into blocks by its footer alone: row groups, or slices of them whose rows take `n_bytes` on average."""
        blocks: list[Block] = []
        for start, stop, size in zip(self._starts[:-1].tolist(), self._starts[1:].tolist(), self._group_bytes, strict=True):
            a_row = size / max(1, stop - start)
            step = max(1, min(documents, int(n_bytes / max(a_row, 1))))
            for row in range(start, stop, step):
                rows = min(step, stop - row)
                blocks.append(Block(len(blocks), row, rows, _NO_OFFSET, round(rows * a_row)))
        return blocks or [Block(rows=0, byte_offset=_NO_OFFSET, n_bytes=0)]

    def place_before(self, block: Block) -> tuple[int, int]:
        """Row where reading can begin for a block: its row group's first."""
        group = int(np.searchsorted(self._starts, block.first_row, side="right")) - 1
        return int(self._starts[min(group, len(self._group_bytes))]), _NO_OFFSET

    def starts(self) -> list[int]:
        """See Format.starts: the first rows of row groups."""
        found: list[int] = self._starts[:-1].tolist()
        return found

    def records(self, row: int, byte_offset: int) -> Iterator[Record]:
        """Yield the records from a row group's first row on."""
        for first, part in self._parts(row):
            yield from self._records_in(part, np.arange(first, first + part.num_rows))

    def pick(self, rows: npt.NDArray[np.int64], block: Block) -> Iterator[pa.RecordBatch]:
        """See Format.pick: other rows are decoded with those of their row group, but become no values."""
        for first, part in self._parts(self.place_before(block)[0]):
            here = rows[: np.searchsorted(rows, first + part.num_rows)]
            if here.size:
                taken = part.take(pa.array(here - first))
                found = self._columns_of(taken, here)
                yield from documents_of(self._records_in(taken, here), self.parse) if found is None else [found]
            rows = rows[here.size :]
            if not rows.size:
                return

    def _parts(self, row: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield the rows from a row group's first row on, some at a time, each with the first one's number."""
        batch_rows, dictionaries = _reading_plan(self._metadata, self._columns)
        file = self._open(read_dictionary=dictionaries, metadata=self._metadata)
        groups = range(int(np.searchsorted(self._starts, row)), file.num_row_groups)
        slices = file.iter_batches(batch_rows, row_groups=list(groups), columns=self._columns, use_threads=False)
        while True:
            with _refusing(self._source, self._path):
                part = next(slices, None)
            if part is None:
                self._require_all(row)
                return
            yield row, part
            row += part.num_rows

    def _columns_of(self, part: pa.RecordBatch, rows: npt.NDArray[np.int64]) -> pa.RecordBatch | None:
        """A part's records as documents, without a value for each; None if its columns aren't strings without nulls."""
        with _refusing(self._source, self._path):
            text, identifier, domain, *notes = (None if field is None else _column(part, field) for field in self._fields)
            if any(note is not None for note in notes):
                return None
            columns = [column for column in (text, identifier, domain) if column is not None]
            required = [column for column in (text, domain) if column is not None]
            # An id of bytes is spelled, not decoded.
            if identifier is not None and _is_bytes(identifier.type):
                return None
            if any(not _is_string(column.type) for column in columns) or any(column.null_count for column in required):
                return None
            assert text is not None
            domains = pa.repeat(pa.scalar(self._path_domain, pa.string()), part.num_rows) if domain is None else domain
            ids = pa.nulls(part.num_rows, pa.string()) if identifier is None else identifier
            found = [pa.array(rows), ids.cast(pa.string()), domains.cast(pa.string()), text.cast(pa.large_string())]
            found += [pa.nulls(part.num_rows, pa.string())] * 2
            return pa.record_batch(found, schema=schemas.DOCUMENTS)

    def _records_in(self, part: pa.RecordBatch, rows: npt.NDArray[np.int64]) -> Iterator[Record]:
        """Yield a part's records, which have these rows."""
        with _refusing(self._source, self._path):
            read = [None if field is None else _column(part, field) for field in self._fields]
        for start, stop in _pieces(read, self._config.max_record_bytes):
            with _refusing(self._source, self._path):
                text, identifier, domain, *notes = (None if column is None else column[start:stop] for column in read)
                texts, domains = (None if column is None else _values(column, self._config) for column in (text, domain))
                ids = None if identifier is None else _ids(identifier, self._config)
                urls, licenses = (None if column is None else _notes(column) for column in notes)
            assert texts is not None
            for i, (row, text) in enumerate(zip(rows[start:stop].tolist(), texts, strict=True)):
                n_bytes = 0 if text is None or isinstance(text, _TooLong) else len(text)
                values = text, ids and ids[i], domains[i] if domains else self._path_domain
                yield Record(row, _NO_OFFSET, n_bytes, (*values, urls and urls[i], licenses and licenses[i]))

    def _require_all(self, row: int) -> None:
        if row != self._starts[-1]:
            raise ShardRefusedError(
                f"Shard {self._path!r} is not a whole Parquet file: it ends after row {row:,} of {int(self._starts[-1]):,}.",
                "No row of it is used; write or upload the file again, then run again.",
            )

    def parse(self, record: Record) -> Document:
        """Return a record's document; raise RejectedRecordError if it isn't one."""
        return check_document(*map(_decode, _short(record.value, self._config)))

    def share_read(self, position: int, size: int, records: int) -> float:
        """See Format.share_read: by the number of rows."""
        return size * records / max(1, int(self._starts[-1]))

    @classmethod
    def rows(cls, stream: BinaryIO, path: str, max_bytes: int) -> Iterator[object]:
        """See Format.rows."""
        for batch in _batches(stream, path, None):
            try:
                yield from batch.to_pylist()
            except (ValueError, OverflowError) as error:
                raise CorpusError(f"{path} can't be read as Parquet: {error}.", "Write such values as text.") from error

    @classmethod
    def columns(cls, stream: BinaryIO, path: str, names: Sequence[str], max_bytes: int) -> Iterator[pa.RecordBatch]:
        """See Format.columns."""
        return _batches(stream, path, list(names))


def _batches(stream: BinaryIO, path: str, names: list[str] | None) -> Iterator[pa.RecordBatch]:
    """Yield a file's rows with all columns, or these in their order; raise CorpusError or ConfigError as Format.columns does."""
    try:
        file = pq.ParquetFile(stream)
        known = file.schema_arrow.names
        if names is not None and (missing := [name for name in names if known.count(name) != 1]):
            raise ConfigError(
                f"{path} does not have exactly one column {missing[0]!r}.", f"Name one of its columns: {', '.join(known[:20])}."
            )
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=names):
            yield batch if names is None else batch.select(names)
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(f"{path} can't be read as Parquet: {error}.", "Write or copy the file again.") from error


def _reading_plan(metadata: pq.FileMetaData, columns: list[str]) -> tuple[int, list[str]]:
    """Return how many rows to read at once, and which columns to read as dictionaries.

    Plain pages take as much memory as the file says. Pages that refer to a dictionary stay encoded. Those that refer to the value
    before (DELTA_BYTE_ARRAY) can't, so a file with such a column is read a few rows at a time.
    """
    n_bytes = 0
    dictionaries: set[str] = set()
    few = False
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        n_bytes += row_group.total_byte_size
        for index in range(row_group.num_columns):
            column = row_group.column(index)
            if column.path_in_schema not in columns or column.physical_type != "BYTE_ARRAY":
                continue
            if any("DICTIONARY" in encoding for encoding in column.encodings):
                dictionaries.add(column.path_in_schema)
            few = few or "DELTA_BYTE_ARRAY" in column.encodings
    rows = _ROWS_OF_DELTAS if few else metadata.num_rows * MAX_BATCH_BYTES // max(n_bytes, 1)
    return min(MAX_BATCH_RECORDS, max(1, rows)), sorted(dictionaries)


def _is_wanted(metadata: pq.FileMetaData, column: int, wanted: list[str]) -> bool:
    return metadata.schema.column(column).path in wanted


def _names(schema: pa.Schema, field: str) -> list[str]:
    """The names that lead to a field: dots reach into structs, and a name that itself has dots comes first."""
    names = field.split(".")
    return _path(schema, names) or names


def _path(kind: "pa.Schema | pa.StructType", names: list[str]) -> list[str] | None:
    for end in range(len(names), 0, -1):
        name = ".".join(names[:end])
        index = kind.get_field_index(name)
        if index >= 0 and end == len(names):
            return [name]
        if index >= 0 and pa.types.is_struct(inner := kind.field(index).type) and (rest := _path(inner, names[end:])):
            return [name, *rest]
    return None


def _column(part: pa.RecordBatch, field: str) -> pa.Array:
    name, *inner = _names(part.schema, field)
    column = part.column(name)
    return pc.struct_field(column, inner) if inner else column


def _lengths(column: pa.Array) -> npt.NDArray[np.int64]:
    """Bytes of each string once decoded; 0 for nulls, and for values that aren't strings."""
    if pa.types.is_dictionary(column.type):
        words = _lengths(column.dictionary)
        if not words.size:
            return np.zeros(len(column), dtype=np.int64)
        codes = column.indices.fill_null(0).to_numpy(zero_copy_only=False)
        return np.where(column.is_valid().to_numpy(zero_copy_only=False), words[codes], 0)
    if not _is_string(column.type):
        return np.zeros(len(column), dtype=np.int64)
    lengths = pc.binary_length(column.cast(pa.large_binary())).fill_null(0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), dtype=np.int64)


def _pieces(columns: list[pa.Array | None], limit: int) -> Iterator[tuple[int, int]]:
    """Slices of the rows, each at most a batch's bytes once decoded, not counting texts over the limit; or a single row."""
    text, *others = columns
    assert text is not None
    texts = _lengths(text)
    sizes = np.where(texts > limit, 0, texts) + sum(_lengths(column) for column in others if column is not None)
    ends = np.cumsum(sizes)
    start = 0
    while start < len(text):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + MAX_BATCH_BYTES, side="right")))
        yield start, stop
        start = stop


def _values(column: pa.Array, config: ReaderConfig) -> _Values:
    """Values of a column: strings as bytes, or as their length if it is over the limit."""
    if not _is_string(column.type):
        values: _Values = column.to_pylist()
        return values
    lengths = _lengths(column)
    long = lengths > config.max_record_bytes
    if long.any():
        column = column.take(pa.array(np.arange(len(column)), mask=long))
    values = column.cast(pa.large_binary()).to_pylist()
    for i in np.flatnonzero(long).tolist():
        values[i] = _TooLong(lengths[i])
    return values


def _short(values: tuple[Any, ...], config: ReaderConfig) -> tuple[Any, ...]:
    for name, value in zip(("text", "id", "domain"), values, strict=False):
        if isinstance(value, _TooLong):
            detail = f"the {name} has {value} bytes, more than {config.max_record_bytes}"
            raise RejectedRecordError(Reason.RECORD_TOO_LONG, detail)
    return values


def _decode(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise RejectedRecordError(Reason.INVALID_UTF8, f"byte {error.start} of a value is not UTF-8: {error.reason}") from None


def _type_of(schema: pa.Schema, field: str) -> pa.DataType | None:
    """Type of a column, or of a struct's field; None if there is no such column, or more than one."""
    name, *inner = _names(schema, field)
    index = schema.get_field_index(name)
    found = None if index < 0 else schema.field(index).type
    for name in inner:
        index = found.get_field_index(name) if found is not None and pa.types.is_struct(found) else -1
        found = None if found is None or index < 0 else found.field(index).type
    return found


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_string(kind: pa.DataType) -> bool:
    """Whether a type's values are text. Bytes count too, because some writers of Parquet don't say that they are UTF-8."""
    kind, are = _plain(kind), pa.types
    return bool(are.is_string(kind) or are.is_large_string(kind) or are.is_string_view(kind)) or _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    kind, are = _plain(kind), pa.types
    return bool(are.is_binary(kind) or are.is_large_binary(kind) or are.is_binary_view(kind))


def _is_id(kind: pa.DataType | None) -> bool:
    """Whether a type's values are ids: text, numbers, times, bytes."""
    if kind is None:
        return False
    kind, are = _plain(kind), pa.types
    return (
        _is_string(kind)
        or isinstance(kind, pa.UuidType)
        or any(is_one(kind) for is_one in (are.is_integer, are.is_floating, are.is_decimal, are.is_fixed_size_binary))
        or any(is_one(kind) for is_one in (are.is_timestamp, are.is_date, are.is_time, are.is_duration))
    )


def _is_note(kind: pa.DataType | None) -> bool:
    """Whether a type's values can be URLs or licences: text, or lists of it."""
    if kind is None:
        return False
    lists = pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list
    return _is_string(kind) or (any(is_one(kind) for is_one in lists) and _is_string(kind.value_type))


def _notes(column: pa.Array) -> _Values:
    """URLs or licences, in which nothing is refused: what isn't UTF-8 is none."""

    def note(value: Any) -> Any:
        return value.decode() if isinstance(value, bytes) else [note(item) for item in value] if isinstance(value, list) else value

    found: _Values = []
    for scalar in column:
        try:
            found.append(note(scalar.as_py()))
        except UnicodeDecodeError:
            found.append(None)
    return found


def _ids(column: pa.Array, config: ReaderConfig) -> _Values:
    """Ids as text, numbers or bytes, None if missing: decimals and times as they are written, bytes that aren't text in hex."""
    kind, are = _plain(column.type), pa.types
    if are.is_dictionary(column.type) and not _is_string(kind):
        column = column.dictionary_decode()
    if are.is_decimal(kind):
        written: _Values = column.cast(pa.string()).to_pylist()
        return written
    if are.is_temporal(kind):
        return _moments(column)
    values = _values(column, config)
    if isinstance(kind, pa.UuidType):
        return [None if value is None else str(value) for value in values]
    if _is_bytes(kind) or are.is_fixed_size_binary(kind):
        return [_spelled(value) if isinstance(value, bytes) else value for value in values]
    return values


def _moments(column: pa.Array) -> _Values:
    """Times as text, those with a zone in UTC; a time outside the calendar as its number."""
    zoned = pa.types.is_timestamp(column.type) and column.type.tz is not None
    if zoned:
        column = column.cast(pa.timestamp(column.type.unit))
    numbers = column.cast(pa.int64() if column.type.bit_width == 64 else pa.int32()).to_pylist()
    written = column.cast(pa.string()).to_pylist()
    return [
        text if text is None or not text.startswith("<") else str(number)
        for text, number in zip((f"{text}Z" if zoned and text else text for text in written), numbers, strict=True)
    ]


def _spelled(value: bytes) -> str:
    """Bytes as text, without padding; in hex if they aren't text."""
    try:
        text = value.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return value.hex()
    return text if text.isprintable() else value.hex()


def _require_strings(schema: pa.Schema, field: str, path: str) -> None:
    kind = _type_of(schema, field)
    # A column has no type of its own if only nulls were written.
    if kind is None or not (_is_string(kind) or pa.types.is_null(_plain(kind))):
        times = schema.names.count(field)
        problem = f"is there {times} times" if times > 1 else "is missing" if kind is None else f"has type {kind}, not string"
        raise ShardRefusedError(
            f"Shard {path!r}: column {field!r} {problem}; its columns are {', '.join(schema.names) or 'none'}.",
            "Set the reader's text_field and domain_field to string columns of the corpus, or write the file again.",
        )


@contextmanager
def _refusing(source: GuardedStream, path: str) -> Iterator[None]:
    """Turn Arrow's errors about a broken file into ShardRefusedError."""
    try:
        yield
    except (OSError, pa.ArrowException, ValueError, LookupError) as error:
        if source.failure is not None:
            raise source.failure from None
        raise ShardRefusedError(
            f"Shard {path!r} is not a whole Parquet file: {error} (after {source.n_bytes} bytes read).",
            "No row of it is used; write or upload the file again, then run again.",
        ) from error
