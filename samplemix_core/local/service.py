"""An embedded service: its programs, the order they start in, and the connection it offers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Program:
    """One process of a service.

    Secrets go into `environment`, never into `command`: the file that holds the first has mode 0600, a command line is public.
    `missing` returns None once the process is of use, else what is missing; within `ready_seconds` it should. A process that ends
    within `start_seconds` could not live: it is tried five times in a row at most.
    """

    service: str
    name: str
    command: tuple[str, ...]
    directory: Path
    missing: Callable[[], str | None]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    account: str | None = None
    start_seconds: int = 5
    ready_seconds: float = 60
    stop_signal: str = "TERM"
    stop_seconds: int = 30


@dataclass(frozen=True)
class Step:
    """Programs that start together, after `before` has run if it is not None."""

    programs: tuple[Program, ...]
    before: Callable[[], None] | None = None


@dataclass(frozen=True)
class EmbeddedService:
    """A service on this machine. `settings` are the fields of settings.Settings it gives, secrets among them.

    `memory` is how many bytes its processes take together when they are at work.
    """

    name: str
    address: str
    steps: tuple[Step, ...]
    settings: Mapping[str, str] = field(repr=False)
    memory: int

    @property
    def programs(self) -> tuple[Program, ...]:
        """All its programs, in the order they start."""
        return tuple(program for step in self.steps for program in step.programs)
