"""Diversity of each document, averaged over the fits of its cluster model."""

import re
from pathlib import Path
from typing import Any

from alembic import op

revision = "diversity"
down_revision = "labels"
branch_labels = None
depends_on = None

HERE = Path(__file__).parent
OF_CLUSTER = "cluster.compactness,\n            cluster.separation,\n            cluster.diversity"
OWN = OF_CLUSTER.replace(
    "cluster.diversity", "COALESCE((diversity_score.diversity)::double precision, cluster.diversity) AS diversity"
)
"""As Postgres writes it."""

COMMENTED = (
    "cluster",
    "diversity_score",
    "mixture_rollup",
    "mixture_rollups",
    "mixture_sample",
    "mixture_samples",
    "sample_scores",
)
"""Tables and views whose comments change."""


def _replace(cursor: Any, old: str, new: str) -> None:
    """Replace part of what view sample_scores is made from."""
    cursor.execute("SELECT pg_get_viewdef('sample_scores'::regclass)")
    ((view,),) = cursor.fetchall()
    assert view.count(old) == 1, view
    cursor.execute("CREATE OR REPLACE VIEW sample_scores AS" + view.replace(old, new))


def upgrade() -> None:
    """Add the columns, show them, and drop sums that nothing is made from any more."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute((HERE / "0008_diversity.sql").read_text())
        _replace(cursor, OF_CLUSTER, OWN)


def downgrade() -> None:
    """Put tables, view and comments back, and add the sums up again."""
    tables, views = ((HERE / f"0001_{name}.sql").read_text() for name in ("tables", "views"))
    found = re.search(r"^CREATE TABLE shard_cluster [^;]*;\n(?:COMMENT ON \w+ shard_cluster\b.*\n)+", tables, re.MULTILINE)
    view = re.search(r"^CREATE VIEW cluster_rollups [^;]*;\n(?:COMMENT ON \w+ cluster_rollups\b.*\n)+", views, re.MULTILINE)
    assert found is not None
    assert view is not None
    names = "|".join(COMMENTED)
    comments = re.findall(rf"^COMMENT ON \w+ (?:{names})\b.*$", tables + views, re.MULTILINE)
    with op.get_bind().connection.cursor() as cursor:
        _replace(cursor, OWN, OF_CLUSTER)
        cursor.execute(found[0])
        cursor.execute(
            "INSERT INTO shard_cluster SELECT cluster_model_id, shard_id, cluster, count(*), sum(distance::float8)"
            " FROM diversity_score GROUP BY 1, 2, 3"
        )
        cursor.execute("DROP VIEW cluster_rollups")
        cursor.execute(view[0])
        cursor.execute("ALTER TABLE cluster DROP COLUMN coherence")
        cursor.execute("ALTER TABLE cluster_rollup DROP COLUMN diversity_sum")
        cursor.execute("ALTER TABLE diversity_score DROP COLUMN diversity")
        cursor.execute("ALTER TABLE cluster_model DROP COLUMN diversity_ranks")
        cursor.execute("ALTER TABLE mixture_rollup DROP COLUMN diversity_spread, DROP COLUMN mixture_diversity")
        cursor.execute("\n".join(comments))
