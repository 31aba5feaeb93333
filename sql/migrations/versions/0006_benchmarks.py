"""Benchmarks that mixtures keep out: their items, the shards searched for them, and the texts that hold them."""

import re
from pathlib import Path

from alembic import op

revision = "benchmarks"
down_revision = "near_duplicates"
branch_labels = None
depends_on = None

HERE = Path(__file__).parent
TABLES = ("mixture_benchmark", "contamination", "benchmark_shard", "benchmark")
SIGNED = "    SELECT run, 'near_duplicates', texts, seconds, false, signed_at FROM near_shard\n"
CHECKED = "    UNION ALL\n    SELECT run, 'decontaminate', texts, seconds, false, checked_at FROM benchmark_shard\n"
ASSIGNED = "    SELECT run, 'assign', rows, seconds, false, updated_at FROM shard_assignment WHERE state = 'done'\n"


def _costs() -> str:
    """The view of costs as it was."""
    found = re.search(r"^CREATE VIEW run_cost [^;]*;\n", (HERE / "0001_views.sql").read_text(), re.MULTILINE)
    assert found is not None
    assert ASSIGNED in found[0]
    view = found[0].replace("CREATE VIEW", "CREATE OR REPLACE VIEW")
    return view.replace(ASSIGNED, f"{ASSIGNED}    UNION ALL\n{SIGNED}")


def upgrade() -> None:
    """Add the tables, and the step to the costs."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute((HERE / "0006_benchmarks.sql").read_text())
        cursor.execute(_costs().replace(SIGNED, SIGNED + CHECKED))
        cursor.execute("COMMENT ON COLUMN run_cost.step IS 'score, decontaminate, near_duplicates, fit_diversity or assign'")


def downgrade() -> None:
    """Drop them, and put the view back as it was."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute(_costs())
        cursor.execute("COMMENT ON COLUMN run_cost.step IS 'score, near_duplicates, fit_diversity or assign'")
        for table in TABLES:
            cursor.execute(f"DROP TABLE {table}")
