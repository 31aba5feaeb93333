"""Partitions of the big tables: one a snapshot, a cluster model or a mixture."""

from psycopg2 import sql

from samplemix_core.store.postgres import Cursor

_LOCK = 0x706172746974
"""Advisory lock of those who add partitions: waiting for it is cheaper than for each other's table locks."""


def ensure_partition(cursor: Cursor, parent: str, name: str, value: int, *, by: str | None = None) -> None:
    """Make sure that `parent` has the partition `name` for one value of its key; `by` partitions it again by that column.

    The new table is made aside and then attached, so that transactions that write other partitions go on meanwhile.
    """
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    cursor.execute("SELECT to_regclass(%s)", (name,))
    if cursor.fetchone()[0] is None:
        create_detached(cursor, parent, name, by=by)
        attach(cursor, parent, name, value)


def create_detached(cursor: Cursor, parent: str, name: str, *, by: str | None = None) -> None:
    """Create a table with the columns of `parent` and without its keys: what is not attached is seen by nobody."""
    partition_by = sql.SQL(" PARTITION BY LIST ({})").format(sql.Identifier(by)) if by else sql.SQL("")
    cursor.execute(
        sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS)").format(
            sql.Identifier(name), sql.Identifier(parent)
        )
        + partition_by
    )


def attach(cursor: Cursor, parent: str, name: str, value: int) -> None:
    """Attach a table as the partition for one value; Postgres builds the keys it lacks and checks every row."""
    cursor.execute(
        sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES IN ({})").format(
            sql.Identifier(parent), sql.Identifier(name), sql.Literal(value)
        )
    )
