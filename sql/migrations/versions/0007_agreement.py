"""A fit's figures beside those of another encoder: how far the clusters of the same documents agree."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Room for the figures; null where nothing was compared."""
    op.execute("ALTER TABLE cluster_model ADD COLUMN comparison jsonb")
    op.execute(
        "COMMENT ON COLUMN cluster_model.comparison IS 'This encoder beside another on documents of the corpus: adjusted mutual"
        " information of clusters, Spearman''s correlation of d, documents a second'"
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE cluster_model DROP COLUMN comparison")
