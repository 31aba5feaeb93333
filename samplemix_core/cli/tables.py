"""What the command line shows: rows as tables or JSON, and progress as bars or lines."""

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from samplemix_core.pipeline.context import LogProgress, Progress, Report

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


@contextmanager
def terminal_progress(console: Console, *, quiet: bool = False) -> Iterator[Report]:
    """A report that draws one bar a step on the console, or writes lines if it is not a terminal; nothing if `quiet`."""
    if quiet:
        yield lambda progress: None
    elif not console.is_terminal:
        yield LogProgress(lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True))
    else:
        bars = Bars(
            TextColumn("{task.description:<16}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=console,
        )
        with bars:
            yield _draw_on(bars)


def _draw_on(bars: Bars) -> Report:
    known: dict[str, TaskID] = {}

    def draw(progress: Progress) -> None:
        detail = progress.message or (f"{progress.documents:,} documents" if progress.documents else progress.unit)
        if progress.step not in known:
            known[progress.step] = bars.add_task(progress.step, total=progress.total, detail=detail)
        bars.update(known[progress.step], completed=progress.done, total=progress.total, detail=detail)

    return draw
