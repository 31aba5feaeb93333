"""Where documents are from: URL, host and licence of a sample, also in the view of scores; and what mixtures leave out."""

import re
from pathlib import Path

from alembic import op

revision = "provenance"
down_revision = "quality_ranks"
branch_labels = None
depends_on = None

HERE = Path(__file__).parent

COLUMNS = {
    "url": "URL that the document is from, at most 2,048 characters; empty if the reader names no field for it",
    "host": "Host of the URL, in small letters",
    "license": "Licence, as the document says it; empty if the reader names no field for it",
}


def _view() -> tuple[str, str]:
    """The view of scores as it was, and the comments on it."""
    views = (HERE / "0001_views.sql").read_text()
    found = re.search(r"^(CREATE VIEW sample_scores [^;]*;\n)((?:COMMENT ON \w+ sample_scores\b.*\n)+)", views, re.MULTILINE)
    assert found is not None
    return found[1], found[2]


def upgrade() -> None:
    """Add the columns."""
    view, _ = _view()
    view = view.replace("CREATE VIEW", "CREATE OR REPLACE VIEW")
    for before, prefix in ((r"    scored\.language\n", "    scored."), (r"        sample\.language,\n", "        sample.")):
        listed = ",\n".join(prefix + column for column in ("language", *COLUMNS))
        view, times = re.subn(before, f"{listed},\n" if before.endswith(",\\n") else f"{listed}\n", view)
        assert times == 1
    with op.get_bind().connection.cursor() as cursor:
        for column, comment in COLUMNS.items():
            cursor.execute(f'ALTER TABLE sample ADD COLUMN {column} text COLLATE "C"')
            cursor.execute(f"COMMENT ON COLUMN sample.{column} IS %s", (comment,))
        cursor.execute((HERE / "0004_provenance.sql").read_text())
        cursor.execute(view)
        for column, comment in COLUMNS.items():
            cursor.execute(f"COMMENT ON COLUMN sample_scores.{column} IS %s", (comment,))


def downgrade() -> None:
    """Drop them, and put the view back as it was."""
    view, comments = _view()
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute("DROP TABLE mixture_left_out")
        cursor.execute("DROP VIEW sample_scores")
        for column in COLUMNS:
            cursor.execute(f"ALTER TABLE sample DROP COLUMN {column}")
        cursor.execute(view + comments)
