"""The home directory of the embedded services' state: what is stored where, how it is written, and the stack's random secrets."""

import base64
import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from samplemix_core.errors import ServiceError
from samplemix_core.settings import HOME_MARK, SCRATCH, SCRATCH_PREFIX, SERVICES_FILE, make_home

_LOCK_SECONDS = 600

KEPT = (
    *("airflow", "dask", "logs", "postgres", "run", "s3", SCRATCH),
    *("encoders", "quality-models", "demo-corpus", "demo-mixture.png", "pgcli"),
    *(
        "lock",
        "secrets.json",
        "certificate.pem",
        SERVICES_FILE,
        "state.json",
        "supervisord.conf",
        "supervisord.json",
        "supervisord.pid",
    ),
)
"""Everything that any version of SampleMix keeps in a home: what deleting it deletes, besides the mark, which goes last."""


@dataclass(frozen=True)
class State:
    """What earlier starts decided. No secrets: addresses are without passwords.

    `postgres_directory` is None while Postgres is in the home itself, which may be moved. `ready` has the id of each process that
    was seen to be ready.
    """

    stack: str = field(default_factory=lambda: secrets.token_hex(8))
    ports: dict[str, int] = field(default_factory=dict)
    postgres_directory: str | None = None
    addresses: dict[str, str] = field(default_factory=dict)
    external: list[str] = field(default_factory=list)
    ready: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Home:
    """Paths below one home directory. Files that hold a secret have mode 0600."""

    root: Path

    @property
    def secrets_file(self) -> Path:
        """The stack's passwords and keys."""
        return self.root / "secrets.json"

    @property
    def certificate_file(self) -> Path:
        """The stack's key and certificate."""
        return self.root / "certificate.pem"

    @property
    def services_file(self) -> Path:
        """Connections to the running services, as settings.Settings reads them."""
        return self.root / SERVICES_FILE

    @property
    def supervisor_config(self) -> Path:
        """supervisord's configuration; it holds the programs' environments and so their secrets."""
        return self.root / "supervisord.conf"

    @property
    def logs(self) -> Path:
        """Where the processes' logs are."""
        return self.root / "logs"

    @property
    def working_directory(self) -> Path:
        """Where the services' processes run."""
        return self.root / "run"

    @property
    def scratch(self) -> Path:
        """The directory for files that are of no use after the process that made them."""
        return self.root / SCRATCH

    def log(self, process: str) -> Path:
        """The log file of one process."""
        return self.logs / f"{process}.log"

    def create(self) -> None:
        """Make the directories.

        Raises ServiceError if the home can't be written, holds things that aren't SampleMix's, or has a path that can't be passed
        to the services.
        """
        unfit = [character for character in str(self.root) if character in "\"';#%" or not character.isprintable()]
        if unfit:
            raise ServiceError(
                f"The services can't run in {str(self.root)!r}: supervisord's configuration can't state a path with {unfit[0]!r}.",
                "Set SAMPLEMIX_HOME to a path without quotes, semicolons, hashes, percent signs and control characters.",
            )
        try:
            make_home(self.root)
            self.recognise()
            for directory in (self.logs, self.working_directory):
                directory.mkdir(mode=0o700, exist_ok=True)
            with _open_private(self.root / "lock", os.O_RDWR):
                pass
        except OSError as error:
            raise ServiceError(
                f"The services' directory {self.root} can't be written: {error}.",
                "Set SAMPLEMIX_HOME to a directory of the user who runs samplemix.",
            ) from error

    def recognise(self) -> None:
        """Raise ServiceError unless SampleMix made this directory, so that nothing is written or deleted among others' files."""
        if (self.root / HOME_MARK).is_file() or self._is_of_before_the_mark():
            return
        found = sorted(entry.name for entry in self.root.iterdir())
        raise ServiceError(
            f"{self.root} is not a home that SampleMix made: it holds {len(found)} other things, as {found[0]!r}."
            if found
            else f"{self.root} is not a home that SampleMix made.",
            "Set SAMPLEMIX_HOME to a directory that does not exist yet, or is empty.",
        )

    def _is_of_before_the_mark(self) -> bool:
        """Whether a release that left no mark made this home, judging by a state file that only SampleMix writes."""
        values = read_json(self.root / "state.json")
        ours = isinstance(values, dict) and values.keys() <= {item.name for item in fields(State)}
        return ours and re.fullmatch("[0-9a-f]{16}", str(values.get("stack"))) is not None

    def clear_scratch(self) -> None:
        """Delete what steps left in scratch; if it is a link, others may keep things there, so only what steps made is deleted."""
        for left in self.scratch.glob(f"{SCRATCH_PREFIX}*" if self.scratch.is_symlink() else "*"):
            shutil.rmtree(left, ignore_errors=True)

    def read_state(self) -> State:
        """Return the stored state, or a new one with an id of its own. What another release stored in addition is ignored."""
        stored = read_json(self.root / "state.json")
        return State(**{item.name: stored[item.name] for item in fields(State) if item.name in stored})

    def write_state(self, state: State) -> None:
        """Store the state for later commands."""
        write_json(self.root / "state.json", asdict(state))

    @contextmanager
    def locked(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold the home's lock, so that only one `up` or `down` runs at a time; raise ServiceError after ten minutes."""
        with _open_private(self.root / "lock", os.O_RDWR) as lock:
            deadline = time.monotonic() + _LOCK_SECONDS
            waiting = False
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if not waiting:
                        on_wait()
                        waiting = True
                    if time.monotonic() > deadline:
                        raise ServiceError(
                            f"Another samplemix has been starting or stopping the services in {self.root} for {_LOCK_SECONDS} s.",
                            "Look for a hanging samplemix process, end it and try again.",
                        ) from None
                    time.sleep(0.2)
                else:
                    break
            yield


def read_json(path: Path) -> dict[str, Any]:
    """The object in a state file, empty if there is no such file; raise ServiceError if it is unreadable."""
    try:
        values: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ServiceError(
            f"{path} can't be read: {error}.", "Run samplemix as the user who started the services, or restore that file."
        ) from error
    return values


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Replace a state file in one step; its mode is 0600."""
    write_private(path, json.dumps(values, indent=2, sort_keys=True) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step with one of mode 0600, which only its owner can read at any moment."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    with _open_private(partial, os.O_WRONLY | os.O_EXCL) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _open_private(path: Path, flags: int) -> Any:
    return os.fdopen(os.open(path, flags | os.O_CREAT, 0o600), "w")


_BYTES = 48


@dataclass(frozen=True)
class Credentials:
    """Passwords and keys of one stack. None of them is part of the repr."""

    postgres_superuser: str = field(repr=False)
    postgres_owner: str = field(repr=False)
    postgres_reader: str = field(repr=False)
    postgres_pages: str = field(repr=False)
    postgres_airflow: str = field(repr=False)
    s3_inner_key: str = field(repr=False)
    s3_access_key: str = field(repr=False)
    s3_secret_key: str = field(repr=False)
    airflow_admin: str = field(repr=False)
    airflow_api_secret: str = field(repr=False)
    airflow_jwt_secret: str = field(repr=False)
    airflow_fernet_key: str = field(repr=False)


def load_credentials(home: Home) -> Credentials:
    """Read the stack's secrets, creating those that are missing."""
    stored = read_json(home.secrets_file)
    values = {item.name: stored.get(item.name) or _new_secret(item.name) for item in fields(Credentials)}
    credentials = Credentials(**values)
    if stored != values:
        write_json(home.secrets_file, asdict(credentials))
    return credentials


def _new_secret(name: str) -> str:
    if name == "airflow_fernet_key":
        return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_urlsafe(_BYTES)
