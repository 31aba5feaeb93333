"""Cluster models: what was fitted, which cluster each sample is in, and the sums from which clusters are measured."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from psycopg2.extras import Json

from samplemix_core.database.connection import Cursor, Named, ensure_partition, one, rows_as
from samplemix_core.database.copy import copy_in, copy_out
from samplemix_core.database.rollups import add_assignment, subtract_assignments
from samplemix_core.database.scope import ScoreState, Shard, ShardState
from samplemix_core.diversity.geometry import Bounds, ClusterSums
from samplemix_core.errors import AccountingError
from samplemix_core.identity import fingerprint

SHARDS_PER_READ = 256


@dataclass(frozen=True)
class FittedModel:
    """The result of a fit: its artifact's key below the state root, its figures, and the run and seconds it took."""

    artifact_key: str
    artifact_sha256: str
    n_clusters: int
    fit_rows: int
    fit_noise_share: float
    run: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ClusterModelRecord(FittedModel):
    """A fitted cluster model in the ledger. `diversity_low` and `diversity_high` are its bounds, None until it is measured.

    comparison: how its encoder compares with another; None if the two were not compared.
    """

    cluster_model_id: int
    cluster_model_key: str
    corpus_id: int
    encoder_id: int
    spec: dict[str, Any]
    state: str
    diversity_low: float | None
    diversity_high: float | None
    comparison: dict[str, Any] | None


@dataclass(frozen=True)
class Assignment:
    """The result of assigning one shard: schemas.ASSIGNMENTS in row order, what they add to their clusters, its run and time."""

    table: pa.Table
    embedding_digest: str
    sums: ClusterSums
    run: str | None = None
    seconds: float = 0.0


_RECORD = (
    "SELECT cluster_model_id, cluster_model_key, corpus_id, encoder_id, spec, artifact_key, artifact_sha256, n_clusters,"
    " fit_rows, fit_noise_share, run, seconds, state, diversity_low, diversity_high, comparison FROM cluster_model"
)


def cluster_model_key(corpus_key: str, encoder_key: str, spec: Mapping[str, Any], artifact_sha256: str) -> str:
    """Return the identity of fitted clusters: what they were fitted on, how (see pipeline.fit.fit_spec), and the result."""
    return fingerprint({"corpus": corpus_key, "encoder": encoder_key, "spec": spec, "artifact_sha256": artifact_sha256})


def save_cluster_model(
    cursor: Cursor, *, corpus_id: int, encoder_id: int, spec: dict[str, Any], fitted: FittedModel
) -> ClusterModelRecord:
    """Enter a fitted model; the same fit of the same corpus with the same encoder is the same model."""
    cursor.execute(
        "SELECT corpus_key, encoder_key FROM corpus, encoder WHERE corpus_id = %s AND encoder_id = %s", (corpus_id, encoder_id)
    )
    made_from = one(cursor, Named)
    key = cluster_model_key(made_from["corpus_key"], made_from["encoder_key"], spec, fitted.artifact_sha256)
    cursor.execute(
        """
        INSERT INTO cluster_model (cluster_model_key, corpus_id, encoder_id, spec, artifact_key, artifact_sha256, n_clusters,
                                   fit_rows, fit_noise_share, run, seconds)
        VALUES (%(key)s, %(corpus_id)s, %(encoder_id)s, %(spec)s, %(artifact_key)s, %(artifact_sha256)s, %(n_clusters)s,
                %(fit_rows)s, %(fit_noise_share)s, %(run)s, %(seconds)s)
        ON CONFLICT (cluster_model_key) DO NOTHING
        """,
        {"key": key, "corpus_id": corpus_id, "encoder_id": encoder_id, "spec": Json(spec), **asdict(fitted)},
    )
    cursor.execute(f"{_RECORD} WHERE cluster_model_key = %s", (key,))
    record = one(cursor, ClusterModelRecord)
    ensure_partition(cursor, "diversity_score", _partition(record.cluster_model_id), record.cluster_model_id, by="snapshot_id")
    return record


def save_comparison(cursor: Cursor, cluster_model_id: int, comparison: dict[str, Any]) -> None:
    """Enter how a model's encoder compares with another; the seconds that this took are added to the fit's."""
    cursor.execute(
        "UPDATE cluster_model SET comparison = %s, seconds = seconds + %s WHERE cluster_model_id = %s",
        (Json(comparison), comparison["seconds"], cluster_model_id),
    )


def load_cluster_model(cursor: Cursor, cluster_model_id: int) -> ClusterModelRecord:
    """Return the model with this id; raise KeyError if there is none."""
    cursor.execute(f"{_RECORD} WHERE cluster_model_id = %s", (cluster_model_id,))
    for record in rows_as(cursor, ClusterModelRecord):
        return record
    raise KeyError(cluster_model_id)


def find_cluster_model(
    cursor: Cursor, *, corpus_id: int, encoder_id: int, spec: dict[str, Any], refit: bool
) -> ClusterModelRecord | None:
    """Return the model to use for a corpus and an encoder: one fitted to the specification, whatever vectors it was fitted on.

    The corpus's current model is preferred, then the newest. With `refit`, only a model that was fitted on exactly the
    specification's vectors will do; the first, if there are several.
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
    return next(iter(rows_as(cursor, ClusterModelRecord)), None)


def _partition(cluster_model_id: int) -> str:
    return f"diversity_score_m{cluster_model_id}"


def prepare_assignment(cursor: Cursor, cluster_model_id: int, snapshot_ids: Sequence[int]) -> None:
    """Create the partitions that assigning these snapshots will fill."""
    parent = _partition(cluster_model_id)
    for snapshot_id in snapshot_ids:
        ensure_partition(cursor, parent, f"{parent}_s{snapshot_id}", snapshot_id)


def unassigned_shards(cursor: Cursor, cluster_model_id: int, states: Sequence[ShardState]) -> list[ShardState]:
    """Return the scored shards whose current embeddings are not assigned yet, in the order given."""
    scored = [item for item in states if item.is_scored]
    cursor.execute(
        "SELECT shard_id, embedding_digest FROM shard_assignment"
        " WHERE cluster_model_id = %s AND state = 'done' AND shard_id = ANY(%s)",
        (cluster_model_id, [item.shard.shard_id for item in scored]),
    )
    assigned = {row["shard_id"]: row["embedding_digest"] for row in rows_as(cursor, Named)}
    return [item for item in scored if assigned.get(item.shard.shard_id) != item.embedding_digest]


def commit_assignment(cursor: Cursor, cluster_model_id: int, shard: Shard, assignment: Assignment) -> None:
    """Store a shard's clusters and sums and close its ledger row, in the cursor's transaction. Repeating it changes nothing.

    Raises AccountingError unless the shard was scored with the embedding file that was assigned, and all of its rows are here.
    """
    # Other transactions that replace or commit this shard wait.
    cursor.execute("SELECT FROM shard WHERE shard_id = %s FOR NO KEY UPDATE", (shard.shard_id,))
    cursor.execute(
        "SELECT state, embedding_digest FROM shard_assignment WHERE cluster_model_id = %s AND shard_id = %s",
        (cluster_model_id, shard.shard_id),
    )
    before = cursor.fetchone()
    if before == (ScoreState.DONE, assignment.embedding_digest):
        return
    cursor.execute(
        "SELECT FROM shard_score WHERE shard_id = %s AND state = 'done' AND embedding_digest = %s AND scored = %s",
        (shard.shard_id, assignment.embedding_digest, assignment.table.num_rows),
    )
    if cursor.rowcount == 0:
        raise AccountingError(
            f"{shard.path}: {assignment.table.num_rows} rows were assigned; the ledger has no such embedding file of that many."
        )
    if before is not None:
        subtract_assignments(cursor, shard.snapshot_id, [shard.shard_id], cluster_model_id)
        cursor.execute(
            "DELETE FROM diversity_score WHERE cluster_model_id = %s AND snapshot_id = %s AND shard_id = %s",
            (cluster_model_id, shard.snapshot_id, shard.shard_id),
        )
        cursor.execute(
            "DELETE FROM shard_cluster WHERE cluster_model_id = %s AND shard_id = %s", (cluster_model_id, shard.shard_id)
        )
    table = assignment.table
    copy_in(
        cursor,
        f"{_partition(cluster_model_id)}_s{shard.snapshot_id}",
        table.append_column("cluster_model_id", _constant(cluster_model_id, table.num_rows))
        .append_column("snapshot_id", _constant(shard.snapshot_id, table.num_rows))
        .append_column("shard_id", _constant(shard.shard_id, table.num_rows)),
    )
    (clusters,) = np.nonzero(assignment.sums.counts)
    sums = {
        "cluster_model_id": _constant(cluster_model_id, clusters.size),
        "shard_id": _constant(shard.shard_id, clusters.size),
        "cluster": pa.array(clusters.astype(np.int32)),
        "members": pa.array(assignment.sums.counts[clusters].astype(np.int32)),
        "distance_sum": pa.array(assignment.sums.distance_sum[clusters]),
    }
    copy_in(cursor, "shard_cluster", pa.table(sums))
    _close(cursor, cluster_model_id, shard, ScoreState.DONE, assignment=assignment)
    add_assignment(cursor, cluster_model_id, shard, table)


def fail_assignment(cursor: Cursor, cluster_model_id: int, shard: Shard, error: str) -> None:
    """Record an error; the shard counts as unassigned again in the next run."""
    _close(cursor, cluster_model_id, shard, ScoreState.FAILED, error=error)


def _close(
    cursor: Cursor,
    cluster_model_id: int,
    shard: Shard,
    state: ScoreState,
    error: str | None = None,
    assignment: Assignment | None = None,
) -> None:
    cursor.execute(
        """
        INSERT INTO shard_assignment (cluster_model_id, shard_id, state, attempts, error, embedding_digest, rows, noise_rows, run,
                                      seconds)
        VALUES (%s, %s, %s, 1, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (cluster_model_id, shard_id) DO UPDATE SET
            state = EXCLUDED.state, attempts = shard_assignment.attempts + 1, error = EXCLUDED.error,
            embedding_digest = EXCLUDED.embedding_digest, rows = EXCLUDED.rows, noise_rows = EXCLUDED.noise_rows,
            run = EXCLUDED.run, seconds = EXCLUDED.seconds, updated_at = now()
        """,
        (
            *(cluster_model_id, shard.shard_id, state, error),
            assignment and assignment.embedding_digest,
            assignment and assignment.table.num_rows,
            assignment and (pc.sum(assignment.table["is_noise"]).as_py() or 0),
            assignment and assignment.run,
            assignment.seconds if assignment else 0.0,
        ),
    )


def cluster_totals(cursor: Cursor, model: ClusterModelRecord, states: Sequence[ShardState]) -> ClusterSums:
    """Return the sums over those of the shards that are scored. They are given in the order of snapshot name and path.

    Floating-point sums are added shard by shard in that order, so the result is the same to the bit however and whenever the shards
    were assigned. Raises AccountingError if a scored shard is not assigned.
    """
    if missing := unassigned_shards(cursor, model.cluster_model_id, states):
        raise AccountingError(f"{len(missing)} scored shards are not assigned to clusters, the first is {missing[0].shard.path}.")
    total = ClusterSums(np.zeros(model.n_clusters, dtype=np.int64), np.zeros(model.n_clusters, dtype=np.float64))
    for part in _parts([item.shard.shard_id for item in states if item.is_scored]):
        sums = copy_out(
            cursor,
            "SELECT shard_id, cluster, members, distance_sum FROM shard_cluster"
            " WHERE cluster_model_id = %(model)s AND shard_id = ANY(%(shards)s)",
            {"model": model.cluster_model_id, "shards": part},
            {"shard_id": "int32", "cluster": "int32", "members": "int32", "distance_sum": "float64"},
        )
        rank = {shard_id: i for i, shard_id in enumerate(part)}
        order = np.argsort(np.array([rank[shard_id] for shard_id in sums["shard_id"].tolist()], dtype=np.int64), kind="stable")
        total.add(sums["cluster"][order], sums["members"][order], sums["distance_sum"][order])
    return total


def _parts(shards: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(shards), SHARDS_PER_READ):
        yield list(shards[start : start + SHARDS_PER_READ])


def finish_cluster_model(cursor: Cursor, cluster_model_id: int, table: pa.Table, bounds: Bounds) -> None:
    """Store the measured clusters (schemas.CLUSTERS) and the bounds of their diversity; replaces an earlier measurement."""
    # Only one measurement of this model at a time may replace its table.
    cursor.execute("SELECT FROM cluster_model WHERE cluster_model_id = %s FOR NO KEY UPDATE", (cluster_model_id,))
    cursor.execute("DELETE FROM cluster WHERE cluster_model_id = %s", (cluster_model_id,))
    copy_in(cursor, "cluster", table.append_column("cluster_model_id", _constant(cluster_model_id, table.num_rows)))
    cursor.execute(
        "UPDATE cluster_model SET state = 'measured', diversity_low = %s, diversity_high = %s WHERE cluster_model_id = %s",
        (bounds.low, bounds.high, cluster_model_id),
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
