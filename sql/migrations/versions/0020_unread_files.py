"""Files of a corpus that are not read, each with its reason."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


UP = """
CREATE TABLE unread_file (
    corpus_id int NOT NULL REFERENCES corpus,
    snapshot text COLLATE "C",
    path text COLLATE "C" NOT NULL,
    size_bytes bigint NOT NULL,
    reason text NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX unread_file_of ON unread_file (corpus_id, size_bytes DESC);
COMMENT ON TABLE unread_file IS 'Files of a corpus that are not read, as they were when its shards were registered last';
COMMENT ON COLUMN unread_file.corpus_id IS 'Corpus';
COMMENT ON COLUMN unread_file.snapshot IS 'Directory below the corpus URI; null for a file that lies in none';
COMMENT ON COLUMN unread_file.path IS 'Path relative to the corpus URI; bytes that are not UTF-8 as backslash escapes';
COMMENT ON COLUMN unread_file.size_bytes IS 'Size of the file in bytes';
COMMENT ON COLUMN unread_file.reason IS 'Why: no_snapshot, no_domain, hidden, suffix, note, path or no_file';
COMMENT ON COLUMN unread_file.seen_at IS 'When it was seen last'
"""


def upgrade() -> None:
    """Create the table."""
    op.execute(UP)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE unread_file")
