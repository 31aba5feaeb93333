"""Languages and content types in the roll-ups of mixtures."""

import re
from pathlib import Path

from alembic import op

revision = "labels"
down_revision = "benchmarks"
branch_labels = None
depends_on = None

HERE = Path(__file__).parent
LAST = "mixture_distance_square_sum / 1e8::float8 AS mixture_distance_square_sum, tokenizer\n"
COMMENTS = """
COMMENT ON COLUMN mixture_rollups.language IS 'Language; empty in versions recorded before languages were told apart here';
COMMENT ON COLUMN mixture_rollups.content_type IS 'Kind of text: prose, code, markup or list; empty like language';
"""
KEYS = "mixture_id, domain_id, cluster, quality_band, diversity"


def _view() -> str:
    """The view as it was, with its comments."""
    views = (HERE / "0001_views.sql").read_text()
    found = re.search(r"^CREATE VIEW mixture_rollups [^;]*;\n(?:COMMENT ON \w+ mixture_rollups\b.*\n)+", views, re.MULTILINE)
    assert found is not None
    assert LAST in found[0]
    return found[0]


def upgrade() -> None:
    """Add the columns to the table and its view."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute((HERE / "0007_labels.sql").read_text())
        longer = _view().replace(LAST, LAST.rstrip("\n") + ", language, content_type\n")
        cursor.execute(longer.replace("CREATE VIEW", "CREATE OR REPLACE VIEW") + COMMENTS)


def downgrade() -> None:
    """Add cells up that differ in nothing else, and put table and view back as they were."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'mixture_rollup'::regclass AND attnum > 0 AND NOT attisdropped"
        )
        keys = {*KEYS.split(", "), "language", "content_type"}
        sums = sorted(name for (name,) in cursor.fetchall() if name not in keys)
        added = ", ".join(f"sum({name})::bigint AS {name}" for name in sums)
        cursor.execute("DROP VIEW mixture_rollups")
        cursor.execute(f"CREATE TEMP TABLE added_up ON COMMIT DROP AS SELECT {KEYS}, {added} FROM mixture_rollup GROUP BY {KEYS}")  # noqa: S608 names of columns
        cursor.execute("TRUNCATE mixture_rollup")
        cursor.execute(
            "ALTER TABLE mixture_rollup DROP CONSTRAINT mixture_rollup_pkey, DROP COLUMN language, DROP COLUMN content_type,"
            " ADD PRIMARY KEY (mixture_id, domain_id, cluster, quality_band)"
        )
        names = ", ".join([KEYS, *sums])
        cursor.execute(f"INSERT INTO mixture_rollup ({names}) SELECT {names} FROM added_up")  # noqa: S608 as above
        cursor.execute(_view())
