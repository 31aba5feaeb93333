"""Memory and disk left on this machine, or in the control group that holds us."""

import pwd
import shutil
from collections.abc import Sequence
from pathlib import Path

import psutil

from samplemix_core.errors import ServiceError
from samplemix_core.local.service import EmbeddedService

_USED = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")
MIB = 2**20
GIB = 2**30

LEAST_DISK = 2 * GIB


def memory_limit() -> int:
    """Bytes of memory that all processes here may take together."""
    from distributed.system import memory_limit

    return int(memory_limit())


def available_memory() -> int:
    """Bytes of memory that new processes could take without anything being swapped or killed."""
    available = int(psutil.virtual_memory().available)
    limit = memory_limit()
    if limit < psutil.virtual_memory().total:
        for used in map(Path, _USED):
            if used.exists():
                return min(available, max(0, limit - int(used.read_text())))
    return available


def free_disk(directory: Path) -> int:
    """Bytes that can be written below a directory."""
    return shutil.disk_usage(directory).free


def require_room(absent: Sequence[EmbeddedService], directory: Path, workers_variable: str) -> None:
    """Raise ServiceError unless there is memory for the services that are to be started, and disk space below a directory.

    `workers_variable` is the setting that a person may lower.
    """
    if not absent:
        return
    needed, available = sum(service.memory for service in absent), available_memory()
    if available < needed:
        parts = ", ".join(f"{service.name} {service.memory / GIB:.1f}" for service in absent)
        raise ServiceError(
            f"There are {available / GIB:.1f} GiB of memory left, and the services need {needed / GIB:.1f} ({parts}).",
            f"Stop other programs, set {workers_variable} to fewer workers, or start fewer services.",
        )
    free = free_disk(directory)
    if free < LEAST_DISK:
        raise ServiceError(
            f"There are {free / GIB:.1f} GiB left on the disk of {directory}; the services need {LEAST_DISK / GIB:.0f} to begin.",
            "Make room, or set SAMPLEMIX_HOME to a directory on a larger disk.",
        )


_LEAST_UID, _NOBODY = 1000, 65534


def other_users() -> list[str]:
    """Return the names of the accounts with which people can log in on this machine, without the system's own."""
    shut = ("nologin", "false", "sync")
    return sorted(
        account.pw_name
        for account in pwd.getpwall()
        if _LEAST_UID <= account.pw_uid != _NOBODY and account.pw_shell.rpartition("/")[2] not in shut
    )
