"""Attention without padding: documents are laid end to end, and each attends only to itself."""

import inspect
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.attention import varlen
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

ATTENTION = "samplemix_packed"
VARIED_LENGTHS = (8, 0)
"""Least capability of GPUs that have a kernel for documents of different lengths, in half precision: Ampere's."""

_ONE_SPLIT: dict[str, Any] = {"num_splits": 1} if "num_splits" in inspect.signature(varlen.varlen_attn).parameters else {}
"""Makes a document's order of summation independent of the other documents. torch before 2.12 does so by default."""

LARGEST_SUM = 2.0**100
"""Limit on the sum of exponentials of a token's scores: leaves room for their products with values in bfloat16's range."""


@dataclass(frozen=True, eq=False)
class Documents:
    """Positions of documents laid end to end.

    lengths: tokens of each. On the device, starts: int32 (n + 1,), where each starts and the last ends; document and place: int64
    (tokens,), each token's document and its place in it.
    """

    lengths: list[int]
    starts: torch.Tensor
    document: torch.Tensor
    place: torch.Tensor

    @classmethod
    def of(cls, lengths: list[int], device: str) -> "Documents":
        """Documents of these lengths."""
        starts = torch.from_numpy(np.cumsum([0, *lengths], dtype=np.int32))
        document = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths))
        place = torch.arange(sum(lengths)) - starts[document]
        return cls(lengths, *(send(tensor, device) for tensor in (starts, document, place)))


def send(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """Move a tensor from this process's memory to a device; to a GPU through pinned memory, so that the copy doesn't block."""
    return tensor.pin_memory().to(device, non_blocking=True) if device == "cuda" else tensor


def attend(
    _module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: torch.Tensor | None,
    *,
    documents: Documents,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Compute each document's attention to itself; called by transformers models whose attention is set to ATTENTION.

    query, key and value are (1, heads, tokens, size). Returns (1, tokens, heads, size).
    Raises NotImplementedError for a layer whose tokens see only their neighbourhood.
    """
    if sliding_window is not None:
        raise NotImplementedError("attention within a window")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if query.device.type == "cuda":
        varied = query.dtype is not torch.float32 and torch.cuda.get_device_capability(query.device) >= VARIED_LENGTHS
        return (_attend_at_once if varied else _attend_padded)(query, key, value, documents, scale), None
    own = _attend_bfloat16 if query.dtype is torch.bfloat16 else scaled_dot_product_attention
    out = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format)
    start = 0
    for length in documents.lengths:
        here = slice(start, start + length)
        out[0, here] = own(query[:, :, here], key[:, :, here], value[:, :, here], scale=scale)[0].transpose(0, 1)
        start += length
    return out, None


def _attend_at_once(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, documents: Documents, scale: float
) -> torch.Tensor:
    """Attention of all documents in one GPU kernel, in half precision; each has its own order of summation."""
    starts, longest = documents.starts, max(documents.lengths)
    queries, keys, values = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    out = varlen.varlen_attn(queries, keys, values, starts, starts, longest, longest, scale=scale, **_ONE_SPLIT)
    return torch.as_tensor(out)[None]


def _attend_padded(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, documents: Documents, scale: float) -> torch.Tensor:
    """Attention of all documents in one kernel on any GPU, in any precision. They are padded to the longest only for this."""
    shape = len(documents.lengths), max(documents.lengths)
    rows = documents.document, documents.place

    def padded(tensor: torch.Tensor) -> torch.Tensor:
        laid_out = tensor.new_zeros(*shape, *tensor.shape[1::2])
        laid_out[rows] = tensor[0].transpose(0, 1)
        return laid_out.transpose(1, 2)

    inside = torch.zeros(shape, dtype=torch.bool, device=query.device)
    inside[rows] = True
    mask = inside[:, None, None]
    out = scaled_dot_product_attention(padded(query), padded(key), padded(value), attn_mask=mask, scale=scale)
    return out.transpose(1, 2)[rows][None]


def _attend_bfloat16(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, scale: float) -> torch.Tensor:
    """Compute the same as torch's attention in half the time: on CPUs, torch multiplies bfloat16 no faster than float32.

    Subtracting the mean of the keys gives a query's scores the mean 0 and doesn't change the softmax. So the largest score isn't
    below 0, and the sum of exponentials can't vanish. If a score is so large that it could overflow, torch's attention is used.
    """
    centred = key - key.mean(dim=-2, keepdim=True)
    weights = torch.matmul(query * (scale * math.log2(math.e)), centred.transpose(-1, -2)).exp2_()
    sums = weights.sum(dim=-1, keepdim=True)
    if not bool(sums.max() < LARGEST_SUM):
        return scaled_dot_product_attention(query, key, value, scale=scale)
    return torch.matmul(weights, value).div_(sums)


AttentionInterface.register(ATTENTION, attend)
# No mask is made: `documents` says what belongs together.
AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)


class OneDnnLinear(torch.nn.Module):
    """A linear layer on oneDNN, with its weight laid out once.

    torch gives float32 products to MKL, which doesn't use AVX-512 on AMD processors and is 2.3 times slower there.
    """

    def __init__(self, linear: torch.nn.Linear, rows: int) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """inputs (..., k) times the weight, plus the bias: (..., n)."""
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(inputs, self._weight, self._bias, "none", [], "")
        return product


def use_onednn(module: torch.nn.Module, rows: int) -> None:
    """Have oneDNN compute all linear layers in the module, for inputs of about this many rows.

    On processors where it has no bfloat16 (without AVX-512), such layers stay torch's, which compute it slowly.
    """
    for name, child in module.named_children():
        if type(child) is torch.nn.Linear:
            if child.weight.dtype is torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
                continue
            setattr(module, name, OneDnnLinear(child, rows))
        else:
            use_onednn(child, rows)


def first_position(model: torch.nn.Module) -> int:
    """Return the position of a document's first token: 0, or in models like RoBERTa the one after the padding's."""
    for module in model.modules():
        padding = getattr(module, "padding_idx", None)
        if isinstance(padding, int) and isinstance(getattr(module, "position_embeddings", None), torch.nn.Embedding):
            return padding + 1
    return 0
