"""Upkeep of the database: statistics, indexes, old versions, scores that no version needs, and the files it refers to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg2 import sql

from samplemix_core.database.changes import version_changes
from samplemix_core.database.connection import HOLD_SHARED, TRY_HOLD, Cursor, rows_as, scalar, stream_rows
from samplemix_core.errors import ManifestError

STATISTICS = (
    *("corpus", "snapshot", "shard", "block", "shard_score", "block_score", "quarantine", "sample", "quality_score"),
    *("shard_assignment", "diversity_score", "cluster", "sample_map", "mixture_sample", "mixture_domain"),
    *("near_shard", "near_pair", "mixture_near_duplicate", "benchmark_shard", "contamination"),
    *("score_rollup", "cluster_rollup", "mixture_rollup", "mixture_copy_count"),
)
"""Tables whose statistics are refreshed, both partitions and partitioned tables: Postgres never does the latter by itself."""

REFERRED = """
SELECT embedding_key COLLATE "C" AS key FROM block_score
UNION SELECT artifact_key COLLATE "C" FROM cluster_model
UNION SELECT signature_key FROM near_shard
ORDER BY 1
"""


def referred_files(cursor: Cursor) -> Iterator[str]:
    """Keys of the files of embeddings, clusters and signatures that the database refers to, sorted, each once."""
    for (key,) in stream_rows(cursor, REFERRED, {}):
        yield key


def hold_file(cursor: Cursor, key: str) -> None:
    """Keep this file from being collected as an orphan until the transaction ends, because it is being written, perhaps again."""
    cursor.execute(HOLD_SHARED, (key,))


def may_collect_file(cursor: Cursor, key: str) -> bool:
    """Return whether nobody is writing this file now; if so, writers wait until the transaction ends."""
    cursor.execute(TRY_HOLD, (key,))
    return bool(scalar(cursor))


def refresh_statistics(cursor: Cursor) -> int:
    """Bring the planner's statistics up to date; returns the number of tables."""
    for table in STATISTICS:
        cursor.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
    return len(STATISTICS)


def index_scores(cursor: Cursor, snapshot_id: int, cluster_model_id: int) -> None:
    """Index a snapshot's scores by quality, and by cluster and distance, if not done yet: pages of samples are read by these.

    To be done after the first load, because loading into an index is much slower; later loads keep it up to date. Writers to the
    snapshot wait meanwhile.
    """
    for table, name, columns in (
        (f"quality_score_s{snapshot_id}", "by_quality", ("quality_model_id", "quality", "shard_id", "row")),
        (f"diversity_score_m{cluster_model_id}_s{snapshot_id}", "by_cluster", ("cluster", "distance", "shard_id", "row")),
    ):
        cursor.execute(
            sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} ({})").format(
                sql.Identifier(f"{table}_{name}"), sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
            )
        )


def old_versions(cursor: Cursor, keep: int) -> list[tuple[int, str, int]]:
    """Return (id, name, version) of mixtures' versions beyond the last `keep` of each whose samples are in the database."""
    cursor.execute(
        """
        SELECT mixture_id, name, version
        FROM (SELECT mixture_id, name, version, row_number() OVER (PARTITION BY name ORDER BY version DESC) AS place FROM mixture)
            AS ranked
        WHERE place > %s AND to_regclass('mixture_sample_m' || mixture_id) IS NOT NULL
        ORDER BY name COLLATE "C", version
        """,
        (keep,),
    )
    return [(mixture_id, name, version) for mixture_id, name, version in cursor.fetchall()]


def drop_samples(cursor: Cursor, mixture_id: int, name: str, version: int) -> None:
    """Drop the samples of a version; its figures, its domains and its manifest stay.

    What this version and the next one changed is counted first, because that is impossible afterwards.
    """
    cursor.execute("SELECT version FROM mixture WHERE name = %s AND version >= %s ORDER BY version LIMIT 2", (name, version))
    for (counted,) in cursor.fetchall():
        try:
            version_changes(cursor, name, counted)
        except ManifestError:
            continue  # Its parent was published elsewhere.
    cursor.execute("DELETE FROM mixture_near_duplicate WHERE mixture_id = %s", (mixture_id,))
    partition = sql.Identifier(f"mixture_sample_m{mixture_id}")
    cursor.execute(sql.SQL("ALTER TABLE mixture_sample DETACH PARTITION {}").format(partition))
    cursor.execute(sql.SQL("DROP TABLE {}").format(partition))


def kept_versions(cursor: Cursor, keep: int | None) -> list[int]:
    """Return the ids of the last `keep` versions of each mixture, or of all versions."""
    cursor.execute(
        """
        SELECT mixture_id
        FROM (SELECT mixture_id, row_number() OVER (PARTITION BY name ORDER BY version DESC) AS place FROM mixture) AS ranked
        WHERE %(keep)s::int IS NULL OR place <= %(keep)s
        """,
        {"keep": keep},
    )
    return [mixture_id for (mixture_id,) in cursor.fetchall()]


@dataclass(frozen=True)
class ScoredWith:
    """A corpus that was scored with a pair of models."""

    corpus_id: int
    encoder_id: int
    quality_model_id: int


def unused_cluster_models(cursor: Cursor, kept: Sequence[int], before: datetime) -> list[int]:
    """Return cluster models last assigned to before `before` that no kept version was made with and no view shows."""
    cursor.execute(
        """
        SELECT cluster_model_id FROM shard_assignment
        WHERE cluster_model_id NOT IN (SELECT cluster_model_id FROM mixture WHERE mixture_id = ANY(%(kept)s))
            AND NOT EXISTS (SELECT FROM corpus WHERE cluster_model_id IN (current_cluster_model, next_cluster_model))
        GROUP BY 1 HAVING max(updated_at) < %(before)s ORDER BY 1
        """,
        {"kept": list(kept), "before": before},
    )
    return [model for (model,) in cursor.fetchall()]


def drop_assignments(cursor: Cursor, cluster_model_id: int) -> None:
    """Drop the assignments to a model's clusters. The model stays: if the assignments are needed again, they are made again."""
    cursor.execute(
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = to_regclass(%s)",
        (f"diversity_score_m{cluster_model_id}",),
    )
    for (partition,) in cursor.fetchall():
        cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(partition)))
    for table in ("cluster_rollup", "shard_assignment", "sample_map"):
        cursor.execute(sql.SQL("DELETE FROM {} WHERE cluster_model_id = %s").format(sql.Identifier(table)), (cluster_model_id,))


def unused_scores(cursor: Cursor, kept: Sequence[int], before: datetime) -> list[ScoredWith]:
    """Return corpora with pairs of models that have scored no block since `before` and that no kept version was made with.

    What the run of a kept version scored in addition is kept with it.
    """
    cursor.execute(
        """
        SELECT corpus_id, encoder_id, quality_model_id
        FROM block_score JOIN shard USING (shard_id) JOIN snapshot USING (snapshot_id)
        WHERE (corpus_id, encoder_id, quality_model_id) NOT IN
            (
                SELECT corpus_id, encoder_id, unnest(other_quality_model_ids || quality_model_id) FROM mixture
                WHERE mixture_id = ANY(%(kept)s)
            )
        GROUP BY 1, 2, 3 HAVING max(done_at) < %(before)s ORDER BY 1, 2, 3
        """,
        {"kept": list(kept), "before": before},
    )
    return rows_as(cursor, ScoredWith)


def drop_scores(cursor: Cursor, scored: ScoredWith) -> None:
    """Drop what a pair of models gave a corpus: its ledger, and the qualities if no other pair gave the same ones.

    The samples and the plan of each file stay. If the scores are needed again, they are made again.
    """
    cursor.execute("SELECT shard_id FROM shard JOIN snapshot USING (snapshot_id) WHERE corpus_id = %s", (scored.corpus_id,))
    values = {**vars(scored), "shards": [shard_id for (shard_id,) in cursor.fetchall()]}
    for table in ("block_score", "shard_score"):
        statement = (
            "DELETE FROM {} WHERE shard_id = ANY(%(shards)s) AND encoder_id = %(encoder_id)s"
            " AND quality_model_id = %(quality_model_id)s"
        )
        cursor.execute(sql.SQL(statement).format(sql.Identifier(table)), values)
    for table in ("quality_score", "score_rollup"):
        statement = """
            DELETE FROM {}
            WHERE quality_model_id = %(quality_model_id)s
                AND snapshot_id IN (SELECT snapshot_id FROM snapshot WHERE corpus_id = %(corpus_id)s)
                AND NOT EXISTS (
                    SELECT FROM block_score WHERE shard_id = ANY(%(shards)s) AND quality_model_id = %(quality_model_id)s
                )
        """
        cursor.execute(sql.SQL(statement).format(sql.Identifier(table)), values)


def removed_snapshots(cursor: Cursor, kept: Sequence[int], before: datetime) -> list[int]:
    """Return snapshots whose files are gone from every named corpus and that no kept version was made from.

    None of their blocks has been scored since `before`.
    """
    cursor.execute(
        """
        SELECT snapshot_id
        FROM snapshot JOIN corpus USING (corpus_id)
        WHERE EXISTS (SELECT FROM shard WHERE shard.snapshot_id = snapshot.snapshot_id AND superseded_at IS NULL)
            AND (SELECT bool_and(crawl.state = 'removed')
                 FROM crawl JOIN corpus_config ON corpus_config.name = crawl.corpus
                 WHERE config->'run'->>'corpus_uri' = corpus.uri AND crawl.snapshot = snapshot.name)
            AND snapshot_id NOT IN (SELECT snapshot_id FROM mixture_snapshot WHERE mixture_id = ANY(%(kept)s))
            AND NOT EXISTS (SELECT FROM shard JOIN block_score USING (shard_id)
                            WHERE shard.snapshot_id = snapshot.snapshot_id AND done_at >= %(before)s)
        ORDER BY 1
        """,
        {"kept": list(kept), "before": before},
    )
    return [snapshot_id for (snapshot_id,) in cursor.fetchall()]


SCORED = ("sample", "quality_score")
"""Tables with a partition for each snapshot from the moment it is registered."""


def dead_corpora(cursor: Cursor, before: datetime) -> list[int]:
    """Return corpora of which nothing was scored and whose URI a later corpus has too: they were read with the wrong fields.

    No version, cluster model or audit was made of them, and since `before` no run registered them and nothing happened to their
    files.
    """
    cursor.execute(
        """
        SELECT corpus_id FROM corpus
        WHERE registered_at < %(before)s
            AND EXISTS (SELECT FROM corpus AS later WHERE later.uri = corpus.uri AND later.corpus_id > corpus.corpus_id)
            AND NOT EXISTS (SELECT FROM mixture WHERE mixture.corpus_id = corpus.corpus_id)
            AND NOT EXISTS (SELECT FROM cluster_model WHERE cluster_model.corpus_id = corpus.corpus_id)
            AND NOT EXISTS (SELECT FROM quality_audit WHERE quality_audit.corpus_id = corpus.corpus_id)
            AND NOT EXISTS (
                SELECT FROM snapshot
                JOIN shard USING (snapshot_id)
                LEFT JOIN block_score USING (shard_id)
                LEFT JOIN shard_score USING (shard_id)
                WHERE snapshot.corpus_id = corpus.corpus_id
                    AND (block_score.scored > 0 OR shard.registered_at >= %(before)s OR shard_score.updated_at >= %(before)s)
            )
        ORDER BY corpus_id
        """,
        {"before": before},
    )
    return [corpus_id for (corpus_id,) in cursor.fetchall()]


def drop_corpus(cursor: Cursor, corpus_id: int, before: datetime) -> None:
    """Drop a dead corpus with its shards and their quarantined records, unless a run has registered it since it was found."""
    cursor.execute("SELECT FROM corpus WHERE corpus_id = %s FOR UPDATE", (corpus_id,))
    if corpus_id not in dead_corpora(cursor, before):
        return
    cursor.execute("SELECT snapshot_id FROM snapshot WHERE corpus_id = %s ORDER BY 1 FOR UPDATE", (corpus_id,))
    snapshots = [snapshot_id for (snapshot_id,) in cursor.fetchall()]
    for snapshot_id in snapshots:
        for parent in SCORED:
            cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(f"{parent}_s{snapshot_id}")))
    for table in ("quarantine", "block_score", "shard_score", "block", "near_shard", "benchmark_shard"):
        statement = "DELETE FROM {} WHERE shard_id IN (SELECT shard_id FROM shard WHERE snapshot_id = ANY(%s))"
        cursor.execute(sql.SQL(statement).format(sql.Identifier(table)), (snapshots,))
    cursor.execute("DELETE FROM shard WHERE snapshot_id = ANY(%s)", (snapshots,))
    for table in ("snapshot", "unread_file", "corpus"):
        cursor.execute(sql.SQL("DELETE FROM {} WHERE corpus_id = %s").format(sql.Identifier(table)), (corpus_id,))
