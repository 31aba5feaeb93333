"""What a run costs, step by step; how far scoring is, by domain."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = ("block_score", "shard_assignment", "cluster_model")

RUN_COST = """
CREATE VIEW run_cost AS
SELECT run, step, count(*) AS tasks, sum(documents)::bigint AS documents, sum(seconds) AS core_seconds,
       sum(CASE WHEN on_gpu THEN seconds ELSE 0 END) AS gpu_seconds,
       min(ended_at - make_interval(secs => seconds)) AS began_at, max(ended_at) AS ended_at
FROM (
    SELECT run, 'score' AS step, scored AS documents, seconds, spec->>'device' = 'cuda' AS on_gpu, done_at AS ended_at
    FROM block_score JOIN encoder USING (encoder_id)
    UNION ALL
    SELECT run, 'fit_diversity', fit_rows, seconds, false, created_at FROM cluster_model
    UNION ALL
    SELECT run, 'assign', rows, seconds, false, updated_at FROM shard_assignment WHERE state = 'done'
) AS task
WHERE run IS NOT NULL
GROUP BY run, step
"""

SCORING_PROGRESS = """
CREATE VIEW scoring_progress AS
SELECT corpus, snapshot, domain, encoder, encoder_key, quality_model,
       count(DISTINCT shard_id) AS shards, count(block) AS blocks, count(done_at) AS blocks_done,
       sum(scored) AS documents, sum(quarantined) AS quarantined,
       sum(tokens)::bigint AS tokens, sum(text_bytes)::bigint AS text_bytes,
       sum(seconds) AS core_seconds,
       sum(scored) / nullif(sum(seconds), 0) AS documents_per_core_second,
       sum(tokens) / nullif(sum(seconds), 0)::numeric AS tokens_per_core_second,
       sum(text_bytes) / nullif(sum(seconds), 0)::numeric AS text_bytes_per_core_second,
       sum(seconds) * sum(n_bytes) FILTER (WHERE done_at IS NULL) / nullif(sum(n_bytes) FILTER (WHERE done_at IS NOT NULL), 0)
           ::double precision AS core_seconds_left,
       max(done_at) AS last_done_at
FROM (
    SELECT corpus.uri AS corpus, snapshot.name AS snapshot, shard.shard_id, encoder.spec->>'name' AS encoder, encoder_key,
           quality_model_key AS quality_model,
           CASE WHEN corpus.reader->>'domain_field' IS NULL
                THEN split_part(shard.path, '/', coalesce((corpus.reader->>'domain_path_index')::int, 1) + 1) END AS domain,
           block.block, block.n_bytes, block_score.scored, block_score.quarantined, block_score.tokens, block_score.text_bytes,
           block_score.seconds, block_score.done_at
    FROM shard_score
    JOIN shard USING (shard_id, etag)
    JOIN snapshot USING (snapshot_id)
    JOIN corpus USING (corpus_id)
    JOIN encoder USING (encoder_id)
    JOIN quality_model USING (quality_model_id)
    LEFT JOIN block USING (shard_id)
    LEFT JOIN block_score USING (shard_id, encoder_id, quality_model_id, block)
    WHERE superseded_at IS NULL
) AS planned
GROUP BY corpus, snapshot, domain, encoder, encoder_key, quality_model
"""

COMMENTS = {
    "run_cost": {
        "": "What each run had workers do, by step; a run that was repeated under its name adds up",
        "run": "The Airflow run, or the mixture's name of a run on the command line",
        "step": "score, fit_diversity or assign",
        "tasks": "Blocks, fits, shards",
        "documents": "Documents of these",
        "core_seconds": "Time of one worker, which has one core",
        "gpu_seconds": "Of these, those of a worker whose encoder was on its GPU",
        "began_at": "When the first task began",
        "ended_at": "When the last one ended",
    },
    "scoring_progress": {
        "": "How far scoring is, by snapshot and domain, for each pair of encoder and quality model",
        "corpus": "URI",
        "snapshot": "Snapshot",
        "domain": "As the path names it; null where it is a field of each record",
        "encoder": "Name of the encoder",
        "encoder_key": "Identity of the encoder",
        "quality_model": "Identity of the quality model",
        "shards": "Shards that were begun",
        "blocks": "Blocks they are cut into so far",
        "blocks_done": "Blocks that are scored",
        "documents": "Documents of these",
        "quarantined": "Records of these that were set aside",
        "tokens": "Tokens of the documents",
        "text_bytes": "Bytes of their texts",
        "core_seconds": "Time the workers took",
        "documents_per_core_second": "Documents a second of one worker",
        "tokens_per_core_second": "Tokens a second of one worker",
        "text_bytes_per_core_second": "Bytes a second of one worker",
        "core_seconds_left": "Time one worker would take for the rest, at the pace so far, by bytes; null before the first block",
        "last_done_at": "When the last block was done",
    },
}


def upgrade() -> None:
    """Note who had what done, and how long it took; two views on it."""
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ADD COLUMN run text")
        op.execute(f"COMMENT ON COLUMN {table}.run IS 'The run that had it done; null for what was done before this was noted'")
    for table in TABLES[1:]:
        op.execute(f"ALTER TABLE {table} ADD COLUMN seconds double precision NOT NULL DEFAULT 0")
        op.execute(f"COMMENT ON COLUMN {table}.seconds IS 'Time the worker took'")
    op.execute("CREATE INDEX block_score_run ON block_score (run)")
    op.execute("CREATE INDEX shard_assignment_run ON shard_assignment (run)")
    for view, statement in (("run_cost", RUN_COST), ("scoring_progress", SCORING_PROGRESS)):
        op.execute(statement)
        for column, comment in COMMENTS[view].items():
            what = f"COLUMN {view}.{column}" if column else f"VIEW {view}"
            op.execute(f"COMMENT ON {what} IS '{comment.replace(chr(39), chr(39) * 2)}'")


def downgrade() -> None:
    """Drop all of it."""
    for view in COMMENTS:
        op.execute(f"DROP VIEW {view}")
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} DROP COLUMN run")
    for table in TABLES[1:]:
        op.execute(f"ALTER TABLE {table} DROP COLUMN seconds")
