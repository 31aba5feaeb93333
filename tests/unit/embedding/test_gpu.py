"""On a real GPU: the vectors of the CPU, whatever the batches, for models of all kinds; and what its memory does not take."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import ModernBertConfig, MPNetConfig, PretrainedConfig, RobertaConfig

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.embedding.encoder import Encoder, load_encoder
from samplemix_core.embedding.network import CPU_BATCH_TOKENS, MOST_GPU_TOKENS
from samplemix_core.embedding.packing import Documents, attend
from samplemix_core.errors import ModelError
from tests.unit.embedding.conftest import SMALL, save_small

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")

MANY = [f"{i} {'and ' * (i % 300)}so on" for i in range(2000)]


@pytest.fixture
def little_memory() -> Iterator[None]:
    """2 GiB of the GPU's memory for this process."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(2 * 2**30 / torch.cuda.mem_get_info()[1])
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def least_cosine(encoder: Encoder, reference: Encoder, texts: list[str]) -> float:
    ours, theirs = (each.encode(each.tokenize(texts)) for each in (encoder, reference))
    return float(np.sum(ours * theirs, axis=1).min())


@pytest.mark.parametrize(("precision", "least"), [("float32", 0.99999), ("bfloat16", 0.999), ("float16", 0.9999), ("auto", 0.999)])
def test_vectors_are_those_of_the_cpu(
    float32_encoder: Encoder, texts: list[str], precision: Literal["float32", "bfloat16", "float16", "auto"], least: float
) -> None:
    encoder = load_encoder(EmbeddingConfig(precision=precision, device="cuda"))
    assert (encoder.device, encoder.spec["packed"]) == ("cuda", True)
    assert least_cosine(encoder, float32_encoder, [*texts, *MANY[:300]]) > least


def test_half_precision_is_taken_because_it_is_faster() -> None:
    assert load_encoder(EmbeddingConfig()).precision in ("bfloat16", "float16")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_one_kernel_has_each_document_attend_to_itself_alone(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    lengths = [1, 19, 70, 256, 3]
    query, key, value = (torch.randn(1, 4, sum(lengths), 32, device="cuda", dtype=dtype) for _ in range(3))
    out, _ = attend(torch.nn.Identity(), query, key, value, None, documents=Documents.of(lengths, "cuda"))
    for end, length in zip(np.cumsum(lengths).tolist(), lengths, strict=True):
        here = slice(end - length, end)
        alone = [part[:, :, here].double() for part in (query, key, value)]
        expected = scaled_dot_product_attention(alone[0], alone[1], alone[2]).transpose(1, 2)
        assert (out[:, here].double() - expected).abs().max() / expected.abs().max() < 0.01


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_company_order_and_batches_change_a_vector_by_rounding_alone(
    texts: list[str], precision: Literal["float32", "bfloat16"]
) -> None:
    encoder, small = (
        load_encoder(EmbeddingConfig(precision=precision, device="cuda", batch_tokens=tokens)) for tokens in (16_384, 300)
    )
    together = encoder.encode(encoder.tokenize([*texts, *MANY[:300]]))
    in_small = small.encode(small.tokenize([*texts, *MANY[:300]]))
    assert np.sum(together * in_small, axis=1).min() > 0.9999
    backwards = encoder.encode(encoder.tokenize([*texts, *MANY[:300]][::-1]))[::-1]
    assert np.sum(together * backwards, axis=1).min() > 0.9999


def test_the_same_batches_give_the_same_bytes() -> None:
    encoder = load_encoder(EmbeddingConfig(device="cuda"))
    first, second = (encoder.encode(encoder.tokenize(MANY)) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(RobertaConfig(**SMALL, max_position_embeddings=600), id="roberta, positions that begin at 1"),
        pytest.param(ModernBertConfig(**SMALL), id="modernbert, windows of attention"),
        pytest.param(MPNetConfig(**SMALL), id="mpnet, relative positions"),
    ],
)
def test_models_of_other_kinds_give_their_own_vectors(tmp_path: Path, texts: list[str], config: PretrainedConfig) -> None:
    directory = str(save_small(tmp_path, config))
    reference = load_encoder(EmbeddingConfig(encoder=directory, precision="float32", device="cpu"))
    assert least_cosine(load_encoder(EmbeddingConfig(encoder=directory, device="cuda")), reference, texts) > 0.999


def test_batches_follow_the_memory_that_is_free() -> None:
    encoder = load_encoder(EmbeddingConfig(device="cuda", max_seq_tokens=200))
    assert encoder.batch_tokens in [2**power for power in range(12, 17)]
    assert CPU_BATCH_TOKENS <= encoder.batch_tokens <= MOST_GPU_TOKENS
    torch.cuda.reset_peak_memory_stats()
    encoder.encode(encoder.tokenize(MANY))
    assert torch.cuda.max_memory_allocated() < torch.cuda.mem_get_info()[1] / 2


@pytest.mark.usefixtures("little_memory")
def test_batches_that_memory_does_not_take_are_halved_until_it_does(float32_encoder: Encoder) -> None:
    encoder = load_encoder(EmbeddingConfig(device="cuda", precision="float32", batch_tokens=2**22))
    assert least_cosine(encoder, float32_encoder, MANY) > 0.99999
    assert 1024 < encoder.batch_tokens < 2**22


def test_one_sequence_that_memory_does_not_take_is_an_error_with_its_remedy(little_memory: None) -> None:
    encoder = load_encoder(EmbeddingConfig(device="cuda", precision="float32", max_seq_tokens=100))
    taken = []
    for size in (2**24, 2**18, 2**12, 1):
        with contextlib.suppress(torch.OutOfMemoryError):
            while True:
                taken.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
    with pytest.raises(ModelError, match="does not take one sequence of 100 tokens"):
        encoder.encode(encoder.tokenize(["word " * 200, "word " * 300]))
