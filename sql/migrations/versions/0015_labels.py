"""Labels: rubrics, annotators, the texts they judged, what they said, and the quality models trained on it."""

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
    op.execute(
        "ALTER TABLE quality_model DROP COLUMN name, DROP COLUMN rubric_id, DROP COLUMN artifact_key, DROP COLUMN artifact_sha256,"
        " DROP COLUMN report, DROP COLUMN created_at"
    )
    op.execute("DROP TABLE labelled_vector, annotation_refusal, annotation, labelled_text, annotator, rubric")
