"""The input of mixing: every sample's scores, shard by shard, as NumPy columns; and which samples repeat others."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg2 import sql

from samplemix_core.database.connection import Cursor, stream_rows
from samplemix_core.database.copy import copy_out
from samplemix_core.database.scope import Scope, ScoreVersion, Shard, ShardState
from samplemix_core.errors import AccountingError
from samplemix_core.mixing.rollup import LABELS
from samplemix_core.mixing.shard_samples import RowSet, ShardSamples
from samplemix_core.schemas import UNKNOWN

ROWS_PER_READ = 200_000
"""Samples fetched at once, approximately: a read takes whole shards of one snapshot."""

_QUERIES = {
    "sample": "SELECT shard_id, row, domain_id, n_tokens{labels} FROM sample"
    " WHERE snapshot_id = %(snapshot)s AND shard_id = ANY(%(shards)s) ORDER BY shard_id, row",
    "quality_score": "SELECT shard_id, row, quality FROM quality_score"
    " WHERE snapshot_id = %(snapshot)s AND quality_model_id = %(quality)s AND shard_id = ANY(%(shards)s) ORDER BY shard_id, row",
    # Documents of an earlier version's model have the diversity of their cluster.
    "diversity_score": "SELECT shard_id, row, cluster, distance, coalesce(score.diversity, cluster.diversity::real, 0) AS diversity"
    " FROM diversity_score AS score LEFT JOIN cluster USING (cluster_model_id, cluster)"
    " WHERE snapshot_id = %(snapshot)s AND cluster_model_id = %(cluster)s AND shard_id = ANY(%(shards)s) ORDER BY shard_id, row",
}
_KEY = {"shard_id": "int32", "row": "int64"}
_COLUMNS = {
    "sample": _KEY | {"domain_id": "int32", "n_tokens": "int32"},
    "quality_score": _KEY | {"quality": "float32"},
    "diversity_score": _KEY | {"cluster": "int32", "distance": "float32", "diversity": "float32"},
}


RANKED = """
    ranked AS (
        SELECT shard_id, row_number() OVER (ORDER BY snapshot.name COLLATE "C", path COLLATE "C") AS rank
        FROM shard
        JOIN snapshot USING (snapshot_id)
        JOIN shard_score USING (shard_id, etag)
        WHERE snapshot_id = ANY(%(snapshots)s) AND superseded_at IS NULL AND shard_id <= %(last)s AND state = 'done'
            AND encoder_id = %(encoder)s AND quality_model_id = %(quality)s
    )
"""
"""The done shards of a scope, ranked: of documents that are alike, the first has the lowest rank, and then row."""


def ranked_parameters(scope: Scope) -> dict[str, Any]:
    """The parameters of RANKED."""
    return {
        "snapshots": list(scope.snapshot_ids),
        "last": scope.last_shard_id,
        "encoder": scope.version.encoder_id,
        "quality": scope.version.quality_model_id,
    }


def not_in(left_out: str | None) -> str:
    """The condition that a sample isn't in the table `left_out` of rows; empty without one."""
    if left_out is None:
        return ""
    return f" AND NOT EXISTS (SELECT FROM {left_out} AS o WHERE (o.shard_id, o.row) = (sample.shard_id, sample.row))"


def find_duplicates(cursor: Cursor, scope: Scope, left_out: str | None = None) -> dict[int, RowSet]:
    """Return the samples that repeat the text of an earlier one: shard id -> their rows, for shards that have any.

    Among samples with the same content hash in the scope's done shards, without those in the table `left_out`, the first by
    snapshot name, path (both in byte order) and row is kept; all others are duplicates. Postgres sorts only samples that have a
    duplicate, on disk if there are many. Memory here is one bit for each row of a shard that has duplicates, plus the duplicates of
    one shard.
    """
    found = stream_rows(
        cursor,
        """
        WITH repeated AS MATERIALIZED (
            SELECT content_hash FROM sample WHERE snapshot_id = ANY(%(snapshots)s){counted}
            GROUP BY content_hash HAVING count(*) > 1
        ), {ranked}, numbered AS (
            SELECT shard_id, row, row_number() OVER (PARTITION BY content_hash ORDER BY rank, row) AS number
            FROM sample JOIN repeated USING (content_hash) JOIN ranked USING (shard_id)
            WHERE snapshot_id = ANY(%(snapshots)s){counted}
        )
        SELECT shard_id, row FROM numbered WHERE number > 1 ORDER BY shard_id, row
        """.replace("{counted}", not_in(left_out)).replace("{ranked}", RANKED),
        ranked_parameters(scope),
    )
    by_shard = itertools.groupby(found, key=itemgetter(0))
    return {shard_id: RowSet.of(np.fromiter((row for _, row in rows), dtype=np.int64)) for shard_id, rows in by_shard}


_LABEL = "coalesce({}, %(unknown)s)"


def label_names(cursor: Cursor, snapshot_ids: Sequence[int], columns: Iterable[str]) -> dict[str, list[str]]:
    """The names that occur in some of the LABELS, sorted, by column. Reads all samples of the snapshots."""
    names = {}
    for column in LABELS:
        if column in columns:
            query = sql.SQL("SELECT DISTINCT coalesce({}, %(unknown)s) FROM sample WHERE snapshot_id = ANY(%(snapshots)s)")
            cursor.execute(query.format(sql.Identifier(column)), {"unknown": UNKNOWN, "snapshots": list(snapshot_ids)})
            names[column] = sorted(name for (name,) in cursor.fetchall())
    return names


def stream_samples(
    cursor: Cursor,
    version: ScoreVersion,
    cluster_model_id: int,
    states: Sequence[ShardState],
    labels: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[tuple[Shard, ShardSamples]]:
    """Yield the samples of the done shards, in the order given; their domains are the ids of `domain_names`.

    With `labels`, the names of some of the LABELS, each sample's place among these is read too.

    Holds one read in memory, however large the corpus. Raises AccountingError for a shard that doesn't have exactly one sample,
    quality score and cluster for each document the ledger counted.
    """
    labels = labels or {}
    places = "".join(f", array_position(%({name}_names)s, {_LABEL.format(name)}) - 1" for name in labels)
    kinds = {**_COLUMNS, "sample": {**_COLUMNS["sample"], **dict.fromkeys(labels, "int32")}}
    for part in in_reads(states, ROWS_PER_READ):
        parameters: dict[str, Any] = {
            "snapshot": part[0].shard.snapshot_id,
            "shards": [item.shard.shard_id for item in part],
            "quality": version.quality_model_id,
            "cluster": cluster_model_id,
            "unknown": UNKNOWN,
            **{f"{name}_names": list(names) for name, names in labels.items()},
        }
        tables = {
            name: copy_out(cursor, query.replace("{labels}", places), parameters, kinds[name]) for name, query in _QUERIES.items()
        }
        for item in part:
            yield item.shard, _one_shard(item, tables, labels)


def in_reads(states: Sequence[ShardState], most: int) -> Iterator[list[ShardState]]:
    """The scored ones of these shards in parts, each of one snapshot and with at most so many documents, or of one shard."""
    part: list[ShardState] = []
    rows = 0
    for item in (item for item in states if item.is_scored):
        if part and (rows + item.scored > most or item.shard.snapshot_id != part[0].shard.snapshot_id):
            yield part
            part, rows = [], 0
        part.append(item)
        rows += item.scored
    if part:
        yield part


def _one_shard(item: ShardState, tables: dict[str, dict[str, npt.NDArray[Any]]], labels: Iterable[str]) -> ShardSamples:
    shard_id = item.shard.shard_id
    found: dict[str, npt.NDArray[Any]] = {}
    for name, table in tables.items():
        start, stop = np.searchsorted(table["shard_id"], [shard_id, shard_id + 1])
        rows = table["row"][start:stop]
        if rows.size != item.scored or not np.array_equal(rows, found.get("row", rows)):
            raise AccountingError(
                f"{item.shard.path}: {item.scored} documents are scored, but {name} has {rows.size} rows of it, or other ones.",
                "Assign the snapshot's shards to clusters first; if they are, this is a defect.",
            )
        found |= {column: values[start:stop] for column, values in table.items()}
    return ShardSamples(
        snapshot=item.shard.snapshot,
        path=item.shard.path,
        row=found["row"],
        domain=found["domain_id"],
        n_tokens=found["n_tokens"],
        quality=found["quality"],
        cluster=found["cluster"],
        distance=found["distance"],
        diversity=found["diversity"],
        labels={name: found[name] for name in labels},
    )
