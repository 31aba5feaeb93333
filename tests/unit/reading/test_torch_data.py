"""PyTorch's loader over a mixture: the same batches with any number of workers, and exact resume."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from samplemix_core.errors import ManifestError
from samplemix_core.reading.mixture import Document, Mixture, open_mixture
from samplemix_core.reading.torch_data import Loader
from tests.mixtures import Published


@pytest.fixture
def mixture(published: Published, tmp_path: Path) -> Mixture:
    return open_mixture(published.uri, cache_directory=tmp_path / "cache")


def test_a_loader_gives_the_same_batches_with_and_without_workers(mixture: Mixture) -> None:
    whole = list(mixture.documents(1, 2))
    for workers in (0, 2):
        batches: list[list[Document]] = list(Loader(mixture, 7, 1, 2, workers=workers))
        assert [item for batch in batches for item in batch] == whole
        assert [len(batch) for batch in batches[:-1]] == [7] * (len(batches) - 1)


def test_a_loader_goes_on_where_the_training_loop_was(mixture: Mixture) -> None:
    """Workers read ahead, and what they had read is read again."""
    read: list[Document] = []
    state: dict[str, Any] | None = None
    for world_size, workers, batch_size, steps in ((2, 2, 4, 9), (1, 0, 16, 3), (3, 1, 2, 1000)):
        states = []
        for rank in range(world_size):
            loader = Loader(mixture, batch_size, rank, world_size, workers=workers)
            if state is not None:
                loader.load_state_dict(state)
            for _, batch in zip(range(steps), loader, strict=False):
                read += batch
            states.append(json.loads(json.dumps(loader.state_dict())))
        state = states[0]
        assert steps == 1000 or states == [state] * world_size
    assert sorted(item.position for item in read) == list(range(len(mixture)))


def test_a_job_that_is_killed_goes_on_with_other_ranks(mixture: Mixture, tmp_path: Path) -> None:
    """What counts is what was read before the last state that every rank saved."""
    read: list[tuple[str, int, int]] = []
    state: dict[str, Any] | None = None
    for world_size, workers, steps in ((2, 2, 5), (3, 1, 9), (1, 2, None)):
        logs = [tmp_path / f"{world_size}-{rank}" for rank in range(world_size)]
        fork = multiprocessing.get_context("fork")
        arguments = [(mixture, rank, world_size, workers, state, log, steps) for rank, log in enumerate(logs)]
        jobs = [fork.Process(target=_train, args=given) for given in arguments]
        for job in jobs:
            job.start()
        try:
            while steps is not None and min(map(_steps, logs)) < steps:
                assert all(job.is_alive() for job in jobs)
                # What another process writes can't be waited for.
                time.sleep(0.01)
        finally:
            for job in jobs:
                if steps is not None:
                    assert job.pid is not None
                    # With its workers, which would otherwise wait for it.
                    os.killpg(job.pid, signal.SIGKILL)
                job.join()
        assert steps is not None or [job.exitcode for job in jobs] == [0]
        done = min(map(_steps, logs)) if steps is not None else None
        for log in logs:
            lines = [json.loads(line) for line in log.read_bytes().splitlines()[:done]]
            read += [tuple(place) for line in lines for place in line["read"]]
            state = lines[-1]["state"]
    whole = [(item.shard, item.row, item.copy) for item in mixture.documents()]
    assert sorted(read) == sorted(whole)


def _steps(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def _train(
    mixture: Mixture, rank: int, world_size: int, workers: int, state: dict[str, Any] | None, log: Path, steps: int | None
) -> None:
    """Train to the end, or to some steps more than these, to be killed there at the latest."""
    os.setpgrp()
    loader = Loader(mixture, 4, rank, world_size, workers=workers)
    if state is not None:
        loader.load_state_dict(state)
    with log.open("w") as file:
        for step, batch in enumerate(loader):
            if steps is not None and step == steps + 3:
                signal.pause()
            places = [(item.shard, item.row, item.copy) for item in batch]
            file.write(json.dumps({"read": places, "state": loader.state_dict()}) + "\n")
            file.flush()


def test_a_loader_refuses_the_state_of_another_seed(mixture: Mixture, published: Published) -> None:
    with pytest.raises(ManifestError, match="saved with seed 1"):
        Loader(mixture, 2).load_state_dict(open_mixture(published.uri, seed=1).state(3).as_dict())


def test_a_loader_that_is_done_says_where_the_next_epoch_begins(mixture: Mixture) -> None:
    loader = Loader(mixture, 7)
    assert sum(map(len, loader)) == len(mixture)
    assert loader.state_dict() == mixture.state(0, 1).as_dict()
    assert list(loader) == []
