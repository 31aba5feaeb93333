"""A call as it is made on a worker: resolved by name, patient with what may pass, saying that it starts and how far it is.

It stops when it is cancelled, if it says how far it is.
"""

import inspect
import pkgutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tenacity
from distributed import get_worker
from distributed.utils import sync

from samplemix_core.errors import CancelledRunError, SampleMixError
from samplemix_core.logs import configure_logging

STARTED, UNDER_WAY = "samplemix-started", "samplemix-under-way"
"""Topics of the scheduler: which worker begins a call, by its key; how much of a call is done."""

_TELL_SECONDS = 1.0


@dataclass(frozen=True)
class Patience:
    """How often an error that may pass is met before it is final, with waits in between that double."""

    attempts: int = 5
    first_wait_seconds: float = 1.0


def call_on_worker(key: str, path: str, arguments: tuple[Any, ...], patience: Patience) -> Any:
    """Say that it starts, before anything can happen to the worker; then do it, patiently."""
    configure_logging()
    worker, first = get_worker(), patience.first_wait_seconds
    sync(worker.loop, worker.scheduler.log_event, topic=STARTED, msg=(key, worker.address))
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_may_pass),
        stop=tenacity.stop_after_attempt(patience.attempts),
        wait=tenacity.wait_exponential_jitter(first, max=60 * first, jitter=first),
        reraise=True,
    )
    function = pkgutil.resolve_name(path)
    told = {"on_progress": _on_progress_of(worker, key)} if "on_progress" in inspect.signature(function).parameters else {}
    try:
        return retrying(function, *arguments, **told)
    except SampleMixError as error:
        return error


def _on_progress_of(worker: Any, key: str) -> Callable[[int], None]:
    """What a call tells how much of it is done; at most once a second it goes on to the scheduler, and nobody waits for that.

    A call that nobody wants any more ends there, with a CancelledRunError: Dask lets what is running run on.
    """
    last = 0.0

    def on_progress(done: int) -> None:
        nonlocal last
        task = worker.state.tasks.get(key)
        if task is None or task.state == "cancelled":
            raise CancelledRunError(f"Cancelled after {done}.", "Run again to continue: finished work is kept.")
        now = time.monotonic()
        if now - last >= _TELL_SECONDS:
            last = now
            worker.log_event(UNDER_WAY, (key, done))

    return on_progress


def _may_pass(error: BaseException) -> bool:
    return error.may_pass if isinstance(error, SampleMixError) else isinstance(error, Exception)
