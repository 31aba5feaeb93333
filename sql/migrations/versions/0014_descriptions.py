"""What clusters are about: a place on a map, and words. Those that are measured already are described by the next run."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.execute("ALTER TABLE cluster ADD COLUMN x real, ADD COLUMN y real, ADD COLUMN terms text[]")
    op.execute("COMMENT ON COLUMN cluster.x IS 'Place on a map on which near clusters are alike, -1 to 1; empty until described'")
    op.execute("COMMENT ON COLUMN cluster.y IS 'As x'")
    op.execute("COMMENT ON COLUMN cluster.terms IS 'Words that tell it from the others, the most telling first'")


def downgrade() -> None:
    """Drop them."""
    op.execute("ALTER TABLE cluster DROP COLUMN x, DROP COLUMN y, DROP COLUMN terms")
