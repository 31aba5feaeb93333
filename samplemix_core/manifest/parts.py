"""Rows to Parquet parts whose bytes depend on the rows alone."""

import hashlib
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from samplemix_core.errors import ManifestError
from samplemix_core.manifest.model import PartFile
from samplemix_core.manifest.rows import Place, canonical, check_rows, conforming, mixture_tokens
from samplemix_core.schemas import MIXTURE_PART

ROWS_PER_PART = 2**20
"""About 50 MB a part: small enough to be put in one conditional request, large enough to read in bulk."""

ROWS_PER_GROUP = 2**17
"""Rows of a Parquet row group, and all that is in memory while writing. Part of the format: it decides the bytes."""

_REPEATING = ["snapshot", "shard", "domain", "n_tokens", "copies", "diversity", "cluster"]


def write_parts(
    batches: Iterable[pa.Table | pa.RecordBatch], directory: Path, rows_per_part: int = ROWS_PER_PART
) -> tuple[PartFile, ...]:
    """Write rows (schemas.MIXTURE_PART, sorted by shard and row) as part-00000.parquet ... into an existing directory.

    The bytes depend on the rows and on rows_per_part: not on how the input is cut into batches, nor on its dictionaries.
    Holds one row group in memory, and one batch. Raises ManifestError for no rows, another schema, nulls, rows out of
    order or twice, copies below 1.
    """
    if rows_per_part < 1:
        raise ValueError(f"rows_per_part is {rows_per_part}, below 1")
    parts: list[PartFile] = []
    groups = _Groups(batches)
    last: Place | None = None
    while not groups.exhausted():
        path = directory / f"part-{len(parts):05d}.parquet"
        rows = tokens = 0
        with _writer(path) as writer:
            while rows < rows_per_part and not groups.exhausted():
                group = canonical(groups.take(min(ROWS_PER_GROUP, rows_per_part - rows)))
                last, problems = check_rows(group, last)
                if problems:
                    raise ManifestError(f"These rows can't be a mixture: {problems[0]}.", "Give samples sorted by shard and row.")
                writer.write_table(group, row_group_size=group.num_rows)
                rows += group.num_rows
                tokens += pc.sum(mixture_tokens(group)).as_py()
        parts.append(PartFile(path=path.name, rows=rows, tokens=tokens, sha256=_sha256(path)))
    if not parts:
        raise ManifestError("The mixture has no samples.", "Raise the budget.")
    return tuple(parts)


class _Groups:
    """Cuts a stream of batches into tables of wanted sizes."""

    def __init__(self, batches: Iterable[pa.Table | pa.RecordBatch]) -> None:
        self._batches = iter(batches)
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
                self._pending.append(conforming(pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch))
                self._rows += batch.num_rows


def _writer(path: Path) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        path,
        MIXTURE_PART,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
        use_dictionary=_REPEATING,
        column_encoding={"row": "DELTA_BINARY_PACKED"},
        write_statistics=True,
        data_page_size=2**20,
        dictionary_pagesize_limit=2**20,
        write_batch_size=1024,
        store_schema=True,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
