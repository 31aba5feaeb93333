"""Owners: everything that belongs to a test session or a benchmark ends with that process, however it ends.

Everything an owner starts inherits its mark in the environment; the paths it made are listed in a record outside of it. A guard,
which is this module run as a program, waits for the owner to end, kills what carries the mark, and removes what is at the paths. If
the guard is killed too, the next owner finds the record and does the same.
"""

import contextlib
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from samplemix_core.errors import ServiceError

OWNER_VARIABLE = "SAMPLEMIX_OWNER"
"""In the environment of everything an owner started: the owner's mark."""

_ROUNDS = 10
_GRACE_SECONDS = 2.0


@dataclass(frozen=True)
class Owner:
    """A process, told from a later one with the same id by when it started (in clock ticks since the machine did)."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "Owner":
        """The process with this id; raise ServiceError if there is none."""
        started = _started(pid)
        if started is None:
            raise ServiceError(f"There is no process {pid} to own anything.", "Name a process that runs.")
        return cls(pid, started)

    @classmethod
    def parse(cls, mark: str) -> "Owner":
        """The owner whose mark this is."""
        pid, _, started = mark.partition("-")
        return cls(int(pid), int(started))

    @property
    def mark(self) -> str:
        """The mark that its processes carry, and the name of its record."""
        return f"{self.pid}-{self.started}"

    def is_alive(self) -> bool:
        """Whether that very process still runs."""
        return _started(self.pid) == self.started

    def wait(self) -> None:
        """Return once the process is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # From here on, the id stays that of one process.
            if self.is_alive():
                select.select([handle], [], [])
        finally:
            os.close(handle)

    def processes(self) -> list[psutil.Process]:
        """Everything it started that still runs, apart from this process."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and process.environ().get(OWNER_VARIABLE) == self.mark:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found


def records_directory() -> Path:
    """Where this user's owners are recorded; raise ServiceError if another user made that directory."""
    directory = Path(tempfile.gettempdir()) / f"samplemix-owners-{os.geteuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o077 or not directory.is_dir() or directory.is_symlink():
        raise ServiceError(f"{directory} is not a private directory of this user.", "Remove it, and find out who made it.")
    return directory


def take_over(owner: Owner, *paths: Path) -> None:
    """From now on, kill everything that carries the owner's mark when the owner ends, and remove what is at the paths then."""
    record = records_directory() / owner.mark
    guarded = record.exists()
    with record.open("a") as file:
        file.writelines(f"{path}\n" for path in paths)
    if not guarded:
        # Its environment holds hardly anything, and no mark by which it could be found and ended.
        environment = {name: os.environ[name] for name in ("PATH", "TMPDIR", "PYTHONPATH") if name in os.environ}
        null = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_RDWR, 0) for stream in (0, 1, 2)]
        command = [sys.executable, "-m", __name__, owner.mark]
        os.posix_spawn(sys.executable, command, environment, file_actions=null, setsid=True)


def abandoned() -> Iterator[Owner]:
    """Yield the owners that are gone but whose record is not."""
    for record in records_directory().iterdir():
        owner = Owner.parse(record.name)
        if not owner.is_alive():
            yield owner


def clean_up_after(owner: Owner) -> None:
    """Kill what an owner started, remove what it made, and then its record. Several processes may do so at the same time."""
    kill_all(owner.processes)
    record = records_directory() / owner.mark
    if record.exists():
        for path in dict.fromkeys(record.read_text().splitlines()):
            remove(Path(path))
    record.unlink(missing_ok=True)


def kill_all(find: Callable[[], list[psutil.Process]]) -> None:
    """Kill what `find` finds until it finds nothing; raise ServiceError if that does not end.

    Nothing that belongs to these processes is to be used again.
    """
    for attempt in range(_ROUNDS):
        processes = find()
        if not processes:
            return
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                # At SIGQUIT Postgres ends its sessions too, and frees its shared memory.
                gently = attempt == 0 and process.name() == "postgres"
                process.send_signal(signal.SIGQUIT if gently else signal.SIGKILL)
        psutil.wait_procs(processes, timeout=_GRACE_SECONDS)
    pids = ", ".join(str(process.pid) for process in find())
    raise ServiceError(f"Processes {pids} can't be ended.", "End them as the user who owns them.")


def remove(path: Path) -> None:
    """Remove a file, or a directory that something may still be writing to; whatever remains after some tries is left."""
    for _ in range(_ROUNDS):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
        if not path.exists():
            return
        time.sleep(0.2)


def _started(pid: int) -> int | None:
    """Return when a process started, in clock ticks; None if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def main() -> None:
    """Guard the owner whose mark is the argument."""
    owner = Owner.parse(sys.argv[1])
    owner.wait()
    clean_up_after(owner)


if __name__ == "__main__":
    main()
