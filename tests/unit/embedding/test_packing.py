"""Attention in packed batches: what torch gives for each document alone, and where scores are extreme."""

import inspect
from typing import Any

import pytest
import torch
from torch.nn.attention import varlen
from torch.nn.functional import scaled_dot_product_attention

from samplemix_core.embedding.packing import Documents, _attend_at_once, _attend_padded, attend


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("size", "shift"), [(1.0, 0.0), (6.0, 0.0), (1.0, 30.0), (60.0, 0.0), (60.0, -30.0)])
def test_each_document_attends_to_itself_alone_whatever_its_scores(dtype: torch.dtype, size: float, shift: float) -> None:
    """From small scores to some of thousands, which overflow exp() where they are not shifted by the largest."""
    torch.manual_seed(3)
    query, key, value = (torch.randn(1, 4, 90, 32).mul(size).to(dtype) for _ in range(3))
    key = key + shift
    ends = [1, 20, 90]
    out, _ = attend(torch.nn.Identity(), query, key, value, None, documents=Documents.of([1, 19, 70], "cpu"))
    assert out.shape == (1, 90, 4, 32)
    for start, end in zip([0, *ends], ends, strict=False):
        here = slice(start, end)
        alone = [part[:, :, here].double() for part in (query, key, value)]
        expected = scaled_dot_product_attention(alone[0], alone[1], alone[2]).transpose(1, 2)
        difference = (out[:, here].double() - expected).abs().max() / expected.abs().max()
        assert difference < (1e-3 if dtype is torch.float32 else 0.05)


def test_documents_know_where_their_tokens_are() -> None:
    documents = Documents.of([2, 1, 3], "cpu")
    assert documents.starts.tolist() == [0, 2, 3, 6]
    assert documents.starts.dtype == torch.int32
    assert documents.document.tolist() == [0, 0, 1, 2, 2, 2]
    assert documents.place.tolist() == [0, 1, 0, 0, 1, 2]


def test_a_gpus_one_kernel_is_asked_for_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is a GPU's. Here its place is taken by attention under a mask, with the kernel's own signature."""
    signature = inspect.signature(varlen.varlen_attn)

    def masked(*arguments: Any, **named: Any) -> torch.Tensor:
        given = signature.bind(*arguments, **named).arguments
        if "num_splits" in signature.parameters:
            assert given["num_splits"] == 1, "a document's sums depend on its company"
        assert given["max_q"] == given["max_k"] == 70
        starts = given["cu_seq_q"]
        assert starts is given["cu_seq_k"]
        document = torch.bucketize(torch.arange(90), starts[1:], right=True)
        query, key, value = (given[name].transpose(0, 1)[None] for name in ("query", "key", "value"))
        mask = document[:, None] == document
        return scaled_dot_product_attention(query, key, value, mask, scale=given["scale"])[0].transpose(0, 1)

    monkeypatch.setattr(varlen, "varlen_attn", masked)
    torch.manual_seed(3)
    query, key, value = (torch.randn(1, 4, 90, 32) for _ in range(3))
    documents = Documents.of([1, 19, 70], "cpu")
    out = _attend_at_once(query, key, value, documents, 0.3)
    expected, _ = attend(torch.nn.Identity(), query, key, value, None, documents=documents, scaling=0.3)
    torch.testing.assert_close(out, expected)


def test_what_other_gpus_compute_in_one_kernel_is_the_same() -> None:
    torch.manual_seed(3)
    query, key, value = (torch.randn(1, 4, 91, 32) for _ in range(3))
    documents = Documents.of([70, 19, 1, 1], "cpu")
    out = _attend_padded(query, key, value, documents, 0.3)
    expected, _ = attend(torch.nn.Identity(), query, key, value, None, documents=documents, scaling=0.3)
    torch.testing.assert_close(out, expected)
