"""Evaluations: what models learn from mixtures, as curves of losses on targets, and comparisons of mixtures."""

from pathlib import Path

from alembic import op

revision = "evaluations"
down_revision = "targets"
branch_labels = None
depends_on = None

HERE = Path(__file__).parent


def upgrade() -> None:
    """Add the tables."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute((HERE / "0011_evaluations.sql").read_text())


def downgrade() -> None:
    """Drop them."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute("DROP TABLE comparison_evaluation, comparison, evaluation_loss, evaluation, vocabulary")
