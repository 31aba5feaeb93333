"""Documents through a transformer without padding: laid end to end, and each attends to itself alone.

A document gets the same bits in whatever company it is embedded: every operation on a row or on a document has a shape, or an order
of summation, that does not depend on the others. So batches, blocks and workers can be cut at will.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize, scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface, AttentionMaskInterface

Ids = npt.NDArray[np.int32]

ATTENTION = "samplemix_packed"
LEAST_TOKENS, LEAST_DOCUMENTS = 64, 8
"""A smaller batch is filled up: of a few rows, matrix products are summed in another order."""

LARGEST_SUM = 2.0**100
"""Of exponentials of a token's scores: leaves room for their products with values in bfloat16's range."""

MAX_SPREAD = 4
"""A batch's documents, padded to the longest for pooling, take at most this many times the batch's tokens."""


def pack(lengths: npt.NDArray[np.integer], batch_tokens: int) -> list[npt.NDArray[np.int64]]:
    """Split documents of these lengths, (n,), into batches of at most `batch_tokens` tokens, longest first, ties by index.

    Returns arrays of indices into `lengths`, which together hold each index once; a longer document is a batch of its own. Raises
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
    """Split batches further, so that all documents of one have the same length; within a batch they are sorted by it."""
    return [part for batch in batches for part in np.split(batch, np.flatnonzero(np.diff(lengths[batch])) + 1)]


def attend(
    _module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: torch.Tensor | None,
    *,
    ends: list[int],
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of each document to itself; called by transformers' models, whose attention is set to ATTENTION.

    query, key and value are (1, heads, tokens, size); `ends` is where each document ends. Returns (1, tokens, heads, size).
    Raises NotImplementedError for a layer whose tokens see their neighbourhood alone.
    """
    if sliding_window is not None:
        raise NotImplementedError("attention within a window")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    own = _attend_bfloat16 if query.dtype is torch.bfloat16 and query.device.type == "cpu" else scaled_dot_product_attention
    out = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format)
    start = 0
    for end in ends:
        here = slice(start, end)
        out[0, here] = own(query[:, :, here], key[:, :, here], value[:, :, here], scale=scale)[0].transpose(0, 1)
        start = end
    return out, None


def _attend_bfloat16(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, scale: float) -> torch.Tensor:
    """What torch's attention gives, in half its time: on CPUs that one multiplies bfloat16 no faster than float32.

    Less the mean of the keys, a query's scores have the mean 0, so their largest is not below it and the sum of the exponentials
    can't vanish; nor does the softmax change. Where a score is so large that they could overflow, torch's attention does it.
    """
    centred = key - key.mean(dim=-2, keepdim=True)
    weights = torch.matmul(query * (scale * math.log2(math.e)), centred.transpose(-1, -2)).exp2_()
    sums = weights.sum(dim=-1, keepdim=True)
    if not bool(sums.max() < LARGEST_SUM):
        return scaled_dot_product_attention(query, key, value, scale=scale)
    return torch.matmul(weights, value).div_(sums)


AttentionInterface.register(ATTENTION, attend)
# No mask is made: `ends` says what belongs together.
AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)


class OneDnnLinear(torch.nn.Module):
    """A linear layer on oneDNN, its weight laid out once.

    torch gives float32 products to MKL, which on AMD's processors leaves AVX-512 alone: 2.3 times slower.
    """

    def __init__(self, linear: torch.nn.Linear, rows: int) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """inputs (..., k) times the weight, plus the bias: (..., n)."""
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(inputs, self._weight, self._bias, "none", [], "")
        return product


def _use_onednn(module: torch.nn.Module, rows: int) -> None:
    for name, child in module.named_children():
        if type(child) is torch.nn.Linear:
            setattr(module, name, OneDnnLinear(child, rows))
        else:
            _use_onednn(child, rows)


def _first_position(model: torch.nn.Module) -> int:
    """The position of a first token: 0, or the one after the padding's in RoBERTa's kin."""
    for module in model.modules():
        padding = getattr(module, "padding_idx", None)
        if isinstance(padding, int) and isinstance(getattr(module, "position_embeddings", None), torch.nn.Embedding):
            return padding + 1
    return 0


class Network:
    """A transformer and what follows it on a device: sequences of token ids in, unit vectors out.

    `packed` lays documents end to end. Some kinds of model can't be told where one ends (their positions are relative, say), or
    attend otherwise: for these it is false, and a batch is documents of one length.
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
        # A copy shares with the original its parameters that are what they are to be, and its tokenizer: both can be large.
        shared: dict[int, Any] = {
            id(weight): torch.nn.Parameter(weight.detach().to(device=device, dtype=dtype), requires_grad=False)
            for weight in transformer.parameters()
        }
        shared[id(transformer.tokenizer)] = transformer.tokenizer
        self._transformer = copy.deepcopy(transformer, shared).to(device=device, dtype=dtype)
        self._head = [copy.deepcopy(module).to(device=device, dtype=torch.float32) for module in head]
        self.packed, self._device, self._batch_tokens, self._pad_id = packed, device, batch_tokens, pad_id
        if packed:
            self._transformer.model.set_attn_implementation(ATTENTION)
            self._first_position = _first_position(self._transformer.model)
            if device == "cpu" and torch.backends.mkldnn.enabled:
                for module in (self._transformer, *self._head):
                    _use_onednn(module, batch_tokens)

    def __call__(self, sequences: Sequence[Ids]) -> npt.NDArray[np.float32]:
        """Embed sequences of token ids, none empty; float32 (n, dim) vectors in their order, of length 1 unless not finite."""
        lengths = np.array([ids.size for ids in sequences], dtype=np.int64)
        batches = pack(lengths, self._batch_tokens)
        if not self.packed:
            batches = equal_lengths(batches, lengths)
        parts: list[npt.NDArray[np.float32]] = []
        with torch.inference_mode():
            for batch in batches:
                chosen = [sequences[i] for i in batch]
                parts.append(self._embed(chosen)[: batch.size])
        vectors = np.concatenate(parts)
        return vectors[np.argsort(np.concatenate(batches))]

    def _embed(self, sequences: list[Ids]) -> npt.NDArray[np.float32]:
        """Vectors of one batch, and after them those of what it was filled up with."""
        missing = LEAST_TOKENS - sum(ids.size for ids in sequences)
        if missing > 0 and self.packed:
            sequences = [*sequences, np.full(missing, self._pad_id, dtype=np.int32)]
        elif missing > 0:
            sequences = sequences + sequences[:1] * -(-missing // sequences[0].size)
        lengths = [ids.size for ids in sequences]
        ids = torch.from_numpy(np.concatenate(sequences).astype(np.int64)).to(self._device)
        inside = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long().to(self._device)
        if self.packed:
            tokens = pad_sequence(list(torch.split(self._hidden(ids, lengths), lengths)), batch_first=True)
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
        unit = normalize(features["sentence_embedding"], dim=-1)
        return np.asarray(unit.cpu().numpy(), dtype=np.float32)

    def _hidden(self, ids: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        """The transformer's output for documents laid end to end, float32 (tokens, hidden)."""
        positions = torch.cat([torch.arange(length) for length in lengths]) + self._first_position
        hidden = self._transformer.model(
            input_ids=ids[None],
            position_ids=positions[None].to(self._device),
            attention_mask=None,
            ends=np.cumsum(lengths).tolist(),
        ).last_hidden_state
        return torch.as_tensor(hidden[0]).float()
