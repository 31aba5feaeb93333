"""The embedded Dask cluster runs tasks, and runs them again after a worker or its scheduler was killed."""

import asyncio
import os
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from distributed.comm import connect as open_connection

from samplemix_core.compute.fanout import connect
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ServiceError
from samplemix_core.local import dask_cluster, machine
from samplemix_core.local.certificate import stack_certificate
from samplemix_core.local.home import Home
from samplemix_core.local.owner import Owner
from samplemix_core.local.ports import wait_until
from samplemix_core.local.stack import Stack
from samplemix_core.local.supervisor import stack_processes

DASK = ("dask",)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dask") / "home"


@pytest.fixture(scope="module")
def stack(home: Path, owner: Owner) -> Iterator[Stack]:
    environ = {
        "PATH": os.environ["PATH"],
        "SAMPLEMIX_DASK_WORKERS": "2",
        "SAMPLEMIX_DASK_WORKER_MEMORY": "2GiB",
        "SAMPLEMIX_DASK_WORKER_RESOURCES": "GPU=1",
    }
    stack = Stack(home, ports="free", environ=environ, owner=owner)
    yield stack
    stack.destroy()
    assert stack_processes(Home(home).read_state().stack) == []


def run_on_both_workers(settings: Deployment) -> dict[str, dict[str, str | None]]:
    """Each worker's address -> the variables of its environment that matter, asked through a task that needs the resource."""
    variables = ("SAMPLEMIX_HOME", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
    with connect(settings) as client:
        client.wait_for_workers(2, timeout=60)
        assert set(client.nthreads().values()) == {1}
        assert client.submit(pow, 7, 2, resources={"GPU": 1}).result(timeout=60) == 49
        found: dict[str, dict[str, str | None]] = client.run(lambda: {name: os.environ.get(name) for name in variables})
        return found


def pid_of(stack: Stack, process: str) -> int:
    pid = {row.process: row.pid for row in stack.status()}[process]
    assert pid is not None
    return pid


def kill(stack: Stack, process: str) -> None:
    killed = pid_of(stack, process)
    os.kill(killed, signal.SIGKILL)

    def same() -> str | None:
        row = next(row for row in stack.status() if row.process == process)
        return None if row.pid not in {None, killed} else "the killed process is still the one that is kept"

    wait_until(same, what=process, timeout=60, log=stack.log_path(process))


def test_every_worker_is_single_threaded_and_knows_the_home(stack: Stack, home: Path) -> None:
    environments = run_on_both_workers(stack.up(DASK))
    expected = {"SAMPLEMIX_HOME": str(home), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    assert list(environments.values()) == [expected, expected]


def test_a_killed_worker_process_is_replaced(stack: Stack) -> None:
    settings = stack.up(DASK)
    workers = [
        child for child in psutil.Process(pid_of(stack, "dask-worker")).children() if "resource_tracker" not in str(child.cmdline())
    ]
    assert len(workers) == 2
    workers[0].kill()
    psutil.wait_procs(workers[:1], timeout=10)
    assert len(run_on_both_workers(settings)) == 2


def test_only_who_holds_the_certificate_is_answered(stack: Stack, tmp_path: Path) -> None:
    settings = stack.up(DASK)
    certificate, of_another_home = Path(settings.require("dask_certificate")), stack_certificate(Home(tmp_path))
    assert certificate.stat().st_mode & 0o077 == 0
    with connect(settings) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
    for address in (settings.require("dask_scheduler"), *workers, *(worker["nanny"] for worker in workers.values())):
        assert asyncio.run(identity(address, trusting=certificate, shown=certificate))
        for url, shown in ((address, None), (address, of_another_home), (address.replace("tls://", "tcp://"), None)):
            with pytest.raises((OSError, RuntimeError)):
                asyncio.run(identity(url, trusting=certificate, shown=shown))


async def identity(url: str, *, trusting: Path, shown: Path | None) -> object:
    """What a part of the cluster says of itself, to who shows this certificate."""
    context = ssl.create_default_context(cafile=trusting)
    context.check_hostname = False
    if shown:
        context.load_cert_chain(shown)
    connection = await open_connection(url, timeout=2, ssl_context=context)
    try:
        await connection.write({"op": "identity"})
        return await connection.read()
    finally:
        await connection.close()


@pytest.mark.parametrize("process", ["dask-scheduler", "dask-worker"])
def test_workers_and_scheduler_find_each_other_again(stack: Stack, process: str) -> None:
    settings = stack.up(DASK)
    kill(stack, process)
    assert stack.up(DASK) == settings
    assert len(run_on_both_workers(settings)) == 2


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SAMPLEMIX_DASK_WORKERS", "none"),
        ("SAMPLEMIX_DASK_WORKERS", "0"),
        ("SAMPLEMIX_DASK_WORKER_RESOURCES", "GPU"),
        ("SAMPLEMIX_DASK_WORKER_MEMORY", "much"),
    ],
)
def test_an_impossible_cluster_is_refused(tmp_path: Path, variable: str, value: str) -> None:
    with pytest.raises(ServiceError, match=f"{variable} is '{value}'"):
        Stack(tmp_path / "home", ports="free", environ={variable: value}).up(DASK)


def test_workers_share_what_the_machine_has_beyond_the_reserve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ports = {"dask": 1, "dask_dashboard": 2}
    home = Home(tmp_path)

    def worker_command(gib: float, **environ: str) -> tuple[str, ...]:
        monkeypatch.setattr(machine, "memory_limit", lambda: int(gib * machine.GIB))
        return dask_cluster.service(home, ports, environ).programs[1].command

    def option(command: tuple[str, ...], name: str) -> str:
        return command[command.index(name) + 1]

    two = worker_command(24, SAMPLEMIX_DASK_WORKERS="2")
    assert option(two, "--memory-limit") == f"{9 * machine.GIB}B"
    told = worker_command(24, SAMPLEMIX_DASK_WORKERS="2", SAMPLEMIX_DASK_WORKER_MEMORY="2GiB")
    assert option(told, "--memory-limit") == f"{2 * machine.GIB}B"
    # Nobody asked for a number: as many as have enough, and one at least.
    monkeypatch.setattr("dask.system.CPU_COUNT", 16)
    assert option(worker_command(12), "--nworkers") == "4"
    with pytest.raises(ServiceError, match=r"1 Dask workers would have 0\.0 GiB .* need 1\.5: this machine has 4\.0 GiB"):
        worker_command(4)
    with pytest.raises(ServiceError, match=r"8 Dask workers would have 0\.8 GiB"):
        worker_command(12, SAMPLEMIX_DASK_WORKERS="8")


def test_several_gpus_get_a_worker_each_where_dask_cuda_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    devices = tmp_path / "dev"
    devices.mkdir()
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidiactl"):
        (devices / name).touch()
    monkeypatch.setattr(dask_cluster, "DEVICES", devices)
    monkeypatch.setattr(machine, "memory_limit", lambda: 24 * machine.GIB)
    ports = {"dask": 1, "dask_dashboard": 2}

    def worker_command(*installed: str, **environ: str) -> str:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: name if name in installed else None)
        return " ".join(dask_cluster.service(Home(tmp_path), ports, environ).programs[1].command)

    cuda = worker_command("dask_cuda")
    assert "-m dask cuda worker tls://" in cuda
    assert f"--nthreads 1 --memory-limit {6 * machine.GIB}B" in cuda
    assert "--resources GPU=1" in cuda
    assert "--nworkers" not in cuda
    # All on the first GPU, because that is what was asked for, or can be done.
    for shared in (worker_command("dask_cuda", SAMPLEMIX_DASK_WORKERS="4"), worker_command(SAMPLEMIX_DASK_WORKERS="4")):
        assert "-m dask worker tls://" in shared
        assert "--nworkers 4" in shared
        assert "--resources GPU=1" in shared


def test_a_worker_has_its_limit_and_goes_first_where_memory_runs_out(stack: Stack) -> None:
    settings = stack.up(DASK)
    with connect(settings) as client:
        client.wait_for_workers(2, timeout=60)
        limits = {worker["memory_limit"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()}
        scores = set(client.run(lambda: int(open("/proc/self/oom_score_adj").read())).values())  # noqa: PTH123, SIM115
    assert limits == {2 * machine.GIB}
    assert scores == {600}
    supervisor = psutil.Process(pid_of(stack, "dask-scheduler")).parent()
    assert supervisor is not None
    assert int(Path(f"/proc/{supervisor.pid}/oom_score_adj").read_text()) < 600
