"""Rows for people (a table) or for scripts (JSON)."""

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 1000
PAGE = 1000


def output() -> Console:
    """Standard output; a pipe or a file has no width, so nothing is folded there."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDE
    return console


def print_rows(rows: Iterable[Mapping[str, Any]], *, as_json: bool = False) -> None:
    """Print rows with the same keys on standard output: as aligned tables of at most PAGE rows, or as a JSON array.

    No more than a page is held in memory. Text is shown as it is: rich's markup in it means nothing.
    """
    if as_json:
        _print_json(rows)
        return
    pages = _pages(rows)
    first = next(pages, None)
    if first is None:
        typer.echo("(no rows)")
        return
    for page in chain([first], pages):
        table = Table(header_style="bold")
        for name, value in page[0].items():
            table.add_column(Text(name), justify="right" if _is_number(value) else "left", overflow="fold")
        for row in page:
            table.add_row(*(Text(_cell(value)) for value in row.values()))
        output().print(table)


def _pages(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    rows = iter(rows)
    while page := list(islice(rows, PAGE)):
        yield page


def _print_json(rows: Iterable[Mapping[str, Any]]) -> None:
    separator = "["
    for row in rows:
        typer.echo(separator, nl=separator == "[")
        typer.echo(textwrap.indent(json.dumps(dict(row), indent=2, default=str), "  "), nl=False)
        separator = ",\n"
    typer.echo("[]" if separator == "[" else "\n]")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)
