"""Rules for which records are documents, reasons why others are set aside, and Arrow tables of bounded size with both."""

import hashlib
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from samplemix_core import schemas
from samplemix_core.config.constraints import ascii_host


class Reason(StrEnum):
    """Why a record is in quarantine. Stable codes: they are stored and counted."""

    INVALID_UTF8 = "invalid_utf8"
    INVALID_JSON = "invalid_json"
    UNPAIRED_SURROGATE = "unpaired_surrogate"
    NOT_AN_OBJECT = "not_an_object"
    RECORD_TOO_LONG = "record_too_long"
    MISSING_TEXT = "missing_text"
    TEXT_NOT_STRING = "text_not_string"
    EMPTY_TEXT = "empty_text"
    NO_TEXT = "no_text"
    MISSING_DOMAIN = "missing_domain"
    DOMAIN_NOT_STRING = "domain_not_string"
    NUL_CHARACTER = "nul_character"
    DOMAIN_TOO_LONG = "domain_too_long"
    ID_TOO_LONG = "id_too_long"


UNREADABLE = frozenset(Reason) - {Reason.EMPTY_TEXT, Reason.NO_TEXT}
"""Reasons that say something about the file: if every record has one of them, it isn't a file of documents."""

MAX_DOMAIN_BYTES = 512
"""In UTF-8. A domain is in indexes of Postgres, which take 2,704 bytes, in statistics of Parquet, and in tables for people."""

MAX_NOTE = 2048
"""Characters that are kept of a URL or a licence."""

MAX_ID_BYTES = 4096
"""In UTF-8: as long as a URL may be. Postgres stores an id for each sample."""


RULES = 3
"""Version of the rules below and of how tokens are counted (embedding/tokens.py), part of a corpus's identity: documents
scored by other rules belong to a different corpus."""

_FILLERS = "\u115f\u1160\u3164\uffa0"
"""Hangul letters that are blank."""

_SHOW_NOTHING = "\ufffc\ufffd\u2065\u2800\U0001d159" + _FILLERS
"""Characters outside the categories below: stand-ins for a lost character or object, and blanks."""

_LETTER = re.compile(f"[^\\W_{_FILLERS}]")

_NOTHING_TO_READ = frozenset(("Cc", "Cf", "Co", "Cs", "Mn", "Me", "Zl", "Zp", "Zs"))
"""Categories of characters that show nothing by themselves: control, format, private use, surrogate, combining marks, blanks."""


def has_text(text: str) -> bool:
    """Whether there is something to read in a text: a letter, digit, punctuation or symbol, except U+FFFD and blank ones."""
    return _LETTER.search(text) is not None or any(map(_is_read, set(text)))


def _is_read(character: str) -> bool:
    code = ord(character)
    # Noncharacters, and code points without a glyph by definition.
    hidden = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF or 0xFFF0 <= code <= 0xFFF8 or 0xE0000 <= code <= 0xE0FFF
    return not (hidden or character in _SHOW_NOTHING or unicodedata.category(character) in _NOTHING_TO_READ)


class RejectedRecordError(Exception):
    """A record that isn't a document. The reader turns it into a row of the quarantine; Format.rows() yields it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Document(NamedTuple):
    """A document that passed every rule."""

    doc_id: str | None
    domain: str
    text: str
    url: str | None = None
    license: str | None = None


def check_document(text: object, doc_id: object, domain: object, url: object = None, license: object = None) -> Document:
    """Apply the rules to decoded values, where None is null or missing; raise RejectedRecordError if they fail.

    - the text is a string with at least one character that is not white space, and something to read (has_text);
    - the domain is a string with something to read, of at most MAX_DOMAIN_BYTES, without NUL, which PostgreSQL can't store;
    - the URL and the licence are strings; of longer ones than MAX_NOTE characters only the beginning is kept, and of NULs nothing.
      Of several licences in a list, all are kept. Anything else counts as none.
    - the id is a string of at most MAX_ID_BYTES without NUL, or a number, which becomes its decimal string; anything else counts as
      no id.
    """
    if text is None:
        raise RejectedRecordError(Reason.MISSING_TEXT, "the text field is missing or null")
    if not isinstance(text, str):
        raise RejectedRecordError(Reason.TEXT_NOT_STRING, f"the text field holds {_kind(text)}, not a string")
    if not text or text.isspace():
        raise RejectedRecordError(Reason.EMPTY_TEXT, f"the text is {len(text)} characters of white space")
    if not has_text(text):
        raise RejectedRecordError(
            Reason.NO_TEXT, f"the text's {len(text)} characters show nothing: zero-width, control or private ones, or U+FFFD"
        )
    if domain is None or (isinstance(domain, str) and not has_text(domain)):
        raise RejectedRecordError(Reason.MISSING_DOMAIN, "the domain field is missing, null or blank")
    if not isinstance(domain, str):
        raise RejectedRecordError(Reason.DOMAIN_NOT_STRING, f"the domain field holds {_kind(domain)}, not a string")
    if isinstance(doc_id, float) and not math.isfinite(doc_id):
        doc_id = None
    elif isinstance(doc_id, (int, float)) and not isinstance(doc_id, bool):
        try:
            doc_id = str(doc_id)
        except ValueError:
            # Python doesn't convert a number with more digits than its own limit to text.
            raise RejectedRecordError(Reason.ID_TOO_LONG, f"the id is a number of more than {MAX_ID_BYTES} digits") from None
    elif not isinstance(doc_id, str):
        doc_id = None
    if "\0" in domain or (doc_id is not None and "\0" in doc_id):
        raise RejectedRecordError(Reason.NUL_CHARACTER, f"the {'domain' if chr(0) in domain else 'id'} contains a NUL character")
    if (size := _n_bytes(domain)) > MAX_DOMAIN_BYTES:
        raise RejectedRecordError(Reason.DOMAIN_TOO_LONG, f"the domain has {size} bytes, more than {MAX_DOMAIN_BYTES}")
    if doc_id is not None and (size := _n_bytes(doc_id)) > MAX_ID_BYTES:
        raise RejectedRecordError(Reason.ID_TOO_LONG, f"the id has {size} bytes, more than {MAX_ID_BYTES}")
    return Document(doc_id, domain, text, _note(url), _note(license))


def _note(value: object) -> str | None:
    if isinstance(value, list):
        value = ", ".join(item for item in value if isinstance(item, str))
    if not isinstance(value, str):
        return None
    return value.replace("\0", "").encode(errors="ignore").decode().strip()[:MAX_NOTE] or None


def host_of(url: str) -> str | None:
    """The host of a URL in small ASCII letters, without user, port and the dot at its end; None if it has none."""
    address = re.sub(r"^([a-zA-Z][a-zA-Z0-9+.-]*:)?//", "", url)
    authority = re.split(r"[/?#\\]", address, maxsplit=1)[0].rpartition("@")[2]
    host = authority.partition("]")[0] + "]" if authority.startswith("[") else authority.partition(":")[0]
    return ascii_host(host.rstrip(".").lower()) or None


def _n_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _kind(value: object) -> str:
    match value:
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case list():
            return "an array"
        case _:
            return "an object"


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a shard, and where they lie in its (decompressed) bytes.

    `rows` and `n_bytes` are None if the block reaches to the end. In Parquet, `byte_offset` is -1 and `n_bytes` is the size of the
    rows according to the file.
    """

    block: int = 0
    first_row: int = 0
    rows: int | None = None
    byte_offset: int = 0
    n_bytes: int | None = None


class Record(NamedTuple):
    """A record as read: row, where it begins in the (decompressed) bytes or -1, its size, and its value, not yet checked."""

    row: int
    byte_offset: int
    n_bytes: int
    value: Any


BLANK = b""
"""The value of a blank line, which takes a row but isn't a record."""

MAX_BATCH_RECORDS = 128
MAX_BATCH_BYTES = 32 * 2**20


@dataclass(frozen=True)
class ShardBatch:
    """Consecutive records of a shard: the documents (schemas.DOCUMENTS) and the rejected ones (schemas.QUARANTINE).

    `records` is how many were read, counted before they were checked.
    """

    documents: pa.Table
    quarantine: pa.Table
    records: int


class BatchBuilder:
    """Gathers records in reading order. Where one batch ends depends on the records alone, not on how they were read."""

    def __init__(self) -> None:
        self._documents: list[tuple[int, Document]] = []
        self._quarantine: list[tuple[int, int, str, str]] = []
        self._bytes = 0
        self._records = 0

    def __bool__(self) -> bool:
        return bool(self._documents or self._quarantine)

    def has_room(self, n_bytes: int) -> bool:
        """Whether a record of that many bytes fits; an empty batch takes any record."""
        n_records = len(self._documents) + len(self._quarantine)
        return not n_records or (n_records < MAX_BATCH_RECORDS and self._bytes + n_bytes <= MAX_BATCH_BYTES)

    def meet(self) -> None:
        """Count a record before its outcome is known."""
        self._records += 1

    def add(self, row: int, document: Document, n_bytes: int) -> None:
        """Append a document whose record has that many bytes."""
        self._documents.append((row, document))
        self._bytes += n_bytes

    def reject(self, row: int, byte_offset: int, rejected: RejectedRecordError) -> None:
        """Append a record that isn't a document, with its reason."""
        self._quarantine.append((row, byte_offset, str(rejected.reason), rejected.detail))

    def take(self) -> ShardBatch:
        """Return the batch so far, and start the next."""
        documents, self._documents = self._documents, []
        quarantine, self._quarantine = self._quarantine, []
        records, self._records = self._records, 0
        self._bytes = 0
        return ShardBatch(
            records=records,
            documents=pa.Table.from_batches([_columns(documents)]),
            quarantine=pa.table(
                [pa.array([record[i] for record in quarantine], field.type) for i, field in enumerate(schemas.QUARANTINE)],
                schema=schemas.QUARANTINE,
            ),
        )


def gather(records: Iterable[Record], parse: Callable[[Record], Document]) -> Iterator[ShardBatch]:
    """Batch records, each parsed by a function that returns its document or raises RejectedRecordError."""
    batch = BatchBuilder()
    for record in records:
        if not batch.has_room(record.n_bytes):
            yield batch.take()
        batch.meet()
        try:
            batch.add(record.row, parse(record), record.n_bytes)
        except RejectedRecordError as rejected:
            batch.reject(record.row, record.byte_offset, rejected)
    if batch:
        yield batch.take()


def documents_of(records: Iterable[Record], parse: Callable[[Record], Document]) -> Iterator[pa.RecordBatch]:
    """Batches of documents (schemas.DOCUMENTS), as gather() cuts them; the first record that isn't one raises its error."""
    batch: list[tuple[int, Document]] = []
    n_bytes = 0
    for record in records:
        if batch and (len(batch) == MAX_BATCH_RECORDS or n_bytes + record.n_bytes > MAX_BATCH_BYTES):
            yield _columns(batch)
            batch, n_bytes = [], 0
        batch.append((record.row, parse(record)))
        n_bytes += record.n_bytes
    if batch:
        yield _columns(batch)


def _columns(documents: Sequence[tuple[int, Document]]) -> pa.RecordBatch:
    return pa.record_batch(
        [
            pa.array([row for row, _ in documents], pa.int64()),
            pa.array([document.doc_id for _, document in documents], pa.string()),
            pa.array([document.domain for _, document in documents], pa.string()),
            pa.array([document.text for _, document in documents], pa.large_string()),
            pa.array([document.url for _, document in documents], pa.string()),
            pa.array([document.license for _, document in documents], pa.string()),
        ],
        schema=schemas.DOCUMENTS,
    )


HASH_BYTES = 16


def describe(texts: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Size of each text in bytes of UTF-8, int32 (n,), and its identity.content_hash, binary(16) (n,).

    `texts` are large strings. Works on the Arrow buffers: no Python string is made.
    """
    n_bytes: list[np.ndarray] = []
    digests = bytearray()
    for chunk in texts.chunks:
        _, offset_buffer, data = chunk.buffers()
        offsets = np.frombuffer(offset_buffer, dtype=np.int64, count=len(chunk) + 1, offset=8 * chunk.offset)
        view = memoryview(b"" if data is None else data)
        for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            digests += hashlib.blake2b(view[start:end], digest_size=HASH_BYTES).digest()
        n_bytes.append(np.diff(offsets))
    sizes = np.concatenate([*n_bytes, np.empty(0, dtype=np.int64)]).astype(np.int32)
    hashes = pa.FixedSizeBinaryArray.from_buffers(pa.binary(HASH_BYTES), len(texts), [None, pa.py_buffer(bytes(digests))])
    return pa.array(sizes), hashes
