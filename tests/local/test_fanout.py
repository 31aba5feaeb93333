"""Fan-out on a real Dask cluster: results once each, cancel, lost workers, lost scheduler, poison."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster

from samplemix_core.compute import fanout
from samplemix_core.compute.calls import Patience
from samplemix_core.compute.fanout import Outcome, Work, fan_out
from samplemix_core.errors import CancelledRunError, CorpusError, PoisonShardError, ServiceError


@contextmanager
def cluster_of(n_workers: int, **options: Any) -> Iterator[Client]:
    here = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with (
        LocalCluster(n_workers=n_workers, threads_per_worker=1, processes=True, **here, **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with cluster_of(2) as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def workers_find_the_calls() -> Iterator[None]:
    """Processes that are started from here on look for modules beside this file too."""
    here = str(Path(__file__).parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(here)
        patch.setenv("PYTHONPATH", here, prepend=os.pathsep)
        yield


def run(client: Client, call: str, work: list[Work]) -> list[Outcome]:
    return list(fan_out(client, call, work, threading.Event(), patience=Patience(attempts=3, first_wait_seconds=0.01)))


def test_every_piece_of_work_has_one_outcome(client: Client) -> None:
    outcomes = run(client, "calls:square", [Work(str(i), (i,), cost=i) for i in range(50)])
    assert {outcome.work.name: outcome.result for outcome in outcomes} == {str(i): i * i for i in range(50)}
    assert len(outcomes) == 50


def test_calls_under_way_say_how_far_they_are(client: Client) -> None:
    heard: list[int] = []
    outcomes = list(
        fan_out(client, "calls:count", [Work(str(i), (60, 0.05)) for i in range(2)], threading.Event(), partly=heard.append)
    )
    assert [outcome.result for outcome in outcomes] == [60, 60]
    assert heard == sorted(heard), "both calls are under way together, and neither goes back"
    assert 20 < max(heard) < 120


def test_errors_that_can_not_pass_are_final_and_others_are_tried_again(client: Client, tmp_path: Path) -> None:
    kinds = {"ours": CorpusError, "service": ServiceError, "other": ValueError}
    outcomes = run(client, "calls:fail", [Work(kind, (str(tmp_path / kind), kind)) for kind in kinds])
    errors = {outcome.work.name: outcome.error for outcome in outcomes}
    assert {kind: type(error) for kind, error in errors.items()} == kinds
    assert isinstance(errors["ours"], CorpusError)
    assert errors["ours"].remedy == "Register it again."
    assert {kind: (tmp_path / kind).read_text() for kind in kinds} == {"ours": "x", "service": "xxx", "other": "xxx"}


def test_a_killed_worker_loses_nothing(client: Client, tmp_path: Path) -> None:
    outcomes = run(client, "calls:die_once", [Work(str(i), (str(tmp_path / "died"), i)) for i in range(8)])
    assert sorted(outcome.result for outcome in outcomes) == list(range(8))
    assert (tmp_path / "died").exists()


@pytest.fixture(scope="module", params=[{}, {"GPU": 1}], ids=["any worker", "GPU=1"])
def one_worker(request: pytest.FixtureRequest) -> Iterator[tuple[Client, dict[str, int]]]:
    """A cluster of one worker, whose scheduler blames at the first death, as ours does."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0, "distributed.worker.profile.enabled": False}),
        cluster_of(1, resources=request.param or None, memory_limit="1GiB") as client,
    ):
        yield client, request.param


def test_poison_is_named_and_its_neighbours_are_done(one_worker: tuple[Client, dict[str, int]], tmp_path: Path) -> None:
    client, resources = one_worker
    log = tmp_path / "begun"
    work = [Work(f"shard-{i}", (str(log), i, 1), cost=10 - i, resources=resources) for i in range(8)]
    outcomes = run(client, "calls:die", work)
    errors = {outcome.work.name: outcome.error for outcome in outcomes if outcome.error}
    assert list(errors) == ["shard-1"]
    assert isinstance(errors["shard-1"], PoisonShardError)
    assert "shard-1 killed the worker that ran it, and did so again when it ran alone" in str(errors["shard-1"])
    assert sorted(outcome.result for outcome in outcomes if not outcome.error) == [0, 2, 3, 4, 5, 6, 7]
    begun = log.read_text().split()
    # What waited on the worker that died is not suspected; the suspect is tried again when all else is done.
    assert begun.count("1") == 2
    assert begun[-1] == "1"


def test_a_task_that_eats_all_memory_is_the_poison_of_twenty_one(one_worker: tuple[Client, dict[str, int]], tmp_path: Path) -> None:
    client, resources = one_worker
    outcomes = run(client, "calls:eat", [Work(f"shard-{i}", (i, 20), cost=i, resources=resources) for i in range(21)])
    assert [outcome.work.name for outcome in outcomes if isinstance(outcome.error, PoisonShardError)] == ["shard-20"]
    assert sorted(outcome.result for outcome in outcomes if not outcome.error) == list(range(20))


def test_a_scheduler_that_forgives_blames_the_same(client: Client, tmp_path: Path) -> None:
    """Somebody's own cluster, with Dask's default of three deaths that are forgiven."""
    outcomes = run(client, "calls:die", [Work(f"shard-{i}", (str(tmp_path / "begun"), i, 1)) for i in range(6)])
    assert [outcome.work.name for outcome in outcomes if isinstance(outcome.error, PoisonShardError)] == ["shard-1"]
    assert sorted(outcome.result for outcome in outcomes if not outcome.error) == [0, 2, 3, 4, 5]


def test_only_a_window_of_many_tasks_is_on_the_cluster(client: Client) -> None:
    outcomes = fan_out(client, "builtins:pow", [Work(str(i), (i, 2)) for i in range(900)], threading.Event())
    most = 0
    for number, _ in enumerate(outcomes):
        if number % 90 == 0:
            most = max(most, client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))
    assert number == 899
    assert most <= 2 * fanout.LEAST_WINDOW


def test_the_window_fits_the_workers_even_where_results_never_pause(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "LEAST_WINDOW", 1)
    monkeypatch.setattr(fanout, "CHECK_SECONDS", 0.2)
    outcomes = fan_out(client, "calls:nap", [Work(str(i), (i, 0.02)) for i in range(100)], threading.Event())
    assert max(client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) for _ in outcomes) > 2


@pytest.mark.parametrize("lacking", ["", "GPU"])
def test_no_worker_for_long_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch, lacking: str) -> None:
    monkeypatch.setattr(fanout, "NO_WORKER_SECONDS", 1.0)
    monkeypatch.setattr(fanout, "CHECK_SECONDS", 0.2)
    cancelled = threading.Event()
    timer = threading.Timer(30, cancelled.set)
    timer.start()
    try:
        with (
            cluster_of(1 if lacking else 0) as client,
            pytest.raises(ServiceError, match="has had no worker that offers GPU for" if lacking else "has had no worker for"),
        ):
            list(fan_out(client, "builtins:pow", [Work("one", (1, 2), resources={lacking: 1} if lacking else {})], cancelled))
    finally:
        timer.cancel()


def test_cancelling_clears_the_cluster(client: Client) -> None:
    cancelled = threading.Event()
    outcomes = fan_out(client, "calls:nap", [Work(str(i), (i, 0.2)) for i in range(500)], cancelled)
    next(outcomes)
    cancelled.set()
    with pytest.raises(CancelledRunError, match=r"Cancelled with \d+ tasks open"):
        next(outcomes)
    deadline = time.monotonic() + 10
    while any(client.processing().values()):
        assert time.monotonic() < deadline, client.processing()


def test_what_is_running_stops_where_it_tells_how_far_it_is(client: Client) -> None:
    cancelled = threading.Event()
    hours = [Work(str(i), (1_000_000, 0.01)) for i in range(4)]
    outcomes = fan_out(client, "calls:count", hours, cancelled, partly=lambda done: cancelled.set() if done else None)
    with pytest.raises(CancelledRunError):
        next(outcomes)

    def held(dask_worker: Any) -> int:
        # What was cancelled and runs on is held as well. By value: workers can't import this file.
        return len(dask_worker.state.tasks)

    deadline = time.monotonic() + 10
    while any(client.run(held).values()):
        assert time.monotonic() < deadline, client.run(held)


def test_work_is_done_although_the_scheduler_is_lost(tmp_path: Path) -> None:
    """The scheduler and its workers are killed in the middle and come back at the same address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    flags = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard", "--no-show"]
    run_dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", *flags]
    run_worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]

    def start() -> list[subprocess.Popen[bytes]]:
        null = subprocess.DEVNULL
        return [subprocess.Popen(command, cwd=tmp_path, stdout=null, stderr=null) for command in (run_dask, run_worker)]

    processes = start()
    try:
        with Client(address, set_as_default=False, timeout=60) as client:
            client.wait_for_workers(1, timeout=60)
            outcomes = fan_out(client, "calls:nap", [Work(str(i), (i, 0.1)) for i in range(30)], threading.Event())
            done = [next(outcomes).result]
            for process in processes:
                process.kill()
                process.wait()
            processes = start()
            done += [outcome.result for outcome in outcomes]
        assert sorted(done) == list(range(30))
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(30)
