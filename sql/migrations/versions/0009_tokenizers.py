"""Every count of tokens names its tokenizer, which may be another than the encoder's."""

import runpy
from pathlib import Path

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

HERE = Path(__file__).parent
VIEWS = ("sample_scores", "mixture_samples")

LAST_PUBLISHED = """
WHERE NOT EXISTS (
    SELECT FROM corpus AS other
    WHERE other.uri = corpus.uri
        AND (coalesce(other.published_at, '-infinity'), other.corpus_id)
            > (coalesce(corpus.published_at, '-infinity'), corpus.corpus_id)
)
"""
"""Of the corpora at one place, which differ in tokenizer or reader, the one of the last published mixture."""

SCORING_PROGRESS = """
CREATE OR REPLACE VIEW scoring_progress AS
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
       max(done_at) AS last_done_at, tokenizer, sum(encoder_tokens)::bigint AS encoder_tokens
FROM (
    SELECT corpus.corpus_id, corpus.uri AS corpus, snapshot.name AS snapshot, shard.shard_id, encoder.spec->>'name' AS encoder,
           encoder_key, quality_model_key AS quality_model, tokenizer,
           CASE WHEN corpus.reader->>'domain_field' IS NULL
                THEN split_part(shard.path, '/', coalesce((corpus.reader->>'domain_path_index')::int, 1) + 1) END AS domain,
           block.block, block.n_bytes, block_score.scored, block_score.quarantined, block_score.tokens, block_score.encoder_tokens,
           block_score.text_bytes, block_score.seconds, block_score.done_at
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
GROUP BY corpus_id, corpus, snapshot, domain, encoder, encoder_key, quality_model, tokenizer
"""

COMMENTS = {
    "corpus.tokenizer": "What the tokenizer behind n_tokens is called",
    "corpus.published_at": "When a mixture of it was last published: of the corpora at one URI, view sample_scores shows the last",
    "mixture.tokenizer": "Tokenizer whose tokens its budget and counts are in",
    "block_score.encoder_tokens": "The same documents'' tokens by the encoder''s own tokenizer",
    "sample_scores.tokenizer": "Tokenizer that n_tokens is by",
    "mixture_samples.tokenizer": "Tokenizer that n_tokens is by",
    "scoring_progress.tokenizer": "Tokenizer that the tokens are by",
    "scoring_progress.encoder_tokens": "Tokens of the documents by the encoder''s own tokenizer",
}


def upgrade() -> None:
    """Add the names; what was counted so far was counted by the encoders' own."""
    op.execute("ALTER TABLE corpus ADD COLUMN tokenizer text")
    op.execute(
        "UPDATE corpus SET tokenizer = coalesce((SELECT min(spec->>'name') FROM encoder"
        " WHERE spec->>'tokenizer' = tokenizer_id), tokenizer_id)"
    )
    op.execute("ALTER TABLE corpus ALTER COLUMN tokenizer SET NOT NULL")
    op.execute("ALTER TABLE mixture ADD COLUMN tokenizer text")
    op.execute("UPDATE mixture SET tokenizer = corpus.tokenizer FROM corpus WHERE corpus.corpus_id = mixture.corpus_id")
    op.execute("ALTER TABLE mixture ALTER COLUMN tokenizer SET NOT NULL")
    op.execute("ALTER TABLE block_score ADD COLUMN encoder_tokens bigint")
    op.execute("UPDATE block_score SET encoder_tokens = tokens")
    op.execute("ALTER TABLE block_score ALTER COLUMN encoder_tokens SET NOT NULL")
    op.execute("ALTER TABLE corpus ADD COLUMN published_at timestamptz")
    op.execute("UPDATE corpus SET published_at = (SELECT max(created_at) FROM mixture WHERE mixture.corpus_id = corpus.corpus_id)")
    of_sample = _definition("sample_scores").replace("\nFROM snapshot\n", ",\n    corpus.tokenizer\nFROM snapshot\n")
    _execute(of_sample + LAST_PUBLISHED)
    _execute(_definition("mixture_samples").replace("\nFROM mixture\n", ",\n    mixture.tokenizer\nFROM mixture\n"))
    op.execute(SCORING_PROGRESS)
    for column, comment in COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN {column} IS '{comment}'")


def downgrade() -> None:
    """Drop them; the views as they were, with their comments."""
    for view in VIEWS:
        comment = op.get_bind().exec_driver_sql("SELECT obj_description(%s::regclass)", (view,)).scalar()
        op.execute(f"DROP VIEW {view}")
        _execute(_definition(view))
        _execute(f"COMMENT ON VIEW {view} IS %s", (comment,))
    earlier = runpy.run_path(str(HERE / "0008_cost.py"))
    op.execute("DROP VIEW scoring_progress")
    op.execute(earlier["SCORING_PROGRESS"])
    for column, comment in earlier["COMMENTS"]["scoring_progress"].items():
        what = f"COLUMN scoring_progress.{column}" if column else "VIEW scoring_progress"
        _execute(f"COMMENT ON {what} IS %s", (comment,))
    op.execute("ALTER TABLE block_score DROP COLUMN encoder_tokens")
    op.execute("ALTER TABLE corpus DROP COLUMN published_at")
    for table in ("mixture", "corpus"):
        op.execute(f"ALTER TABLE {table} DROP COLUMN tokenizer")


def _definition(view: str) -> str:
    """The statement that 0003 made the view with."""
    script = (HERE / "0003_up.sql").read_text()
    start = script.index(f"CREATE OR REPLACE VIEW {view} AS")
    return script[start : script.index(";", start)]


def _execute(statement: str, values: tuple[str, ...] | None = None) -> None:
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute(statement, values)
