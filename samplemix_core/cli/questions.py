"""The command `samplemix sql`: one statement, a ready query by name, or a prompt; its answer as a table, CSV, JSON or Parquet."""

import csv
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import typer

from samplemix_core.cli.common import AsJson, pages, plain, print_rows
from samplemix_core.deployment import Deployment
from samplemix_core.errors import QueryError
from samplemix_core.logs import visible
from samplemix_core.report.text import written
from samplemix_core.settings import home_directory, make_home

app = typer.Typer()

_PROMPT_SETTINGS = """\
# pgcli's settings, for 'samplemix sql': yours to change. https://www.pgcli.com/config
[main]
keyring = False
less_chatty = True
destructive_warning = off
"""

Format = Literal["table", "csv", "json", "parquet"]


@app.command()
def sql(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="One SELECT, typically over sample_scores, or - to read it from standard input; with --query: name=value ..."
        ),
    ] = None,
    query: Annotated[str | None, typer.Option("--query", "-q", help="Name of a ready query; see --list")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the ready queries and their parameters")] = False,
    form: Annotated[Format, typer.Option("--format", "-f", help="Format of the result")] = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file instead of standard output")] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Give up after this many seconds")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Query the scores by SQL as a read-only role. Without arguments: a prompt with history and completion.

    Examples: `samplemix sql "SELECT domain, avg(quality) FROM sample_scores GROUP BY domain"`,
    `samplemix sql --query domain_shift mixture=web --format csv`, `samplemix sql --list`
    """
    from samplemix_core.database.query import ready_queries, run_query, stream_query

    form = "json" if as_json else form
    if listed:
        _write(({"query": q.name, "parameters": q.usage, "answers": q.answers} for q in ready_queries().values()), form, output)
        return
    database = Deployment.load().require("reader_database_url")
    if query is None and not words and sys.stdin.isatty():
        raise typer.Exit(_prompt(database))
    statement, values = _ready(query, words or []) if query is not None else (_statement(words or ["-"]), None)
    if form == "table" and output is None:
        # More is not for reading.
        print_rows(run_query(database, statement, values, timeout_seconds=timeout))
    else:
        _write(stream_query(database, statement, values, timeout_seconds=timeout), form, output)


def _statement(words: list[str]) -> str:
    if words == ["-"]:
        return sys.stdin.read()
    if len(words) > 1:
        raise QueryError(f"{len(words)} statements were given.", "Give one, in quotes; or --query and name=value ...")
    return words[0]


def _ready(name: str, words: list[str]) -> tuple[str, dict[str, Any]]:
    from samplemix_core.database.query import ready_queries

    queries = ready_queries()
    if name not in queries:
        raise QueryError(f"There is no query {name!r}.", f"See 'samplemix sql --list': {', '.join(queries)}.")
    values = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator:
            raise QueryError(f"{word!r} is not a parameter.", f"Query {name} takes {queries[name].usage}: give each as name=value.")
        values[key] = value
    return queries[name].sql, queries[name].filled(values)


def _prompt(database_url: str) -> int:
    """Open pgcli on the database; the password is passed in the environment, which other users can't see."""
    import pgcli
    from sqlalchemy.engine import make_url

    url = make_url(database_url)
    given = {
        "PGHOST": url.host,
        "PGPORT": url.port,
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
        "PGAPPNAME": f"samplemix sql (pgcli {pgcli.__version__})",
    }
    environment = {**os.environ, **{name: str(value) for name, value in given.items() if value is not None}}
    deployment = make_home(home_directory()) / "pgcli"
    if not deployment.exists():
        deployment.write_text(_PROMPT_SETTINGS)
    command = [sys.executable, "-m", "pgcli.main", "--pgclirc", str(deployment)]
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 a command of ours


def _write(rows: Iterator[Mapping[str, Any]], form: Format, output: Path | None) -> None:
    if form == "parquet":
        if output is None and sys.stdout.isatty():
            raise QueryError("Parquet can't be printed to a terminal.", "Name a file: --output FILE.")
        with (
            written(output) if output else nullcontext(),
            output.open("wb") if output else os.fdopen(os.dup(sys.stdout.fileno()), "wb") as binary,
        ):
            _write_parquet(rows, binary)
    elif output is not None:
        with written(output), output.open("w", newline="") as text, redirect_stdout(text):
            _write_text(rows, form)
    else:
        _write_text(rows, form)


def _write_text(rows: Iterator[Mapping[str, Any]], form: Format) -> None:
    if form != "csv":
        print_rows(rows, as_json=form == "json")
        return
    for number, row in enumerate(rows):
        if number == 0:
            writer = csv.DictWriter(sys.stdout, list(row), lineterminator="\n")
            writer.writeheader()
        cells = {name: plain(value) for name, value in row.items()}
        if sys.stdout.isatty():
            # A file gets the text unchanged.
            cells = {name: visible(value) if isinstance(value, str) else value for name, value in cells.items()}
        writer.writerow(cells)


def _write_parquet(rows: Iterator[Mapping[str, Any]], stream: IO[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = [pa.Table.from_pylist([{k: plain(v) for k, v in row.items()} for row in page]) for page in pages(rows)]
    pq.write_table(pa.concat_tables(parts, promote_options="permissive") if parts else pa.table({}), stream)
