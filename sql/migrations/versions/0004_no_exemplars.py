"""No exemplars of clusters: a column that nothing ever filled."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop the column."""
    op.execute("ALTER TABLE cluster DROP COLUMN exemplars")


def downgrade() -> None:
    """Put the empty column back."""
    op.execute("ALTER TABLE cluster ADD COLUMN exemplars jsonb")
    op.execute("COMMENT ON COLUMN cluster.exemplars IS 'Documents that stand for the cluster, if they were chosen'")
