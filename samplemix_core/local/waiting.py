"""What a service says of itself, in its log and over HTTP, and waiting until it is ready."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tenacity

from samplemix_core.errors import ServiceError

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


_SECONDS = 5.0
# Without a proxy handler a proxy of the environment would be asked for 127.0.0.1.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class NotAnsweringError(Exception):
    """A service does not answer, or not with JSON; the message says how."""


def get_json(url: str) -> dict[str, Any]:
    """The JSON object at a URL of this machine; raise NotAnsweringError if there is none."""
    try:
        with _OPENER.open(url, timeout=_SECONDS) as response:
            answer: dict[str, Any] = json.load(response)
    except (OSError, ValueError) as error:
        raise NotAnsweringError(f"{url}: {error}") from error
    return answer


_TAIL_LINES = 15


def failure(what: str, log: Path) -> ServiceError:
    """An error that quotes the end of the log of the process that failed, and says where the log lies."""
    quoted = "".join(f"\n  | {line}" for line in tail(log, _TAIL_LINES)) or " nothing"
    return ServiceError(what, f"Correct the cause and run 'samplemix up' again. Its log {log} ends with:{quoted}")


def wait_until(
    missing: Callable[[], str | None], *, what: str, timeout: float, log: Path, gave_up: Callable[[], bool] = lambda: False
) -> None:
    """Poll `missing` at growing intervals (50 ms to 1 s) until it returns None; before that it returns what is still missing.

    `what` names what is awaited. Raises ServiceError, quoting the end of `log`, after `timeout` seconds or once `gave_up` holds.
    """
    polling = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda lack: lack is not None and not gave_up()),
        wait=tenacity.wait_exponential(multiplier=0.05, exp_base=1.5, max=1.0),
        stop=tenacity.stop_after_delay(timeout),
        retry_error_callback=lambda attempts: attempts.outcome and attempts.outcome.result(),
    )
    lack = polling(missing)
    if lack is not None:
        how = "failed to start" if gave_up() else f"was not ready within {timeout:.0f} s"
        raise failure(f"{what} {how}: {lack}.", log)
