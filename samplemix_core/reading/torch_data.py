"""A mixture as PyTorch reads data: an iterable dataset, and a loader that knows where the job is. Needs torch."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch.distributed
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from samplemix_core.reading.feed import Feed, Item, Part, State, Stream
from samplemix_core.reading.packed import PackedSequence

Collate = Callable[[list[Any]], Any]


class MixtureDataset(IterableDataset[Item]):
    """The documents or packed sequences of one rank for a DataLoader of any number of workers.

    Give the DataLoader the same `batch_size`: its batches are then those of a loader without workers. To save where the job is, use
    Loader, because workers read ahead of the training loop.
    """

    def __init__(
        self,
        mixture: Feed[Item, Any],
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        *,
        epochs: int | None = 1,
        state: State | None = None,
    ) -> None:
        self.mixture, self.batch_size, self.rank, self.world_size = mixture, batch_size, rank, world_size
        self.epochs, self.start = epochs, mixture.state() if state is None else mixture.resume(state)

    def __iter__(self) -> Iterator[Item]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        part = Part(self.rank, self.world_size, worker, workers, self.batch_size)
        return Stream(self.mixture, part, self.epochs, self.start)


class Loader:
    """Batches of one rank, and where the job is: resume with any number of ranks and workers.

    `mixture` is what open_mixture() or pack() gives. `rank` and `world_size` are those of torch.distributed if they aren't given.
    `collate` makes a batch of documents or sequences, as `tensors` does of sequences; without it, a batch is a list of them. Other
    options go to DataLoader.
    """

    def __init__(
        self,
        mixture: Feed[Any, Any],
        batch_size: int,
        rank: int | None = None,
        world_size: int | None = None,
        *,
        workers: int = 0,
        epochs: int | None = 1,
        collate: Collate | None = None,
        **options: Any,
    ) -> None:
        is_distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.rank = rank if rank is not None else torch.distributed.get_rank() if is_distributed else 0
        self.world_size = world_size if world_size is not None else torch.distributed.get_world_size() if is_distributed else 1
        self.mixture, self.batch_size, self.workers, self.epochs = mixture, batch_size, workers, epochs
        self._collate, self._options = collate, options
        self._state = mixture.state()

    def __iter__(self) -> Iterator[Any]:
        """Go on from where the job is, batch by batch."""
        dataset = MixtureDataset(self.mixture, self.batch_size, self.rank, self.world_size, epochs=self.epochs, state=self._state)
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_size=self.batch_size,
            num_workers=self.workers,
            collate_fn=self._collate or _as_list,
            **self._options,
        )
        start = self._state
        for step, batch in enumerate(loader, start=1):
            # The batch counts as read when the training loop has it: a state that is saved after its step is true.
            self._state = self.mixture.after(start, step * self.batch_size * self.world_size, self.epochs)
            yield batch
        self._state = self.mixture.after(start, 0, self.epochs, ended=True)

    def state_dict(self) -> dict[str, Any]:
        """Where all ranks are after the batch that was given last: the same on every rank."""
        return self._state.as_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state. Raises ManifestError for a state of another mixture or seed."""
        self._state = self.mixture.resume(state)


def tensors(batch: list[PackedSequence]) -> dict[str, torch.Tensor]:
    """A batch of sequences as models take it.

    input_ids, labels, position_ids: int64 (n, length); labels are -100 where an epoch's last sequence was filled up, and
    position_ids begin anew with each document. cu_seqlens: int32 (p + 1,), where each document begins in the batch laid end to end,
    and its length.
    """
    tokens = torch.from_numpy(np.stack([item.tokens for item in batch]).astype(np.int64))
    labels = tokens.clone()
    for row, item in enumerate(batch):
        if item.padding:
            labels[row, -item.padding :] = -100
    length = tokens.shape[1]
    starts = [item.cu_seqlens[:-1] + row * length for row, item in enumerate(batch)]
    return {
        "input_ids": tokens,
        "labels": labels,
        "position_ids": torch.from_numpy(np.stack([item.position_ids for item in batch]).astype(np.int64)),
        "cu_seqlens": torch.from_numpy(np.concatenate([*starts, [len(batch) * length]]).astype(np.int32)),
    }


def _as_list(batch: list[Any]) -> list[Any]:
    return batch
