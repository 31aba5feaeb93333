"""What mixing reads: the scores of every sample, shard by shard, as NumPy columns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from samplemix_core.database.connection import Cursor
from samplemix_core.database.copy import copy_out
from samplemix_core.database.ledger import Scope, Shard, ShardState, shard_states
from samplemix_core.errors import AccountingError

ROWS_PER_READ = 200_000
"""Samples that are fetched at once, more or less: a read takes whole shards of one snapshot."""

_QUERIES = {
    "sample": "SELECT shard_id, row, domain_id, n_tokens FROM sample"
    " WHERE snapshot_id = %(snapshot)s AND shard_id = ANY(%(shards)s) ORDER BY shard_id, row",
    "quality_score": "SELECT shard_id, row, quality FROM quality_score"
    " WHERE snapshot_id = %(snapshot)s AND quality_model_id = %(quality)s AND shard_id = ANY(%(shards)s) ORDER BY shard_id, row",
    "diversity_score": "SELECT shard_id, row, cluster FROM diversity_score"
    " WHERE snapshot_id = %(snapshot)s AND cluster_model_id = %(cluster)s AND shard_id = ANY(%(shards)s) ORDER BY shard_id, row",
}
_KEY = {"shard_id": "int32", "row": "int64"}
_COLUMNS = {
    "sample": _KEY | {"domain_id": "int32", "n_tokens": "int32"},
    "quality_score": _KEY | {"quality": "float32"},
    "diversity_score": _KEY | {"cluster": "int32"},
}


@dataclass(frozen=True)
class RowSet:
    """Some rows of one shard: a bit for each of its rows or, where they are few among many, their numbers in `sparse`."""

    size: int
    bits: npt.NDArray[np.uint8] | None = None
    sparse: npt.NDArray[np.uint32] | None = None

    @classmethod
    def of(cls, rows: npt.NDArray[np.int64]) -> "RowSet":
        """The set of these rows: at least one, below 2**32, ascending."""
        end = int(rows[-1]) + 1
        if end > rows.size * 8 * np.dtype(np.uint32).itemsize:
            return cls(rows.size, sparse=rows.astype(np.uint32))
        members = np.zeros(end, dtype=np.bool_)
        members[rows] = True
        return cls(rows.size, bits=np.packbits(members))

    def rows(self) -> npt.NDArray[np.int64]:
        """The rows, ascending."""
        if self.bits is not None:
            return np.flatnonzero(np.unpackbits(self.bits))
        return np.empty(0, dtype=np.int64) if self.sparse is None else self.sparse.astype(np.int64)


@dataclass(frozen=True)
class ShardColumns:
    """One shard's samples, one entry each, in row order. Domain ids: scores.domain_names."""

    shard: Shard
    row: npt.NDArray[np.int64]
    domain_id: npt.NDArray[np.int32]
    n_tokens: npt.NDArray[np.int32]
    quality: npt.NDArray[np.float32]
    cluster: npt.NDArray[np.int32]


def stream_columns(cursor: Cursor, scope: Scope, cluster_model_id: int) -> Iterator[ShardColumns]:
    """The done shards of a scope, in the order of snapshot name and path.

    Memory is that of one read, however large the corpus. Call it first thing in a transaction, which it makes a
    repeatable read: everything it yields is of one moment. Raises AccountingError for a shard that has not exactly one
    sample, quality score and cluster for each document the ledger counted.
    """
    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    done = [item for item in shard_states(cursor, scope) if item.state == "done"]
    for part in _reads(done):
        parameters: dict[str, Any] = {
            "snapshot": part[0].shard.snapshot_id,
            "shards": [item.shard.shard_id for item in part],
            "quality": scope.version.quality_model_id,
            "cluster": cluster_model_id,
        }
        tables = {name: copy_out(cursor, query, parameters, _COLUMNS[name]) for name, query in _QUERIES.items()}
        for item in part:
            yield _one_shard(item, tables)


def _reads(states: Sequence[ShardState]) -> Iterator[list[ShardState]]:
    part: list[ShardState] = []
    rows = 0
    for item in states:
        if part and (rows + item.scored > ROWS_PER_READ or item.shard.snapshot_id != part[0].shard.snapshot_id):
            yield part
            part, rows = [], 0
        part.append(item)
        rows += item.scored
    if part:
        yield part


def _one_shard(item: ShardState, tables: dict[str, dict[str, npt.NDArray[Any]]]) -> ShardColumns:
    shard_id = item.shard.shard_id
    found: dict[str, npt.NDArray[Any]] = {}
    for name, table in tables.items():
        start, stop = np.searchsorted(table["shard_id"], [shard_id, shard_id + 1])
        rows = table["row"][start:stop]
        if rows.size != item.scored or not np.array_equal(rows, found.get("row", rows)):
            raise AccountingError(
                f"{item.shard.path}: {item.scored} documents are scored, but {name} has {rows.size} rows of it, or others.",
                "Assign the snapshot's shards to clusters first; if they are, this is a defect.",
            )
        found |= {column: values[start:stop] for column, values in table.items()}
    del found["shard_id"]
    return ShardColumns(shard=item.shard, **found)
