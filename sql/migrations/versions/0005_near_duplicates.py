"""Near-duplicates: signatures of shards, pairs of alike texts, and what mixtures leave out for whom; and their cost in run_cost."""

import re
from pathlib import Path

from alembic import op

revision = "near_duplicates"
down_revision = "provenance"
branch_labels = None
depends_on = None

HERE = Path(__file__).parent
TABLES = ("mixture_near_duplicate", "near_pair", "near_text", "near_candidate", "near_shard")
ASSIGNED = "    SELECT run, 'assign', rows, seconds, false, updated_at FROM shard_assignment WHERE state = 'done'\n"
SIGNED = "    UNION ALL\n    SELECT run, 'near_duplicates', texts, seconds, false, signed_at FROM near_shard\n"


def _costs() -> str:
    """The view of costs as it was."""
    found = re.search(r"^CREATE VIEW run_cost [^;]*;\n", (HERE / "0001_views.sql").read_text(), re.MULTILINE)
    assert found is not None
    assert ASSIGNED in found[0]
    return found[0].replace("CREATE VIEW", "CREATE OR REPLACE VIEW")


def upgrade() -> None:
    """Add the tables, and the step to the costs."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute((HERE / "0005_near_duplicates.sql").read_text())
        cursor.execute(_costs().replace(ASSIGNED, ASSIGNED + SIGNED))
        cursor.execute("COMMENT ON COLUMN run_cost.step IS 'score, near_duplicates, fit_diversity or assign'")


def downgrade() -> None:
    """Drop them, and put the view back as it was."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute(_costs())
        cursor.execute("COMMENT ON COLUMN run_cost.step IS 'score, fit_diversity or assign'")
        for table in TABLES:
            cursor.execute(f"DROP TABLE {table}")
