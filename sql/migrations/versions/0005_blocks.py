"""Blocks: a shard is scored block by block, each with a row of the ledger and an embedding file of its own."""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables of blocks; what is scored becomes one block a shard."""
    _run("0005_up.sql")


def downgrade() -> None:
    """Put the key of the one embedding file back; shards of several blocks are scored again."""
    _run("0005_down.sql")


def _run(script: str) -> None:
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute((Path(__file__).parent / script).read_text())
