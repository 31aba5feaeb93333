"""Access to a service: its ports, what it says in its log and over HTTP, and waiting until it is ready."""

import json
import random
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import tenacity

from samplemix_core.errors import ServiceError

HOST = "127.0.0.1"
PortPolicy = Literal["default", "free"]

DEFAULT_PORTS = {"postgres": 15432, "s3": 18333, "dask": 18786, "dask_dashboard": 18787, "airflow": 18080}
"""Ports that people connect to: the service's usual port with a 1 before it. SAMPLEMIX_<NAME>_PORT sets another."""

INTERNAL_PORTS = {
    "postgres": (),
    "s3": ("s3_grpc", "s3_master", "s3_volume", "s3_filer", "s3_admin"),
    "dask": (),
    "airflow": (),
}
"""Ports that only a service's own parts use, so any free one does."""

PUBLIC_PORTS = {"postgres": ("postgres",), "s3": ("s3",), "dask": ("dask", "dask_dashboard"), "airflow": ("airflow",)}

GRPC_OFFSET = 10_000
"""Parts of SeaweedFS look for each other's gRPC at the HTTP port plus this, whatever they were told."""

# Below the range from which Linux gives ports to outgoing connections, so that a restarted service finds its port free.
_FREE_RANGE = range(11_000, 22_000)


def variable(port: str) -> str:
    """The environment variable that sets a port."""
    return f"SAMPLEMIX_{port.upper()}_PORT"


def is_free(port: int) -> bool:
    """Whether a process could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(taken: set[int]) -> int:
    """Return a port that is free, as is its gRPC neighbour, with neither in `taken`."""
    chooser = random.SystemRandom()
    for _ in range(1000):
        port = chooser.choice(_FREE_RANGE)
        pair = {port, port + GRPC_OFFSET}
        if not pair & taken and all(is_free(number) and _claim(number) for number in pair):
            return port
    raise ServiceError(
        f"No free pair of ports was found between {_FREE_RANGE.start} and {_FREE_RANGE.stop + GRPC_OFFSET}.",
        "Stop other services on this machine.",
    )


_claims: dict[int, int] = {}
"""Port -> the descriptor that claims it, which is open while this process lives."""


def _claim(port: int) -> bool:
    """Claim a port, so that other processes don't choose it while this one lives; False if another has claimed it.

    Seconds pass between choosing a port and the service listening on it. The claim is a name in Linux's abstract namespace, which
    goes with the process. Other systems have no such namespace and rely on chance.
    """
    if sys.platform != "linux" or port in _claims:
        return True
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0samplemix-port-{port}")
    except OSError:
        claim.close()
        return False
    _claims[port] = claim.detach()
    return True


def assign_ports(
    service: str,
    stored: Mapping[str, int],
    *,
    policy: PortPolicy,
    running: bool,
    environ: Mapping[str, str],
    on_moved: Callable[[str], None],
) -> dict[str, int]:
    """Return the ports of one service: those set in the environment, else those stored, else the default or a free one.

    Raises ServiceError if another process has a port that the environment sets; any other such port is replaced, and `on_moved` is
    told so. A running service keeps its ports unless the environment sets others.
    """
    taken = set(stored.values()) | {port + GRPC_OFFSET for port in stored.values()} | set(DEFAULT_PORTS.values())
    ports: dict[str, int] = {}
    for name in (*PUBLIC_PORTS[service], *INTERNAL_PORTS[service]):
        explicit = _explicit(name, environ) if name in DEFAULT_PORTS else None
        wanted = explicit or stored.get(name) or (DEFAULT_PORTS.get(name) if policy == "default" else None)
        occupied = wanted is not None and not (running and stored.get(name) == wanted) and not is_free(wanted)
        if explicit is not None and occupied:
            raise ServiceError(
                f"Port {explicit} of {HOST}, set for {service} by {variable(name)}, is in use by another process.",
                f"Set {variable(name)} to a free port, or unset it to have one chosen.",
            )
        if wanted is None or occupied:
            chosen = free_port(taken)
            if occupied and name in DEFAULT_PORTS:
                on_moved(f"port {wanted} is in use by another process: {name.replace('_', ' ')} moves to port {chosen}")
            wanted = chosen
        taken |= {wanted, wanted + GRPC_OFFSET}
        ports[name] = wanted
    return ports


def _explicit(name: str, environ: Mapping[str, str]) -> int | None:
    text = environ.get(variable(name))
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise ServiceError(f"{variable(name)} is {text!r}, not a port.", "Set it to a number from 1 to 65535, or unset it.")
    return int(text)


_TAIL_BYTES = 65536
_POLL_SECONDS = 0.25


def tail(path: Path, lines: int) -> list[str]:
    """Return the last lines of a log file, from its last 64 KiB at most; none if there is no such file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
            text = file.read()
    except FileNotFoundError:
        return []
    return text.decode("utf-8", errors="replace").splitlines()[-lines:] if lines else []


def follow(path: Path, lines: int) -> Iterator[str]:
    """Yield the last lines of a log file, then each whole line that is added, forever.

    A file that does not exist yet is followed once it does; after a rotation, its successor is followed from the start.
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
    """Return the whole lines after the offset; None if the file is now shorter than that."""
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
# Without this handler, a proxy set in the environment would be asked for 127.0.0.1.
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
    """Return an error that quotes the end of the log of the process that failed, and says where the log is."""
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
