"""Audits of quality models: what each was found to measure, group by group, and what was concluded."""

from pathlib import Path

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.execute((Path(__file__).parent / "0018_up.sql").read_text())


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE quality_audit_group, quality_audit")
