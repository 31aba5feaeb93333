"""The score store: corpora and their ledger, samples and scores, clusters, mixtures; views and the analysts' role."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCRIPTS = ("0001_tables.sql", "0001_views.sql", "0001_roles.sql")

VIEWS = ("mixture_samples", "sample_scores")
TABLES = (
    "mixture_sample",
    "mixture_domain",
    "mixture_snapshot",
    "mixture",
    "diversity_score",
    "shard_cluster",
    "shard_assignment",
    "cluster",
    "quarantine",
    "quality_score",
    "sample",
    "shard_score",
    "shard",
    "domain",
    "snapshot",
)


def upgrade() -> None:
    """Create everything, from the SQL files next to this one."""
    with op.get_bind().connection.cursor() as cursor:
        for script in SCRIPTS:
            cursor.execute((Path(__file__).parent / script).read_text())


def downgrade() -> None:
    """Drop everything. The role stays: it belongs to the server and other databases may use it."""
    with op.get_bind().connection.cursor() as cursor:
        for view in VIEWS:
            cursor.execute(f"DROP VIEW {view}")
        cursor.execute("ALTER TABLE corpus DROP CONSTRAINT corpus_current_cluster_model_fkey")
        for table in (*TABLES, "cluster_model", "corpus", "quality_model", "encoder"):
            cursor.execute(f"DROP TABLE {table}")
        cursor.execute((Path(__file__).parent / "0001_roles_down.sql").read_text())
