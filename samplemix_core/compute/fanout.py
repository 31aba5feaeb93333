"""Many small tasks on a Dask cluster: submit, watch, cancel, survive lost workers, set poison aside."""

import queue
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distributed import Client, Future, KilledWorker

from samplemix_core.compute.cluster import wait_for_workers
from samplemix_core.errors import CancelledRunError, PoisonShardError, SampleMixError, ServiceError

RESUBMISSIONS = 3
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Work:
    """One call to make on a worker. `name` is shown to people; arguments are small (keys, never data).

    Of work that waits, the larger `cost` (any unit) starts first, so that the longest task is not the last.
    """

    name: str
    arguments: tuple[Any, ...]
    cost: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of one piece of work: its result, or the error that ended it."""

    work: Work
    result: Any = None
    error: Exception | None = None


def fan_out(
    client: Client, function: Callable[..., Any], work: Sequence[Work], cancelled: threading.Event, *, retries: int = 2
) -> Iterator[Outcome]:
    """Run `function(*arguments)` for each piece of work and yield outcomes as they come, each exactly once.

    A worker that dies is replaced by another; work that killed several workers yields a PoisonShardError. Errors of our
    own (SampleMixError) are final; others are tried `retries` times more. When the scheduler itself is lost, the work it
    held is submitted again once it is back. Setting `cancelled` cancels what waits and raises CancelledRunError.
    """
    remaining = list(work)
    for _ in range(RESUBMISSIONS + 1):
        lost: list[Work] = []
        for outcome in _submit_and_watch(client, function, remaining, cancelled, retries):
            if outcome is not None and outcome.error is None and isinstance(outcome.result, _Lost):
                lost.append(outcome.work)
            else:
                yield outcome
        if not lost:
            return
        remaining = lost
        wait_for_workers(client)
    names = ", ".join(item.name for item in remaining[:5])
    raise ServiceError(
        f"The Dask scheduler was lost {RESUBMISSIONS + 1} times; {len(remaining)} tasks are open ({names} ...).",
        "Look at the scheduler's log ('samplemix logs dask-scheduler'), then run again: what is done is kept.",
    )


class _Lost:
    """Stands for the result of work whose scheduler went away."""


def _submit_and_watch(
    client: Client, function: Callable[..., Any], work: Sequence[Work], cancelled: threading.Event, retries: int
) -> Iterator[Outcome]:
    finished: queue.SimpleQueue[Future] = queue.SimpleQueue()
    futures: dict[str, tuple[Work, Future]] = {}
    try:
        for item in work:
            # Unique keys: Dask must never take an earlier attempt's result for this one.
            future = client.submit(
                _call,
                function,
                item.arguments,
                key=f"{function.__name__}-{uuid.uuid4().hex}",
                retries=retries,
                priority=item.cost,
                resources=dict(item.resources) or None,
                pure=False,
            )
            futures[future.key] = (item, future)
            future.add_done_callback(finished.put)
        while futures:
            if cancelled.is_set():
                raise CancelledRunError(
                    f"Cancelled with {len(futures)} of {len(work)} tasks open.", "Run again to go on: what is done is kept."
                )
            try:
                future = finished.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            item, _ = futures.pop(future.key)
            yield _outcome(item, future)
    finally:
        # On any way out (cancelled, an error of the consumer), nothing of this fan-out may go on running.
        if futures:
            client.cancel([future for _, future in futures.values()], force=True)


def _call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return function(*arguments)
    except SampleMixError as error:
        return error


def _outcome(item: Work, future: Future) -> Outcome:
    if future.status in ("cancelled", "lost"):
        return Outcome(item, result=_Lost())
    if future.status == "error":
        error = future.exception()
        if isinstance(error, KilledWorker):
            error = PoisonShardError(
                f"{item.name} killed every worker that tried it ({error.allowed_failures + 1} of them).",
                "Look at its records and the workers' memory limit, then retry it alone.",
            )
        return Outcome(item, error=error)
    result = future.result()
    return Outcome(item, error=result) if isinstance(result, SampleMixError) else Outcome(item, result=result)
