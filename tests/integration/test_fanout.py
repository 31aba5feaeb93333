"""Fan-out on a real Dask cluster: results once each, cancel, lost workers, lost scheduler, poison."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from distributed import Client, LocalCluster

from samplemix_core.compute.fanout import Outcome, Work, fan_out
from samplemix_core.errors import CancelledRunError, CorpusError, PoisonShardError


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def run(client, function, work, cancelled=None, retries=2) -> list[Outcome]:
    return list(fan_out(client, function, work, cancelled or threading.Event(), retries=retries))


def test_every_piece_of_work_has_one_outcome(client):
    def square(number):
        return number * number

    outcomes = run(client, square, [Work(str(i), (i,), cost=i) for i in range(50)])
    assert {outcome.work.name: outcome.result for outcome in outcomes} == {str(i): i * i for i in range(50)}
    assert len(outcomes) == 50


def test_our_own_errors_are_final_and_others_are_tried_again(client, tmp_path):
    def fail(path, kind):
        with open(path, "a") as file:  # noqa: PTH123
            file.write("x")
        if kind == "ours":
            raise CorpusError("a shard changed.", "Register it again.")
        raise ValueError("a hiccup")

    ours, other = tmp_path / "ours", tmp_path / "other"
    outcomes = run(client, fail, [Work("ours", (str(ours), "ours")), Work("other", (str(other), "other"))], retries=2)
    errors = {outcome.work.name: outcome.error for outcome in outcomes}
    assert isinstance(errors["ours"], CorpusError)
    assert errors["ours"].remedy == "Register it again."
    assert isinstance(errors["other"], ValueError)
    assert (ours.read_text(), other.read_text()) == ("x", "xxx")


def test_a_killed_worker_loses_nothing(client, tmp_path):
    def die_once(path, number):
        import os
        import pathlib
        import signal

        if number == 3 and not pathlib.Path(path).exists():
            pathlib.Path(path).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    outcomes = run(client, die_once, [Work(str(i), (str(tmp_path / "died"), i)) for i in range(8)])
    assert sorted(outcome.result for outcome in outcomes) == list(range(8))
    assert (tmp_path / "died").exists()


def test_poison_is_named_and_the_rest_is_done(client):
    def poison(number):
        import os
        import signal

        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    outcomes = run(client, poison, [Work(f"shard-{i}", (i,)) for i in range(4)])
    errors = {outcome.work.name: outcome.error for outcome in outcomes if outcome.error}
    assert list(errors) == ["shard-1"]
    assert isinstance(errors["shard-1"], PoisonShardError)
    assert "shard-1 killed every worker" in str(errors["shard-1"])
    assert sorted(outcome.result for outcome in outcomes if not outcome.error) == [0, 2, 3]


def test_cancelling_clears_the_cluster(client):
    def wait_long(number):
        import time

        time.sleep(0.2)
        return number

    cancelled = threading.Event()
    outcomes = fan_out(client, wait_long, [Work(str(i), (i,)) for i in range(500)], cancelled)
    next(outcomes)
    cancelled.set()
    with pytest.raises(CancelledRunError, match="of 500 tasks open"):
        next(outcomes)
    deadline = time.monotonic() + 10
    while any(client.processing().values()):
        assert time.monotonic() < deadline, client.processing()


def test_work_is_done_although_the_scheduler_is_lost(tmp_path):
    """The scheduler and its workers are killed in the middle and come back at the same address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    flags = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard", "--no-show"]
    run_dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", *flags]
    run_worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(command, cwd=tmp_path, **quiet) for command in (run_dask, run_worker)]

    def slow(number):
        import time

        time.sleep(0.1)
        return number

    try:
        with Client(address, set_as_default=False, timeout=60) as client:
            client.wait_for_workers(1, timeout=60)
            outcomes = fan_out(client, slow, [Work(str(i), (i,)) for i in range(30)], threading.Event())
            done = [next(outcomes).result]
            for process in processes:
                process.kill()
                process.wait()
            processes = [subprocess.Popen(command, cwd=tmp_path, **quiet) for command in (run_dask, run_worker)]
            done += [outcome.result for outcome in outcomes]
        assert sorted(done) == list(range(30))
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(30)
