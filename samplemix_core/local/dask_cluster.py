"""The embedded Dask cluster: a scheduler, and one single-threaded worker process a core under nannies that replace dead ones."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from samplemix_core.errors import ServiceError
from samplemix_core.local.home import Home
from samplemix_core.local.http import NotAnsweringError, get_json
from samplemix_core.local.ports import HOST
from samplemix_core.local.service import EmbeddedService, Program, Step

WORKERS_VARIABLE = "SAMPLEMIX_DASK_WORKERS"
RESOURCES_VARIABLE = "SAMPLEMIX_DASK_WORKER_RESOURCES"

_WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # A forward pass frees and takes the same megabytes again and again. Dask's default, to give them back each time, costs a
    # third of the encoding speed; so does its profiler a little. Blocks over 32 MiB still go back when they are freed.
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}
_RESOURCES = re.compile(r"\w+=\d+(\.\d+)?(e\d+)?( \w+=\d+(\.\d+)?(e\d+)?)*")


def service(home: Home, ports: Mapping[str, int], environ: Mapping[str, str]) -> EmbeddedService:
    """Scheduler and workers; raise ServiceError if the environment asks for an impossible number or resources of workers."""
    scheduler_address = f"tcp://{HOST}:{ports['dask']}"
    dashboard = f"http://{HOST}:{ports['dask_dashboard']}"
    workers = _number_of_workers(environ)
    resources = _resources(environ)
    scratch = home.root / "dask"
    scratch.mkdir(mode=0o700, exist_ok=True)
    environment = {"SAMPLEMIX_HOME": str(home.root)}
    scheduler = Program(
        service="dask",
        name="dask-scheduler",
        command=(
            *(sys.executable, "-m", "dask", "scheduler"),
            *("--host", HOST, "--port", str(ports["dask"])),
            *("--dashboard-address", f"{HOST}:{ports['dask_dashboard']}"),
        ),
        directory=home.working_directory,
        missing=lambda: _missing_workers(dashboard, 0),
        environment=environment,
    )
    worker = Program(
        service="dask",
        name="dask-worker",
        command=(
            *(sys.executable, "-m", "dask", "worker", scheduler_address),
            *("--host", HOST, "--dashboard-address", f"{HOST}:0"),
            *("--nworkers", str(workers), "--nthreads", "1"),
            *("--local-directory", str(scratch)),
            *(("--resources", resources) if resources else ()),
        ),
        directory=home.working_directory,
        missing=lambda: _missing_workers(dashboard, workers),
        ready_seconds=90,
        environment=environment | _WORKER_ENVIRONMENT,
    )
    return EmbeddedService(
        name="dask",
        address=scheduler_address,
        steps=(Step(programs=(scheduler,)), Step(programs=(worker,))),
        settings={"dask_scheduler": scheduler_address},
    )


def _missing_workers(dashboard: str, workers: int) -> str | None:
    """Which workers the scheduler still lacks; the reason if it does not answer."""
    try:
        present = get_json(f"{dashboard}/json/counts.json")["workers"]
    except NotAnsweringError as error:
        return str(error)
    return None if present >= workers else f"{present} of {workers} workers have registered"


def _number_of_workers(environ: Mapping[str, str]) -> int:
    text = environ.get(WORKERS_VARIABLE)
    if not text:
        from dask.system import CPU_COUNT

        return int(CPU_COUNT)
    if not text.isdecimal() or int(text) < 1:
        raise ServiceError(
            f"{WORKERS_VARIABLE} is {text!r}, not a number of workers.", "Set it to 1 or more, or unset it for one a core."
        )
    return int(text)


def _resources(environ: Mapping[str, str]) -> str:
    """What each worker declares, in Dask's form "GPU=1 DISK=2": what the environment says, else GPU=1 where there is a CUDA GPU."""
    text = environ.get(RESOURCES_VARIABLE)
    if text is None:
        return "GPU=1" if Path("/dev/nvidia0").exists() else ""
    if text and not _RESOURCES.fullmatch(text):
        raise ServiceError(
            f"{RESOURCES_VARIABLE} is {text!r}, not resources.", "Write it as 'GPU=1' or 'GPU=1 DISK=2', or unset it."
        )
    return text
