"""Many small tasks on a Dask cluster: connect, submit, watch, cancel, survive lost workers, tell poison from its neighbours."""

import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from distributed import Client, Future, KilledWorker, Security

from samplemix_core.compute.calls import STARTED, UNDER_WAY, Patience, call_on_worker
from samplemix_core.errors import CancelledRunError, PoisonShardError, SampleMixError, ServiceError
from samplemix_core.settings import Settings

CONNECT_SECONDS = 30
WORKER_SECONDS = 120


@contextmanager
def connect(settings: Settings) -> Iterator[Client]:
    """Yield a client of the configured scheduler, closed on leaving; raise ServiceError if it or its workers don't answer.

    The client is never made the process's default, so that two of them can coexist. If the settings name a certificate, it is
    shown, and only it is trusted; otherwise Dask's own configuration says how to speak to the scheduler.
    """
    address, certificate = settings.require("dask_scheduler"), settings.dask_certificate
    security = (
        Security(tls_ca_file=certificate, tls_client_cert=certificate, tls_client_key=certificate, require_encryption=True)
        if certificate
        else None
    )
    try:
        client = Client(address, security=security, timeout=CONNECT_SECONDS, set_as_default=False, name="samplemix")
    except (OSError, TimeoutError, ValueError, RuntimeError) as error:
        raise ServiceError(
            f"The Dask scheduler at {address} does not answer within {CONNECT_SECONDS} s: {error}.",
            "Start it with 'samplemix up', or correct SAMPLEMIX_DASK_SCHEDULER and SAMPLEMIX_DASK_CERTIFICATE.",
        ) from error
    try:
        wait_for_workers(client)
        yield client
    finally:
        client.close()


def wait_for_workers(client: Client, seconds: float = WORKER_SECONDS) -> None:
    """Return once the cluster has a worker; raise ServiceError if it has none after `seconds`."""
    started = time.monotonic()
    while True:
        waited = time.monotonic() - started
        try:
            client.wait_for_workers(1, timeout=max(POLL_SECONDS, seconds - waited))
        except (TimeoutError, OSError) as error:
            # A lost request says nothing about workers: it is repeated, after a pause, since it may fail at once.
            waited = time.monotonic() - started
            if waited < seconds and client.status == "running":
                time.sleep(POLL_SECONDS)
                continue
            raise ServiceError(
                f"The Dask cluster at {client.scheduler.addr} has had no worker for {waited:.0f} s: {error!r}.",
                "Look at its workers' logs ('samplemix logs dask-worker'), then run again: finished work is kept.",
            ) from error
        return


RESUBMISSIONS = 3
POLL_SECONDS = 0.5
CHECK_SECONDS = 5.0
NO_WORKER_SECONDS = 300.0
"""Waiting is given up after this long without a worker that could do the work."""

LEAST_WINDOW = 16
TASKS_PER_THREAD = 3
"""No more tasks than this are on the cluster at once: enough to keep it busy, however many there are in all."""

_BYSTANDER_LIMIT = 20


@dataclass(frozen=True)
class Work:
    """One call to make on a worker. `name` is shown to people; arguments are small (keys, never data).

    Work with a larger `cost` (any unit) starts first, so that the longest task is not the last.
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


PATIENCE = Patience()


def call_one(
    client: Client, call: str, work: Work, cancelled: threading.Event, *, partly: Callable[[int], None] | None = None
) -> Any:
    """Make one call on a worker and return its result; raise its error, or as fan_out does."""
    (outcome,) = fan_out(client, call, [work], cancelled, partly=partly)
    if outcome.error is not None:
        raise outcome.error
    return outcome.result


def fan_out(
    client: Client,
    call: str,
    work: Sequence[Work],
    cancelled: threading.Event,
    *,
    patience: Patience = PATIENCE,
    partly: Callable[[int], None] | None = None,
) -> Iterator[Outcome]:
    """Run a call for each piece of work and yield outcomes as they come, each exactly once.

    `call` is an import path, "package.module:function", resolved on the worker: neither it nor what it needs is imported here.

    Errors of our own that can't pass (SampleMixError.may_pass) are final; others are tried again on the worker that met them. If
    the scheduler itself is lost, the work it held is submitted again once it is back. Setting `cancelled` cancels what is on the
    cluster and raises CancelledRunError. Raises ServiceError if there has been no worker for NO_WORKER_SECONDS.

    When a worker dies, the work it was running becomes a suspect; work that merely waited on it is submitted again. A suspect is
    tried once more, alone, when everything else is done, and yields a PoisonShardError only if it kills its worker again.

    A call with a parameter `on_progress` may report how far it is, and ends there when it is cancelled. Whenever half a second
    passes without an outcome, `partly` is called with the sum over the running calls.
    """
    yield from _FanOut(client, call, work, cancelled, patience, partly).outcomes()


def require_all(outcomes: Sequence[Outcome], what: str, failed_to: str, kept: str) -> None:
    """Raise if any piece of work failed: its error if that is lasting, else ServiceError, which says what is kept.

    `what` is the work, and `failed_to` what became of it.
    """
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        if isinstance(outcome.error, SampleMixError) and not outcome.error.may_pass:
            raise outcome.error
    if failed:
        raise ServiceError(
            f"{len(failed)} of {len(outcomes)} {what} {failed_to}, the first is {failed[0].work.name}: {failed[0].error!r}.",
            f"Fix the cause and run again: {kept}.",
        ) from failed[0].error


@dataclass
class _Item:
    """A piece of work on its way. `alone`: nothing else of this fan-out is on the cluster while it runs."""

    work: Work
    alone: bool = False
    bystander: int = 0


class _FanOut:
    def __init__(
        self,
        client: Client,
        call: str,
        work: Sequence[Work],
        cancelled: threading.Event,
        patience: Patience,
        partly: Callable[[int], None] | None,
    ) -> None:
        self._client, self._call_path, self._cancelled, self._patience = client, call, cancelled, patience
        self._partly = partly
        self._told: dict[str, int] = {}
        self._resources = {name for item in work for name in item.resources}
        self._waiting = deque(_Item(item) for item in sorted(work, key=lambda item: -item.cost))
        self._suspects: deque[_Item] = deque()
        self._running: dict[str, tuple[_Item, Future]] = {}
        self._finished: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._started: dict[str, str] = {}
        self._scheduler_losses = 0
        self._scheduler_lost = False
        self._worker_seen = time.monotonic()
        self._checked = self._worker_seen - CHECK_SECONDS
        self._window = LEAST_WINDOW

    def outcomes(self) -> Iterator[Outcome]:
        try:
            self._subscribe()
            while self._waiting or self._suspects or self._running:
                self._check_workers()
                self._submit()
                if self._cancelled.is_set():
                    left = len(self._waiting) + len(self._suspects) + len(self._running)
                    raise CancelledRunError(f"Cancelled with {left} tasks open.", "Run again to continue: finished work is kept.")
                try:
                    future = self._finished.get(timeout=POLL_SECONDS)
                except queue.Empty:
                    if self._partly is not None:
                        self._partly(sum(self._told.values()))
                    continue
                item, _ = self._running.pop(future.key)
                self._told.pop(future.key, None)
                outcome = self._outcome(item, future)
                self._started.pop(future.key, None)
                # Otherwise Dask would compute it again if the worker that holds the result died.
                future.release()
                if outcome is not None:
                    yield outcome
        finally:
            # However this ends (cancelled, an error of the consumer), nothing of this fan-out may go on running.
            if self._running:
                self._client.cancel([future for _, future in self._running.values()], force=True)

    def _subscribe(self) -> None:
        self._client.subscribe_topic(STARTED, self._note_start)
        self._client.subscribe_topic(UNDER_WAY, self._note_progress)

    def _note_progress(self, event: tuple[float, Any]) -> None:
        key, done = event[1]
        if key in self._running:
            self._told[key] = done

    def _note_start(self, event: tuple[float, Any]) -> None:
        key, worker = event[1]
        if key in self._running:
            self._started[key] = worker

    def _submit(self) -> None:
        if self._scheduler_lost:
            if self._running:
                return
            self._come_back()
        if not self._waiting and not self._running and self._suspects:
            self._start(self._suspects.popleft())
        while self._waiting and len(self._running) < self._window and not any(item.alone for item, _ in self._running.values()):
            self._start(self._waiting.popleft())

    def _start(self, item: _Item) -> None:
        # Unique keys: Dask must never take an earlier attempt's result for this one.
        key = f"{self._call_path.rpartition(':')[2]}-{uuid.uuid4().hex}"
        future = self._client.submit(
            call_on_worker,
            key,
            self._call_path,
            item.work.arguments,
            self._patience,
            key=key,
            priority=item.work.cost,
            resources=dict(item.work.resources) or None,
            pure=False,
        )
        self._running[key] = item, future
        future.add_done_callback(self._finished.put)

    def _outcome(self, item: _Item, future: Future) -> Outcome | None:
        """Return the outcome of a finished future; None if its work is to be tried again."""
        if future.status in ("cancelled", "lost"):
            self._scheduler_lost = True
            self._waiting.append(item)
            return None
        if future.status != "error":
            result = future.result()
            return Outcome(item.work, error=result) if isinstance(result, SampleMixError) else Outcome(item.work, result=result)
        error = future.exception()
        if not isinstance(error, KilledWorker):
            return Outcome(item.work, error=error)
        if self._started.get(future.key) != error.last_worker.address and item.bystander < _BYSTANDER_LIMIT:
            item.bystander += 1
            (self._suspects if item.alone else self._waiting).appendleft(item)
        elif not item.alone:
            item.alone = True
            self._suspects.append(item)
        else:
            return Outcome(
                item.work,
                error=PoisonShardError(
                    f"{item.work.name} killed the worker that ran it, and did so again when it ran alone.",
                    "Look at its records and at the workers' memory limit; then 'samplemix shard retry' tries it again.",
                ),
            )
        return None

    def _come_back(self) -> None:
        """Wait until the scheduler and a worker are back."""
        self._scheduler_losses += 1
        if self._scheduler_losses > RESUBMISSIONS:
            open_work = [item.work.name for item in (*self._waiting, *self._suspects)]
            raise ServiceError(
                f"The Dask scheduler was lost {self._scheduler_losses} times; {len(open_work)} tasks are open"
                f" ({', '.join(open_work[:5])} ...).",
                "Look at the scheduler's log ('samplemix logs dask-scheduler'), then run again: finished work is kept.",
            )
        wait_for_workers(self._client)
        self._subscribe()
        self._scheduler_lost = False

    def _check_workers(self) -> None:
        """Fit the window to the workers that can do the work; raise ServiceError if there has been none for too long."""
        now = time.monotonic()
        if now - self._checked < CHECK_SECONDS:
            return
        self._checked = now
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        threads = sum(worker["nthreads"] for worker in workers if self._resources <= worker["resources"].keys())
        self._window = max(LEAST_WINDOW, TASKS_PER_THREAD * threads)
        if threads:
            self._worker_seen = now
        elif now - self._worker_seen > NO_WORKER_SECONDS:
            offering = f" that offers {', '.join(sorted(self._resources))}" if self._resources else ""
            raise ServiceError(
                f"The Dask cluster at {self._client.scheduler.addr} has had no worker{offering} for {NO_WORKER_SECONDS:.0f} s.",
                "Look at its workers' logs ('samplemix logs dask-worker'), then run again: finished work is kept.",
            )
