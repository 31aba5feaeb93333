"""Phases of mixtures: a table of them, and each sample's copies in each."""

import re
from pathlib import Path

from alembic import op

revision = "phases"
down_revision = "first_release"
branch_labels = None
depends_on = None

HERE = Path(__file__).parent


def upgrade() -> None:
    """Add the table and the columns, from the SQL file next to this one."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute((HERE / "0002_phases.sql").read_text())


def downgrade() -> None:
    """Drop them, and put the view back as it was."""
    views = (HERE / "0001_views.sql").read_text()
    before = re.search(r"^CREATE VIEW mixture_samples [^;]*;\n(?:COMMENT ON \w+ mixture_samples\b.*\n)+", views, re.MULTILINE)
    assert before is not None
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute("DROP VIEW mixture_samples")
        cursor.execute("ALTER TABLE mixture_sample DROP COLUMN phase_copies")
        cursor.execute("DROP TABLE mixture_phase")
        cursor.execute(before[0])
