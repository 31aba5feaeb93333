"""How a long step tells how far it is: to a log (Airflow) or to a terminal."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Progress:
    """How far a step is. `done` and `total` count shards unless `unit` says otherwise; documents are extra.

    A total of 0 means that it is not known yet how much there is to do.
    """

    step: str
    done: int
    total: int
    documents: int = 0
    message: str = ""
    unit: str = "shards"


class Report(Protocol):
    """Whoever wants to hear of progress."""

    def __call__(self, progress: Progress) -> None:
        """Take note of it; must be quick and must not raise."""


class LogProgress:
    """Writes progress as log lines, at most one in `every` seconds for each step, and always the last one."""

    def __init__(self, write: Callable[[str], None], every: float = 5.0) -> None:
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
            line += f", {progress.documents:,} documents"
            if now > started:
                line += f", {progress.documents / (now - started):,.0f} documents/s"
        separator = ". " if progress.total else " "
        self._write(f"{line}{separator}{progress.message}".rstrip(". ") + ".")
