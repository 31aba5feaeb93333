"""Batches that memory does not take are halved until it does, and nothing of what comes out changes."""

import logging
from collections.abc import Callable

import numpy as np
import pytest
import torch

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.embedding.encoder import Encoder, load_encoder
from samplemix_core.embedding.network import MOST_GPU_TOKENS, Ids, Network, fitting_tokens
from samplemix_core.errors import ModelError

Embed = Callable[[Network, list[Ids]], torch.Tensor]


@pytest.fixture
def encoder() -> Encoder:
    return load_encoder(EmbeddingConfig(precision="float32", device="cpu", max_seq_tokens=64, batch_tokens=1000))


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """An allocator that takes so many tokens at once and no more; returns the tokens of the batches it took."""
    embed = Network._embed

    def use(room: int) -> list[int]:
        taken: list[int] = []

        def embed_if_it_fits(network: Network, sequences: list[Ids]) -> torch.Tensor:
            tokens = sum(ids.size for ids in sequences)
            if tokens > room:
                raise torch.OutOfMemoryError(f"CUDA out of memory: {tokens} tokens")
            taken.append(tokens)
            return embed(network, sequences)

        monkeypatch.setattr(Network, "_embed", embed_if_it_fits)
        return taken

    return use


def test_batches_are_halved_until_they_fit_and_stay_so(
    encoder: Encoder, failing: Callable[[int], list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    texts = [f"document {i} " + "and more of it " * (i % 17) for i in range(60)]
    tokenized = encoder.tokenize(texts)
    expected = encoder.encode(tokenized)
    assert encoder.batch_tokens == 1000
    taken = failing(300)
    with caplog.at_level(logging.INFO):
        np.testing.assert_array_equal(encoder.encode(tokenized), expected)
    assert sum(taken) == tokenized.ids.size
    assert 150 <= encoder.batch_tokens <= 300
    assert max(taken) <= encoder.batch_tokens
    assert [record.getMessage() for record in caplog.records].count("out of GPU memory") == 2
    # What did not fit is not tried again.
    caplog.clear()
    with caplog.at_level(logging.INFO):
        encoder.encode(tokenized)
    assert not caplog.records


def test_a_single_sequence_that_does_not_fit_is_an_error_with_its_remedy(
    encoder: Encoder, failing: Callable[[int], list[int]]
) -> None:
    failing(40)
    with pytest.raises(
        ModelError, match=r"is too small for one sequence of 64 tokens: CUDA out of memory.*Lower embedding\.max_seq"
    ):
        encoder.encode(encoder.tokenize(["a", "word " * 100, "b"]))


@pytest.mark.parametrize(
    ("free", "per_token", "tokens"),
    [(80 * 2**30, 20_000, MOST_GPU_TOKENS), (2**30, 20_000, 8192), (2**30, 16_384, 16_384), (2**20, 20_000, 4096), (0, 0, 4096)],
)
def test_a_gpus_batches_follow_its_free_memory(free: int, per_token: float, tokens: int) -> None:
    assert fitting_tokens(free, per_token) == tokens
