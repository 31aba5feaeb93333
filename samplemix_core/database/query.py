"""Analysts' queries: running one read-only statement as the role that can only read; and the queries that are ready to run."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import errors as pg
from psycopg2 import sql
from psycopg2.sql import Composable

from samplemix_core.database.connection import ROWS_PER_FETCH, Cursor, connect, scalar, service_errors
from samplemix_core.errors import QueryError
from samplemix_core.settings import shipped_directory

MAX_ROWS = 10_000

Statement = str | Composable
"""A statement as text, or composed of parts that psycopg2 quotes."""


@dataclass(frozen=True)
class ReadyQuery:
    """A query that ships with the platform: what it answers, its SQL, and its parameters with their defaults (None: required)."""

    name: str
    answers: str
    sql: str
    parameters: Mapping[str, str | None]

    @property
    def usage(self) -> str:
        """Its parameters, as people write them."""
        return " ".join(name if default is None else f"[{name}]" for name, default in self.parameters.items())

    def filled(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values for all parameters; raise QueryError for one that is missing or unknown."""
        if unknown := sorted(values.keys() - self.parameters.keys()):
            raise QueryError(f"Query {self.name} has no parameter {', '.join(unknown)}.", f"It takes: {self.usage}.")
        filled = {**self.parameters, **values}
        if missing := [name for name, value in filled.items() if value is None]:
            raise QueryError(f"Query {self.name} needs {', '.join(missing)}.", f"It takes: {self.usage}. Give each as name=value.")
        return filled


READER = "samplemix_reader"
"""The role of analysts, which can only read."""

PAGES = "samplemix_pages"
"""The role of Airflow's pages, which can only read."""

READ_LIMIT_SECONDS = 120.0
"""A transaction of these roles that takes longer is ended, whatever limit its session has set itself."""


def end_long_reads(cursor: Cursor, seconds: float = READ_LIMIT_SECONDS) -> int:
    """End the readers' sessions whose transaction began over `seconds` ago, however busy they are; returns how many.

    A role can lift its own timeouts, and Postgres can't forbid that. The caller must be a member of the roles.
    """
    cursor.execute(
        """
        SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) AS ended
        FROM pg_stat_activity
        WHERE usename = ANY(%s) AND datname = current_database()
            AND clock_timestamp() - xact_start > make_interval(secs => %s)
        """,
        ([READER, PAGES], seconds),
    )
    return int(scalar(cursor))


def run_query(
    reader_database_url: str, query: Statement, parameters: Mapping[str, Any] | None = None, *, timeout_seconds: float = 60.0
) -> list[dict[str, Any]]:
    """Return a statement's rows, as in stream_query; raise QueryError if there are more than MAX_ROWS."""
    rows = list(islice(stream_query(reader_database_url, query, parameters, timeout_seconds=timeout_seconds), MAX_ROWS + 1))
    if len(rows) > MAX_ROWS:
        raise QueryError(f"The query gives more than {MAX_ROWS} rows.", "Aggregate them, add a LIMIT, or write them to a file.")
    return rows


def stream_query(
    reader_database_url: str, query: Statement, parameters: Mapping[str, Any] | None = None, *, timeout_seconds: float = 60.0
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one statement, each as column name -> value; `%(name)s` in it takes its value from `parameters`.

    Columns with the same name get the suffixes _2, _3 and so on. The transaction is read-only and never committed, its limits are
    set here whatever the role has set for itself, and the role in the URL may only read, so no statement can change anything. The
    server holds the rows that haven't been read yet. Raises QueryError if Postgres refuses the statement, if it is not a single
    statement with rows, or if it runs longer than `timeout_seconds`.
    """
    engine = connect(reader_database_url)
    with service_errors(engine):
        connection = engine.raw_connection()
    try:
        with service_errors(engine), _query_errors(timeout_seconds):
            setup: Any = connection.cursor()
            setup.execute(_LIMITS, {"milliseconds": max(1, round(timeout_seconds * 1000))})
            # A cursor opened by PL/pgSQL is a single statement with rows. Text with a second statement in it, which psycopg2's
            # simple protocol would also run, is refused as a whole.
            statement = setup.mogrify(query, parameters).decode()
            opening = sql.SQL(_OPEN).format(sql.Literal(statement)).as_string(setup)
            setup.execute(sql.SQL("DO {}").format(sql.Literal(opening)))
            cursor: Any = connection.cursor("query")
            cursor.itersize = ROWS_PER_FETCH
            names: list[str] = []
            for row in cursor:
                names = names or _names(cursor)
                yield dict(zip(names, row, strict=True))
    finally:
        # Back to the pool, which rolls everything back.
        connection.close()


_LIMITS = """
SET TRANSACTION READ ONLY;
SET LOCAL search_path = public;
SET LOCAL statement_timeout = %(milliseconds)s;
SET LOCAL lock_timeout = '10s';
SET LOCAL work_mem = '16MB';
SET LOCAL hash_mem_multiplier = 2
"""

_OPEN = "DECLARE answer refcursor := 'query'; BEGIN OPEN answer NO SCROLL FOR EXECUTE {}; END"


def _names(cursor: Any) -> list[str]:
    met: Counter[str] = Counter()
    names = []
    for column in cursor.description:
        met[column.name] += 1
        names.append(column.name if met[column.name] == 1 else f"{column.name}_{met[column.name]}")
    return names


@contextmanager
def _query_errors(timeout_seconds: float) -> Iterator[None]:
    try:
        yield
    except pg.QueryCanceled:
        raise QueryError(f"The query ran longer than {timeout_seconds:g} s.", "Narrow it, for example to one snapshot.") from None
    except pg.OutOfMemory:
        raise QueryError("The query takes more memory than allowed.", "Narrow it, or aggregate less at a time.") from None
    except psycopg2.OperationalError as error:
        if "terminating connection" not in str(error):
            raise
        raise QueryError(f"The query was ended: no transaction may read for over {READ_LIMIT_SECONDS:g} s.", "Narrow it.") from None
    except pg.InsufficientPrivilege as error:
        raise QueryError(f"The query is not allowed: {_message(error)}.", "Analysts can only read.") from None
    except (psycopg2.ProgrammingError, psycopg2.DataError, psycopg2.NotSupportedError, psycopg2.InternalError) as error:
        raise QueryError(
            f"Postgres refuses the query: {_message(error)}.", "Write one SELECT, typically over sample_scores."
        ) from None
    except ValueError as error:
        # From text with NUL, which Postgres can't hold.
        raise QueryError(f"A parameter can't be sent to Postgres: {error}.", "Give another value.") from None
    except KeyError as error:
        raise QueryError(f"The query needs the parameter {error}.", "Give it a value.") from None


def _message(error: psycopg2.Error) -> str:
    return str(error).strip().split("\n", 1)[0].rstrip(".")


def ready_queries() -> dict[str, ReadyQuery]:
    """Return the queries in sql/queries by name, sorted. Their files also run in psql, where a parameter is written as :'name'."""
    return {path.stem: _ready(path) for path in sorted((shipped_directory("sql") / "queries").glob("*.sql"))}


Answer = list[dict[str, Any]]

PAGE_SECONDS = 20.0
"""A page that takes longer is of no use."""


def ask(reader_url: str, name: str, /, **values: Any) -> Answer:
    """Return the rows of a ready query, in the time that a page has; raise QueryError as run_query() does."""
    return answer(reader_url, name, values, PAGE_SECONDS)


def answer(reader_url: str, name: str, values: Mapping[str, Any], timeout_seconds: float) -> Answer:
    """Return the rows of a ready query; raise QueryError as run_query() does."""
    found = ready_queries()[name]
    filled = found.filled({key: str(value) for key, value in values.items() if value is not None})
    return run_query(reader_url, found.sql, filled, timeout_seconds=timeout_seconds)


def _ready(path: Path) -> ReadyQuery:
    lines = path.read_text().splitlines()
    header = [line.removeprefix("--").strip() for line in takewhile(lambda line: line.startswith("--"), lines)]
    body = "\n".join(lines[len(header) :]).strip().rstrip(";")
    *answers, listed = header
    parameters = {}
    for item in filter(str.strip, listed.removeprefix("Parameters:").split(",")):
        name, has_default, default = item.strip().partition("=")
        parameters[name] = default if has_default else None
    return ReadyQuery(path.stem, " ".join(answers), _PSQL_PARAMETER.sub(r"%(\1)s", body.replace("%", "%%")), parameters)


_PSQL_PARAMETER = re.compile(r":'(\w+)'")
