"""JSON lines: one record a line, each judged on its own."""

import json
import math
from collections.abc import Callable, Iterator
from typing import BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.json as pa_json

from samplemix_core import schemas
from samplemix_core.config.reader import ReaderConfig
from samplemix_core.corpus.corpus_format import Format
from samplemix_core.corpus.records import BLANK, Block, Document, Reason, Record, RejectedRecordError, check_document, documents_of
from samplemix_core.corpus.streams import CHUNK_BYTES, is_compressed, open_decompressed
from samplemix_core.errors import ShardRefusedError
from samplemix_core.objects.interface import Announced

_NEWLINE, _RETURN, _OPENING, _CLOSING = b"\n\r{}"
_PICK_BYTES = 8 * 2**20

Ends = npt.NDArray[np.int64]
"""Where each of some lines ends: the place of its newline, or of the end."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def split_lines(read: Callable[[int], bytes], max_bytes: int, row: int = 0, byte_offset: int = 0) -> Iterator[Record]:
    """Split the bytes from `read` at newlines; the first line has the given row and offset. A line's size excludes its newline.

    Holds one chunk and at most one line of `max_bytes`: a longer line is counted and dropped, and its value is None.
    """
    held_bytes = 0
    held: list[bytes] = []
    while chunk := read(CHUNK_BYTES):
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            n_bytes = held_bytes + len(piece)
            if n_bytes > max_bytes:
                yield Record(row, byte_offset, n_bytes, None)
            else:
                yield Record(row, byte_offset, n_bytes, b"".join((*held, piece)) if held else piece)
            row += 1
            byte_offset += n_bytes + 1
            held_bytes = 0
            held.clear()
        held_bytes += len(rest)
        if held_bytes > max_bytes:
            held.clear()
        elif rest:
            held.append(rest)
    if held_bytes:
        yield Record(row, byte_offset, held_bytes, b"".join(held) if held_bytes <= max_bytes else None)


class JsonLines(Format):
    """A shard of JSON lines. A blank line takes a row but isn't a record. A byte order mark at the start is skipped."""

    def __init__(self, stream: BinaryIO, path: str, path_domain: str | None, config: ReaderConfig) -> None:
        self._stream, self._path, self._max_bytes = stream, path, config.max_record_bytes
        self._parse = record_parser(path_domain, config)
        self._compressed = is_compressed(path)
        self._begun = False
        self._columns = _Columns(path_domain, config)

    def plan(self, documents: int, n_bytes: int) -> list[Block]:
        """Cut the shard into blocks at newlines, in one pass that parses only the first line.

        Raises ShardRefusedError if that line begins a JSON document of many lines, because some of them may look like records.
        """
        self._begun = True
        cutter = _Cutter(documents, n_bytes)
        read = open_decompressed(self._stream, self._path)
        seen = False
        while chunk := read(CHUNK_BYTES):
            if not seen and (begun := chunk.removeprefix(BYTE_ORDER_MARK).lstrip()):
                seen = True
                if _begins_a_long_document(begun.split(b"\n", 1)):
                    raise ShardRefusedError(
                        f"Shard {self._path!r} is one JSON document over many lines, not JSON lines.",
                        "Write one object a line, as 'jq -c .' or \"jq -c '.[]'\" does.",
                    )
            cutter.take(chunk)
        return cutter.end()

    def place_before(self, block: Block) -> tuple[int, int]:
        """Row and byte where reading can begin for a block: its own, or the shard's start if it is compressed."""
        return (0, 0) if self._compressed else (block.first_row, block.byte_offset)

    def starts(self) -> list[int] | None:
        """See Format.starts."""
        return [0] if self._compressed else None

    def pick(self, rows: npt.NDArray[np.int64], block: Block) -> Iterator[pa.RecordBatch]:
        """See Format.pick."""
        row, byte_offset = self.place_before(block)
        if self._begun or byte_offset:
            self._stream.seek(byte_offset)
        self._begun = True
        read = open_decompressed(self._stream, self._path)
        if not self._compressed and block.n_bytes is not None:
            read = _Limited(read, block.n_bytes)
            if isinstance(self._stream, Announced):
                self._stream.announce(block.n_bytes)
        for lines, ends in _pieces(read, self._max_bytes):
            here = rows[: np.searchsorted(rows, row + ends.size)]
            if here.size:
                found = self._columns.read(lines, ends, row, here)
                yield from self._picked(lines, ends, row, here) if found is None else [found]
            rows, row = rows[here.size :], row + ends.size
            if not rows.size:
                return

    def _picked(self, lines: memoryview, ends: Ends, row: int, rows: npt.NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
        """Yield rows of some lines, the first of which is `row`, one by one."""
        starts = np.append(0, ends[:-1] + 1)
        bounds = zip(rows.tolist(), starts[rows - row].tolist(), ends[rows - row].tolist(), strict=True)
        split = ((at, bytes(lines[start:end]).removeprefix(BYTE_ORDER_MARK)) for at, start, end in bounds)
        return documents_of((Record(at, 0, len(line), line) for at, line in split), self.parse)

    def records(self, row: int, byte_offset: int) -> Iterator[Record]:
        """Yield the lines from a place on, including BLANK ones, because a block may end with them."""
        if self._begun or byte_offset:
            self._stream.seek(byte_offset)
        self._begun = True
        for line in split_lines(open_decompressed(self._stream, self._path), self._max_bytes, row, byte_offset):
            data = line.value
            if data is not None:
                # Concatenated files may each begin with a byte order mark.
                data = data.removeprefix(BYTE_ORDER_MARK)
                if data.isspace():
                    data = BLANK
            yield line._replace(value=data)

    def parse(self, record: Record) -> Document:
        """Return a record's document; raise RejectedRecordError if it isn't one."""
        if record.value is None:
            raise RejectedRecordError(Reason.RECORD_TOO_LONG, f"the line has {record.n_bytes} bytes, more than {self._max_bytes}")
        return self._parse(record.value)

    def share_read(self, position: int, size: int, records: int) -> float:
        """See Format.share_read: the bytes read so far."""
        return min(size, position)

    @classmethod
    def rows(cls, stream: BinaryIO, path: str, max_bytes: int) -> Iterator[object]:
        """See Format.rows: blank lines aren't records."""
        for line in split_lines(open_decompressed(stream, path), max_bytes):
            if line.value is None:
                yield RejectedRecordError(Reason.RECORD_TOO_LONG, f"the line has {line.n_bytes:,} bytes, more than {max_bytes:,}")
            elif record := line.value.removeprefix(BYTE_ORDER_MARK).strip():
                try:
                    yield read_json(record)[0]
                except RejectedRecordError as error:
                    yield error


class _Limited:
    """Reads no more than so many bytes."""

    def __init__(self, read: Callable[[int], bytes], n_bytes: int) -> None:
        self._read, self._left = read, n_bytes

    def __call__(self, size: int) -> bytes:
        data = self._read(min(size, self._left))
        self._left -= len(data)
        return data


def _pieces(read: Callable[[int], bytes], max_bytes: int) -> Iterator[tuple[memoryview, Ends]]:
    """Yield whole lines, many at once, and where each ends. A line of more than `max_bytes` is yielded alone, and empty."""
    held = b""
    is_long = False
    while chunk := read(_PICK_BYTES):
        if is_long:
            # What is left of a line that is too long.
            end = chunk.find(b"\n")
            if end < 0:
                continue
            yield memoryview(b""), np.zeros(1, dtype=np.int64)
            chunk, is_long = chunk[end + 1 :], False
        data = held + chunk if held else chunk
        ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == _NEWLINE)
        whole = int(ends[-1]) + 1 if ends.size else 0
        held = data[whole:]
        if whole:
            yield memoryview(data)[:whole], ends
        if len(held) > max_bytes:
            held, is_long = b"", True
    if held or is_long:
        yield memoryview(held), np.array([len(held)])


def _are_whole(data: npt.NDArray[np.uint8], ends: Ends) -> bool:
    """Whether each line begins with an opening brace and ends with a closing one.

    Then no object goes on in another line, because only a comma or a closing bracket may follow a closing brace within it. So there
    is one or more objects a line, and as many as lines only if there is one in each.
    """
    starts = np.append(0, ends[:-1] + 1)
    if (ends - starts < 2).any():
        return False
    last = data[ends - 1]
    last = np.where(last == _RETURN, data[ends - 2], last)
    return bool((data[starts] == _OPENING).all() and (last == _CLOSING).all())


class _Columns:
    """Reads many lines at once, as columns, where they are as plain as most are: Arrow is several times as fast as one by one."""

    def __init__(self, path_domain: str | None, config: ReaderConfig) -> None:
        self._domain = path_domain
        self._names = config.text_field, config.id_field, config.domain_field, config.url_field, config.license_field
        # Of dotted names, only the parser of single records knows what they mean.
        named = [name for name in self._names if name]
        # What is kept of a URL or a licence isn't all that is there.
        plain_only = config.url_field is None and config.license_field is None
        self._is_plain = plain_only and not any("." in name for name in named) and len({*named}) == len(named)
        self._id_types = [pa.string(), pa.int64()]

    def read(self, lines: memoryview, ends: Ends, row: int, rows: npt.NDArray[np.int64]) -> pa.RecordBatch | None:
        """The documents in some rows of lines, the first of which is `row`.

        None if the lines aren't plain enough to be sure of the same result as one by one.
        """
        if not self._is_plain or not _are_whole(np.frombuffer(lines, dtype=np.uint8), ends):
            return None
        while self._id_types:
            try:
                found = self._parse(lines, self._id_types[0])
            except pa.ArrowInvalid:
                # Ids are of one type in nearly all files: what fails once isn't tried again.
                del self._id_types[0]
            else:
                return self._taken(found, row, rows) if found.num_rows == ends.size else None
        return None

    def _parse(self, lines: memoryview, id_type: pa.DataType) -> pa.Table:
        text, identifier, domain, *_ = self._names
        fields = [(name, kind) for name, kind in ((text, pa.string()), (identifier, id_type), (domain, pa.string())) if name]
        return pa_json.read_json(
            pa.BufferReader(pa.py_buffer(lines)),
            read_options=pa_json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
            parse_options=pa_json.ParseOptions(explicit_schema=pa.schema(fields), unexpected_field_behavior="ignore"),
        )

    def _taken(self, found: pa.Table, row: int, rows: npt.NDArray[np.int64]) -> pa.RecordBatch | None:
        """The rows of a table as documents; None if one lacks what it must have."""
        text, identifier, domain, *_ = self._names
        taken = (found if rows.size == found.num_rows else found.take(pa.array(rows - row))).combine_chunks()
        texts = taken[text].cast(pa.large_string())
        domains = taken[domain] if domain else pa.chunked_array([pa.repeat(pa.scalar(self._domain, pa.string()), rows.size)])
        if texts.null_count or domains.null_count:
            return None
        ids = taken[identifier].cast(pa.string()) if identifier else pa.chunked_array([pa.nulls(rows.size, pa.string())])
        none = pa.chunked_array([pa.nulls(rows.size, pa.string())])
        columns = [pa.chunked_array([pa.array(rows)]), ids, domains, texts, none, none]
        return pa.RecordBatch.from_arrays([column.combine_chunks() for column in columns], schema=schemas.DOCUMENTS)


def _begins_a_long_document(lines: list[bytes]) -> bool:
    """Whether the first line begins an object or array of several lines; `lines` are the first line and all others as one."""
    first = lines[0].rstrip()
    if len(lines) == 1 or first[:1] not in (b"[", b"{"):
        return False
    if len(first) == 1:
        return True
    try:
        msgspec.json.decode(first)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # A truncated record may begin with a brace, but an array isn't a record.
        return first[:1] == b"["
    return False


_IS_BLANK = np.isin(np.arange(256), list(b" \t\r\n\v\f"))


class _Cutter:
    """Cuts a stream of bytes into blocks of whole lines, with limits on records and bytes. Blank lines aren't records."""

    def __init__(self, documents: int, n_bytes: int) -> None:
        self._documents, self._n_bytes = documents, n_bytes
        self._blocks: list[Block] = []
        self._records = self._rows = self._row = 0
        self._start = self._line_end = self._position = 0
        self._has_text = False

    def take(self, chunk: bytes) -> None:
        data = np.frombuffer(chunk, dtype=np.uint8)
        ends = np.flatnonzero(data == _NEWLINE) + (self._position + 1)
        records = np.cumsum(self._are_records(data, ends))
        self._position += len(chunk)
        used = 0
        while used < ends.size:
            # Take the lines within the limits of bytes and records; a block's first line is always taken.
            fitting = int(np.searchsorted(ends, self._start + self._n_bytes, side="right"))
            before = int(records[used - 1]) if used else 0
            last = int(np.searchsorted(records, before + self._documents - self._records))
            stop = min(max(fitting, used), last + 1)
            if stop == used and not self._rows:
                stop += 1
            stop = min(stop, ends.size)
            if stop > used:
                self._rows += stop - used
                self._records += int(records[stop - 1]) - before
                self._line_end = int(ends[stop - 1])
                used = stop
            if used < ends.size or self._records == self._documents:
                self._cut()

    def _are_records(self, data: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Whether each line that ends in the data is not blank; the rest of the data counts for the line that ends later."""
        starts = np.concatenate([[0], ends - self._position])
        lines, rest = starts[:-1], data[starts[-1] :]
        # Nearly all lines begin with a brace; otherwise, every byte is examined.
        written = ~_IS_BLANK[data[lines]]
        if (~written & (np.diff(starts) > 1)).any():
            written = np.add.reduceat(~_IS_BLANK[data[: starts[-1]]], lines, dtype=np.int64) > 0
        if ends.size:
            written[0] |= self._has_text
            self._has_text = False
        self._has_text = self._has_text or bool(rest.size and (not _IS_BLANK[rest[0]] or not _IS_BLANK[rest].all()))
        return np.asarray(written)

    def _cut(self) -> None:
        self._blocks.append(Block(len(self._blocks), self._row, self._rows, self._start, self._line_end - self._start))
        self._row, self._rows, self._start = self._row + self._rows, 0, self._line_end
        self._records = 0

    def end(self) -> list[Block]:
        """Return the blocks; the last line may lack a newline. A shard without lines is one empty block."""
        if self._line_end < self._position:
            if self._rows and self._position - self._start > self._n_bytes:
                self._cut()
            self._rows += 1
            self._line_end = self._position
        if self._rows or not self._blocks:
            self._cut()
        return self._blocks


def record_parser(path_domain: str | None, config: ReaderConfig) -> Callable[[bytes], Document]:
    """A function that turns one line into a Document or raises RejectedRecordError."""
    text_path = config.text_field.split(".")
    id_path = None if config.id_field is None else config.id_field.split(".")
    domain_path = None if config.domain_field is None else config.domain_field.split(".")
    note_paths = [None if name is None else name.split(".") for name in (config.url_field, config.license_field)]

    def parse(line: bytes) -> Document:
        record, lenient = read_json(line)
        if not isinstance(record, dict):
            raise RejectedRecordError(Reason.NOT_AN_OBJECT, "the line is JSON, but not an object")
        values = (
            _reach(record, text_path),
            None if id_path is None else _reach(record, id_path),
            path_domain if domain_path is None else _reach(record, domain_path),
        )
        notes = [None if path is None else _reach(record, path) for path in note_paths]
        if lenient:
            _require_encodable(values, line)
        return check_document(*values, *notes)

    return parse


_decode = msgspec.json.Decoder().decode


def read_json(line: bytes) -> tuple[object, bool]:
    """Return a line's value, and whether strict JSON refuses it: its strings may then not be encodable.

    Raises RejectedRecordError if it isn't JSON by any measure.
    """
    try:
        return _decode(line), False
    except (ValueError, RecursionError) as error:
        return _decode_leniently(line, error), True


def _reach(record: object, names: list[str]) -> object:
    """Follow dotted names into a record. A name may itself have dots: {"a.b": 1} counts as {"a": {"b": 1}}, and is tried first."""
    if not names:
        return record
    if isinstance(record, dict):
        for end in range(len(names), 0, -1):
            value = record.get(".".join(names[:end]))
            if value is not None and (found := _reach(value, names[end:])) is not None:
                return found
    return None


def _decode_leniently(line: bytes, error: Exception) -> object:
    """Read with Python's json a line that strict JSON refused.

    It takes NaN, infinities, long numbers, half a surrogate pair, raw tabs, and bytes that aren't UTF-8 (as half a surrogate pair).
    Any of these may be in a field that nobody reads. Raises RejectedRecordError if it can't read the line either.
    """
    text = line.decode(errors="surrogateescape")
    try:
        return json.loads(text, strict=False, parse_int=lambda digits: int(digits) if len(digits) < 4300 else math.inf)
    except (ValueError, RecursionError):
        _require_utf_8(line)
        raise RejectedRecordError(Reason.INVALID_JSON, str(error)) from None


def _require_utf_8(line: bytes) -> None:
    try:
        line.decode()
    except UnicodeDecodeError as bad:
        detail = f"byte {bad.start} of the record is not UTF-8: {bad.reason}"
        raise RejectedRecordError(Reason.INVALID_UTF8, detail) from None


def _require_encodable(values: tuple[object, ...], line: bytes) -> None:
    """Raise RejectedRecordError for a text, id or domain that can't be encoded: bytes that are not UTF-8, or half a pair."""
    try:
        for value in values:
            if isinstance(value, str):
                value.encode()
    except UnicodeEncodeError:
        _require_utf_8(line)
        raise RejectedRecordError(Reason.UNPAIRED_SURROGATE, "a \\u escape stands for half a surrogate pair") from None
