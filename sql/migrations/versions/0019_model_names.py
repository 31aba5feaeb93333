"""A quality model asked for as name@key has that name, and a key of eight digits at least, as the command has it."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


FIND = """
CREATE OR REPLACE FUNCTION quality_model_of(asked text) RETURNS int
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    asked_key text := regexp_replace(asked, '^.*@', '');
    asked_name text := left(asked, -1 - length(asked_key));
    found int;
BEGIN
    SELECT quality_model_id INTO found
    FROM quality_model
    WHERE name = asked
        OR (length(asked_key) >= 8 AND starts_with(quality_model_key, asked_key) AND (asked_name = '' OR name = asked_name))
    ORDER BY name = asked DESC, quality_model_id DESC LIMIT 1;
    IF found IS NULL THEN
        RAISE EXCEPTION 'there is no quality model %', quote_literal(left(asked, 100))
            USING ERRCODE = 'no_data_found', HINT = 'SELECT name, quality_model_key FROM quality_model lists them.';
    END IF;
    RETURN found;
END
$$
"""


def upgrade() -> None:
    """Replace the function."""
    op.get_bind().exec_driver_sql(FIND.replace("%", "%%"))


def downgrade() -> None:
    """Leave it: what it finds, the one before finds too."""
