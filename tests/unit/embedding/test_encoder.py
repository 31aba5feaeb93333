"""The real MiniLM: parity with sentence-transformers, determinism, identity, and models that are refused."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import BertConfig, ModernBertConfig, MPNetConfig, PretrainedConfig, RobertaConfig

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.embedding import encoder as encoder_module
from samplemix_core.embedding import loading
from samplemix_core.embedding.encoder import Encoder, load_encoder, load_known_encoder
from samplemix_core.embedding.loading import (
    SHIPPED_WEIGHTS_SHA256,
    TIMED_TOKENS,
    candidate_precisions,
    choose_network,
    detect_hardware,
    locate_model,
)
from samplemix_core.embedding.network import CPU_BATCH_TOKENS
from samplemix_core.embedding.tokens import PROBE
from samplemix_core.errors import ModelError
from samplemix_core.identity import fingerprint
from tests.unit.embedding.conftest import SMALL, save_small

Vectors = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def reference(texts: list[str]) -> Vectors:
    model = SentenceTransformer(str(locate_model(EmbeddingConfig())), device="cpu")
    return np.asarray(model.encode(texts, normalize_embeddings=True), dtype=np.float32)


@pytest.mark.parametrize(("precision", "least"), [("float32", 0.99999), ("bfloat16", 0.999)])
def test_vectors_are_those_of_sentence_transformers(
    texts: list[str], reference: Vectors, precision: Literal["float32", "bfloat16"], least: float
) -> None:
    encoder = load_encoder(EmbeddingConfig(precision=precision, device="cpu"))
    vectors = encoder.encode(encoder.tokenize(texts))
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(texts), 384)
    assert np.sum(vectors * reference, axis=1).min() > least


def test_vectors_are_unit_and_in_input_order(float32_encoder: Encoder, texts: list[str], reference: Vectors) -> None:
    backwards = float32_encoder.encode(float32_encoder.tokenize(texts[::-1]))[::-1]
    np.testing.assert_allclose(np.linalg.norm(backwards, axis=1), 1, atol=1e-6)
    assert np.sum(backwards * reference, axis=1).min() > 0.99999


def test_equal_input_gives_equal_bytes(float32_encoder: Encoder, texts: list[str]) -> None:
    first, second = (float32_encoder.encode(float32_encoder.tokenize(texts)) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_documents_that_read_the_same_share_one_vector(float32_encoder: Encoder, texts: list[str]) -> None:
    same_start = "word " * 5000
    vectors = float32_encoder.encode(float32_encoder.tokenize([*texts, same_start]))
    assert vectors[0].tobytes() == vectors[10].tobytes()
    assert vectors[8].tobytes() == vectors[-1].tobytes()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_company_order_and_batches_do_not_change_a_bit_of_a_vector(
    texts: list[str], precision: Literal["float32", "bfloat16"]
) -> None:
    encoder, small = (
        load_encoder(EmbeddingConfig(precision=precision, device="cpu", batch_tokens=tokens)) for tokens in (4096, 300)
    )
    assert small.encoder_id == encoder.encoder_id
    together = encoder.encode(encoder.tokenize(texts))
    np.testing.assert_array_equal(np.concatenate([encoder.encode(encoder.tokenize([text])) for text in texts]), together)
    np.testing.assert_array_equal(small.encode(small.tokenize(texts)), together)
    shuffled = np.random.default_rng(1).permutation(len(texts) * 3)
    vectors = encoder.encode(encoder.tokenize([f"{texts[i % len(texts)]}{'' if i < len(texts) else i}" for i in shuffled]))
    np.testing.assert_array_equal(vectors[np.argsort(shuffled)[: len(texts)]], together)


def test_a_long_document_is_the_mean_of_its_windows_where_that_is_asked_for(texts: list[str]) -> None:
    head, whole = (
        load_encoder(EmbeddingConfig(precision="float32", device="cpu", max_seq_tokens=34, windows=windows)) for windows in (1, 3)
    )
    assert head.encoder_id != whole.encoder_id
    parts = ["lighthouse keeper " * 16, "quantum chromodynamics " * 4 + "of", "dolphins sing"]
    counts = [int(head.tokenize([part]).n_tokens[0]) for part in parts]
    assert counts[0] == 32
    long = " ".join(parts)
    vectors = whole.encode(whole.tokenize([*texts[:2], long]))
    np.testing.assert_array_equal(vectors[:2], head.encode(head.tokenize(texts[:2])))
    assert np.linalg.norm(vectors[2]) == pytest.approx(1, abs=1e-6)
    tokenized = whole.tokenize([long])
    windows = whole.encode(replace(tokenized, first=np.arange(tokenized.offsets.size)))
    mean = np.diff(tokenized.offsets) @ windows
    np.testing.assert_allclose(vectors[2], mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_array_equal(windows[0], head.encode(head.tokenize([long]))[0])


def test_nothing_in_gives_nothing_out(float32_encoder: Encoder) -> None:
    assert float32_encoder.encode(float32_encoder.tokenize([])).shape == (0, 384)


def test_one_process_loads_a_configuration_once() -> None:
    config = EmbeddingConfig(precision="float32", device="cpu")
    assert load_encoder(config) is load_encoder(EmbeddingConfig(precision="float32", device="cpu"))


def test_spec_names_what_decides_a_vector(float32_encoder: Encoder) -> None:
    spec = float32_encoder.spec
    assert spec["weights_sha256"] == SHIPPED_WEIGHTS_SHA256["all-MiniLM-L6-v2"]
    assert (spec["dim"], spec["max_seq"], spec["device"], spec["precision"]) == (384, 256, "cpu", "float32")
    assert spec["modules"][0]["pooling_mode"] == "mean"
    assert float32_encoder.encoder_id == fingerprint(spec)
    assert spec["tokenizer"] == float32_encoder.tokenizer_id


class _MadeUp:
    """In place of a network: with its own vectors; and the test says how many seconds it takes."""

    packed = True

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def __call__(self, _: object) -> Vectors:
        return self._vectors


@pytest.mark.parametrize(
    ("seconds", "turned", "chosen"),
    [(0.5, 0.01, "bfloat16"), (0.9, 0.01, "float32"), (2.0, 0.01, "float32"), (0.5, 0.2, "float32")],
)
def test_auto_takes_the_faster_precision_that_is_true_to_float32(
    monkeypatch: pytest.MonkeyPatch, float32_encoder: Encoder, seconds: float, turned: float, chosen: str
) -> None:
    exact = np.array([[1.0, 0.0]], dtype=np.float32)
    networks: dict[str, Any] = {
        "float32": _MadeUp(exact),
        "bfloat16": _MadeUp(np.array([[np.cos(turned), np.sin(turned)]], dtype=np.float32)),
    }
    monkeypatch.setattr(loading, "_seconds", lambda network, _: 1.0 if network is networks["float32"] else seconds)
    probe = float32_encoder.tokenize(["text"])
    assert choose_network(lambda precision, _: networks[precision], ("float32", "bfloat16"), probe)[0] == chosen


def test_precisions_are_compared_on_as_many_tokens_as_are_embedded_at_once(
    monkeypatch: pytest.MonkeyPatch, float32_encoder: Encoder
) -> None:
    timed: list[int] = []

    def seconds(_: object, sequences: list[Any]) -> float:
        timed.append(sum(ids.size for ids in sequences))
        return 1.0

    monkeypatch.setattr(loading, "_seconds", seconds)
    network: Any = _MadeUp(np.array([[1.0, 0.0]], dtype=np.float32))
    probe = float32_encoder.tokenize(list(PROBE))
    choose_network(lambda *_: network, ("float32", "bfloat16"), probe, TIMED_TOKENS["cpu"])
    assert all(abs(tokens - CPU_BATCH_TOKENS) < probe.ids.size for tokens in timed)


def test_a_clock_decides_once(monkeypatch: pytest.MonkeyPatch, float32_encoder: Encoder) -> None:
    """What is known is gone on with, whatever a clock would say now; another machine's vectors are not known."""
    auto = EmbeddingConfig(device="cpu")
    spec, asked = float32_encoder.spec, list[str]()

    def load(config: EmbeddingConfig) -> Encoder:
        asked.append(config.precision)
        return float32_encoder

    monkeypatch.setattr(encoder_module, "_loaded", {auto.model_copy(update={"precision": "float32"}): float32_encoder})
    monkeypatch.setattr(encoder_module, "_load", load)
    other = spec | {"max_seq": 1}
    assert load_known_encoder(auto, [other, spec | {"name": "another"}, spec]) is float32_encoder
    assert asked == []
    load_known_encoder(auto, [spec | {"vectors": "of another processor"}])
    assert asked == ["auto"]


IDENTITY = """
from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.embedding.encoder import load_encoder
from samplemix_core.identity import fingerprint
encoder = load_encoder(EmbeddingConfig(device="cpu", precision="float32"))
print(encoder.encoder_id, fingerprint(encoder.family))
"""


def test_other_instructions_are_another_encoder_of_the_same_family(float32_encoder: Encoder) -> None:
    """They round otherwise: most vectors differ in a bit."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("needs AVX-512: without it, this processor would do the same twice")

    older = {**os.environ, "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", IDENTITY], env=older, capture_output=True, check=True)
    encoder_id, family = done.stdout.decode().split()
    assert encoder_id != float32_encoder.encoder_id
    assert family == fingerprint(float32_encoder.family)


def test_what_auto_chose_is_the_encoders_identity() -> None:
    encoder = load_encoder(EmbeddingConfig(device="cpu"))
    assert encoder.precision in candidate_precisions(EmbeddingConfig(), "cpu", detect_hardware())
    # What was chosen is its identity, not that it was left to choose: other hardware gives another encoder.
    assert (encoder.spec["device"], encoder.spec["precision"]) == ("cpu", encoder.precision)
    chosen = {precision: load_encoder(EmbeddingConfig(device="cpu", precision=precision)) for precision in ("float32", "bfloat16")}
    assert chosen["float32"].encoder_id != chosen["bfloat16"].encoder_id
    assert chosen[encoder.precision] is encoder


@pytest.mark.parametrize(
    ("config", "packed"),
    [
        pytest.param(BertConfig(**SMALL), True, id="bert"),
        pytest.param(RobertaConfig(**SMALL, max_position_embeddings=600), True, id="roberta, positions that begin at 1"),
        pytest.param(ModernBertConfig(**SMALL), False, id="modernbert, windows of attention"),
        pytest.param(MPNetConfig(**SMALL), False, id="mpnet, relative positions"),
    ],
)
def test_a_model_is_packed_where_its_kind_allows_and_gives_its_own_vectors_anyway(
    tmp_path: Path, texts: list[str], config: PretrainedConfig, packed: bool
) -> None:
    directory = save_small(tmp_path, config)
    encoder = load_encoder(EmbeddingConfig(encoder=str(directory), precision="float32", device="cpu"))
    assert encoder.spec["packed"] is packed
    vectors = encoder.encode(encoder.tokenize(texts))
    model = SentenceTransformer(str(directory), device="cpu")
    model.max_seq_length = encoder.max_seq
    expected = model.encode(texts, normalize_embeddings=True)
    assert np.sum(vectors * expected, axis=1).min() > 0.99999
    np.testing.assert_array_equal(np.concatenate([encoder.encode(encoder.tokenize([text])) for text in texts]), vectors)


def test_max_seq_is_the_models_at_most() -> None:
    assert load_encoder(EmbeddingConfig(precision="float32", device="cpu", max_seq_tokens=4096)).max_seq == 256
    short = load_encoder(EmbeddingConfig(precision="float32", device="cpu", max_seq_tokens=16))
    assert short.max_seq == 16
    assert np.diff(short.tokenize(["word " * 100]).offsets).tolist() == [16]


def test_a_model_by_path_is_followed_in_its_own_pooling(model_copy: Path, texts: list[str]) -> None:
    pooling = model_copy / "1_Pooling" / "config.json"
    pooling.write_text(
        json.dumps(json.loads(pooling.read_text()) | {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    )
    encoder = load_encoder(EmbeddingConfig(encoder=str(model_copy), precision="float32", device="cpu"))
    expected = SentenceTransformer(str(model_copy), device="cpu").encode(texts)
    assert np.sum(encoder.encode(encoder.tokenize(texts)) * expected, axis=1).min() > 0.99999
    assert encoder.spec["modules"][0]["pooling_mode"] == "cls"
    assert encoder.spec["name"] == "model"


def test_a_model_without_normalize_still_gives_unit_vectors(model_copy: Path) -> None:
    modules = json.loads((model_copy / "modules.json").read_text())
    (model_copy / "modules.json").write_text(json.dumps(modules[:2]))
    encoder = load_encoder(EmbeddingConfig(encoder=str(model_copy), precision="float32", device="cpu"))
    assert np.linalg.norm(encoder.encode(encoder.tokenize(["text"]))) == pytest.approx(1, abs=1e-6)


def test_unsupported_modules_are_refused_by_name(model_copy: Path) -> None:
    modules = json.loads((model_copy / "modules.json").read_text())
    (model_copy / "modules.json").write_text(json.dumps(modules[:1]))
    with pytest.raises(ModelError, match=r"made of Transformer; supported are Transformer \+ Pooling"):
        load_encoder(EmbeddingConfig(encoder=str(model_copy), device="cpu"))


def test_a_prompt_is_read_before_each_text_and_counted_with_none(
    float32_encoder: Encoder, model_copy: Path, texts: list[str]
) -> None:
    path = model_copy / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prompts": {"doc": "passage: "}, "default_prompt_name": "doc"}))
    peer = SentenceTransformer(str(model_copy), device="cpu")
    configs = {
        given: EmbeddingConfig(encoder=str(model_copy), device="cpu", precision="float32", prompt=given)
        for given in (None, "query: ", "")
    }
    found = set()
    for given, config in configs.items():
        encoder = load_encoder(config)
        found.add(encoder.encoder_id)
        read = "passage: " if given is None else given
        assert encoder.spec.get("prompt", "") == read
        tokenized = encoder.tokenize(texts)
        expected = peer.encode(texts, prompt=read, normalize_embeddings=True)
        np.testing.assert_allclose(encoder.encode(tokenized), expected, atol=2e-6)
        np.testing.assert_array_equal(tokenized.n_tokens, float32_encoder.tokenize(texts).n_tokens)
    assert len(found) == 3


def test_each_window_of_a_long_text_begins_with_the_prompt() -> None:
    encoder = load_encoder(EmbeddingConfig(device="cpu", precision="float32", max_seq_tokens=10, windows=3, prompt="query: "))
    tokenized = encoder.tokenize(["one two three four five six seven eight nine ten eleven twelve thirteen"])
    sequences = np.split(tokenized.ids, tokenized.offsets[1:-1])
    assert len(sequences) == 3
    assert {tuple(ids[:3].tolist()) for ids in sequences} == {(101, 23032, 1024)}
    assert (tokenized.n_tokens.tolist(), max(ids.size for ids in sequences)) == ([13], 10)


def test_a_prompt_that_melts_into_the_text_is_refused() -> None:
    with pytest.raises(ModelError, match="reads the prompt 'pre' and what follows it as one"):
        load_encoder(EmbeddingConfig(device="cpu", prompt="pre"))


def test_a_directory_that_is_no_model_is_a_clear_error(model_copy: Path) -> None:
    (model_copy / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="can't be loaded"):
        load_encoder(EmbeddingConfig(encoder=str(model_copy), device="cpu"))
