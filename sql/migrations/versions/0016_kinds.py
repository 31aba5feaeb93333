"""What kind of text a sample is, and its language. Samples that are there already have neither, until they are scored anew."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

OF_SAMPLES = ("content_type", "language")


def _definition() -> str:
    """The view as it is, as a statement that makes it."""
    found = op.get_bind().exec_driver_sql("SELECT pg_get_viewdef('sample_scores'::regclass)").scalar()
    return f"CREATE OR REPLACE VIEW sample_scores AS {found}"


def _execute(statement: str) -> None:
    op.get_bind().exec_driver_sql(statement.replace("%", "%%"))


def upgrade() -> None:
    """Add the columns, at the view's end too."""
    op.execute('ALTER TABLE sample ADD COLUMN content_type text COLLATE "C", ADD COLUMN language text COLLATE "C"')
    inner = _definition().replace("sample.content_hash,", "sample.content_hash, sample.content_type, sample.language,", 1)
    _execute(inner.replace("corpus.tokenizer\n", "corpus.tokenizer, scored.content_type, scored.language\n", 1))
    for table in ("sample", "sample_scores"):
        op.execute(f"COMMENT ON COLUMN {table}.content_type IS 'Kind of text: prose, code, markup or list'")
        op.execute(f"COMMENT ON COLUMN {table}.language IS 'Language, a code of ISO 639; und where it can not be told'")


def downgrade() -> None:
    """Drop them; the view as it was, with its comments."""
    comments = (
        op.get_bind()
        .exec_driver_sql(
            "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute"
            " WHERE attrelid = 'sample_scores'::regclass AND attnum > 0"
        )
        .fetchall()
    )
    about = op.get_bind().exec_driver_sql("SELECT obj_description('sample_scores'::regclass)").scalar()
    before = _definition()
    for column in OF_SAMPLES:
        before = before.replace(f"scored.{column}", "").replace(f"sample.{column},", "")
    op.execute("DROP VIEW sample_scores")
    _execute(before.replace(",\n    ,\n    \n", "\n"))
    op.execute("ALTER TABLE sample DROP COLUMN content_type, DROP COLUMN language")
    op.get_bind().exec_driver_sql("COMMENT ON VIEW sample_scores IS %s", (about,))
    for column, comment in comments:
        if comment and column not in OF_SAMPLES:
            op.get_bind().exec_driver_sql(f"COMMENT ON COLUMN sample_scores.{column} IS %s", (comment,))
