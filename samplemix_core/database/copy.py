"""Bulk in and out of Postgres by COPY in its binary format, encoded and decoded by column.

Format (PostgreSQL documentation, "COPY", Binary Format): a header; for each row the number of fields as int16 and for each
field its length as int32 (-1 for NULL) and its big-endian bytes; at the end an int16 of -1.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from psycopg2 import sql

from samplemix_core.database.connection import Cursor

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
ROWS_PER_CHUNK = 65_536

_NUMBERS = {
    pa.int16(): ">i2",
    pa.int32(): ">i4",
    pa.int64(): ">i8",
    pa.float32(): ">f4",
    pa.float64(): ">f8",
    pa.bool_(): "u1",
}
"""Arrow type -> the form its values have in the format: int2, int4, int8, float4, float8, boolean."""

_WIDTHS: dict[str, str] = {"int16": ">i2", "int32": ">i4", "int64": ">i8", "float32": ">f4", "float64": ">f8", "bool": "u1"}


def copy_in(cursor: Cursor, table: str, data: pa.Table | Iterable[pa.Table]) -> int:
    """Append rows to the columns of `table` that have the names of the data's columns; returns how many.

    Arrow's int16, int32, int64, float32, float64 and bool go to the column types of the same width, binary(16) to uuid,
    strings to text. Postgres text can't hold the character NUL: it is stored as U+FFFD. NULLs are allowed everywhere.
    """
    tables = iter((data,) if isinstance(data, pa.Table) else data)
    first = next(tables, None)
    if first is None:
        return 0
    names = _column_order(first)
    rows = 0

    def chunks() -> Iterator[bytes]:
        nonlocal rows
        yield HEADER
        for part in _chain(first, tables):
            rows += part.num_rows
            for start in range(0, part.num_rows, ROWS_PER_CHUNK):
                yield encode(part.select(names).slice(start, ROWS_PER_CHUNK))
        yield TRAILER

    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, names))
    )
    cursor.copy_expert(statement, io.BufferedReader(_Chunks(chunks()), 2**20), size=2**20)
    return rows


def _chain(first: pa.Table, rest: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield first
    yield from rest


def _column_order(table: pa.Table) -> list[str]:
    """Fixed-width columns first, so that they are encoded as one block."""
    return sorted(table.column_names, key=lambda name: not _is_fixed(table.schema.field(name).type))


def _is_fixed(kind: pa.DataType) -> bool:
    return kind in _NUMBERS or kind == pa.binary(16)


def encode(table: pa.Table) -> bytes:
    """The table's rows in the binary format, fields in the order of its columns, without header and trailer."""
    if table.num_rows == 0:
        return b""
    fixed: list[tuple[str, pa.ChunkedArray]] = []
    for name in table.column_names:
        column = table.column(name)
        if column.null_count or not _is_fixed(column.type):
            break
        fixed.append((name, column))
    block = _encode_block(fixed, table.num_rows, table.num_columns)
    rest = table.column_names[len(fixed) :]
    if not rest:
        return block.tobytes()
    pieces = [_as_binary(block.view("u1").reshape(table.num_rows, -1))]
    for name in rest:
        pieces += _encode_field(table.column(name).combine_chunks())
    joined = pc.binary_join_element_wise(*pieces, pa.scalar(b"", pa.large_binary()))
    return _data(joined)


def _encode_block(columns: Sequence[tuple[str, pa.ChunkedArray]], rows: int, fields: int) -> npt.NDArray[Any]:
    """The field count and the leading fields that are fixed-width and never NULL, one structured element a row."""
    layout: list[tuple[Any, ...]] = [("fields", ">i2")]
    for i, (_, column) in enumerate(columns):
        width = ("u1", (16,)) if column.type == pa.binary(16) else (_NUMBERS[column.type],)
        layout += [(f"length{i}", ">i4"), (f"value{i}", *width)]
    block = np.empty(rows, dtype=layout)
    block["fields"] = fields
    for i, (_, column) in enumerate(columns):
        value = block[f"value{i}"]
        value[:] = _fixed_values(column)
        block[f"length{i}"] = block.dtype[f"value{i}"].itemsize
    return block


def _fixed_values(column: pa.ChunkedArray | pa.Array) -> npt.NDArray[Any]:
    if column.type == pa.binary(16):
        return np.frombuffer(_data(column.cast(pa.large_binary())), dtype="u1").reshape(-1, 16)
    values: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy()
    return values


def _encode_field(column: pa.Array) -> list[pa.Array]:
    """Length and value of one field of each row, as two binary arrays without NULLs."""
    valid = column.is_valid()
    if column.type == pa.binary(16):
        values = column.cast(pa.large_binary()).fill_null(b"")
        lengths = np.full(len(column), 16, dtype=">i4")
    elif column.type in _NUMBERS:
        wire = np.dtype(_NUMBERS[column.type])
        filled = column.fill_null(False if column.type == pa.bool_() else 0)
        raw = _fixed_values(filled).astype(wire)
        values = pc.if_else(valid, _as_binary(raw.view("u1").reshape(len(column), -1)), pa.scalar(b"", pa.large_binary()))
        lengths = np.full(len(column), wire.itemsize, dtype=">i4")
    else:
        text = pc.replace_substring(column.cast(pa.large_string()), "\0", "\N{REPLACEMENT CHARACTER}")
        values = text.fill_null("").cast(pa.large_binary())
        lengths = pc.binary_length(values).to_numpy().astype(">i4")
    lengths[~valid.to_numpy(zero_copy_only=False)] = -1
    return [_as_binary(lengths.view("u1").reshape(len(column), 4)), values]


def _as_binary(rows: npt.NDArray[np.uint8]) -> pa.Array:
    """The rows of an (n, width) byte matrix as n binary values."""
    n, width = rows.shape
    offsets = np.arange(n + 1, dtype=np.int64) * width
    return pa.Array.from_buffers(pa.large_binary(), n, [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(rows))])


def _data(values: pa.Array | pa.ChunkedArray) -> bytes:
    """The concatenated values of a binary array without NULLs."""
    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    parts = []
    for chunk in chunks:
        if len(chunk):
            _, offsets, data = chunk.buffers()
            bounds = np.frombuffer(offsets, dtype=np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
            parts.append(memoryview(data)[bounds[0] : bounds[-1]])
    return b"".join(parts)


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
    """The result of a query as NumPy columns: `columns` gives name and NumPy type of each result column, in order.

    For the types int16, int32, int64, float32, float64 and bool, over int2, int4, int8, float4, float8 and boolean results
    of exactly that width. Raises ValueError where a result column is NULL somewhere, or of another width.
    """
    result = io.BytesIO()
    bound = cursor.mogrify(query, parameters).decode()
    cursor.copy_expert(f"COPY ({bound}) TO STDOUT (FORMAT binary)", result)
    return _decode(result.getbuffer(), columns)


def _decode(data: memoryview, columns: Mapping[str, str]) -> dict[str, npt.NDArray[Any]]:
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
