"""JSON lines: one record a line, each judged on its own."""

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from samplemix_core.config import ReaderConfig
from samplemix_core.corpus.records import BatchBuilder, Document, Reason, RejectedRecordError, ShardBatch, check_document
from samplemix_core.corpus.streams import CHUNK_BYTES

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A physical line without its newline; `data` is None where it is longer than the limit and was not kept."""

    row: int
    byte_offset: int
    n_bytes: int
    data: bytes | None


def split_lines(read: Callable[[int], bytes], max_bytes: int) -> Iterator[Line]:
    """Split what `read` returns at newlines; `byte_offset` is that of the line's first byte.

    Holds one chunk and at most one line of `max_bytes`: the bytes of a longer line are counted and let go.
    """
    row = byte_offset = held_bytes = 0
    held: list[bytes] = []
    while chunk := read(CHUNK_BYTES):
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            n_bytes = held_bytes + len(piece)
            if n_bytes > max_bytes:
                yield Line(row, byte_offset, n_bytes, None)
            else:
                yield Line(row, byte_offset, n_bytes, b"".join((*held, piece)) if held else piece)
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
        yield Line(row, byte_offset, held_bytes, b"".join(held) if held_bytes <= max_bytes else None)


def read_json_lines(read: Callable[[int], bytes], path_domain: str | None, config: ReaderConfig) -> Iterator[ShardBatch]:
    """Batches of a shard's records. A blank line takes a row but is no record; a byte order mark at the start is passed over."""
    parse = record_parser(path_domain, config)
    batch = BatchBuilder()
    for line in split_lines(read, config.max_record_bytes):
        data = line.data
        if data is not None and line.row == 0:
            data = data.removeprefix(_BYTE_ORDER_MARK)
        if data is not None and (not data or data.isspace()):
            continue
        if not batch.has_room(line.n_bytes):
            yield batch.take()
        batch.meet()
        try:
            if data is None:
                raise RejectedRecordError(
                    Reason.RECORD_TOO_LONG, f"the line has {line.n_bytes} bytes, more than {config.max_record_bytes}"
                )
            batch.add(line.row, parse(data), line.n_bytes)
        except RejectedRecordError as rejected:
            batch.reject(line.row, line.byte_offset, rejected)
    if batch:
        yield batch.take()


def record_parser(path_domain: str | None, config: ReaderConfig) -> Callable[[bytes], Document]:
    """A function that turns one line into a Document or raises RejectedRecordError."""
    text_path = config.text_field.split(".")
    id_path = None if config.id_field is None else config.id_field.split(".")
    domain_path = None if config.domain_field is None else config.domain_field.split(".")
    decode = msgspec.json.Decoder().decode

    def parse(line: bytes) -> Document:
        try:
            record = decode(line)
        except UnicodeDecodeError as error:
            raise RejectedRecordError(Reason.INVALID_UTF8, f"a string of the record is not UTF-8: {error.reason}") from None
        except (msgspec.DecodeError, RecursionError) as error:
            raise _why_not_json(line, error) from None
        if not isinstance(record, dict):
            raise RejectedRecordError(Reason.NOT_AN_OBJECT, "the line is JSON, but not an object")
        return check_document(
            _reach(record, text_path),
            None if id_path is None else _reach(record, id_path),
            path_domain if domain_path is None else _reach(record, domain_path),
        )

    return parse


def _reach(record: object, names: list[str]) -> object:
    for name in names:
        if not isinstance(record, dict):
            return None
        record = record.get(name)
    return record


def _why_not_json(line: bytes, error: Exception) -> RejectedRecordError:
    """Tell bad UTF-8 and JSON's unpaired surrogates (legal JSON, but no text that can be encoded) from broken JSON."""
    try:
        line.decode()
    except UnicodeDecodeError as bad:
        return RejectedRecordError(Reason.INVALID_UTF8, f"byte {bad.start} of the record is not UTF-8: {bad.reason}")
    try:
        json.dumps(json.loads(line), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return RejectedRecordError(Reason.UNPAIRED_SURROGATE, "a \\u escape stands for half a surrogate pair")
    except (ValueError, RecursionError):
        pass
    return RejectedRecordError(Reason.INVALID_JSON, str(error))
