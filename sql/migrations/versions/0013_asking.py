"""What questions are asked with: names for versions and corpora, indexes for pages of samples, a comment on every column."""

from pathlib import Path

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

HERE = Path(__file__).parent


def upgrade() -> None:
    """Make them."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute((HERE / "0013_up.sql").read_text())


def downgrade() -> None:
    """Drop them; the comments stay, and those of sample_scores go with it."""
    op.execute("DROP INDEX mixture_sample_by_copies")
    op.execute("DROP INDEX mixture_sample_by_weight")
    op.execute("DROP FUNCTION mixture_of")
    op.execute("DROP FUNCTION corpus_of")
    # Indexes of scores, which are made when they are first measured.
    connection = op.get_bind()
    made = connection.exec_driver_sql(
        "SELECT indexname FROM pg_indexes WHERE indexname ~ '^(quality_score_s[0-9]+_by_quality|diversity_score_m.*_by_cluster)$'"
    )
    for (index,) in made.fetchall():
        op.execute(f'DROP INDEX "{index}"')
