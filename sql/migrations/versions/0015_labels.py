"""Labels: rubrics, annotators, the texts they judged, and what they said; from which quality models are trained."""

from pathlib import Path

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.execute((Path(__file__).parent / "0015_up.sql").read_text())


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE labelled_vector, annotation, labelled_text, annotator, rubric")
