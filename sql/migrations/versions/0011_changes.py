"""What each version of a mixture changed against its parent."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

COLUMNS = {
    "mixture_id": ("int PRIMARY KEY REFERENCES mixture ON DELETE CASCADE", "The version"),
    "parent_mixture_id": ("int REFERENCES mixture ON DELETE CASCADE", "The version before it; empty for a first one"),
    "entered": ("bigint NOT NULL", "Samples that it holds and its parent does not"),
    "departed": ("bigint NOT NULL", "Samples that its parent holds and it does not"),
    "more_copies": ("bigint NOT NULL", "Samples of both that have more copies now"),
    "fewer_copies": ("bigint NOT NULL", "Samples of both that have fewer copies now"),
    "same_copies": ("bigint NOT NULL", "Samples of both that have as many copies as before"),
    "domains": ("jsonb NOT NULL", "By domain: tokens in the parent and in the version"),
    "crawls": ("jsonb NOT NULL", "Snapshots that its parent was not of: documents and tokens there, and how many of them it holds"),
}

VIEW = """
CREATE VIEW mixture_changes AS
SELECT mixture.name AS mixture, mixture.version, parent.version AS parent_version, mixture.created_at,
       entered, departed, more_copies, fewer_copies, same_copies, domains, crawls
FROM mixture_change
JOIN mixture USING (mixture_id)
LEFT JOIN mixture AS parent ON parent.mixture_id = parent_mixture_id
"""


def upgrade() -> None:
    """Create the table and the view that names its versions. Earlier versions get their rows when somebody asks for them."""
    op.execute(f"CREATE TABLE mixture_change ({', '.join(f'{name} {kind}' for name, (kind, _) in COLUMNS.items())})")
    op.execute("COMMENT ON TABLE mixture_change IS 'What a version of a mixture changed against the version before it'")
    for name, (_, comment) in COLUMNS.items():
        op.execute(f"COMMENT ON COLUMN mixture_change.{name} IS '{comment}'")
    op.execute(VIEW)
    op.execute("COMMENT ON VIEW mixture_changes IS 'mixture_change with the names and numbers of the versions'")


def downgrade() -> None:
    """Drop both."""
    op.execute("DROP VIEW mixture_changes")
    op.execute("DROP TABLE mixture_change")
