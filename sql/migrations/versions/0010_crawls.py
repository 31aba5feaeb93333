"""Corpora have a name and a configuration; their snapshots, as crawls that land, are partitions with a date."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = {
    "corpus_config": """
CREATE TABLE corpus_config (
    name text COLLATE "C" PRIMARY KEY,
    config jsonb NOT NULL,
    is_paused boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
)
""",
    "crawl": """
CREATE TABLE crawl (
    corpus text COLLATE "C" NOT NULL REFERENCES corpus_config ON DELETE CASCADE,
    snapshot text COLLATE "C" NOT NULL,
    partition_date timestamptz NOT NULL UNIQUE,
    state text NOT NULL CHECK (state IN ('waiting', 'landed', 'taken', 'removed')),
    reason text,
    marker text,
    marker_at timestamptz,
    files int NOT NULL,
    bytes bigint NOT NULL,
    landed_at timestamptz,
    taken_at timestamptz,
    run text,
    PRIMARY KEY (corpus, snapshot)
)
""",
}

COMMENTS = {
    "corpus_config": {
        "": "Corpora by the names that people give them, with what their runs have in common (samplemix corpus)",
        "name": "The corpus''s name",
        "config": "Where it lies, how it is read, scored and mixed, and how a crawl is known to be whole",
        "is_paused": "While it is, crawls that land wait",
        "created_at": "When it was added",
        "updated_at": "When it was last changed",
    },
    "crawl": {
        "": "Snapshots of named corpora, as they land: the partitions of the DAG samplemix_score_crawl",
        "corpus": "Name of the corpus",
        "snapshot": "Name of the snapshot, which is its directory",
        "partition_date": "Its date as a partition, no other crawl''s: of its name if that holds one, else of its landing",
        "state": "waiting (not whole), landed (for a run to take), taken (by a run, or there before the corpus was added), removed",
        "reason": "Why it waits, or why the run that took it failed",
        "marker": "Etag and time of the marker that said it was whole, or by hand",
        "marker_at": "When that was said: files that are newer are not vouched for",
        "files": "Shards that it had when it was last looked at",
        "bytes": "Their size together",
        "landed_at": "When it was first seen to be whole",
        "taken_at": "When a run took it",
        "run": "The Airflow run that took it",
    },
}


def upgrade() -> None:
    """Create both."""
    for table, statement in TABLES.items():
        op.execute(statement)
        for column, comment in COMMENTS[table].items():
            op.execute(f"COMMENT ON {f'COLUMN {table}.{column}' if column else f'TABLE {table}'} IS '{comment}'")


def downgrade() -> None:
    """Drop both."""
    for table in reversed(TABLES):
        op.execute(f"DROP TABLE {table}")
