"""What workers do in the tests of fan-out. A module of its own, which the workers find by name."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from samplemix_core.errors import CorpusError, ServiceError


def square(number: int) -> int:
    return number * number


def fail(path: str, kind: str) -> None:
    """Leave a mark, then raise an error of the kind."""
    mark(path, "x")
    raise {
        "ours": CorpusError("a shard changed.", "Register it again."),
        "service": ServiceError("the database does not answer.", "Check that it runs."),
        "other": ValueError("a hiccup"),
    }[kind]


def die_once(path: str, number: int) -> int:
    """Number 3 ends its worker, the first time."""
    if number == 3 and not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die(path: str, number: int, deadly: int) -> int:
    """List what was begun; the deadly one ends its worker."""
    mark(path, f"{number} ")
    if number == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def eat(number: int, hungry: int) -> int:
    """The hungry one takes memory until its worker is ended."""
    eaten: list[Any] = []
    while number == hungry:
        eaten.append(bytearray(b"x" * 50_000_000))
        time.sleep(0.02)
    return number


def nap(number: int, seconds: float) -> int:
    time.sleep(seconds)
    return number


def count(to: int, seconds: float, on_progress: Callable[[int], None]) -> int:
    for number in range(to):
        time.sleep(seconds)
        on_progress(number + 1)
    return to


def mark(path: str, text: str) -> None:
    with Path(path).open("a") as file:
        file.write(text)
