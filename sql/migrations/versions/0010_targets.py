"""Targets: texts that mixtures are evaluated on."""

from pathlib import Path

from alembic import op

revision = "targets"
down_revision = "drift"
branch_labels = None
depends_on = None

HERE = Path(__file__).parent


def upgrade() -> None:
    """Add the table."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute((HERE / "0010_targets.sql").read_text())


def downgrade() -> None:
    """Drop it."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute("DROP TABLE target")
