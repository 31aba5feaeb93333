"""What commands share: options that several take, rows and values as tables or JSON, progress as bars or lines."""

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from samplemix_core.logs import visible
from samplemix_core.progress import LogProgress, Report, draw_bars
from samplemix_core.report.text import PlainConsole, output, tell

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for scripts.")]
Limit = Annotated[int | None, typer.Option("--limit", help="Largest number of rows")]
Services = Annotated[list[str] | None, typer.Argument(help="postgres, s3, dask, airflow; default: all")]

console = PlainConsole(stderr=True)
"""For messages along the way: standard output holds only results."""

PAGE = 1000


def say(line: str) -> None:
    """Print a line of progress, unwrapped."""
    console.print(line, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    typer.echo(json.dumps(value, indent=2, default=plain))


def location(corpus: str) -> str:
    """Return a corpus as it is stored: a directory by its absolute path, so that the current directory doesn't matter."""
    corpus = corpus.strip().rstrip("/")
    return corpus if "://" in corpus or not corpus else str(Path(corpus).absolute())


def print_rows(rows: Iterable[Mapping[str, Any]], *, as_json: bool = False) -> None:
    """Print rows with the same keys on standard output: as aligned tables of at most PAGE rows, or as a JSON array.

    A table that is too wide for the terminal becomes a block of lines for each row. No more than a page is held in memory.
    """
    if as_json:
        _print_rows_as_json(rows)
        return
    rest = pages(rows)
    first = next(rest, None)
    if first is None:
        tell("(no rows)")
        return
    for page in chain([first], rest):
        cells = [[_cell(value) for value in row.values()] for row in page]
        console, names = output(), list(map(visible, page[0]))
        widths = [max(map(cell_len, column)) for column in zip(names, *cells, strict=True)]
        if sum(widths) + 3 * len(widths) + 1 > console.width:
            _print_blocks(console, names, cells)
            continue
        # Measuring and padding each cell itself, Rich would take twice as long.
        table = Table(header_style="bold", padding=0)
        numbers = [_is_number(value) for value in page[0].values()]
        for name, width, is_number in zip(names, widths, numbers, strict=True):
            table.add_column(_padded(name, width, is_number), width=width + 2, no_wrap=True)
        for row in cells:
            table.add_row(*map(_padded, row, widths, numbers))
        console.print(table)


def _padded(cell: str, width: int, is_number: bool) -> str:
    blank = " " * (width - cell_len(cell))
    return f" {blank}{cell} " if is_number else f" {cell}{blank} "


def _print_blocks(console: Console, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    width = max(map(cell_len, names))
    for number, row in enumerate(rows):
        if number:
            console.print()
        for name, value in zip(names, row, strict=True):
            console.print(Text(set_cell_size(name, width + 2), style="bold").append(value, style="not bold"), soft_wrap=True)


def pages(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """The rows, PAGE at a time."""
    rows = iter(rows)
    while page := list(islice(rows, PAGE)):
        yield page


def _print_rows_as_json(rows: Iterable[Mapping[str, Any]]) -> None:
    separator = "["
    for row in rows:
        typer.echo(separator, nl=separator == "[")
        typer.echo(textwrap.indent(json.dumps(dict(row), indent=2, default=plain), "  "), nl=False)
        separator = ",\n"
    typer.echo("[]" if separator == "[" else "\n]")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return visible(str(value))


@contextmanager
def terminal_progress(*, quiet: bool = False) -> Iterator[Report]:
    """Yield a report that draws one bar per step on a terminal, or writes lines if there is none; nothing if `quiet`."""
    if quiet:
        yield lambda progress: None
    elif not console.is_terminal:
        yield LogProgress(say)
    else:
        with draw_bars(console) as report:
            yield report


def plain(value: Any) -> Any:
    """Convert a value for files: Postgres's numeric to an integer if it is whole, its JSON to text."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and abs(value) < 2**63 else float(value)
    if isinstance(value, dict | list):
        return json.dumps(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
