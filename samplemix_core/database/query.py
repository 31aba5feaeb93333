"""What analysts ask: one read-only statement, as the role that can only read; and the queries that are ready to run."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import errors as pg

from samplemix_core.database.connection import connect, service_errors
from samplemix_core.errors import QueryError
from samplemix_core.settings import shipped_directory

MAX_ROWS = 10_000


@dataclass(frozen=True)
class ReadyQuery:
    """A query that ships with the platform: what it answers (its header comment) and its SQL, with named parameters."""

    name: str
    answers: str
    sql: str


def run_query(
    reader_database_url: str, query: str, parameters: Mapping[str, Any] | None = None, *, timeout_seconds: float = 60.0
) -> list[dict[str, Any]]:
    """The rows of a statement, each as column name -> value; `%(name)s` in it takes its value from `parameters`.

    Columns of the same name get the numbers 2, 3 ... behind it. The transaction is read-only and never committed, and the
    role behind the URL may only read, so that nothing can be changed whatever the statement. Raises QueryError if
    Postgres refuses it, if it runs longer than `timeout_seconds`, or if it gives more than MAX_ROWS rows.
    """
    engine = connect(reader_database_url)
    with service_errors(engine):
        connection = engine.raw_connection()
    try:
        with service_errors(engine), _query_errors(timeout_seconds):
            setup: Any = connection.cursor()
            setup.execute("SET TRANSACTION READ ONLY")
            setup.execute("SELECT set_config('statement_timeout', %s, true)", (str(round(timeout_seconds * 1000)),))
            cursor = setup if _PLAIN.match(query) else connection.cursor("query")
            cursor.execute(query, parameters)
            return _rows(cursor)
    finally:
        # Back to the pool, which rolls everything back.
        connection.close()


_PLAIN = re.compile(r"(\s|--[^\n]*\n)*(explain|show)\b", re.IGNORECASE)
"""Statements without a cursor at the server; for all others it keeps a large result from filling memory here."""


def _rows(cursor: Any) -> list[dict[str, Any]]:
    rows = cursor.fetchmany(MAX_ROWS + 1)
    if len(rows) > MAX_ROWS:
        raise QueryError(f"The query gives more than {MAX_ROWS} rows.", "Aggregate them, or add a LIMIT.")
    met: Counter[str] = Counter()
    names = []
    for column in cursor.description:
        met[column.name] += 1
        names.append(column.name if met[column.name] == 1 else f"{column.name}_{met[column.name]}")
    return [dict(zip(names, row, strict=True)) for row in rows]


@contextmanager
def _query_errors(timeout_seconds: float) -> Iterator[None]:
    try:
        yield
    except pg.QueryCanceled:
        raise QueryError(f"The query ran longer than {timeout_seconds:g} s.", "Narrow it, for example to one snapshot.") from None
    except pg.InsufficientPrivilege as error:
        raise QueryError(f"The query is not allowed: {_message(error)}.", "Analysts can only read.") from None
    except (psycopg2.ProgrammingError, psycopg2.DataError, psycopg2.NotSupportedError, psycopg2.InternalError) as error:
        raise QueryError(f"Postgres refuses the query: {_message(error)}.", "One SELECT, best over sample_scores.") from None
    except KeyError as error:
        raise QueryError(f"The query needs the parameter {error}.", "Give it a value.") from None


def _message(error: psycopg2.Error) -> str:
    return str(error).strip().split("\n", 1)[0].rstrip(".")


def ready_queries() -> list[ReadyQuery]:
    """The queries in sql/queries, sorted by name. Their files run in psql too, which writes a parameter as :'name'."""
    return [_ready(path) for path in sorted((shipped_directory("sql") / "queries").glob("*.sql"))]


def _ready(path: Path) -> ReadyQuery:
    lines = path.read_text().splitlines()
    header = list(itertools.takewhile(lambda line: line.startswith("--"), lines))
    body = "\n".join(lines[len(header) :]).strip().rstrip(";")
    answers = "\n".join(line.removeprefix("--").strip() for line in header)
    return ReadyQuery(path.stem, answers, _PSQL_PARAMETER.sub(r"%(\1)s", body.replace("%", "%%")))


_PSQL_PARAMETER = re.compile(r":'(\w+)'")
