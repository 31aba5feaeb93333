"""Connections to Postgres: one engine per process and database, one way to run a transaction, and partitions of big tables."""

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
"""SQLSTATE classes: a server limit, such as the size of an index entry; a value that its type can't hold, such as NUL in text."""


def connect(database_url: str) -> Engine:
    """Return the connection pool for a database: the same one each time within a process, a new one after a fork.

    Opens no connection yet. Raises ConfigError for a URL that isn't a Postgres one, without repeating it, as it may hold a
    password.
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
"""A row left as it is: its values by column name."""


def rows_as(cursor: Cursor, kind: Callable[..., Row]) -> list[Row]:
    """Return the rows of the statement just executed, each made by `kind` from its columns by name."""
    names = [column.name for column in cursor.description or ()]
    return [kind(**dict(zip(names, row, strict=True))) for row in cursor.fetchall()]


def one(cursor: Cursor, kind: Callable[..., Row]) -> Row:
    """Return the single row of the statement just executed, as in rows_as; raise LookupError unless there is exactly one."""
    rows = rows_as(cursor, kind)
    if len(rows) != 1:
        raise LookupError(f"{len(rows)} rows instead of one")
    return rows[0]


def scalar(cursor: Cursor) -> Any:
    """Return the single value of the single row of the statement just executed."""
    return one(cursor, lambda **row: next(iter(row.values())))


@contextmanager
def transaction(database_url: str) -> Iterator[Cursor]:
    """Yield a psycopg2 cursor in a transaction, which is committed at the end and rolled back by any exception.

    This package's functions take that cursor, so that what belongs together commits together. Raises ServiceError if the database
    can't be reached, breaks off, or is not migrated, and UnstorableError for a value that it can't hold. No message contains the
    password.
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
    """Make everything this transaction reads come from one moment. Must be its first statement."""
    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def stream_rows(cursor: Cursor, query: str, parameters: Mapping[str, Any], kind: type[Any] | None = None) -> Iterator[Any]:
    """Yield a query's rows in the cursor's transaction: a few thousand are here at a time, the server holds the rest.

    Rows are tuples, or whatever `kind`, a psycopg2 cursor class, makes of them.
    """
    named = cursor.connection.cursor(f"rows_{secrets.token_hex(8)}", cursor_factory=kind)
    named.itersize = ROWS_PER_FETCH
    named.execute(query, parameters)
    yield from named
    # Not in a finally block: if the rows aren't read to the end, the transaction's end closes it, possibly before this generator's.
    named.close()


_NUMBER = "hashtextextended(%s, 0)"
HOLD = f"SELECT pg_advisory_xact_lock({_NUMBER})"
"""Takes a name: waits for its advisory lock and holds it until the transaction ends."""

HOLD_SHARED = f"SELECT pg_advisory_xact_lock_shared({_NUMBER})"
"""Like HOLD, but shared with others who hold it shared."""

TRY_HOLD = f"SELECT pg_try_advisory_xact_lock({_NUMBER})"
"""Like HOLD, but without waiting: returns whether the lock is now held."""

HOLD_ALWAYS = f"SELECT pg_advisory_lock({_NUMBER})"
TRY_HOLD_ALWAYS = f"SELECT pg_try_advisory_lock({_NUMBER})"
"""Like HOLD and TRY_HOLD, but until the connection ends."""


class Lock(StrEnum):
    """The advisory locks with fixed names; others are named after a file, a mixture or a step."""

    MIGRATION = "migration"
    ROLES = "roles"
    CRAWLS = "crawls"
    """Held while entering crawls, whose dates must differ."""
    PARTITIONS = "partitions"
    """Held while adding partitions: waiting for it is cheaper than waiting for each other's table locks."""


@contextmanager
def exclusive(database_url: str, name: str, cancelled: threading.Event, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock with this name, which only one process at a time can hold on this database; a process that ends loses it.

    Calls `on_wait` once if another process holds it. Raises CancelledRunError if `cancelled` is set while waiting, and ServiceError
    as `transaction` does. Needs a dedicated connection throughout, not one that a pooler hands on after each transaction.
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
            # Closed for good, which releases the lock: it never goes back into the pool.
            connection.invalidate()


@contextmanager
def service_errors(engine: Engine) -> Iterator[None]:
    """Turn database errors into ServiceError, with the place and a remedy, UnstorableError, or QueryError for an unknown name."""
    place = f"{engine.url.host}:{engine.url.port or 5432}/{engine.url.database}"
    try:
        yield
    except (psycopg2.Error, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, pg.NoDataFound):
            # Raised by corpus_of, mixture_of and quality_model_of for an unknown name.
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
    """Make sure that `parent` has the partition `name` for one value of its key; `by` subpartitions it by that column.

    The new table is created separately and then attached, so that transactions writing to other partitions can go on meanwhile.
    """
    cursor.execute(HOLD, (Lock.PARTITIONS,))
    cursor.execute("SELECT to_regclass(%s)", (name,))
    if scalar(cursor) is None:
        create_detached(cursor, parent, name, by=by)
        attach(cursor, parent, name, value)


def create_detached(cursor: Cursor, parent: str, name: str, *, by: str | None = None) -> None:
    """Create a table with the columns of `parent` but not its keys; nobody sees it until it is attached."""
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
