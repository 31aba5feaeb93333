"""The SHA-256 of each version's manifest.json, as it was published."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; versions of earlier releases have none."""
    op.execute("ALTER TABLE mixture ADD COLUMN manifest_sha256 text")
    op.execute(
        "COMMENT ON COLUMN mixture.manifest_sha256 IS 'SHA-256 of its manifest.json; null for a version of an earlier release'"
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE mixture DROP COLUMN manifest_sha256")
