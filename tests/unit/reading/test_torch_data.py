"""PyTorch's loader over a mixture: the same batches with any number of workers, and exact resume."""

import json
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


def test_a_loader_refuses_the_state_of_another_seed(mixture: Mixture, published: Published) -> None:
    with pytest.raises(ManifestError, match="saved with seed 1"):
        Loader(mixture, 2).load_state_dict(open_mixture(published.uri, seed=1).state(3).as_dict())


def test_a_loader_that_is_done_says_where_the_next_epoch_begins(mixture: Mixture) -> None:
    loader = Loader(mixture, 7)
    assert sum(map(len, loader)) == len(mixture)
    assert loader.state_dict() == mixture.state(0, 1).as_dict()
    assert list(loader) == []
