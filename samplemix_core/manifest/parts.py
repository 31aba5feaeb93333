"""Rows to Parquet parts whose bytes depend on the rows alone: rows are brought into canonical form, checked, and written."""

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from samplemix_core.errors import ManifestError
from samplemix_core.manifest.format import PartFile, columns, copies_in, part_schema

ROWS_PER_PART = 2**20
"""About 50 MB per part: small enough to be put in one conditional request, large enough to read in bulk."""

ROWS_PER_GROUP = 2**17
"""Rows of a Parquet row group, which is all that is in memory while writing. Part of the format: it decides the bytes."""

Place = tuple[str, int]
"""Shard path and row of a sample."""


def write_parts(
    batches: Iterable[pa.Table | pa.RecordBatch],
    directory: Path,
    rows_per_part: int = ROWS_PER_PART,
    phases: Sequence[str] = (),
) -> tuple[PartFile, ...]:
    """Write rows (part_schema of the phases, sorted by shard and row) as part-00000.parquet ... into an existing directory.

    The bytes depend on the rows and on rows_per_part: not on how the input is cut into batches, nor on its dictionaries.
    Holds one row group in memory, and one batch. Raises ManifestError for no rows, another schema, nulls, rows out of
    order or twice, copies below 1, or other copies than those of the phases together.
    """
    if rows_per_part < 1:
        raise ValueError(f"rows_per_part is {rows_per_part}, below 1")
    parts: list[PartFile] = []
    groups = _Groups(batches, part_schema(phases))
    last: Place | None = None
    while not groups.exhausted():
        path = directory / f"part-{len(parts):05d}.parquet"
        rows = tokens = 0
        with _writer(path, phases) as writer:
            while rows < rows_per_part and not groups.exhausted():
                group = canonical(groups.take(min(ROWS_PER_GROUP, rows_per_part - rows)), phases)
                last, problems = check_rows(group, last, phases)
                if problems:
                    raise ManifestError(f"These rows can't be a mixture: {problems[0]}.", "Give samples sorted by shard and row.")
                writer.write_table(group, row_group_size=group.num_rows)
                rows += group.num_rows
                tokens += pc.sum(mixture_tokens(group)).as_py()
        parts.append(PartFile(path=path.name, rows=rows, tokens=tokens, sha256=file_sha256(path)))
    if not parts:
        raise ManifestError("The mixture has no samples.", "Raise the budget.")
    return tuple(parts)


class _Groups:
    """Cuts a stream of batches into tables of wanted sizes."""

    def __init__(self, batches: Iterable[pa.Table | pa.RecordBatch], schema: pa.Schema) -> None:
        self._batches, self._schema = iter(batches), schema
        self._pending: deque[pa.Table] = deque()
        self._rows = 0

    def exhausted(self) -> bool:
        self._fill(1)
        return self._rows == 0

    def take(self, wanted: int) -> pa.Table:
        """The next `wanted` rows, or all that are left."""
        self._fill(wanted)
        taken = []
        while wanted and self._pending:
            table = self._pending.popleft()
            if table.num_rows > wanted:
                self._pending.appendleft(table.slice(wanted))
                table = table.slice(0, wanted)
            wanted -= table.num_rows
            self._rows -= table.num_rows
            taken.append(table)
        return pa.concat_tables(taken)

    def _fill(self, wanted: int) -> None:
        while self._rows < wanted and (batch := next(self._batches, None)) is not None:
            if batch.num_rows:
                table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
                self._pending.append(conforming(table, self._schema))
                self._rows += batch.num_rows


def _writer(path: Path, phases: Sequence[str]) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        path,
        part_schema(phases),
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
        use_dictionary=[column.name for column in columns(phases) if column.repeats],
        column_encoding={"row": "DELTA_BINARY_PACKED"},
        write_statistics=True,
        data_page_size=2**20,
        dictionary_pagesize_limit=2**20,
        write_batch_size=1024,
        store_schema=True,
    )


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def conforming(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the table with the schema of parts itself; raise ManifestError if its columns have other names or types."""
    if table.schema.names != schema.names or table.schema.types != schema.types:
        raise ManifestError(
            f"Rows have the columns {_brief(table.schema)}, not {_brief(schema)}.", "Give them the schema part_schema()."
        )
    return pa.Table.from_arrays(table.columns, schema=schema)


def canonical(table: pa.Table, phases: Sequence[str] = ()) -> pa.Table:
    """The rows of a conforming table in one chunk, each dictionary in order of first appearance: equal rows, equal memory.

    Raises ManifestError for a null.
    """
    schema, canonised = part_schema(phases), []
    for field, column in zip(schema, conforming(table, schema).columns, strict=True):
        if pa.types.is_dictionary(field.type):
            column = pc.dictionary_encode(column.cast(pa.string()).combine_chunks())
        if column.null_count:
            raise ManifestError(f"Column {field.name} has {column.null_count} nulls.", "Every sample of a mixture has every field.")
        canonised.append(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    return pa.Table.from_arrays(canonised, schema=schema)


def check_rows(table: pa.Table, after: Place | None, phases: Sequence[str] = ()) -> tuple[Place, list[str]]:
    """Check canonical rows that follow the sample `after`; returns the last sample's place, and what is wrong, if anything.

    Rows must be sorted by (shard path in code point order, row), without repeats; copies at least 1, and those of the phases
    together; tokens not negative.
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
    own = [copies_in(phase) for phase in phases]
    for name, least in (("copies", 1), ("n_tokens", 0), *((name, 0) for name in own)):
        low = np.flatnonzero(table[name].to_numpy() < least)
        if low.size:
            place = f"{shards[codes[low[0]]]} row {row[low[0]]}"
            problems.append(f"{place} has {name} {table[name][int(low[0])].as_py()}, below {least}")
    if own:
        together = np.sum([table[name].to_numpy() for name in own], axis=0)
        other = np.flatnonzero(together != table["copies"].to_numpy())
        if other.size:
            place = f"{shards[codes[other[0]]]} row {row[other[0]]}"
            problems.append(
                f"{place} has {table['copies'][int(other[0])].as_py()} copies, and {together[other[0]]} in all phases together"
            )
    return (shards[codes[-1]], int(row[-1])), problems


def mixture_tokens(table: pa.Table) -> pa.Array:
    """Tokens of all copies of each row, int64."""
    return pc.multiply(table["n_tokens"].cast(pa.int64()), table["copies"].cast(pa.int64()))


def _shards(table: pa.Table) -> tuple[list[str], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    shard = table["shard"].chunk(0)
    return shard.dictionary.to_pylist(), shard.indices.to_numpy(), table["row"].to_numpy()


def _brief(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)
