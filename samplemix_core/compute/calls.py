"""A call as it is made on a worker: resolved by name, retried after errors that may pass, reporting its start and its progress.

A call that reports its progress stops when it is cancelled.
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
    """How many attempts are made before an error that may pass is final, with waits in between that double."""

    attempts: int = 5
    first_wait_seconds: float = 1.0


def call_on_worker(key: str, path: str, arguments: tuple[Any, ...], patience: Patience) -> Any:
    """Report the start, before anything can happen to the worker; then make the call, with retries."""
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
    """Return the function a call reports its progress to; passed on to the scheduler once a second at most, without waiting.

    It ends a call that is no longer wanted with a CancelledRunError, because Dask lets running calls run on.
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
