"""Rows for people (a table) or for scripts (JSON)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

WIDE = 1000


def output() -> Console:
    """Standard output; a pipe or a file has no width, so nothing is folded there."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDE
    return console


def print_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool = False) -> None:
    """Print rows with the same keys on standard output, as an aligned table or as a JSON array."""
    if as_json:
        typer.echo(json.dumps([dict(row) for row in rows], indent=2, default=str))
        return
    if not rows:
        typer.echo("(no rows)")
        return
    table = Table(header_style="bold")
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if _is_number(value) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    output().print(table)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)
