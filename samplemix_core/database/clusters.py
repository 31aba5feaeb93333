"""Cluster models: what was fitted, and which cluster and diversity each sample has."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from psycopg2.extras import Json

from samplemix_core.database.connection import Cursor, Named, ensure_partition, one, rows_as, scalar
from samplemix_core.database.copy import copy_in, copy_out
from samplemix_core.database.rollups import add_assignment, subtract_assignments, sum_assignments
from samplemix_core.database.scope import ScoreState, Shard, ShardState
from samplemix_core.diversity.cluster_model import Groups, Kinds
from samplemix_core.diversity.geometry import Bounds
from samplemix_core.diversity.lineage import Heir
from samplemix_core.errors import AccountingError, ModelError
from samplemix_core.identity import fingerprint
from samplemix_core.policies.policy import Ranks
from samplemix_core.schemas import UNKNOWN


@dataclass(frozen=True)
class FittedModel:
    """The result of a fit: its artifact's key below the state root, its figures, and the run and seconds it took.

    diversity_ranks: "values" and "places" of the Ranks of diversity; None for a model of an earlier version.
    parent_id: the model before it, whose clusters' names it carries on. change: how it differs:
    "against_parent" is a diversity.lineage.Change. health: a diversity.health.FitHealth.
    """

    artifact_key: str
    artifact_sha256: str
    n_clusters: int
    fit_rows: int
    fit_noise_share: float
    diversity_ranks: dict[str, list[float]] | None = None
    run: str | None = None
    seconds: float = 0.0
    parent_id: int | None = None
    change: dict[str, Any] | None = None
    health: dict[str, Any] | None = None


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
    """The result of assigning one shard: parts of schemas.ASSIGNMENTS in row order, its run, and when it began (time.monotonic)."""

    parts: Iterable[pa.Table]
    embedding_digest: str
    run: str | None = None
    started: float | None = None


_RECORD = (
    "SELECT cluster_model_id, cluster_model_key, corpus_id, encoder_id, spec, artifact_key, artifact_sha256, n_clusters,"
    " fit_rows, fit_noise_share, diversity_ranks, run, seconds, parent_id, change, health, state, diversity_low,"
    " diversity_high, comparison FROM cluster_model"
)


def cluster_model_key(corpus_key: str, encoder_key: str, spec: Mapping[str, Any], artifact_sha256: str) -> str:
    """Return the identity of fitted clusters: what they were fitted on, how (see pipeline.fit.fit_spec), and the result."""
    return fingerprint({"corpus": corpus_key, "encoder": encoder_key, "spec": spec, "artifact_sha256": artifact_sha256})


def save_cluster_model(
    cursor: Cursor,
    *,
    corpus_id: int,
    encoder_id: int,
    spec: dict[str, Any],
    fitted: FittedModel,
    profiles: dict[str, Any] | None = None,
    heirs: Sequence[Heir] = (),
) -> ClusterModelRecord:
    """Enter a fitted model; the same fit of the same corpus with the same encoder is the same model.

    profiles: its sample, see load_profiles. heirs: what became of its parent's clusters.
    """
    cursor.execute(
        "SELECT corpus_key, encoder_key FROM corpus, encoder WHERE corpus_id = %s AND encoder_id = %s", (corpus_id, encoder_id)
    )
    made_from = one(cursor, Named)
    key = cluster_model_key(made_from["corpus_key"], made_from["encoder_key"], spec, fitted.artifact_sha256)
    cursor.execute(
        """
        INSERT INTO cluster_model (cluster_model_key, corpus_id, encoder_id, spec, artifact_key, artifact_sha256, n_clusters,
                                   fit_rows, fit_noise_share, diversity_ranks, run, seconds, parent_id, profiles, change, health)
        VALUES (%(key)s, %(corpus_id)s, %(encoder_id)s, %(spec)s, %(artifact_key)s, %(artifact_sha256)s, %(n_clusters)s,
                %(fit_rows)s, %(fit_noise_share)s, %(ranks)s, %(run)s, %(seconds)s, %(parent_id)s, %(profiles)s, %(change)s,
                %(health)s)
        ON CONFLICT (cluster_model_key) DO NOTHING
        """,
        {
            **{"key": key, "corpus_id": corpus_id, "encoder_id": encoder_id, "spec": Json(spec), **asdict(fitted)},
            "ranks": Json(fitted.diversity_ranks),
            "profiles": profiles and Json(profiles),
            "change": fitted.change and Json(fitted.change),
            "health": fitted.health and Json(fitted.health),
        },
    )
    is_new = cursor.rowcount > 0
    cursor.execute(f"{_RECORD} WHERE cluster_model_key = %s", (key,))
    record = one(cursor, ClusterModelRecord)
    if is_new and heirs:
        columns = {name: list(values) for name, values in zip(Heir._fields, zip(*heirs, strict=True), strict=True)}
        cursor.execute(
            "INSERT INTO cluster_heir (cluster_model_id, fate, parent, cluster, shared)"
            " SELECT %(model)s, heir.*"
            " FROM unnest(%(fate)s::text[], %(parent)s::int[], %(cluster)s::int[], %(shared)s::real[]) AS heir",
            {"model": record.cluster_model_id, **columns},
        )
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

    The corpus's next model is preferred, then its current one, then the newest. With `refit`, only a model that was fitted on
    exactly the specification's vectors will do, the first if there are several. Whose names it carries on doesn't matter.
    """
    if refit:
        condition, order, wanted = "spec - 'parent' = %s", "cluster_model_id", spec
    else:
        condition, order = "spec - '{parent,vectors}'::text[] = %s", _PREFERRED
        wanted = {name: value for name, value in spec.items() if name != "vectors"}
    cursor.execute(
        f"{_RECORD} WHERE corpus_id = %s AND encoder_id = %s AND {condition} ORDER BY {order} LIMIT 1",
        (corpus_id, encoder_id, Json(wanted)),
    )
    return next(iter(rows_as(cursor, ClusterModelRecord)), None)


_OF_CORPUS = "(SELECT {}_cluster_model FROM corpus WHERE corpus_id = cluster_model.corpus_id)"
_PREFERRED = ", ".join(
    [
        *(f"cluster_model_id IS NOT DISTINCT FROM {_OF_CORPUS.format(which)} DESC" for which in ("next", "current")),
        "cluster_model_id DESC",
    ]
)


def find_by_key(cursor: Cursor, corpus_uri: str, key: str) -> ClusterModelRecord:
    """Return the measured model of a corpus whose key begins so; raise ModelError unless there is exactly one."""
    cursor.execute(
        f"{_RECORD} JOIN corpus USING (corpus_id) WHERE state = 'measured' AND starts_with(cluster_model_key, %s) AND uri = %s",
        (key, corpus_uri),
    )
    found = rows_as(cursor, ClusterModelRecord)
    if len(found) != 1:
        said = "no measured cluster model" if not found else f"{len(found)} cluster models"
        raise ModelError(
            f"{corpus_uri} has {said} whose key begins with {key!r}.", "See 'samplemix diversity models' for the keys."
        )
    return found[0]


def find_parent(cursor: Cursor, *, corpus_id: int, encoder_id: int, spec: Mapping[str, Any]) -> ClusterModelRecord | None:
    """Return the measured model whose clusters a new one carries on: one of the same method, and of the same settings if there is.

    Of these, the corpus's next or current one, else the newest.
    """
    cursor.execute(
        f"{_RECORD} WHERE corpus_id = %s AND encoder_id = %s AND state = 'measured' AND spec->>'method' = %s"
        f" ORDER BY spec->'diversity' IS NOT DISTINCT FROM %s DESC, {_PREFERRED} LIMIT 1",
        (corpus_id, encoder_id, spec["method"], Json(spec["diversity"])),
    )
    return next(iter(rows_as(cursor, ClusterModelRecord)), None)


def adopt(cursor: Cursor, record: ClusterModelRecord) -> bool:
    """Have a corpus's next version made with this model; return whether that is news."""
    cursor.execute(
        "UPDATE corpus SET next_cluster_model = nullif(%(model)s, current_cluster_model), clusters_chosen_at = clock_timestamp()"
        " WHERE corpus_id = %(corpus)s"
        " AND coalesce(next_cluster_model, current_cluster_model) IS DISTINCT FROM %(model)s",
        {"model": record.cluster_model_id, "corpus": record.corpus_id},
    )
    return bool(cursor.rowcount)


def adopt_refit(cursor: Cursor, record: ClusterModelRecord) -> bool:
    """As adopt, for a model that was just fitted: only if versions have its settings, and no model was chosen since the fit."""
    cursor.execute(
        "SELECT current.spec - '{parent,vectors}'::text[], coalesce(clusters_chosen_at > own.created_at, false) FROM corpus"
        " JOIN cluster_model AS own ON own.cluster_model_id = %(model)s"
        " LEFT JOIN cluster_model AS current ON current.cluster_model_id = current_cluster_model"
        " WHERE corpus.corpus_id = %(corpus)s FOR NO KEY UPDATE OF corpus",
        {"model": record.cluster_model_id, "corpus": record.corpus_id},
    )
    ((settings, is_chosen),) = cursor.fetchall()
    own = {name: value for name, value in record.spec.items() if name not in ("parent", "vectors")}
    return False if settings != own or is_chosen else adopt(cursor, record)


def save_change(cursor: Cursor, cluster_model_id: int, change: dict[str, Any]) -> None:
    """Enter how a model differs from its parent."""
    cursor.execute("UPDATE cluster_model SET change = %s WHERE cluster_model_id = %s", (Json(change), cluster_model_id))


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
    """Store a shard's clusters and diversity and close its ledger row, in the cursor's transaction. Repeating it changes nothing.

    Parts are taken one by one, so memory is that of one part. Raises AccountingError unless the shard was scored with the embedding
    file that was assigned, and all of its rows are here.
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
    if before is not None:
        subtract_assignments(cursor, shard.snapshot_id, [shard.shard_id], cluster_model_id)
        cursor.execute(
            "DELETE FROM diversity_score WHERE cluster_model_id = %s AND snapshot_id = %s AND shard_id = %s",
            (cluster_model_id, shard.snapshot_id, shard.shard_id),
        )
    rows = noise = following = 0
    sums: pa.Table | None = None
    for part in assignment.parts:
        if not part.num_rows:
            continue
        copy_in(
            cursor,
            f"{_partition(cluster_model_id)}_s{shard.snapshot_id}",
            part.append_column("cluster_model_id", _constant(cluster_model_id, part.num_rows))
            .append_column("snapshot_id", _constant(shard.snapshot_id, part.num_rows))
            .append_column("shard_id", _constant(shard.shard_id, part.num_rows)),
        )
        sums = sum_assignments(cursor, shard, part, following, sums)
        following = part["row"][-1].as_py() + 1
        rows, noise = rows + part.num_rows, noise + pc.sum(part["is_noise"]).as_py()
    cursor.execute(
        "SELECT FROM shard_score WHERE shard_id = %s AND state = 'done' AND embedding_digest = %s AND scored = %s",
        (shard.shard_id, assignment.embedding_digest, rows),
    )
    if cursor.rowcount == 0:
        raise AccountingError(f"{shard.path}: {rows} rows were assigned; the ledger has no such embedding file of that many.")
    seconds = 0.0 if assignment.started is None else time.monotonic() - assignment.started
    done = {
        "embedding_digest": assignment.embedding_digest,
        "rows": rows,
        "noise": noise,
        "run": assignment.run,
        "seconds": seconds,
    }
    _close(cursor, cluster_model_id, shard, ScoreState.DONE, done=done)
    # Last, because others wait for the end of this transaction from here on.
    if sums is not None:
        add_assignment(cursor, cluster_model_id, shard, sums)


def fail_assignment(cursor: Cursor, cluster_model_id: int, shard: Shard, error: str) -> None:
    """Record an error; the shard counts as unassigned again in the next run."""
    _close(cursor, cluster_model_id, shard, ScoreState.FAILED, error=error)


def _close(
    cursor: Cursor,
    cluster_model_id: int,
    shard: Shard,
    state: ScoreState,
    error: str | None = None,
    done: Mapping[str, Any] | None = None,
) -> None:
    cursor.execute(
        """
        INSERT INTO shard_assignment (cluster_model_id, shard_id, state, attempts, error, embedding_digest, rows, noise_rows, run,
                                      seconds)
        VALUES (%(model)s, %(shard)s, %(state)s, 1, %(error)s, %(embedding_digest)s, %(rows)s, %(noise)s, %(run)s, %(seconds)s)
        ON CONFLICT (cluster_model_id, shard_id) DO UPDATE SET
            state = EXCLUDED.state, attempts = shard_assignment.attempts + 1, error = EXCLUDED.error,
            embedding_digest = EXCLUDED.embedding_digest, rows = EXCLUDED.rows, noise_rows = EXCLUDED.noise_rows,
            run = EXCLUDED.run, seconds = EXCLUDED.seconds, updated_at = now()
        """,
        {
            **dict.fromkeys(("embedding_digest", "rows", "noise", "run")),
            **{"model": cluster_model_id, "shard": shard.shard_id, "state": state, "error": error, "seconds": 0.0},
            **(done or {}),
        },
    )


def cluster_sizes(cursor: Cursor, model: ClusterModelRecord, states: Sequence[ShardState]) -> npt.NDArray[np.int64]:
    """How many documents of these shards' snapshots each cluster has, (K,).

    Raises AccountingError if a scored one of the shards is not assigned.
    """
    if missing := unassigned_shards(cursor, model.cluster_model_id, states):
        raise AccountingError(f"{len(missing)} scored shards are not assigned to clusters, the first is {missing[0].shard.path}.")
    cursor.execute(
        "SELECT cluster, sum(documents)::bigint FROM cluster_rollup"
        " WHERE cluster_model_id = %s AND snapshot_id = ANY(%s) GROUP BY cluster",
        (model.cluster_model_id, sorted({item.shard.snapshot_id for item in states})),
    )
    sizes = np.zeros(model.n_clusters, dtype=np.int64)
    for cluster, documents in cursor.fetchall():
        sizes[cluster] = documents
    return sizes


def sampled_documents(cursor: Cursor, parts: Iterable[tuple[Shard, npt.NDArray[np.int64]]]) -> tuple[Kinds, npt.NDArray[np.int64]]:
    """Languages, content types and tokens of stored samples: of each shard those in these rows, in this order.

    Raises AccountingError if one isn't stored. Looks each up by its key, so it is for samples of a corpus.
    """
    snapshots, shards, rows = list[int](), list[int](), list[int]()
    for shard, own in parts:
        snapshots += [shard.snapshot_id] * own.size
        shards += [shard.shard_id] * own.size
        rows += own.tolist()
    cursor.execute(
        """
        SELECT coalesce(language, %s), coalesce(content_type, %s), n_tokens
        FROM unnest(%s::int[], %s::int[], %s::bigint[]) WITH ORDINALITY AS wanted (snapshot_id, shard_id, row, place)
        CROSS JOIN LATERAL (
            SELECT language, content_type, n_tokens FROM sample
            WHERE (sample.snapshot_id, sample.shard_id, sample.row) = (wanted.snapshot_id, wanted.shard_id, wanted.row) OFFSET 0
        ) AS found
        ORDER BY place
        """,
        (UNKNOWN, UNKNOWN, snapshots, shards, rows),
    )
    found = cursor.fetchall()
    if len(found) != len(rows):
        raise AccountingError(f"{len(rows):,} samples were drawn, {len(found):,} of them are stored.")
    names, codes = [], []
    for place in range(2):
        own, code = np.unique(np.array([row[place] for row in found], dtype=str), return_inverse=True)
        names.append(own.tolist())
        codes.append(code)
    return Kinds(*names, *codes), np.array([row[2] for row in found], dtype=np.int64)


def kinds_of_rows(cursor: Cursor, shard: Shard, groups: Groups, first: int, last: int) -> tuple[npt.NDArray[np.int64], Kinds]:
    """Rows of a shard's stored samples between these, ascending, and their languages and content types; "" for one of no group."""
    languages = ["", *sorted({language for language, _ in groups.offsets})]
    content_types = ["", *sorted({kind for _, kind in groups.offsets})]
    found = copy_out(
        cursor,
        "SELECT row, coalesce(array_position(%(languages)s, coalesce(language, %(unknown)s)), 1) - 1 AS language,"
        " coalesce(array_position(%(content_types)s, coalesce(content_type, %(unknown)s)), 1) - 1 AS content_type"
        " FROM sample WHERE snapshot_id = %(snapshot)s AND shard_id = %(shard)s AND row BETWEEN %(first)s AND %(last)s"
        " ORDER BY row",
        {
            **{"languages": languages, "content_types": content_types, "unknown": UNKNOWN, "first": first, "last": last},
            **{"snapshot": shard.snapshot_id, "shard": shard.shard_id},
        },
        {"row": "int64", "language": "int32", "content_type": "int32"},
    )
    return found["row"], Kinds(languages, content_types, found["language"], found["content_type"])


NOISE = "noise"
"""The rule by which documents far from every centroid are left out, beside those of constraints."""


def leave_out_noise(cursor: Cursor, left_out: str, cluster_model_id: int, states: Sequence[ShardState], rule: int) -> None:
    """Put noise into the table `left_out` of rows, with the number of its rule, unless it is there."""
    cursor.execute(
        f"INSERT INTO {left_out} (shard_id, row, rule) SELECT shard_id, row, %(rule)s FROM diversity_score AS score"  # noqa: S608 a constant
        " WHERE cluster_model_id = %(model)s AND snapshot_id = ANY(%(snapshots)s) AND shard_id = ANY(%(shards)s) AND is_noise"
        f" AND NOT EXISTS (SELECT FROM {left_out} AS o WHERE (o.shard_id, o.row) = (score.shard_id, score.row))",
        {
            "rule": rule,
            "model": cluster_model_id,
            "snapshots": sorted({item.shard.snapshot_id for item in states}),
            "shards": [item.shard.shard_id for item in states if item.is_scored],
        },
    )


def diversity_ranks(cursor: Cursor, cluster_model_id: int) -> Ranks:
    """Ranks of diversity over a model's documents."""
    cursor.execute("SELECT diversity_ranks FROM cluster_model WHERE cluster_model_id = %s", (cluster_model_id,))
    known = scalar(cursor)
    if known is not None:
        return Ranks(tuple(known["values"]), tuple(known["places"]))
    # A model of an earlier version, where all documents of a cluster have its diversity.
    table = cluster_table(cursor, cluster_model_id)
    some = table.filter(pc.greater(table["size"], 0))
    return Ranks.over(some["diversity"].to_numpy().astype(np.float32), some["size"].to_numpy())


def finish_cluster_model(cursor: Cursor, cluster_model_id: int, table: pa.Table, bounds: Bounds) -> None:
    """Store the measured clusters (schemas.CLUSTERS) and the bounds of their diversity; replaces an earlier measurement."""
    # Only one measurement of this model at a time may replace its table.
    cursor.execute("SELECT FROM cluster_model WHERE cluster_model_id = %s FOR NO KEY UPDATE", (cluster_model_id,))
    cursor.execute("DELETE FROM cluster WHERE cluster_model_id = %s", (cluster_model_id,))
    copy_in(cursor, "cluster", table.append_column("cluster_model_id", _constant(cluster_model_id, table.num_rows)))
    cursor.execute(
        """
        UPDATE cluster SET name = coalesce(
            (SELECT before.name FROM cluster_model
             JOIN cluster_heir AS heir USING (cluster_model_id)
             JOIN cluster AS before ON before.cluster_model_id = parent_id AND before.cluster = heir.parent
             WHERE cluster_model.cluster_model_id = %(model)s AND heir.cluster = cluster.cluster AND fate = 'kept'),
            cluster_model_id || '.' || cluster)
        WHERE cluster_model_id = %(model)s
        """,
        {"model": cluster_model_id},
    )
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
