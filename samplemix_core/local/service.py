"""An embedded service: its programs, the order they start in, the connection it offers, and its configuration for supervisord."""

import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from samplemix_core.errors import ServiceError
from samplemix_core.local.home import Home
from samplemix_core.local.ports import HOST

PROCESSES = {
    "postgres": ("postgres", "postgres-guard"),
    "s3": ("s3",),
    "dask": ("dask-scheduler", "dask-worker"),
    "airflow": ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"),
}
"""Service -> its supervised processes, all in the order they start."""

SERVICES = tuple(PROCESSES)


@dataclass(frozen=True)
class Program:
    """One process of a service.

    Secrets go into `environment`, never into `command`: the file with the environment has mode 0600, a command line is public.
    `missing` returns None once the process is ready, else what is missing; it should be ready within `ready_seconds`. A process
    that ends within `start_seconds` has failed to start: it is tried five times in a row at most.
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
    """A service on this machine. `settings` are the fields of settings.Settings that it gives, including secrets.

    `memory` is how many bytes its processes take together when they are working.
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


# A process that ends within its start_seconds is tried again after 1, 2, 3 and 4 seconds; then it is given up.
_START_RETRIES = 4


def render(programs: Iterable[Program], home: Home, *, port: int, password: str) -> str:
    """Return supervisord's configuration: nothing starts by itself, and everything that was started is started again when it dies.

    supervisord answers over HTTP on 127.0.0.1, with a password, because a socket file's path has 107 bytes at most, and a home's
    may have more.
    """
    programs = tuple(programs)
    sections: dict[str, dict[str, object]] = {
        "supervisord": {
            "logfile": _text(home.log("supervisord")),
            "logfile_maxbytes": "5MB",
            "logfile_backups": 1,
            "pidfile": _text(home.root / "supervisord.pid"),
            "directory": _text(home.working_directory),
            "umask": "077",
            **({"user": "root"} if os.geteuid() == 0 else {}),
        },
        "inet_http_server": {"port": f"{HOST}:{port}", "username": "samplemix", "password": password},
        "rpcinterface:supervisor": {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
    }
    for service in dict.fromkeys(program.service for program in programs):
        names = [program.name for program in programs if program.service == service]
        sections[f"group:{service}"] = {"programs": ",".join(names)}
    for program in programs:
        sections[f"program:{program.name}"] = _program_section(program, home)
    return "\n".join(
        f"[{section}]\n" + "".join(f"{key}={value}\n" for key, value in options.items()) for section, options in sections.items()
    )


def _program_section(program: Program, home: Home) -> dict[str, object]:
    environment = ",".join(f'{name}="{_value(name, value)}"' for name, value in sorted(program.environment.items()))
    return {
        "command": _text(shlex.join(program.command)),
        "directory": _text(program.directory),
        "environment": environment,
        "autostart": "false",
        "autorestart": "true",
        "startsecs": program.start_seconds,
        "startretries": _START_RETRIES,
        "stopsignal": program.stop_signal,
        "stopwaitsecs": program.stop_seconds,
        "stopasgroup": "true",
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": _text(home.log(program.name)),
        "stdout_logfile_maxbytes": "20MB",
        "stdout_logfile_backups": 1,
        **({"user": program.account} if program.account else {}),
    }


def _value(name: str, value: str) -> str:
    # The value itself may be a secret.
    if any(part in value for part in ('"', "\n", "\r", " ;", " #")) or value.strip("'") != value:
        raise ServiceError(f"The value for {name} has a quote, a line break or a comment sign in it.", "Set it to one without.")
    return _text(value)


def _text(value: object) -> str:
    return str(value).replace("%", "%%")
