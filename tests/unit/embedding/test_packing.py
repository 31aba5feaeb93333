"""Attention in packed batches: what torch gives for each document alone, and where scores are extreme."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from samplemix_core.embedding.packing import attend


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("size", "shift"), [(1.0, 0.0), (6.0, 0.0), (1.0, 30.0), (60.0, 0.0), (60.0, -30.0)])
def test_each_document_attends_to_itself_alone_whatever_its_scores(dtype: torch.dtype, size: float, shift: float) -> None:
    """From small scores to some of thousands, which overflow exp() where they are not shifted by the largest."""
    torch.manual_seed(3)
    query, key, value = (torch.randn(1, 4, 90, 32).mul(size).to(dtype) for _ in range(3))
    key = key + shift
    ends = [1, 20, 90]
    out, _ = attend(torch.nn.Identity(), query, key, value, None, ends=ends)
    assert out.shape == (1, 90, 4, 32)
    for start, end in zip([0, *ends], ends, strict=False):
        here = slice(start, end)
        alone = [part[:, :, here].double() for part in (query, key, value)]
        expected = scaled_dot_product_attention(alone[0], alone[1], alone[2]).transpose(1, 2)
        difference = (out[:, here].double() - expected).abs().max() / expected.abs().max()
        assert difference < (1e-3 if dtype is torch.float32 else 0.05)
