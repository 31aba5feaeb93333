"""Report the progress of a long step, to a log (Airflow) or to a terminal."""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from samplemix_core.logs import visible

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Progress:
    """How far a step is. `done` and `total` count shards unless `unit` says otherwise; documents, tokens and text bytes are extra.

    A total of 0 means that the amount of work is not known yet. `share` is the part of the work that is done, if units are of
    unequal size.
    """

    step: str
    done: int
    total: int
    documents: int = 0
    message: str = ""
    unit: str = "shards"
    tokens: int = 0
    text_bytes: int = 0
    share: float | None = None

    def pace(self, seconds: float) -> str:
        """Describe the pace over these seconds, for people: documents, amounts per second, and the time left at this pace."""
        said = [f"{self.documents:,} documents"]
        if seconds >= 1:
            said.append(f"{self.documents / seconds:,.0f} documents/s")
            if self.tokens:
                said.append(f"{self.tokens / seconds:,.0f} tokens/s")
            if self.text_bytes:
                said.append(f"{self.text_bytes / seconds / 1e6:,.2f} MB/s")
            if self.share and self.share < 1:
                said.append(f"{duration(seconds * (1 - self.share) / self.share)} left")
        return ", ".join(said)


def duration(seconds: float) -> str:
    """A duration as people say it: '40 s', '12 min', '3 h 05 min'."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def describe_cost(steps: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the view run_cost for people: 'cost: 412 core-seconds (score 400, assign 12), 400 of them with a GPU'."""
    total, gpu = (sum(step[unit] for step in steps) for unit in ("core_seconds", "gpu_seconds"))
    parts = ", ".join(f"{step['step']} {step['core_seconds']:,.0f}" for step in steps)
    said = f"cost: {total:,.0f} core-seconds" + (f" ({parts})" if parts else "")
    return said + (f", {gpu:,.0f} of them with a GPU" if gpu else "")


class Report(Protocol):
    """A callback for progress."""

    def __call__(self, progress: Progress) -> None:
        """Take note of progress; must be quick and must not raise."""


class LogProgress:
    """Writes progress as log lines: for each step at most one in `every` seconds, and always those with a message and the last."""

    def __init__(self, write: Callable[[str], None], every: float = 10.0) -> None:
        self._write = write
        self._every = every
        self._started: dict[str, float] = {}
        self._written: dict[str, float] = {}

    def __call__(self, progress: Progress) -> None:
        """Write a line if it is due."""
        now = time.monotonic()
        started = self._started.setdefault(progress.step, now)
        due = now - self._written.get(progress.step, -self._every) >= self._every
        if not (due or progress.message or progress.done == progress.total):
            return
        self._written[progress.step] = now
        line = f"{progress.step}:"
        if progress.total:
            line += f" {progress.done:,} of {progress.total:,} {progress.unit}"
        if progress.documents:
            line += f", {progress.pace(now - started)}"
        separator = ". " if progress.total else " "
        end = "" if "\n" in progress.message else "."
        self._write(f"{line}{separator}{progress.message}".rstrip(". ") + end)


_LINE = re.compile(r"(?P<step>\w+): (?:(?P<done>[\d,]+) of (?P<total>[\d,]+) (?P<unit>[\w ]+?)(?:\.$|\. |, ))?(?P<rest>.*)")


def read_line(line: str) -> Progress | None:
    """Parse a line that LogProgress wrote; None for any other line."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    done, total = (int((found[name] or "0").replace(",", "")) for name in ("done", "total"))
    return Progress(found["step"], done, total, message=found["rest"].rstrip("."), unit=found["unit"] or "")


@contextmanager
def draw_bars(console: "Console") -> Iterator[Report]:
    """Yield a report that draws one bar per step on a terminal, below other output."""
    # Airflow's tasks import this module, and draw nothing.
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    known: dict[str, TaskID] = {}
    started: dict[str, float] = {}

    def draw(progress: Progress) -> None:
        seconds = time.monotonic() - started.setdefault(progress.step, time.monotonic())
        detail = visible(progress.message.partition("\n")[0]) or (progress.pace(seconds) if progress.documents else progress.unit)
        if progress.step not in known:
            known[progress.step] = bars.add_task(progress.step, total=progress.total or None, detail=detail)
        bars.update(known[progress.step], completed=progress.done, total=progress.total or None, detail=detail)

    columns = (TextColumn("{task.description:<16}", markup=False), BarColumn(), MofNCompleteColumn())
    with Bars(*columns, TextColumn("{task.fields[detail]}", markup=False), TimeElapsedColumn(), console=console) as bars:
        yield draw
