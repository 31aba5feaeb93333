"""Reading a process's log file: its end, and what is added to it."""

import time
from collections.abc import Iterator
from pathlib import Path

_TAIL_BYTES = 65536
_POLL_SECONDS = 0.25


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log file, as far as its last 64 KiB hold them; none if there is no such file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
            text = file.read()
    except FileNotFoundError:
        return []
    return text.decode("utf-8", errors="replace").splitlines()[-lines:] if lines else []


def follow(path: Path, lines: int) -> Iterator[str]:
    """The last lines of a log file, then each whole line that is added, for ever.

    A file that does not exist yet is followed once it does; one that is rotated away, from the start of its successor.
    """
    offset = path.stat().st_size if path.exists() else 0
    yield from tail(path, lines)
    while True:
        added = _added(path, offset)
        if added is None:
            offset = 0
        elif added:
            offset += len(added)
            yield from added[:-1].decode("utf-8", errors="replace").split("\n")
        else:
            time.sleep(_POLL_SECONDS)


def _added(path: Path, offset: int) -> bytes | None:
    """Whole lines behind the offset; None if the file is now shorter than that."""
    try:
        with path.open("rb") as file:
            if file.seek(0, 2) < offset:
                return None
            file.seek(offset)
            text = file.read()
    except FileNotFoundError:
        return b"" if offset == 0 else None
    return text[: text.rfind(b"\n") + 1]
