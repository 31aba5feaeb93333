"""What keeps the database in shape: statistics, samples of old versions, and which files of the object store it refers to."""

from collections.abc import Iterator

from psycopg2 import sql

from samplemix_core.database.changes import version_changes
from samplemix_core.database.connection import Cursor, stream_rows
from samplemix_core.errors import ManifestError

STATISTICS = (
    *("corpus", "snapshot", "shard", "block", "shard_score", "block_score", "quarantine", "sample", "quality_score"),
    *("shard_assignment", "shard_cluster", "diversity_score", "cluster", "mixture_sample", "mixture_domain"),
)
"""Tables whose statistics are brought up to date, partitions and the whole: Postgres by itself never does the whole."""

REFERRED = """
SELECT embedding_key COLLATE "C" AS key FROM block_score
UNION SELECT artifact_key COLLATE "C" FROM cluster_model
ORDER BY 1
"""


def referred_files(cursor: Cursor) -> Iterator[str]:
    """Keys of the embedding files and cluster models that scores refer to, sorted, each once."""
    for (key,) in stream_rows(cursor, REFERRED, {}):
        yield key


def refresh_statistics(cursor: Cursor) -> int:
    """Count anew what the planner goes by; returns the number of tables."""
    for table in STATISTICS:
        cursor.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
    return len(STATISTICS)


def old_versions(cursor: Cursor, keep: int) -> list[tuple[int, str, int]]:
    """Versions of mixtures, beyond the last `keep` of each, whose samples are in the database: id, name, version."""
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

    What it and the version after it changed is counted before, because nobody can afterwards.
    """
    cursor.execute("SELECT version FROM mixture WHERE name = %s AND version >= %s ORDER BY version LIMIT 2", (name, version))
    for (counted,) in cursor.fetchall():
        try:
            version_changes(cursor, name, counted)
        except ManifestError:
            continue  # Its parent was published elsewhere.
    partition = sql.Identifier(f"mixture_sample_m{mixture_id}")
    cursor.execute(sql.SQL("ALTER TABLE mixture_sample DETACH PARTITION {}").format(partition))
    cursor.execute(sql.SQL("DROP TABLE {}").format(partition))
