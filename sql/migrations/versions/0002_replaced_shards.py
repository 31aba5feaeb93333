"""Shards that are replaced by a corrected file, and views that do not lose their rows or read other snapshots for it."""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let a path have one current shard and any number that it replaced."""
    _run("0002_up.sql")


def downgrade() -> None:
    """Forget the replaced shards, and what of the mixtures came from them."""
    _run("0002_down.sql")


def _run(script: str) -> None:
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute((Path(__file__).parent / script).read_text())
