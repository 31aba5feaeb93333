"""Bulk in and out of Postgres by COPY in its binary format: encoded by pgpq, decoded by column here.

Format (PostgreSQL documentation, "COPY", Binary Format): a header; for each row the number of fields as int16 and for each
field its length as int32 (-1 for NULL) and its big-endian bytes; at the end an int16 of -1.
"""

import io
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg2 import sql

from samplemix_core.database.connection import Cursor

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
ROWS_PER_CHUNK = 65_536

_WIDTHS: dict[str, str] = {"int16": ">i2", "int32": ">i4", "int64": ">i8", "float32": ">f4", "float64": ">f8", "bool": "u1"}


def copy_in(cursor: Cursor, table: str, data: pa.Table | Iterable[pa.Table]) -> int:
    """Append rows to `table`, matching columns by name; returns how many.

    Arrow's int16, int32, int64, float32, float64 and bool go to the column types of the same width, lists of them to arrays,
    binary(16) to uuid, strings to text. Postgres text can't hold the character NUL: it is stored as U+FFFD. NULLs are allowed
    everywhere.
    """
    tables = iter((data,) if isinstance(data, pa.Table) else data)
    first = next(tables, None)
    if first is None:
        return 0
    rows = 0

    def counted() -> Iterator[pa.Table]:
        nonlocal rows
        for part in itertools.chain((first,), tables):
            rows += part.num_rows
            yield part

    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, first.column_names))
    )
    cursor.copy_expert(statement, io.BufferedReader(_Chunks(encode(counted())), 2**20), size=2**20)
    return rows


def encode(tables: Iterable[pa.Table]) -> Iterator[bytes]:
    """Encode tables in the binary format, in pieces of at most ROWS_PER_CHUNK rows. All must have the columns of the first."""
    encoder: ArrowToPostgresBinaryEncoder | None = None
    names: list[str] = []
    for table in tables:
        storable = _storable(table)
        if encoder is None:
            encoder, names = ArrowToPostgresBinaryEncoder(storable.schema), storable.column_names
            yield encoder.write_header()
        for batch in storable.select(names).to_batches(ROWS_PER_CHUNK):
            yield encoder.write_batch(batch)
    assert encoder is not None
    yield encoder.finish()


def _storable(table: pa.Table) -> pa.Table:
    """The table with text that Postgres can hold: dictionaries spelled out, and NUL as U+FFFD."""
    for i, field in enumerate(table.schema):
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            text = pc.replace_substring(table.column(i).cast(pa.large_string()), "\0", "\N{REPLACEMENT CHARACTER}")
            table = table.set_column(i, pa.field(field.name, pa.large_string()), text)
    return table


def without_nul(text: str) -> str:
    """The text as Postgres can hold it: NUL becomes U+FFFD, as in copy_in."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


class _Chunks(io.RawIOBase):
    """A stream over chunks of bytes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def copy_out(cursor: Cursor, query: str, parameters: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, npt.NDArray[Any]]:
    """Return a query's result as NumPy columns: `columns` gives name and NumPy type of each result column, in order.

    Supports int16, int32, int64, float32, float64 and bool, for int2, int4, int8, float4, float8 and boolean results of exactly
    that width. Raises ValueError if a result column contains NULL or has another width.
    """
    result = io.BytesIO()
    bound = cursor.mogrify(query, parameters).decode()
    cursor.copy_expert(f"COPY ({bound}) TO STDOUT (FORMAT binary)", result)
    return decode(result.getbuffer(), columns)


def decode(data: memoryview, columns: Mapping[str, str]) -> dict[str, npt.NDArray[Any]]:
    """Decode a result in the binary format to NumPy columns; raise ValueError unless its rows have just these types and no NULL."""
    layout: list[tuple[str, str]] = [("fields", ">i2")]
    for i, kind in enumerate(columns.values()):
        layout += [(f"length{i}", ">i4"), (f"value{i}", _WIDTHS[kind])]
    stride = np.dtype(layout).itemsize
    body = len(data) - len(HEADER) - len(TRAILER)
    if data[: len(HEADER)] != HEADER or body < 0 or body % stride:
        raise ValueError(f"the result is not rows of {dict(columns)}: a column is NULL somewhere, or of another width")
    rows = np.frombuffer(data, dtype=layout, count=body // stride, offset=len(HEADER))
    fits = (rows["fields"] == len(columns)).all()
    for i in range(len(columns)):
        fits = fits and (rows[f"length{i}"] == rows.dtype[f"value{i}"].itemsize).all()
    if not fits:
        raise ValueError(f"the result is not rows of {dict(columns)}: a column is NULL somewhere, or of another width")
    return {name: rows[f"value{i}"].astype(kind) for i, (name, kind) in enumerate(columns.items())}
