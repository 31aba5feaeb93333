"""Connecting to the Dask cluster that the settings name."""

from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client

from samplemix_core.errors import ServiceError
from samplemix_core.settings import Settings

CONNECT_SECONDS = 30
WORKER_SECONDS = 120


@contextmanager
def connect(settings: Settings) -> Iterator[Client]:
    """A client of the configured scheduler, closed on leaving; raise ServiceError if it or its workers don't answer.

    The client is never made the process's default, so that two of them can live side by side.
    """
    address = settings.require("dask_scheduler")
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name="samplemix")
    except (OSError, TimeoutError, ValueError) as error:
        raise ServiceError(
            f"The Dask scheduler at {address} does not answer within {CONNECT_SECONDS} s: {error}.",
            "Start it with 'samplemix up', or correct SAMPLEMIX_DASK_SCHEDULER.",
        ) from error
    try:
        wait_for_workers(client)
        yield client
    finally:
        client.close()


def wait_for_workers(client: Client, seconds: float = WORKER_SECONDS) -> None:
    """Return once the cluster has a worker; raise ServiceError if it has none after `seconds`."""
    try:
        client.wait_for_workers(1, timeout=seconds)
    except (TimeoutError, OSError) as error:
        raise ServiceError(
            f"The Dask cluster at {client.scheduler.addr} has had no worker for {seconds:.0f} s.",
            "Look at its workers' logs ('samplemix logs dask-worker'), then run again: what is done is kept.",
        ) from error
