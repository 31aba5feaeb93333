"""Ranks of quality: by which scores of a model become 0..1 in a corpus, where that is not by their range."""

from pathlib import Path

from alembic import op

revision = "quality_ranks"
down_revision = "phases"
branch_labels = None
depends_on = None

HERE = Path(__file__).parent


def upgrade() -> None:
    """Add the table, from the SQL file next to this one."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute((HERE / "0003_quality_ranks.sql").read_text())


def downgrade() -> None:
    """Drop it."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute("DROP TABLE quality_ranks")
