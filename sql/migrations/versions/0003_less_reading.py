"""No needless reading: views that prune partitions, and stamps by which unchanged files are known."""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let the views find snapshots and mixtures first; remember a file's modification time with its etag."""
    _run("0003_up.sql")


def downgrade() -> None:
    """Put the views of 0002 back; forget the stamps."""
    _run("0003_down.sql")


def _run(script: str) -> None:
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute((Path(__file__).parent / script).read_text())
