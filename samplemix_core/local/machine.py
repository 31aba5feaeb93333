"""What this machine, or the control group that holds us, has left: memory and disk."""

import shutil
from pathlib import Path

import psutil

_USED = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")
MIB = 2**20
GIB = 2**30


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
