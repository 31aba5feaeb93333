"""The binary format against a plain encoder of the same specification."""

import struct
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given

from samplemix_core.database.copy import HEADER, TRAILER, decode, encode

PACK = {
    pa.int16(): ">h",
    pa.int32(): ">i",
    pa.int64(): ">q",
    pa.float32(): ">f",
    pa.float64(): ">d",
    pa.bool_(): ">?",
}


def plain(table: pa.Table) -> bytes:
    """Row by row, field by field, as the documentation of COPY says it."""
    out = HEADER
    for row in range(table.num_rows):
        out += struct.pack(">h", table.num_columns)
        for column in table.columns:
            value = column[row].as_py()
            if value is None:
                out += struct.pack(">i", -1)
                continue
            field = (
                value
                if isinstance(value, bytes)
                else value.encode()
                if isinstance(value, str)
                else struct.pack(PACK[column.type], value)
            )
            out += struct.pack(">i", len(field)) + field
    return out + TRAILER


def encoded(*tables: pa.Table) -> bytes:
    return b"".join(encode(tables))


def values_of(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if kind in (pa.int16(), pa.int32(), pa.int64()):
        return st.integers(-(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1)
    if kind in (pa.float32(), pa.float64()):
        return st.floats(width=kind.bit_width, allow_nan=False)
    if kind == pa.bool_():
        return st.booleans()
    if kind == pa.binary(16):
        return st.binary(min_size=16, max_size=16)
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


KINDS = [*PACK, pa.binary(16), pa.string(), pa.large_string()]


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5))
    rows = draw(st.integers(0, 6))
    columns = []
    for kind in kinds:
        value = st.none() | values_of(kind) if draw(st.booleans()) else values_of(kind)
        columns.append(pa.array(draw(st.lists(value, min_size=rows, max_size=rows)), kind))
    table = pa.table(columns, names=[f"c{i}" for i in range(len(kinds))])
    cut = draw(st.integers(0, rows))
    # Chunks and offsets are where an encoder over buffers goes wrong.
    return pa.concat_tables([table.slice(0, cut), table.slice(cut)]).slice(draw(st.integers(0, rows)))


@given(tables())
def test_encoding_is_that_of_the_documentation(table: pa.Table) -> None:
    assert encoded(table) == plain(table)


def test_nul_becomes_the_replacement_character() -> None:
    assert encoded(pa.table({"t": ["a\0b"]})) == plain(pa.table({"t": ["a\N{REPLACEMENT CHARACTER}b"]}))


def test_dictionaries_are_encoded_as_their_text() -> None:
    text = pa.table({"t": ["a", None, "a", "bb"]})
    assert encoded(pa.table({"t": text["t"].dictionary_encode()})) == plain(text)


def test_tables_follow_each_other_by_the_names_of_their_columns() -> None:
    one, two = pa.table({"a": [1], "b": ["x"]}), pa.table({"b": ["y"], "a": [2]})
    assert encoded(one, two) == plain(pa.concat_tables([one, two.select(["a", "b"])]))


DTYPES = {"a": "int16", "b": "int32", "c": "int64", "d": "float32", "e": "float64", "f": "bool"}


@pytest.mark.parametrize("rows", [0, 1, 100])
def test_decoding_inverts_encoding(rows: int) -> None:
    rng = np.random.default_rng(rows)
    table = pa.table({name: rng.integers(0, 2**14, rows).astype(kind) for name, kind in DTYPES.items()})
    result = decode(memoryview(encoded(table)), DTYPES)
    assert pa.table(result).equals(table)


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"a": pa.array([1, None, 3], pa.int32()), "b": pa.array([1, 2, 3], pa.int32())}),
        pa.table({"a": pa.array([1, 2], pa.int64()), "b": pa.array([1, 2], pa.int32())}),
        pa.table({"a": pa.array([1, 2], pa.int32())}),
        # As many bytes as two rows of two int4 would have.
        pa.table({"a": ["x" * 22], "b": pa.array([1], pa.int32())}),
        pa.table({"a": pa.array([1, 2], pa.int32()), "b": pa.array([None, 2], pa.int32())}),
    ],
)
def test_a_result_of_another_shape_is_never_misread(table: pa.Table) -> None:
    with pytest.raises(ValueError, match="the result is not rows of"):
        decode(memoryview(encoded(table)), {"a": "int32", "b": "int32"})
