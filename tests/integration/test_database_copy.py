"""COPY against plain INSERT and SELECT, in both directions."""

import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from samplemix_core.database.copy import ROWS_PER_CHUNK, copy_in, copy_out
from samplemix_core.deployment import Deployment

COLUMNS = "a int2, b int4, c int8, d real, e float8, f boolean, g uuid, h text"


def table(rows: int, *, nulls: bool) -> pa.Table:
    rng = np.random.default_rng(rows)
    columns: dict[str, pa.Array] = {
        "h": pa.array([f"tëxt \n\t\\N {i}" for i in range(rows)]),
        "g": pa.array([uuid.UUID(int=i * 7919).bytes for i in range(rows)], pa.binary(16)),
        "f": pa.array(rng.random(rows) < 0.5),
        "e": pa.array(rng.normal(size=rows)),
        "d": pa.array(rng.normal(size=rows).astype(np.float32)),
        "c": pa.array(rng.integers(-(2**62), 2**62, rows)),
        "b": pa.array(rng.integers(-(2**31), 2**31, rows).astype(np.int32)),
        "a": pa.array(rng.integers(-(2**15), 2**15, rows).astype(np.int16)),
    }
    if nulls:
        columns = {
            name: pa.array([None if (i + k) % 3 == 0 else value for i, value in enumerate(column.to_pylist())], column.type)
            for k, (name, column) in enumerate(columns.items())
        }
    return pa.table(columns)


def as_inserted(value: Any) -> Any:
    return str(uuid.UUID(bytes=value)) if isinstance(value, bytes) else value


@pytest.mark.parametrize("nulls", [False, True])
def test_copied_rows_are_those_that_insert_makes(database: Deployment, nulls: bool) -> None:
    data = table(50, nulls=nulls)
    with database.transaction() as cursor:
        cursor.execute(f"CREATE TEMP TABLE copied ({COLUMNS}) ON COMMIT DROP")
        cursor.execute(f"CREATE TEMP TABLE inserted ({COLUMNS}) ON COMMIT DROP")
        assert copy_in(cursor, "copied", [data.slice(0, 20), data.slice(20)]) == 50
        for row in data.to_pylist():
            names = ", ".join(row)
            values = [as_inserted(value) for value in row.values()]
            cursor.execute(f"INSERT INTO inserted ({names}) VALUES ({', '.join(['%s'] * len(row))})", values)
        cursor.execute("SELECT * FROM copied ORDER BY copied")
        copied = cursor.fetchall()
        cursor.execute("SELECT * FROM inserted ORDER BY inserted")
        assert copied == cursor.fetchall()


def test_columns_out_are_those_that_select_gives(database: Deployment) -> None:
    kinds = {"a": "int16", "b": "int32", "c": "int64", "d": "float32", "e": "float64", "f": "bool"}
    with database.transaction() as cursor:
        cursor.execute(f"CREATE TEMP TABLE copied ({COLUMNS}) ON COMMIT DROP")
        copy_in(cursor, "copied", table(1_000, nulls=False))
        result = copy_out(cursor, "SELECT a, b, c, d, e, f FROM copied WHERE b > %(least)s ORDER BY c", {"least": 0}, kinds)
        cursor.execute("SELECT a, b, c, d, e, f FROM copied WHERE b > 0 ORDER BY c")
        selected = cursor.fetchall()
    assert {name: column.dtype for name, column in result.items()} == {name: np.dtype(kind) for name, kind in kinds.items()}
    columns = [np.array(column, dtype=kind) for column, kind in zip(zip(*selected, strict=True), kinds.values(), strict=True)]
    for found, expected in zip(result.values(), columns, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_null_in_a_result_is_an_error(database: Deployment) -> None:
    with database.transaction() as cursor, pytest.raises(ValueError, match="NULL somewhere"):
        copy_out(cursor, "VALUES (1), (NULL), (2)", {}, {"x": "int32"})


def test_more_rows_than_one_chunk(database: Deployment) -> None:
    rows = ROWS_PER_CHUNK + 10
    with database.transaction() as cursor:
        cursor.execute("CREATE TEMP TABLE copied (x int8, t text) ON COMMIT DROP")
        copy_in(cursor, "copied", pa.table({"x": np.arange(rows), "t": pa.repeat("t", rows)}))
        result = copy_out(cursor, "SELECT x FROM copied ORDER BY x", {}, {"x": "int64"})
    np.testing.assert_array_equal(result["x"], np.arange(rows))


def test_parameters_are_bound_not_pasted(database: Deployment) -> None:
    with database.transaction() as cursor:
        result = copy_out(cursor, "SELECT length(%(t)s)", {"t": "'); DROP TABLE sample; --"}, {"n": "int32"})
        assert result["n"].tolist() == [25]


def test_nothing_to_copy(database: Deployment) -> None:
    with database.transaction() as cursor:
        cursor.execute("CREATE TEMP TABLE copied (x int8) ON COMMIT DROP")
        assert copy_in(cursor, "copied", []) == 0
        assert copy_in(cursor, "copied", pa.table({"x": pa.array([], pa.int64())})) == 0
        assert copy_out(cursor, "SELECT x FROM copied", {}, {"x": "int64"})["x"].size == 0
