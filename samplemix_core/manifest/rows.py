"""The rows of a part: brought into their one form, and checked."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from samplemix_core.errors import ManifestError
from samplemix_core.schemas import MIXTURE_PART

Place = tuple[str, int]
"""Shard path and row of a sample."""


def conforming(table: pa.Table) -> pa.Table:
    """The table under schemas.MIXTURE_PART itself; ManifestError if its columns have other names or types."""
    if table.schema.names != MIXTURE_PART.names or table.schema.types != MIXTURE_PART.types:
        raise ManifestError(
            f"Rows have the columns {_brief(table.schema)}, not {_brief(MIXTURE_PART)}.", "Give them the schema MIXTURE_PART."
        )
    return pa.Table.from_arrays(table.columns, schema=MIXTURE_PART)


def canonical(table: pa.Table) -> pa.Table:
    """The rows of a conforming table in one chunk, each dictionary in order of first appearance: equal rows, equal memory.

    Raises ManifestError for a null.
    """
    columns = []
    for field, column in zip(MIXTURE_PART, conforming(table).columns, strict=True):
        if pa.types.is_dictionary(field.type):
            column = pc.dictionary_encode(column.cast(pa.string()).combine_chunks())
        if column.null_count:
            raise ManifestError(f"Column {field.name} has {column.null_count} nulls.", "Every sample of a mixture has every field.")
        columns.append(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    return pa.Table.from_arrays(columns, schema=MIXTURE_PART)


def check_rows(table: pa.Table, after: Place | None) -> tuple[Place, list[str]]:
    """Check canonical rows that follow the sample `after`: the last sample's place, and what is wrong, if anything.

    Rows must be sorted by (shard path in code point order, row), without repeats; copies at least 1; tokens not negative.
    """
    shards, codes, row = _shards(table)
    problems = []
    if shards != sorted(set(shards)) or (after is not None and shards[0] < after[0]):
        problems.append(f"shards are not in order: {[after[0], *shards] if after else shards}"[:400])
    steps = np.diff(codes)
    bad = np.flatnonzero((steps < 0) | ((steps == 0) & (np.diff(row) <= 0))) + 1
    if after is not None and shards[0] == after[0] and row[0] <= after[1]:
        bad = np.concatenate([[0], bad])
    if bad.size:
        problems.append(f"{shards[codes[bad[0]]]} row {row[bad[0]]} is out of order, or comes twice")
    for name, least in (("copies", 1), ("n_tokens", 0)):
        low = np.flatnonzero(table[name].to_numpy() < least)
        if low.size:
            place = f"{shards[codes[low[0]]]} row {row[low[0]]}"
            problems.append(f"{place} has {name} {table[name][int(low[0])].as_py()}, below {least}")
    return (shards[codes[-1]], int(row[-1])), problems


def mixture_tokens(table: pa.Table) -> pa.Array:
    """Tokens of all copies of each row, int64."""
    return pc.multiply(table["n_tokens"].cast(pa.int64()), table["copies"].cast(pa.int64()))


def _shards(table: pa.Table) -> tuple[list[str], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    shard = table["shard"].chunk(0)
    return shard.dictionary.to_pylist(), shard.indices.to_numpy(), table["row"].to_numpy()


def _brief(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)
