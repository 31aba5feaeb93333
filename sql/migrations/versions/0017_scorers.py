"""Several quality models score a run's documents: a mixture knows those that stood beside the one it was made by."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


FIND = """
CREATE FUNCTION quality_model_of(asked text) RETURNS int
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    found int;
BEGIN
    SELECT quality_model_id INTO found
    FROM quality_model
    WHERE name = asked OR (length(asked) >= 8 AND starts_with(quality_model_key, regexp_replace(asked, '^.*@', '')))
    ORDER BY quality_model_id DESC LIMIT 1;
    IF found IS NULL THEN
        RAISE EXCEPTION 'there is no quality model %', quote_literal(left(asked, 100))
            USING ERRCODE = 'no_data_found', HINT = 'SELECT name, quality_model_key FROM quality_model lists them.';
    END IF;
    RETURN found;
END
$$
"""


def upgrade() -> None:
    """Add the column; what is recorded had none beside it."""
    op.execute("ALTER TABLE mixture ADD COLUMN beside int[] NOT NULL DEFAULT '{}'")
    op.execute("COMMENT ON COLUMN mixture.beside IS 'Quality models that scored the same documents in the same run'")
    op.get_bind().exec_driver_sql(FIND.replace("%", "%%"))
    op.execute(
        "COMMENT ON FUNCTION quality_model_of IS 'The quality_model_id of a quality model, by name (the newest), key or name@key."
        " An error if there is none'"
    )
    for table in ("quality_score", "sample_scores"):
        op.execute(f"COMMENT ON COLUMN {table}.quality IS 'Overall quality, from q_low to q_high of its quality model'")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP FUNCTION quality_model_of")
    op.execute("ALTER TABLE mixture DROP COLUMN beside")
    for table in ("quality_score", "sample_scores"):
        op.execute(f"COMMENT ON COLUMN {table}.quality IS 'Overall quality, 0 to 10'")
