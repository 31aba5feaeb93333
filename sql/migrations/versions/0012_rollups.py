"""Roll-ups: samples and mixtures added up as they are loaded; a mixture's samples with what was published of them."""

import runpy
from pathlib import Path

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

HERE = Path(__file__).parent
ADDED = ("domain_id", "n_tokens", "quality", "diversity", "cluster")


def upgrade() -> None:
    """Make them, of what is there: exactly, or, for a mixture whose source has changed since, not at all."""
    _execute((HERE / "0012_up.sql").read_text())


def downgrade() -> None:
    """Drop them; the view on a mixture's samples as it was."""
    for name in ("score_rollup", "cluster_rollup", "mixture_rollup", "mixture_copy_count"):
        op.execute(f"DROP VIEW {name}s")
        op.execute(f"DROP TABLE {name}")
    comment = op.get_bind().exec_driver_sql("SELECT obj_description('mixture_samples'::regclass)").scalar()
    op.execute("DROP VIEW mixture_samples")
    earlier = runpy.run_path(str(HERE / "0009_tokenizers.py"))
    definition = earlier["_definition"]("mixture_samples")
    _execute(definition.replace("\nFROM mixture\n", ",\n    mixture.tokenizer\nFROM mixture\n"))
    _execute("COMMENT ON VIEW mixture_samples IS %s", (comment,))
    op.execute(f"COMMENT ON COLUMN mixture_samples.tokenizer IS '{earlier['COMMENTS']['mixture_samples.tokenizer']}'")
    for column in ADDED:
        op.execute(f"ALTER TABLE mixture_sample DROP COLUMN {column}")


def _execute(statement: str, values: tuple[str, ...] | None = None) -> None:
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute(statement, values)
