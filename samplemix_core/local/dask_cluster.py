"""The embedded Dask cluster: a scheduler, and single-threaded worker processes under nannies that replace dead ones."""

import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from samplemix_core.errors import ServiceError
from samplemix_core.local import launch, machine
from samplemix_core.local.certificate import stack_certificate
from samplemix_core.local.home import Home
from samplemix_core.local.machine import GIB, MIB
from samplemix_core.local.ports import HOST, NotAnsweringError, get_json
from samplemix_core.local.service import EmbeddedService, Program, Step

WORKERS_VARIABLE = "SAMPLEMIX_DASK_WORKERS"
MEMORY_VARIABLE = "SAMPLEMIX_DASK_WORKER_MEMORY"
RESOURCES_VARIABLE = "SAMPLEMIX_DASK_WORKER_RESOURCES"

DEVICES = Path("/dev")

RESERVED_MEMORY = 6 * GIB
"""Memory left for everything except workers: Postgres, S3, Airflow and its tasks, the system."""

LEAST_WORKER_MEMORY = 3 * GIB // 2
"""Below this a worker can't hold an encoder and a batch."""

_SCHEDULER_MEMORY = 300 * MIB
# If memory runs out after all, the kernel ends a worker, whose shard is tried again, and not supervisord, Postgres or Airflow.
_WORKER_OOM_SCORE = 600
_ENVIRONMENT = {
    # A worker's first death is reported to whoever submitted its tasks: fanout.py tells the guilty one from its neighbours.
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    # The dashboard's figures, taken twice a second by default, and the check for hanging event loops, fifty times a second, cost an
    # idle cluster a tenth of a core. A loop counts as hanging after three seconds.
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "2s",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "500ms",
}
_WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # A forward pass frees and takes the same megabytes again and again. Dask's default, to give them back each time, costs a third
    # of the encoding speed. Blocks over 32 MiB are still given back when freed. Dask's profiler costs a little, and can stop a
    # worker for good: CPython 3.11's sys._current_frames() holds a lock while threads come and go.
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    # No task's result is large, so there is nothing to spill; a worker that paused would wait for memory that nobody frees.
    "DASK_DISTRIBUTED__WORKER__MEMORY__TARGET": "False",
    "DASK_DISTRIBUTED__WORKER__MEMORY__SPILL": "False",
    "DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE": "False",
}
_RESOURCES = re.compile(r"\w+=\d+(\.\d+)?(e\d+)?( \w+=\d+(\.\d+)?(e\d+)?)*")


def service(home: Home, ports: Mapping[str, int], environ: Mapping[str, str]) -> EmbeddedService:
    """Return scheduler and workers; raise ServiceError if the environment asks for an impossible number, memory or resources."""
    scheduler_address = f"tls://{HOST}:{ports['dask']}"
    certificate = str(stack_certificate(home))
    tls = ("--protocol", "tls", *(part for kind in ("ca-file", "cert", "key") for part in (f"--tls-{kind}", certificate)))
    dashboard = f"http://{HOST}:{ports['dask_dashboard']}"
    gpus = _gpus_to_share_out(environ)
    workers, worker_memory = _workers({**environ, WORKERS_VARIABLE: str(gpus)} if gpus else environ)
    resources = _resources(environ)
    local_directory = home.root / "dask"
    for directory in (local_directory, home.scratch):
        directory.mkdir(mode=0o700, exist_ok=True)
    environment = {"SAMPLEMIX_HOME": str(home.root), **_ENVIRONMENT}
    scheduler = Program(
        service="dask",
        name="dask-scheduler",
        command=(
            *(sys.executable, "-m", "dask", "scheduler"),
            *("--host", HOST, "--port", str(ports["dask"])),
            *("--dashboard-address", f"{HOST}:{ports['dask_dashboard']}"),
            *tls,
        ),
        directory=home.working_directory,
        missing=lambda: _missing_workers(dashboard, 0),
        environment=environment,
    )
    worker = Program(
        service="dask",
        name="dask-worker",
        command=launch.command(
            *(sys.executable, "-m", "dask", *(("cuda",) if gpus else ()), "worker", scheduler_address),
            *("--host", HOST, "--dashboard-address", f"{HOST}:0"),
            *tls,
            *(() if gpus else ("--nworkers", str(workers))),
            *("--nthreads", "1", "--memory-limit", f"{worker_memory}B"),
            *("--local-directory", str(local_directory)),
            *(("--resources", resources) if resources else ()),
            oom_score_adj=_WORKER_OOM_SCORE,
        ),
        directory=home.working_directory,
        missing=lambda: _missing_workers(dashboard, workers),
        ready_seconds=90,
        environment=environment | _WORKER_ENVIRONMENT | {"TMPDIR": str(home.scratch)},
    )
    return EmbeddedService(
        name="dask",
        address=scheduler_address,
        steps=(Step(programs=(scheduler,)), Step(programs=(worker,))),
        settings={"dask_scheduler": scheduler_address, "dask_certificate": certificate},
        memory=_SCHEDULER_MEMORY + workers * LEAST_WORKER_MEMORY,
    )


def _gpus_to_share_out(environ: Mapping[str, str]) -> int:
    """Return how many GPUs dask-cuda gives one worker each: 0 unless it is installed, there are several, and no number is set.

    If 0, all workers use the first GPU.
    """
    gpus = len(list(DEVICES.glob("nvidia[0-9]*")))
    return gpus if gpus > 1 and not environ.get(WORKERS_VARIABLE) and importlib.util.find_spec("dask_cuda") else 0


def _missing_workers(dashboard: str, workers: int) -> str | None:
    """Return how many workers the scheduler still lacks, None if none; the reason if it does not answer."""
    try:
        present = get_json(f"{dashboard}/json/counts.json")["workers"]
    except NotAnsweringError as error:
        return str(error)
    return None if present >= workers else f"{present} of {workers} workers have registered"


def _workers(environ: Mapping[str, str]) -> tuple[int, int]:
    """Return the number of workers, and the bytes of memory each may take.

    Together they leave RESERVED_MEMORY of the machine, or of its control group, for everything else. By default there is one per
    core, or fewer if not all would get LEAST_WORKER_MEMORY.
    """
    from dask.system import CPU_COUNT

    shared = machine.memory_limit() - RESERVED_MEMORY
    number = _number(environ)
    memory = _memory(environ)
    if number is None:
        number = min(CPU_COUNT, max(1, shared // (memory or LEAST_WORKER_MEMORY)))
    each = memory or shared // number
    if each < LEAST_WORKER_MEMORY:
        raise ServiceError(
            f"{number} Dask workers would have {max(0, each) / GIB:.1f} GiB of memory each, and need "
            f"{LEAST_WORKER_MEMORY / GIB:.1f}: this machine has {(shared + RESERVED_MEMORY) / GIB:.1f} GiB, of which "
            f"{RESERVED_MEMORY / GIB:.0f} are for everything else.",
            f"Set {WORKERS_VARIABLE} to fewer workers, or {MEMORY_VARIABLE} to what each may take (as 2GiB).",
        )
    return number, each


def _number(environ: Mapping[str, str]) -> int | None:
    text = environ.get(WORKERS_VARIABLE)
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ServiceError(
            f"{WORKERS_VARIABLE} is {text!r}, not a number of workers.", "Set it to 1 or more, or unset it for one per core."
        )
    return int(text)


def _memory(environ: Mapping[str, str]) -> int | None:
    text = environ.get(MEMORY_VARIABLE)
    if not text:
        return None
    from dask.utils import parse_bytes

    try:
        return int(parse_bytes(text))
    except ValueError as error:
        raise ServiceError(f"{MEMORY_VARIABLE} is {text!r}, not an amount of memory.", "Write it as 2GiB, or unset it.") from error


def _resources(environ: Mapping[str, str]) -> str:
    """Return what each worker declares, such as "GPU=1 DISK=2": what the environment says, else GPU=1 if there is a CUDA GPU."""
    text = environ.get(RESOURCES_VARIABLE)
    if text is None:
        return "GPU=1" if any(DEVICES.glob("nvidia[0-9]*")) else ""
    if text and not _RESOURCES.fullmatch(text):
        raise ServiceError(
            f"{RESOURCES_VARIABLE} is {text!r}, not resources.", "Write it as 'GPU=1' or 'GPU=1 DISK=2', or unset it."
        )
    return text
