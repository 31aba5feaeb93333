"""How many of a sample's tokens are of words that the tokenizer doesn't know; 0 for samples that were counted before."""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

KEY = "Identity: fingerprint of uri, reader, tokenizer_id"


def upgrade() -> None:
    """Add the columns."""
    op.execute("ALTER TABLE sample ADD COLUMN unknown_tokens int NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE score_rollup ADD COLUMN unknown_tokens bigint NOT NULL DEFAULT 0")
    for table in ("sample", "score_rollup"):
        op.execute(f"COMMENT ON COLUMN {table}.unknown_tokens IS 'Of the tokens, those of words that the tokenizer does not know'")
    op.execute(
        "ALTER TABLE corpus ADD COLUMN rules int NOT NULL DEFAULT 1, ADD COLUMN registered_at timestamptz NOT NULL DEFAULT now()"
    )
    op.execute("COMMENT ON COLUMN corpus.rules IS 'Version of the rules by which records are documents and tokens are counted'")
    op.execute("COMMENT ON COLUMN corpus.registered_at IS 'When a run registered it last'")
    op.execute(f"COMMENT ON COLUMN corpus.corpus_key IS '{KEY}, and rules'")


def downgrade() -> None:
    """Drop them."""
    for table in ("sample", "score_rollup"):
        op.execute(f"ALTER TABLE {table} DROP COLUMN unknown_tokens")
    op.execute("ALTER TABLE corpus DROP COLUMN rules, DROP COLUMN registered_at")
    op.execute("COMMENT ON COLUMN corpus.corpus_key IS 'Identity: fingerprint of uri, reader and tokenizer_id'")
