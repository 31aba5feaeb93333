"""Connections to Postgres: one engine a process and database, one way to run a transaction, and partitions of big tables."""

import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar, cast

import psycopg2
import sqlalchemy
from psycopg2 import errors as pg
from psycopg2 import sql
from psycopg2.extensions import cursor
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from samplemix_core.errors import CancelledRunError, ConfigError, QueryError, ServiceError, UnstorableError

CONNECT_TIMEOUT_SECONDS = 10
_LOCK_POLL_SECONDS = 1.0
ROWS_PER_FETCH = 5_000

_SERVER_TROUBLE = {"53", "58", "XX"}
"""Classes of SQLSTATE: out of disk, memory or connections; a system error; an internal error."""

_UNSTORABLE = {"54", "22"}
"""A limit of the server's, as that of an index's entries; a value that is none of its type, as NUL in a text."""


def connect(database_url: str) -> Engine:
    """The pool of connections to a database; the same one each time within a process, a new one after a fork.

    Nothing is opened yet. Raises ConfigError for a URL that is not one of Postgres, without repeating it: it may hold a password.
    """
    return _engine(database_url, os.getpid())


@lru_cache(maxsize=16)
def _engine(database_url: str, _process: int) -> Engine:
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise ConfigError("The database URL is malformed.", "Write it as postgresql://user:password@host:port/database.") from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise ConfigError(
            f"The database URL is one of {url.get_backend_name()}.", "SampleMix keeps scores in Postgres: postgresql://..."
        )
    return sqlalchemy.create_engine(
        url.set(drivername="postgresql+psycopg2"),
        pool_pre_ping=True,
        pool_size=2,
        max_overflow=8,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS, "application_name": "samplemix"},
    )


Cursor: TypeAlias = cursor
"""A psycopg2 cursor within a transaction."""

Row = TypeVar("Row")

Named = dict[str, Any]
"""A row that is made into nothing: its values by column name."""


def rows_as(cursor: Cursor, kind: Callable[..., Row]) -> list[Row]:
    """The rows of the statement just executed, each as `kind` made from its columns by name."""
    names = [column.name for column in cursor.description or ()]
    return [kind(**dict(zip(names, row, strict=True))) for row in cursor.fetchall()]


def one(cursor: Cursor, kind: Callable[..., Row]) -> Row:
    """The one row of the statement just executed, as in rows_as; raise LookupError if there is none or more."""
    rows = rows_as(cursor, kind)
    if len(rows) != 1:
        raise LookupError(f"{len(rows)} rows instead of one")
    return rows[0]


def scalar(cursor: Cursor) -> Any:
    """The one value of the one row of the statement just executed."""
    return one(cursor, lambda **row: next(iter(row.values())))


@contextmanager
def transaction(database_url: str) -> Iterator[Cursor]:
    """A psycopg2 cursor in a transaction: committed at the end, rolled back by any exception.

    Functions of this room take that cursor, so that what belongs together commits together. Raises ServiceError where the
    database can't be reached, breaks off, or is not migrated, UnstorableError for a value that it can't hold; the password is in no
    message.
    """
    engine = connect(database_url)
    with service_errors(engine):
        connection = engine.raw_connection()
    try:
        with service_errors(engine):
            yield cast(Cursor, connection.cursor())
            connection.commit()
    finally:
        # Back to the pool, which rolls back what is not committed and drops a connection that is broken.
        connection.close()


def repeatable_read(cursor: Cursor) -> None:
    """Have all that this transaction reads be of one moment. First thing in it."""
    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def stream_rows(cursor: Cursor, query: str, parameters: Mapping[str, Any], kind: type[Any] | None = None) -> Iterator[Any]:
    """The rows of a query, in the cursor's transaction: a few thousand are here at a time, the server holds the rest.

    Rows are tuples, or what a `kind` of psycopg2's cursors makes of them.
    """
    named = cursor.connection.cursor(f"rows_{secrets.token_hex(8)}", cursor_factory=kind)
    named.itersize = ROWS_PER_FETCH
    named.execute(query, parameters)
    yield from named
    # Only here: where the rows are not read to the end, the transaction's end closes it, and may be before this generator's.
    named.close()


_NUMBER = "hashtextextended(%s, 0)"
HOLD = f"SELECT pg_advisory_xact_lock({_NUMBER})"
"""Takes a name. Hold its advisory lock until the transaction ends, and wait for it."""

HOLD_SHARED = f"SELECT pg_advisory_xact_lock_shared({_NUMBER})"
"""As HOLD, together with others who hold it shared."""

TRY_HOLD = f"SELECT pg_try_advisory_xact_lock({_NUMBER})"
"""As HOLD, without waiting: gives whether it is held now."""

HOLD_ALWAYS = f"SELECT pg_advisory_lock({_NUMBER})"
TRY_HOLD_ALWAYS = f"SELECT pg_try_advisory_lock({_NUMBER})"
"""As HOLD and TRY_HOLD, until the connection ends."""


class Lock(StrEnum):
    """The advisory locks that are known by a name of their own; others are those of a file, a mixture or a step."""

    MIGRATION = "migration"
    ROLES = "roles"
    CRAWLS = "crawls"
    """Of those who enter crawls, whose dates must differ."""
    PARTITIONS = "partitions"
    """Of those who add partitions: waiting for it is cheaper than for each other's table locks."""


@contextmanager
def exclusive(database_url: str, name: str, cancelled: threading.Event, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a name, which one process at a time can on this database; a process that ends loses it.

    Calls `on_wait` once if another holds it; raises CancelledRunError if `cancelled` is set meanwhile, and ServiceError as
    `transaction` does. Needs a connection of its own all the time: none that a pooler hands to another after each transaction.
    """
    engine = connect(database_url)
    with service_errors(engine), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        waiting = False
        while not connection.exec_driver_sql(TRY_HOLD_ALWAYS, (name,)).scalar():
            if not waiting:
                on_wait()
                waiting = True
            if cancelled.wait(_LOCK_POLL_SECONDS):
                raise CancelledRunError("Cancelled while waiting for another run.", "Run again: finished work is kept.")
        try:
            yield
        finally:
            # Closed for good, and the lock with it: it never goes back into the pool.
            connection.invalidate()


@contextmanager
def service_errors(engine: Engine) -> Iterator[None]:
    """Raise ServiceError, with the place and a remedy, for its fault; QueryError for a name that is not there."""
    place = f"{engine.url.host}:{engine.url.port or 5432}/{engine.url.database}"
    try:
        yield
    except (psycopg2.Error, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, pg.NoDataFound):
            # What corpus_of, mixture_of and quality_model_of do not find.
            remedy = cause.diag.message_hint or ""
            raise QueryError(f"{_first_line(cause)[:1].upper()}{_first_line(cause)[1:]}.", remedy) from error
        if isinstance(cause, pg.UndefinedTable | pg.UndefinedColumn | pg.UndefinedFunction):
            raise ServiceError(
                f"The database {place} is not migrated: {_first_line(cause)}.", "Run 'samplemix up', or migrate it."
            ) from error
        if isinstance(cause, pg.InsufficientPrivilege):
            raise ServiceError(
                f"The database {place} refused: {_first_line(cause)}.", "Use a user that owns the tables."
            ) from error
        if isinstance(cause, pg.SerializationFailure | pg.DeadlockDetected | pg.LockNotAvailable):
            raise ServiceError(
                f"The database {place} gave up a transaction: {_first_line(cause)}.", "Run the step again."
            ) from error
        if isinstance(cause, psycopg2.Error) and (cause.pgcode or "")[:2] in _UNSTORABLE:
            raise UnstorableError(
                f"The database {place} can't hold a value: {_first_line(cause)[:500]}.",
                "Please report it with the value: it should have been set aside.",
            ) from error
        if isinstance(cause, psycopg2.OperationalError) and (cause.pgcode or "")[:2] in _SERVER_TROUBLE:
            raise ServiceError(f"The database {place} is in trouble: {_first_line(cause)}.", "See the server's log.") from error
        if isinstance(cause, psycopg2.OperationalError | psycopg2.InterfaceError):
            raise ServiceError(
                f"The database {place} does not answer: {_first_line(cause)}.",
                "Check that it runs and that SAMPLEMIX_DATABASE_URL is right.",
            ) from error
        raise


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().split("\n", 1)[0].rstrip(".")


def ensure_partition(cursor: Cursor, parent: str, name: str, value: int, *, by: str | None = None) -> None:
    """Make sure that `parent` has the partition `name` for one value of its key; `by` partitions it again by that column.

    The new table is made aside and then attached, so that transactions that write other partitions go on meanwhile.
    """
    cursor.execute(HOLD, (Lock.PARTITIONS,))
    cursor.execute("SELECT to_regclass(%s)", (name,))
    if scalar(cursor) is None:
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
