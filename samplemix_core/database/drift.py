"""How far crawls are from the sample that a model's clusters were fitted on: what is counted for it, and what was found."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from psycopg2.extras import Json

from samplemix_core.database.clusters import ClusterModelRecord
from samplemix_core.database.connection import Cursor, Named, rows_as, scalar
from samplemix_core.database.copy import copy_out
from samplemix_core.diversity.drift import ALL, BINS, LEAST_DOCUMENTS, Drift, Profile, Profiles
from samplemix_core.schemas import UNKNOWN


def load_sample(cursor: Cursor, record: ClusterModelRecord) -> tuple[set[int], Profiles] | None:
    """Return the snapshots that a model's sample was drawn from, and its profiles; None if they are not known.

    Models of earlier versions have none, nor has one that puts all documents into one cluster.
    """
    cursor.execute("SELECT profiles FROM cluster_model WHERE cluster_model_id = %s", (record.cluster_model_id,))
    known = scalar(cursor)
    if known is None:
        return None
    languages = known["languages"]
    return set(known["snapshots"]), {name: Profile.from_json(own, record.n_clusters) for name, own in languages.items()}


_COUNTED = f"""
SELECT array_position(%(languages)s, language) - 1 AS language, coalesce(cluster, -1) AS cluster, coalesce(bin, -1) AS bin,
       count(*) AS documents, count(*) FILTER (WHERE is_noise) AS far
FROM (
    SELECT coalesce(language, %(unknown)s) AS language, cluster, is_noise,
           least({BINS - 1}, greatest(0, floor(distance::float8 * {BINS / 2})))::int AS bin
    FROM diversity_score AS score
    JOIN sample USING (snapshot_id, shard_id, row)
    WHERE cluster_model_id = %(model)s AND score.snapshot_id = %(snapshot)s AND sample.snapshot_id = %(snapshot)s
) AS assigned
GROUP BY GROUPING SETS ((language, cluster), (language, bin))
"""  # noqa: S608 constants


def count_crawl(cursor: Cursor, record: ClusterModelRecord, snapshot_id: int) -> Profiles:
    """Return the profiles of what a snapshot has been assigned, as diversity.drift.profiles_of does, counted in Postgres."""
    place = {"model": record.cluster_model_id, "snapshot": snapshot_id, "unknown": UNKNOWN}
    cursor.execute("SELECT DISTINCT coalesce(language, %(unknown)s) FROM sample WHERE snapshot_id = %(snapshot)s", place)
    languages = sorted(language for (language,) in cursor.fetchall())
    kinds = {**dict.fromkeys(("language", "cluster", "bin"), "int32"), "documents": "int64", "far": "int64"}
    found = copy_out(cursor, _COUNTED, {**place, "languages": languages}, kinds)
    clusters = np.zeros((len(languages), record.n_clusters), dtype=np.int64)
    distances = np.zeros((len(languages), BINS), dtype=np.int64)
    far = np.zeros(len(languages), dtype=np.int64)
    by_bin = found["cluster"] < 0
    of, at = found["language"][~by_bin], found["cluster"][~by_bin]
    clusters[of, at] = found["documents"][~by_bin]
    np.add.at(far, of, found["far"][~by_bin])
    distances[found["language"][by_bin], found["bin"][by_bin]] = found["documents"][by_bin]
    profiles = {ALL: Profile(clusters.sum(axis=0), distances.sum(axis=0), int(far.sum()))}
    for i, language in enumerate(languages):
        if clusters[i].sum() >= LEAST_DOCUMENTS:
            profiles[language] = Profile(clusters[i], distances[i], int(far[i]))
    return profiles


def assigned_digest(cursor: Cursor, cluster_model_id: int, snapshot_id: int) -> str:
    """Return a digest of what of a snapshot has been assigned to a model's clusters."""
    cursor.execute(
        "SELECT md5(coalesce(string_agg(shard_id || ':' || embedding_digest, ',' ORDER BY shard_id), ''))"
        " FROM shard_assignment JOIN shard USING (shard_id)"
        " WHERE cluster_model_id = %s AND snapshot_id = %s AND state = 'done' AND superseded_at IS NULL",
        (cluster_model_id, snapshot_id),
    )
    return str(scalar(cursor))


def load_drift(cursor: Cursor, cluster_model_id: int, snapshot_id: int, assigned: str) -> list[Drift]:
    """Return what was found of these assignments, all of the crawl first; nothing if they haven't been measured."""
    cursor.execute(
        "SELECT language, documents, far, far_in_sample, distance_shift, share_shift, known, over FROM crawl_drift"
        " WHERE cluster_model_id = %s AND snapshot_id = %s AND assigned = %s ORDER BY language",
        (cluster_model_id, snapshot_id, assigned),
    )
    return [Drift(**{**row, "over": tuple(row["over"])}) for row in rows_as(cursor, Named)]


def save_drift(
    cursor: Cursor, cluster_model_id: int, snapshot_id: int, assigned: str, found: Sequence[Drift], *, in_sample: bool
) -> None:
    """Enter what was found of a snapshot's assignments, in place of what was found before."""
    # One measurement of this snapshot at a time may replace its rows.
    cursor.execute("SELECT FROM snapshot WHERE snapshot_id = %s FOR NO KEY UPDATE", (snapshot_id,))
    cursor.execute("DELETE FROM crawl_drift WHERE cluster_model_id = %s AND snapshot_id = %s", (cluster_model_id, snapshot_id))
    cursor.execute(
        """
        INSERT INTO crawl_drift (cluster_model_id, snapshot_id, language, documents, far, far_in_sample, distance_shift,
                                 share_shift, known, over, in_sample, assigned)
        SELECT %(model)s, %(snapshot)s, language, documents, far, far_in_sample, distance_shift, share_shift, known,
               ARRAY(SELECT jsonb_array_elements_text(over)), %(in_sample)s, %(assigned)s
        FROM jsonb_to_recordset(%(found)s) AS found (
            language text, documents bigint, far real, far_in_sample real, distance_shift real, share_shift real, known boolean,
            over jsonb
        )
        """,
        {
            "model": cluster_model_id,
            "snapshot": snapshot_id,
            "in_sample": in_sample,
            "assigned": assigned,
            "found": Json([asdict(drift) for drift in found]),
        },
    )


def drifted(cursor: Cursor, cluster_model_id: int, snapshot_ids: Sequence[int]) -> list[tuple[str, list[str]]]:
    """Return the snapshots that are over limits, in order of name, with what is over."""
    cursor.execute(
        "SELECT name, over FROM crawl_drift JOIN snapshot USING (snapshot_id)"
        " WHERE cluster_model_id = %s AND snapshot_id = ANY(%s) AND language = %s AND cardinality(over) > 0"
        ' ORDER BY name COLLATE "C"',
        (cluster_model_id, list(snapshot_ids), ALL),
    )
    return cursor.fetchall()
