"""Drift of crawls, what a refit makes of clusters, and a map of documents."""

from pathlib import Path

from alembic import op

revision = "drift"
down_revision = "diversity"
branch_labels = None
depends_on = None

HERE = Path(__file__).parent


def upgrade() -> None:
    """Add the tables and columns, and name the clusters that there are."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute((HERE / "0009_drift.sql").read_text())


def downgrade() -> None:
    """Drop them."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute("DROP TABLE crawl_drift, cluster_heir, sample_map")
        cursor.execute("ALTER TABLE cluster DROP COLUMN name")
        cursor.execute("ALTER TABLE corpus DROP COLUMN next_cluster_model, DROP COLUMN clusters_chosen_at")
        dropped = ", ".join(f"DROP COLUMN {name}" for name in ("parent_id", "profiles", "change", "health", "mapped"))
        cursor.execute(f"ALTER TABLE cluster_model {dropped}")
