"""Check the database for consistency: the ledger and roll-ups against the samples, mixtures against their figures.

Everything is recounted from the sample rows: one pass over each snapshot's scores and one over each mixture's source.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2 import sql

from samplemix_core.database.connection import Cursor, Named, one, rows_as
from samplemix_core.database.rollups import COUNTED, KEYS, SUMS, band_sql, counted_of, scaled_sql
from samplemix_core.manifest.verify import Problem


@dataclass(frozen=True)
class Counted:
    """A snapshot: its id, and what to call it."""

    id: int
    label: str


def snapshots_of(cursor: Cursor, corpus_uri: str | None = None) -> list[Counted]:
    """The registered snapshots of all corpora or of those at a URI."""
    cursor.execute(
        """
        SELECT snapshot_id AS id, uri || '/' || snapshot.name AS label
        FROM snapshot JOIN corpus USING (corpus_id)
        WHERE %(uri)s::text IS NULL OR uri = %(uri)s
        ORDER BY uri COLLATE "C", snapshot.name COLLATE "C", snapshot_id
        """,
        {"uri": corpus_uri},
    )
    return rows_as(cursor, Counted)


@dataclass(frozen=True)
class Artifact:
    """A file of a fitted or trained model: what it belongs to, its key below the state root, and its SHA-256."""

    label: str
    key: str
    sha256: str


def artifacts_of(cursor: Cursor, files: str, corpus_uri: str | None = None) -> list[Artifact]:
    """Return the files of the cluster models of all corpora, or of those at a URI; without a URI, also those of the quality models.

    `files` is the directory of files that are stored by content.
    """
    cursor.execute(
        """
        SELECT 'cluster model ' || left(cluster_model_key, 12) || ' of ' || uri AS label,
               artifact_key AS key, artifact_sha256 AS sha256
        FROM cluster_model JOIN corpus USING (corpus_id)
        WHERE %(uri)s::text IS NULL OR uri = %(uri)s
        UNION
        SELECT 'quality model ' || coalesce(name, '') || '@' || left(quality_model_key, 12), artifact_key, artifact_sha256
        FROM quality_model WHERE artifact_key IS NOT NULL AND %(uri)s::text IS NULL
        UNION
        SELECT 'quality model ' || coalesce(name, '') || '@' || left(quality_model_key, 12) || ', ' || file.key,
               %(files)s || '/' || value, value
        FROM quality_model, jsonb_each_text(coalesce(spec->'files', '{}') || coalesce(spec->'encoder_files', '{}')) AS file
        WHERE %(uri)s::text IS NULL
        ORDER BY 1, 2
        """,
        {"uri": corpus_uri, "files": files},
    )
    return rows_as(cursor, Artifact)


def versions_of(cursor: Cursor, corpus_uri: str | None = None) -> list[tuple[str, int]]:
    """Name and number of the recorded versions of all corpora or of those at a URI."""
    cursor.execute(
        """
        SELECT name, version FROM mixture JOIN corpus USING (corpus_id)
        WHERE %(uri)s::text IS NULL OR uri = %(uri)s
        ORDER BY name COLLATE "C", version
        """,
        {"uri": corpus_uri},
    )
    return [(name, version) for name, version in cursor.fetchall()]


def snapshot_problems(cursor: Cursor, snapshot: Counted) -> Iterator[Problem]:
    """Yield a snapshot's inconsistencies: shards whose row counts differ from the ledger's, and roll-up rows with wrong sums."""
    for query, what in _LEDGER.items():
        cursor.execute(query, {"snapshot": snapshot.id})
        for row in rows_as(cursor, Named):
            yield Problem(row["path"], f"the ledger says {row['expected']} {what}, the table has {row['found']}")
    for table, counted in COUNTED.items():
        rows = sql.SQL("SELECT * FROM {} WHERE snapshot_id = ANY(%(snapshots)s)").format(sql.Identifier(table))
        yield from _differences(cursor, table, KEYS[table], SUMS[table], sql.SQL(counted), rows, counted_of([snapshot.id]))


_LEDGER = {
    """
    SELECT path, scored AS expected, coalesce(rows, 0) AS found
    FROM shard
    JOIN (SELECT DISTINCT shard_id, scored FROM shard_score WHERE state = 'done') AS done USING (shard_id)
    LEFT JOIN (SELECT shard_id, count(*) AS rows FROM sample WHERE snapshot_id = %(snapshot)s GROUP BY 1) AS held USING (shard_id)
    WHERE snapshot_id = %(snapshot)s AND superseded_at IS NULL AND scored <> coalesce(rows, 0) ORDER BY path
    """: "samples",
    """
    SELECT path, scored AS expected, coalesce(rows, 0) AS found
    FROM shard
    JOIN (SELECT DISTINCT shard_id, quality_model_id, scored FROM shard_score WHERE state = 'done') AS done USING (shard_id)
    LEFT JOIN (
        SELECT shard_id, quality_model_id, count(*) AS rows FROM quality_score WHERE snapshot_id = %(snapshot)s GROUP BY 1, 2
    ) AS held USING (shard_id, quality_model_id)
    WHERE snapshot_id = %(snapshot)s AND superseded_at IS NULL AND scored <> coalesce(rows, 0) ORDER BY path
    """: "quality scores",
    """
    SELECT path, quarantined AS expected, coalesce(rows, 0) AS found
    FROM shard
    JOIN (SELECT DISTINCT shard_id, quarantined FROM shard_score WHERE state = 'done') AS done USING (shard_id)
    LEFT JOIN (SELECT shard_id, count(*) AS rows FROM quarantine GROUP BY 1) AS held USING (shard_id)
    WHERE snapshot_id = %(snapshot)s AND superseded_at IS NULL AND quarantined <> coalesce(rows, 0) ORDER BY path
    """: "quarantined records",
    """
    SELECT path, shard_assignment.rows AS expected, coalesce(held.rows, 0) AS found
    FROM shard
    JOIN shard_assignment USING (shard_id)
    LEFT JOIN (
        SELECT shard_id, cluster_model_id, count(*) AS rows FROM diversity_score WHERE snapshot_id = %(snapshot)s GROUP BY 1, 2
    ) AS held USING (shard_id, cluster_model_id)
    WHERE snapshot_id = %(snapshot)s AND superseded_at IS NULL AND state = 'done'
        AND shard_assignment.rows <> coalesce(held.rows, 0) ORDER BY path
    """: "assigned samples",
}
"""Queries for shards with more or fewer rows than the ledger says -> what the rows are."""


def mixture_problems(cursor: Cursor, name: str, version: int) -> Iterator[Problem]:
    """Yield a recorded version's inconsistencies: in its samples, its figures by domain and its roll-ups.

    The documents it chose from are also recounted, unless they have changed since. If the version's samples were dropped, only what
    doesn't need them is checked. If it is older than roll-ups, only its numbers of samples and copies are.
    """
    cursor.execute(
        """
        SELECT mixture.*, to_regclass('mixture_sample_m' || mixture_id) IS NOT NULL AS has_samples,
               EXISTS (SELECT FROM mixture_rollup WHERE mixture_rollup.mixture_id = mixture.mixture_id) AS has_rollup
        FROM mixture WHERE name = %s AND version = %s
        """,
        (name, version),
    )
    mixture = one(cursor, Named)
    values, label = {"mixture": mixture["mixture_id"]}, f"{name} version {version}"
    if mixture["has_samples"]:
        cursor.execute(
            "SELECT count(*) AS samples, coalesce(sum(copies), 0)::bigint AS copies FROM mixture_sample"
            " WHERE mixture_id = %(mixture)s",
            values,
        )
        for column, found in one(cursor, Named).items():
            if found != mixture[column]:
                yield Problem(label, f"{column} are {mixture[column]}, its rows in Postgres come to {found}")
    if not mixture["has_rollup"]:
        return
    yield from _compared(cursor, "mixture_domain", values)
    if mixture["has_samples"]:
        yield from _compared(cursor, "held", values)
        yield from _compared(cursor, "held_copies", values)
        yield from _compared(cursor, "phases", values)
    cursor.execute(_ELIGIBLE, values)
    cursor.execute(
        "SELECT (SELECT count(*) FROM eligible) = %s AND"
        " (SELECT coalesce(sum(n_tokens), 0) FROM eligible) ="
        " (SELECT coalesce(sum(source_tokens), 0) FROM mixture_domain WHERE mixture_id = %s) AS unchanged",
        (mixture["eligible"], mixture["mixture_id"]),
    )
    if one(cursor, Named)["unchanged"]:
        yield from _compared(cursor, "source", values)
        yield from _compared(cursor, "source_copies", values)
    cursor.execute("DROP TABLE eligible")


_ELIGIBLE = f"""
CREATE TEMP TABLE eligible ON COMMIT DROP AS
WITH numbered AS (
    SELECT snapshot_id, shard_id, row, domain_id, n_tokens,
           row_number() OVER (PARTITION BY content_hash
                              ORDER BY snapshot.name COLLATE "C", shard.path COLLATE "C", row) AS number
    FROM mixture
    JOIN mixture_snapshot USING (mixture_id)
    JOIN snapshot USING (snapshot_id)
    JOIN shard USING (snapshot_id)
    JOIN shard_score USING (shard_id, encoder_id, quality_model_id, etag)
    JOIN sample USING (snapshot_id, shard_id)
    WHERE mixture_id = %(mixture)s AND superseded_at IS NULL AND state = 'done'
)
SELECT snapshot_id, numbered.domain_id, numbered.n_tokens, diversity_score.cluster,
       {scaled_sql("distance")} AS distance,
       {scaled_sql("quality_score.quality")} AS quality,
       {band_sql("quality_score.quality")} AS quality_band
FROM numbered
CROSS JOIN (SELECT * FROM mixture JOIN quality_model USING (quality_model_id) WHERE mixture_id = %(mixture)s) AS model
JOIN quality_score USING (snapshot_id, shard_id, row, quality_model_id)
JOIN diversity_score USING (snapshot_id, shard_id, row, cluster_model_id)
WHERE number = 1
"""  # noqa: S608 constants
"""The documents that a version would choose from today."""

_CELL = ("domain_id", "cluster", "quality_band")
_COMPARED = {
    "mixture_domain": (
        ("domain",),
        ("source_samples", "source_tokens", "mixture_tokens"),
        """
        SELECT name AS domain, sum(documents)::bigint AS source_samples, sum(tokens)::bigint AS source_tokens,
               sum(mixture_tokens)::bigint AS mixture_tokens
        FROM mixture_rollup JOIN domain USING (domain_id) WHERE mixture_id = %(mixture)s GROUP BY 1
        """,
        """
        SELECT domain, source_samples, source_tokens, mixture_tokens FROM mixture_domain WHERE mixture_id = %(mixture)s
        """,
    ),
    "held": (
        _CELL,
        ("samples", "copies", "mixture_tokens", "mixture_quality_sum", "mixture_quality_square_sum"),
        f"""
        SELECT domain_id, cluster, quality_band, count(*) AS samples, sum(copies)::bigint AS copies,
               sum(n_tokens::bigint * copies)::bigint AS mixture_tokens, sum(scaled * copies)::bigint AS mixture_quality_sum,
               sum(scaled * scaled * copies)::bigint AS mixture_quality_square_sum
        FROM (
            SELECT domain_id, cluster, n_tokens, mixture_sample.copies, {scaled_sql("quality")} AS scaled,
                   {band_sql("quality")} AS quality_band
            FROM mixture_sample JOIN mixture USING (mixture_id) JOIN quality_model USING (quality_model_id)
            WHERE mixture_id = %(mixture)s
        ) AS held
        GROUP BY 1, 2, 3
        """,  # noqa: S608 constants
        """
        SELECT domain_id, cluster, quality_band, sum(samples)::bigint AS samples, sum(copies)::bigint AS copies,
               sum(mixture_tokens)::bigint AS mixture_tokens, sum(mixture_quality_sum)::bigint AS mixture_quality_sum,
               sum(mixture_quality_square_sum)::bigint AS mixture_quality_square_sum
        FROM mixture_rollup WHERE mixture_id = %(mixture)s AND samples > 0 GROUP BY 1, 2, 3
        """,
    ),
    "held_copies": (
        ("snapshot_id", "domain_id", "copies"),
        ("samples", "tokens"),
        """
        SELECT snapshot_id, domain_id, copies, count(*) AS samples, sum(n_tokens)::bigint AS tokens
        FROM mixture_sample WHERE mixture_id = %(mixture)s GROUP BY 1, 2, 3
        """,
        "SELECT * FROM mixture_copy_count WHERE mixture_id = %(mixture)s AND copies > 0",
    ),
    "phases": (
        ("phase",),
        ("samples", "copies", "realised_tokens"),
        """
        SELECT phase::int, count(*) FILTER (WHERE own > 0) AS samples, sum(own)::bigint AS copies,
               sum(n_tokens::bigint * own)::bigint AS realised_tokens
        FROM mixture_sample, unnest(phase_copies) WITH ORDINALITY AS each(own, phase) WHERE mixture_id = %(mixture)s GROUP BY 1
        """,
        "SELECT * FROM mixture_phase WHERE mixture_id = %(mixture)s",
    ),
    "source": (
        _CELL,
        ("documents", "tokens", "quality_sum", "quality_square_sum", "distance_sum", "distance_square_sum"),
        """
        SELECT domain_id, cluster, quality_band, count(*) AS documents, sum(n_tokens)::bigint AS tokens,
               sum(quality)::bigint AS quality_sum, sum(quality * quality)::bigint AS quality_square_sum,
               sum(distance)::bigint AS distance_sum, sum(distance * distance)::bigint AS distance_square_sum
        FROM eligible GROUP BY 1, 2, 3
        """,
        """
        SELECT domain_id, cluster, quality_band, sum(documents)::bigint AS documents, sum(tokens)::bigint AS tokens,
               sum(quality_sum)::bigint AS quality_sum, sum(quality_square_sum)::bigint AS quality_square_sum,
               sum(distance_sum)::bigint AS distance_sum, sum(distance_square_sum)::bigint AS distance_square_sum
        FROM mixture_rollup WHERE mixture_id = %(mixture)s GROUP BY 1, 2, 3
        """,
    ),
    "source_copies": (
        ("snapshot_id", "domain_id"),
        ("samples", "tokens"),
        "SELECT snapshot_id, domain_id, count(*) AS samples, sum(n_tokens)::bigint AS tokens FROM eligible GROUP BY 1, 2",
        """
        SELECT snapshot_id, domain_id, sum(samples)::bigint AS samples, sum(tokens)::bigint AS tokens
        FROM mixture_copy_count WHERE mixture_id = %(mixture)s GROUP BY 1, 2
        """,
    ),
}
"""What is compared in a mixture: keys, sums, how they are counted, and how they are stored."""

_TABLES = {
    "mixture_domain": "mixture_domain",
    "held": "mixture_rollup",
    "held_copies": "mixture_copy_count",
    "phases": "mixture_phase",
    "source": "mixture_rollup",
    "source_copies": "mixture_copy_count",
}


def _compared(cursor: Cursor, name: str, values: Mapping[str, Any]) -> Iterator[Problem]:
    keys, sums, counted, kept = _COMPARED[name]
    yield from _differences(cursor, _TABLES[name], keys, sums, sql.SQL(counted), sql.SQL(kept), values)


def _differences(
    cursor: Cursor,
    table: str,
    keys: Sequence[str],
    sums: Sequence[str],
    counted: sql.Composable,
    kept: sql.Composable,
    values: Mapping[str, Any],
) -> Iterator[Problem]:
    """Yield a problem for each key whose stored sums differ from the counted ones."""

    def columns(form: str) -> sql.Composable:
        return sql.SQL(", ").join(sql.SQL(form).format(sql.Identifier(name)) for name in sums)

    names = sql.SQL(", ").join(map(sql.Identifier, keys))
    cursor.execute(
        sql.SQL(
            "SELECT {names}, {pairs} FROM ({counted}) AS found FULL JOIN ({kept}) AS kept USING ({names})"
            " WHERE ({found_sums}) IS DISTINCT FROM ({kept_sums}) ORDER BY {names}"
        ).format(
            names=names,
            pairs=columns("ARRAY[kept.{0}, found.{0}] AS {0}"),
            counted=counted,
            kept=kept,
            found_sums=columns("found.{}"),
            kept_sums=columns("kept.{}"),
        ),
        values,
    )
    for row in rows_as(cursor, Named):
        wrong = [
            f"{name} is {'missing' if is_kept is None else is_kept}, the rows come to {is_found or 0}"
            for name in sums
            for is_kept, is_found in [row[name]]
            if is_kept != is_found
        ]
        yield Problem(f"{table} ({', '.join(f'{key} {row[key]}' for key in keys)})", "; ".join(wrong))
