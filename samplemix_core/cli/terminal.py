"""Progress bars on a terminal; plain lines where there is none."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from samplemix_core.pipeline.progress import LogProgress, Progress, Report


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
