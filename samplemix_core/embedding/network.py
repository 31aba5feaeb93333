"""Documents through a transformer in batches without padding.

On a CPU, a document gets the same bits whatever it is embedded with: every operation on a row or a document has a shape, or an
order of summation, that doesn't depend on the others. So batches, blocks and workers can be cut at will. On a GPU, the order of
summation depends on the shapes.
"""

import copy
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize

from samplemix_core.embedding.packing import ATTENTION, Documents, first_position, send, use_onednn
from samplemix_core.errors import ModelError
from samplemix_core.logs import event

log = logging.getLogger(__name__)

Ids = npt.NDArray[np.int32]

CPU_BATCH_TOKENS = 4096

MOST_GPU_TOKENS = 2**16
"""Enough to keep a current GPU busy."""

LEAST_TOKENS, LEAST_DOCUMENTS = 64, 8
"""A smaller batch is filled up, because matrix products of few rows are summed in a different order."""

LEAST_TOKENS_BFLOAT16 = 1024
"""The same for bfloat16 on a CPU: AMX sums in a different order below 400 to 750 rows, depending on the model's width."""

MAX_SPREAD = 4
"""A batch's documents, padded to the longest for pooling, take at most this many times the batch's tokens."""


def pack(lengths: npt.NDArray[np.integer], batch_tokens: int) -> list[npt.NDArray[np.int64]]:
    """Split documents of these lengths, (n,), into batches of at most `batch_tokens` tokens, longest first, ties by index.

    Returns arrays of indices into `lengths`, which together hold each index once. A longer document gets its own batch. Raises
    ValueError if a length or the budget is below 1.
    """
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens = {batch_tokens} must be at least 1")
    if lengths.size and int(lengths.min()) < 1:
        raise ValueError(f"lengths[{int(lengths.argmin())}] = {int(lengths.min())} must be at least 1")
    order = np.argsort(-lengths.astype(np.int64), kind="stable")
    ends = np.cumsum(lengths[order], dtype=np.int64)
    batches, start = [], 0
    while start < order.size:
        longest = int(lengths[order[start]])
        fits = int(np.searchsorted(ends, ends[start] - longest + batch_tokens, side="right"))
        stop = max(start + 1, min(fits, start + MAX_SPREAD * batch_tokens // longest))
        batches.append(order[start:stop])
        start = stop
    return batches


def equal_lengths(batches: Sequence[npt.NDArray[np.int64]], lengths: npt.NDArray[np.integer]) -> list[npt.NDArray[np.int64]]:
    """Split batches, each sorted by length, so that all documents in a batch have the same length."""
    return [part for batch in batches for part in np.split(batch, np.flatnonzero(np.diff(lengths[batch])) + 1)]


class Network:
    """A transformer and the modules after it on a device: sequences of token ids in, unit vectors out.

    `packed` lays documents end to end. It is false for models that can't be told where one ends (their positions are relative,
    say) or that attend differently. Their batches hold documents of equal length.
    """

    def __init__(
        self,
        transformer: Any,
        head: Sequence[torch.nn.Module],
        *,
        device: str,
        dtype: torch.dtype,
        packed: bool,
        batch_tokens: int,
        pad_id: int,
    ) -> None:
        # The copy shares the original's tokenizer, and its parameters that need no conversion: both can be large.
        shared: dict[int, Any] = {
            id(weight): torch.nn.Parameter(weight.detach().to(device=device, dtype=dtype), requires_grad=False)
            for weight in transformer.parameters()
        }
        shared[id(transformer.tokenizer)] = transformer.tokenizer
        self._transformer = copy.deepcopy(transformer, shared).to(device=device, dtype=dtype)
        self._head = [copy.deepcopy(module).to(device=device, dtype=torch.float32) for module in head]
        self.packed, self.batch_tokens, self._device, self._pad_id = packed, batch_tokens, device, pad_id
        self._least_tokens = LEAST_TOKENS_BFLOAT16 if (device, dtype) == ("cpu", torch.bfloat16) else LEAST_TOKENS
        if packed:
            self._transformer.model.set_attn_implementation(ATTENTION)
            self._first_position = first_position(self._transformer.model)
            if device == "cpu" and torch.backends.mkldnn.enabled:
                for module in (self._transformer, *self._head):
                    use_onednn(module, batch_tokens)

    def __call__(self, sequences: Sequence[Ids]) -> npt.NDArray[np.float32]:
        """Embed sequences of token ids, none empty; float32 (n, dim) vectors in their order, of length 1 unless not finite.

        If a batch doesn't fit into a GPU's memory, batches are half as large from then on. Raises ModelError if a single sequence
        doesn't fit.
        """
        lengths = np.array([ids.size for ids in sequences], dtype=np.int64)
        lanes = _Lanes(self._device)
        done: list[npt.NDArray[np.int64]] = []
        parts: list[torch.Tensor] = []
        failed: list[int] = []
        left = deque(self._cut(lengths, np.arange(lengths.size)))
        with torch.inference_mode():
            while left:
                batch = left.popleft()
                try:
                    vectors = lanes.run(partial(self._embed, [sequences[i] for i in batch]))
                except torch.OutOfMemoryError as error:
                    failure = str(error)
                else:
                    done.append(batch)
                    parts.append(vectors[: batch.size])
                    continue
                # Only here, after the except clause, has the failed batch's memory been released.
                lanes.clear()
                # A single sequence that failed alongside another batch is retried alone. A batch of several never recurs.
                self._halve(int(lengths[batch].sum()), failure, last=batch.tolist() == failed)
                failed = batch.tolist()
                left = deque(self._cut(lengths, np.concatenate([batch, *left])))
            lanes.wait()
        return np.asarray(torch.cat(parts).numpy()[np.argsort(np.concatenate(done))], dtype=np.float32)

    def _cut(self, lengths: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        """Cut the chosen sequences into batches; `lengths` are those of all sequences."""
        batches = pack(lengths[chosen], self.batch_tokens)
        if not self.packed:
            batches = equal_lengths(batches, lengths[chosen])
        return [chosen[batch] for batch in batches]

    def _halve(self, tokens: int, failure: str, *, last: bool) -> None:
        if last:
            raise ModelError(
                f"The GPU's memory is too small for one sequence of {tokens} tokens: {failure}",
                "Lower embedding.max_seq_tokens, stop other programs on the GPU, or set embedding.device to 'cpu'.",
            )
        # Never more than half of what did not fit, which may be less than a batch.
        self.batch_tokens = max(1, min(self.batch_tokens, tokens) // 2)
        event(log, "out of GPU memory", batch_tokens=self.batch_tokens)

    def fit_batches(self) -> None:
        """On a GPU, make batches as large as its free memory allows."""
        trial = np.full(128, self._pad_id, dtype=np.int32)
        count = CPU_BATCH_TOKENS // trial.size
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        # A single batch, so the peak is that of one.
        self([trial] * count)
        taken = torch.cuda.max_memory_allocated() - before
        self.batch_tokens = fitting_tokens(torch.cuda.mem_get_info()[0], taken / (count * trial.size))

    def _embed(self, sequences: list[Ids]) -> torch.Tensor:
        """Vectors of one batch (n, dim) on the device, followed by those of its filler."""
        missing = self._least_tokens - sum(ids.size for ids in sequences)
        if missing > 0 and self.packed:
            # In pieces, because a model's positions are limited.
            fillers = np.split(np.full(missing, self._pad_id, dtype=np.int32), range(LEAST_TOKENS, missing, LEAST_TOKENS))
            sequences = [*sequences, *fillers]
        elif missing > 0:
            sequences = sequences + sequences[:1] * -(-missing // sequences[0].size)
        lengths = [ids.size for ids in sequences]
        documents = Documents.of(lengths, self._device)
        ids = send(torch.from_numpy(np.concatenate(sequences).astype(np.int64)), self._device)
        inside = send((torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long(), self._device)
        if self.packed:
            hidden = self._hidden(ids, documents)
            tokens = hidden.new_zeros(*inside.shape, hidden.shape[-1])
            tokens[documents.document, documents.place] = hidden
        else:
            features = self._transformer({"input_ids": ids.reshape(inside.shape), "attention_mask": inside})
            tokens = features["token_embeddings"].float()
        few = max(0, LEAST_DOCUMENTS - len(lengths))
        features = {
            "token_embeddings": torch.cat([tokens, tokens[:1].expand(few, -1, -1)]),
            "attention_mask": torch.cat([inside, inside[:1].expand(few, -1)]),
        }
        for module in self._head:
            features = module(features)
        return normalize(features["sentence_embedding"], dim=-1)

    def _hidden(self, ids: torch.Tensor, documents: Documents) -> torch.Tensor:
        """The transformer's output for documents laid end to end, float32 (tokens, hidden)."""
        hidden = self._transformer.model(
            input_ids=ids[None],
            position_ids=documents.place[None] + self._first_position,
            attention_mask=None,
            documents=documents,
        ).last_hidden_state
        return torch.as_tensor(hidden[0]).float()


class _Lanes:
    """Where batches run: on a GPU in two streams that take turns, one copying while the other computes; on a CPU, inline."""

    def __init__(self, device: str) -> None:
        self._streams: list[torch.cuda.Stream] = []
        if device == "cuda":
            # torch leaves the class without types.
            self._streams = [torch.cuda.Stream(), torch.cuda.Stream()]  # type: ignore[no-untyped-call]
        for stream in self._streams:
            stream.wait_stream(torch.cuda.current_stream())

    def run(self, batch: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Run a batch and return its result in this process's memory; from a GPU it has arrived only after wait()."""
        if not self._streams:
            return batch()
        stream = self._streams[0]
        # At most two are in flight.
        stream.synchronize()
        with torch.cuda.stream(stream):
            made = batch()
            here = torch.empty(made.shape, dtype=made.dtype, pin_memory=True)
            here.copy_(made, non_blocking=True)
        self._streams.reverse()
        return here

    def wait(self) -> None:
        """Wait until every result has arrived."""
        for stream in self._streams:
            stream.synchronize()

    def clear(self) -> None:
        """Wait, then release unused GPU memory."""
        self.wait()
        if self._streams:
            torch.cuda.empty_cache()


def fitting_tokens(free: int, bytes_per_token: float) -> int:
    """Tokens of a batch such that two fit into half the free bytes: a power of two from CPU_BATCH_TOKENS to MOST_GPU_TOKENS."""
    tokens = max(1.0, free / 4 / max(bytes_per_token, 1.0))
    return min(MOST_GPU_TOKENS, max(CPU_BATCH_TOKENS, 1 << math.floor(math.log2(tokens))))
