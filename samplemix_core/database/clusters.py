"""Cluster models: what was fitted, which cluster each sample is in, and the sums from which clusters are measured."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from psycopg2.extras import Json

from samplemix_core.database.connection import Cursor, ensure_partition
from samplemix_core.database.copy import copy_in, copy_out
from samplemix_core.database.ledger import WHOLE, Scope, Shard, ShardState, shard_states
from samplemix_core.errors import AccountingError
from samplemix_core.identity import fingerprint

_SHARDS_PER_READ = 256


@dataclass(frozen=True)
class ClusterModelRecord:
    """A fitted cluster model. `diversity_low` and `diversity_high` are its bounds, None until it is measured."""

    cluster_model_id: int
    cluster_model_key: str
    corpus_id: int
    encoder_id: int
    spec: dict[str, Any]
    artifact_key: str
    artifact_sha256: str
    n_clusters: int
    fit_rows: int
    fit_noise_share: float
    state: str
    diversity_low: float | None
    diversity_high: float | None


@dataclass(frozen=True)
class Assignment:
    """What assigning one shard gave: schemas.ASSIGNMENTS in row order; per cluster (K,) its members and their distances' sum."""

    table: pa.Table
    embedding_sha256: str
    members: npt.NDArray[np.int64]
    distance_sum: npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClusterTotals:
    """Sums over shards, per cluster (K,)."""

    members: npt.NDArray[np.int64]
    distance_sum: npt.NDArray[np.float64]


_RECORD = (
    "SELECT cluster_model_id, cluster_model_key, corpus_id, encoder_id, spec, artifact_key, artifact_sha256, n_clusters,"
    " fit_rows, fit_noise_share, state, diversity_low, diversity_high FROM cluster_model"
)


def save_cluster_model(
    cursor: Cursor,
    *,
    corpus_id: int,
    encoder_id: int,
    spec: dict[str, Any],
    artifact_key: str,
    artifact_sha256: str,
    n_clusters: int,
    fit_rows: int,
    fit_noise_share: float,
) -> ClusterModelRecord:
    """Enter a fitted model; the same fit of the same corpus with the same encoder is the same model."""
    cursor.execute(
        "SELECT corpus_key, encoder_key FROM corpus, encoder WHERE corpus_id = %s AND encoder_id = %s", (corpus_id, encoder_id)
    )
    corpus_key, encoder_key = cursor.fetchone()
    key = fingerprint({"corpus": corpus_key, "encoder": encoder_key, "spec": spec, "artifact_sha256": artifact_sha256})
    cursor.execute(
        """
        INSERT INTO cluster_model (cluster_model_key, corpus_id, encoder_id, spec, artifact_key, artifact_sha256, n_clusters,
                                   fit_rows, fit_noise_share)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (cluster_model_key) DO NOTHING
        """,
        (key, corpus_id, encoder_id, Json(spec), artifact_key, artifact_sha256, n_clusters, fit_rows, fit_noise_share),
    )
    cursor.execute(f"{_RECORD} WHERE cluster_model_key = %s", (key,))
    record = ClusterModelRecord(*cursor.fetchone())
    ensure_partition(cursor, "diversity_score", _partition(record.cluster_model_id), record.cluster_model_id, by="snapshot_id")
    return record


def load_cluster_model(cursor: Cursor, cluster_model_id: int) -> ClusterModelRecord:
    """The model with an id; KeyError if there is none."""
    cursor.execute(f"{_RECORD} WHERE cluster_model_id = %s", (cluster_model_id,))
    row = cursor.fetchone()
    if row is None:
        raise KeyError(cluster_model_id)
    return ClusterModelRecord(*row)


def find_cluster_model(
    cursor: Cursor, *, corpus_id: int, encoder_id: int, spec: dict[str, Any], refit: bool
) -> ClusterModelRecord | None:
    """The model that serves a corpus and an encoder: fitted as the specification says, whatever vectors it was fitted on.

    The corpus's current model, if it is one of these, else the newest. With `refit` only one that was fitted on exactly the
    specification's vectors, the first if there are several.
    """
    if refit:
        condition, order, wanted = "spec = %s", "cluster_model_id", spec
    else:
        current = "(SELECT current_cluster_model FROM corpus WHERE corpus_id = cluster_model.corpus_id)"
        condition, order = "spec - 'vectors' = %s", f"cluster_model_id IS NOT DISTINCT FROM {current} DESC, cluster_model_id DESC"
        wanted = {name: value for name, value in spec.items() if name != "vectors"}
    cursor.execute(
        f"{_RECORD} WHERE corpus_id = %s AND encoder_id = %s AND {condition} ORDER BY {order} LIMIT 1",
        (corpus_id, encoder_id, Json(wanted)),
    )
    row = cursor.fetchone()
    return ClusterModelRecord(*row) if row else None


def _partition(cluster_model_id: int) -> str:
    return f"diversity_score_m{cluster_model_id}"


def prepare_assignment(cursor: Cursor, cluster_model_id: int, snapshots: Sequence[int]) -> None:
    """Create the partitions that assigning these snapshots (ids) will fill."""
    parent = _partition(cluster_model_id)
    for snapshot_id in snapshots:
        ensure_partition(cursor, parent, f"{parent}_s{snapshot_id}", snapshot_id)


def unassigned_shards(cursor: Cursor, cluster_model_id: int, scope: Scope, group: tuple[int, int] = WHOLE) -> list[ShardState]:
    """The scored shards whose present embeddings are not assigned yet, in the order of snapshot name and path."""
    cursor.execute(
        "SELECT shard_id, embedding_sha256 FROM shard_assignment"
        " WHERE cluster_model_id = %s AND state = 'done' AND shard_id %% %s = %s",
        (cluster_model_id, group[1], group[0]),
    )
    assigned: dict[int, str] = dict(cursor.fetchall())
    return [
        item
        for item in shard_states(cursor, scope, group)
        if item.state == "done" and assigned.get(item.shard.shard_id) != item.embedding_sha256
    ]


def commit_assignment(cursor: Cursor, cluster_model_id: int, shard: Shard, assignment: Assignment) -> None:
    """Store a shard's clusters and sums and close its ledger row, in the cursor's transaction. Doing it again changes nothing.

    Raises AccountingError unless the shard is scored with the embedding file that was assigned, and every row of it is here.
    """
    # Whoever replaces the shard, or commits it too, waits.
    cursor.execute("SELECT FROM shard WHERE shard_id = %s FOR NO KEY UPDATE", (shard.shard_id,))
    cursor.execute(
        "SELECT state, embedding_sha256 FROM shard_assignment WHERE cluster_model_id = %s AND shard_id = %s",
        (cluster_model_id, shard.shard_id),
    )
    if cursor.fetchone() == ("done", assignment.embedding_sha256):
        return
    cursor.execute(
        "SELECT FROM shard_score WHERE shard_id = %s AND state = 'done' AND embedding_sha256 = %s AND scored = %s",
        (shard.shard_id, assignment.embedding_sha256, assignment.table.num_rows),
    )
    if cursor.rowcount == 0:
        raise AccountingError(
            f"{shard.path}: {assignment.table.num_rows} rows were assigned; the ledger has no such embedding file of that many."
        )
    cursor.execute(
        "DELETE FROM diversity_score WHERE cluster_model_id = %s AND snapshot_id = %s AND shard_id = %s",
        (cluster_model_id, shard.snapshot_id, shard.shard_id),
    )
    cursor.execute("DELETE FROM shard_cluster WHERE cluster_model_id = %s AND shard_id = %s", (cluster_model_id, shard.shard_id))
    table = assignment.table
    copy_in(
        cursor,
        f"{_partition(cluster_model_id)}_s{shard.snapshot_id}",
        table.append_column("cluster_model_id", _constant(cluster_model_id, table.num_rows))
        .append_column("snapshot_id", _constant(shard.snapshot_id, table.num_rows))
        .append_column("shard_id", _constant(shard.shard_id, table.num_rows)),
    )
    (clusters,) = np.nonzero(assignment.members)
    sums = {
        "cluster_model_id": _constant(cluster_model_id, clusters.size),
        "shard_id": _constant(shard.shard_id, clusters.size),
        "cluster": pa.array(clusters.astype(np.int32)),
        "members": pa.array(assignment.members[clusters].astype(np.int32)),
        "distance_sum": pa.array(assignment.distance_sum[clusters]),
    }
    copy_in(cursor, "shard_cluster", pa.table(sums))
    noise = pc.sum(table["is_noise"]).as_py() or 0
    _close(
        cursor, cluster_model_id, shard, "done", embedding_sha256=assignment.embedding_sha256, rows=table.num_rows, noise_rows=noise
    )


def fail_assignment(cursor: Cursor, cluster_model_id: int, shard: Shard, error: str) -> None:
    """Note an error; the shard is unassigned again at the next run."""
    _close(cursor, cluster_model_id, shard, "failed", error=error)


def _close(
    cursor: Cursor,
    cluster_model_id: int,
    shard: Shard,
    state: str,
    *,
    error: str | None = None,
    embedding_sha256: str | None = None,
    rows: int | None = None,
    noise_rows: int | None = None,
) -> None:
    cursor.execute(
        """
        INSERT INTO shard_assignment (cluster_model_id, shard_id, state, attempts, error, embedding_sha256, rows, noise_rows)
        VALUES (%s, %s, %s, 1, %s, %s, %s, %s)
        ON CONFLICT (cluster_model_id, shard_id) DO UPDATE SET
            state = EXCLUDED.state, attempts = shard_assignment.attempts + 1, error = EXCLUDED.error,
            embedding_sha256 = EXCLUDED.embedding_sha256, rows = EXCLUDED.rows, noise_rows = EXCLUDED.noise_rows,
            updated_at = now()
        """,
        (cluster_model_id, shard.shard_id, state, error, embedding_sha256, rows, noise_rows),
    )


def cluster_totals(cursor: Cursor, model: ClusterModelRecord, scope: Scope) -> ClusterTotals:
    """Members and distances per cluster over the snapshots' scored shards.

    Floating-point sums are added shard by shard in the order of snapshot name and path, so the result is the same bits
    whoever assigned the shards, and when. Raises AccountingError if a scored shard is not assigned.
    """
    if missing := unassigned_shards(cursor, model.cluster_model_id, scope):
        raise AccountingError(f"{len(missing)} scored shards are not assigned to clusters, the first is {missing[0].shard.path}.")
    shards = [item.shard.shard_id for item in shard_states(cursor, scope) if item.state == "done"]
    members = np.zeros(model.n_clusters, dtype=np.int64)
    distance_sum = np.zeros(model.n_clusters, dtype=np.float64)
    for part in _parts(shards):
        sums = copy_out(
            cursor,
            "SELECT shard_id, cluster, members, distance_sum FROM shard_cluster"
            " WHERE cluster_model_id = %(model)s AND shard_id = ANY(%(shards)s)",
            {"model": model.cluster_model_id, "shards": part},
            {"shard_id": "int32", "cluster": "int32", "members": "int32", "distance_sum": "float64"},
        )
        rank = {shard_id: i for i, shard_id in enumerate(part)}
        order = np.argsort(np.array([rank[shard_id] for shard_id in sums["shard_id"].tolist()], dtype=np.int64), kind="stable")
        np.add.at(members, sums["cluster"][order], sums["members"][order])
        np.add.at(distance_sum, sums["cluster"][order], sums["distance_sum"][order])
    return ClusterTotals(members, distance_sum)


def _parts(shards: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(shards), _SHARDS_PER_READ):
        yield list(shards[start : start + _SHARDS_PER_READ])


def finish_cluster_model(
    cursor: Cursor,
    cluster_model_id: int,
    table: pa.Table,
    *,
    diversity_low: float,
    diversity_high: float,
    exemplars: Mapping[int, list[Any]] | None = None,
) -> None:
    """Store the measured clusters (schemas.CLUSTERS) and the bounds of their diversity; replaces an earlier measurement.

    `exemplars` gives documents that stand for a cluster, as JSON values.
    """
    # The lock lets one measurement of this model at a time replace its table.
    cursor.execute("SELECT FROM cluster_model WHERE cluster_model_id = %s FOR NO KEY UPDATE", (cluster_model_id,))
    cursor.execute("DELETE FROM cluster WHERE cluster_model_id = %s", (cluster_model_id,))
    copy_in(cursor, "cluster", table.append_column("cluster_model_id", _constant(cluster_model_id, table.num_rows)))
    for cluster, documents in sorted((exemplars or {}).items()):
        cursor.execute(
            "UPDATE cluster SET exemplars = %s WHERE cluster_model_id = %s AND cluster = %s",
            (Json(documents), cluster_model_id, cluster),
        )
    cursor.execute(
        "UPDATE cluster_model SET state = 'measured', diversity_low = %s, diversity_high = %s WHERE cluster_model_id = %s",
        (diversity_low, diversity_high, cluster_model_id),
    )


def cluster_table(cursor: Cursor, cluster_model_id: int) -> pa.Table:
    """The measured clusters of a model: schemas.CLUSTERS, sorted by cluster."""
    columns = {"cluster": "int32", "size": "int64", "compactness": "float64", "separation": "float64", "diversity": "float64"}
    query = (
        "SELECT cluster, size, compactness, separation, diversity FROM cluster WHERE cluster_model_id = %(model)s ORDER BY cluster"
    )
    return pa.table(copy_out(cursor, query, {"model": cluster_model_id}, columns))


def _constant(value: int, rows: int) -> pa.Array:
    return pa.array(np.full(rows, value, dtype=np.int32))
