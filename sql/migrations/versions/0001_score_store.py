"""The score store: models, corpora and their ledger, samples and scores, clusters, mixtures, crawls, labels; views and roles.

Its name is no number: development versions before the first release had 22 numbered revisions, which this one takes the place of.
"""

import re
from pathlib import Path

from alembic import op

revision = "first_release"
down_revision = None
branch_labels = None
depends_on = None

SCRIPTS = [(Path(__file__).parent / f"0001_{name}.sql").read_text() for name in ("tables", "views", "roles")]


def upgrade() -> None:
    """Create everything, from the SQL files next to this one."""
    with op.get_bind().connection.cursor() as cursor:
        for script in SCRIPTS:
            cursor.execute(script)


def downgrade() -> None:
    """Drop everything. The role stays: it belongs to the server and other databases may use it."""
    made = re.findall(r"^CREATE (TABLE|VIEW|FUNCTION) (\w+)", "\n".join(SCRIPTS), flags=re.MULTILINE)
    with op.get_bind().connection.cursor() as cursor:
        for kind, name in reversed(made):
            cursor.execute(f"DROP {kind} {name} CASCADE")
        cursor.execute(
            """
            DO $$
            BEGIN
                IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'samplemix_reader') THEN
                    ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM samplemix_reader;
                    REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM samplemix_reader;
                    REVOKE USAGE ON SCHEMA public FROM samplemix_reader;
                END IF;
            END
            $$
            """
        )
