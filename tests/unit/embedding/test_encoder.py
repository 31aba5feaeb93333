"""The real MiniLM: parity with sentence-transformers, determinism, identity, and models that are refused."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
from sentence_transformers import SentenceTransformer

from samplemix_core.config import EmbeddingConfig
from samplemix_core.embedding.encoder import Encoder, load_encoder
from samplemix_core.embedding.model import SHIPPED_WEIGHTS_SHA256, detect_hardware, locate_model
from samplemix_core.errors import ModelError
from samplemix_core.identity import fingerprint

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


def test_a_small_budget_changes_nothing_but_the_last_bits(texts: list[str], reference: Vectors) -> None:
    encoder = load_encoder(EmbeddingConfig(precision="float32", device="cpu", batch_tokens=64))
    assert np.sum(encoder.encode(encoder.tokenize(texts)) * reference, axis=1).min() > 0.99999


def test_nothing_in_gives_nothing_out(float32_encoder: Encoder) -> None:
    assert float32_encoder.encode(float32_encoder.tokenize([])).shape == (0, 384)


def test_one_process_loads_a_configuration_once() -> None:
    config = EmbeddingConfig(precision="float32", device="cpu")
    assert load_encoder(config) is load_encoder(EmbeddingConfig(precision="float32", device="cpu"))


def test_spec_names_what_decides_a_vector(float32_encoder: Encoder) -> None:
    spec = float32_encoder.spec
    assert spec["weights_sha256"] == SHIPPED_WEIGHTS_SHA256
    assert (spec["dim"], spec["max_seq"], spec["device"], spec["precision"]) == (384, 256, "cpu", "float32")
    assert spec["modules"][0]["pooling_mode"] == "mean"
    assert float32_encoder.encoder_id == fingerprint(spec)
    assert spec["tokenizer"] == float32_encoder.tokenizer_id


def test_auto_is_bfloat16_exactly_where_it_is_native() -> None:
    encoder = load_encoder(EmbeddingConfig(device="cpu"))
    assert encoder.precision == ("bfloat16" if detect_hardware().cpu_bfloat16 else "float32")
    # What was chosen is its identity, not that it was left to choose: other hardware gives another encoder.
    assert (encoder.spec["device"], encoder.spec["precision"]) == ("cpu", encoder.precision)
    chosen = {precision: load_encoder(EmbeddingConfig(device="cpu", precision=precision)) for precision in ("float32", "bfloat16")}
    assert chosen["float32"].encoder_id != chosen["bfloat16"].encoder_id
    assert chosen[encoder.precision].encoder_id == encoder.encoder_id


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


def test_a_default_prompt_is_refused(model_copy: Path) -> None:
    path = model_copy / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prompts": {"doc": "passage: "}, "default_prompt_name": "doc"}))
    with pytest.raises(ModelError, match="'passage: '"):
        load_encoder(EmbeddingConfig(encoder=str(model_copy), device="cpu"))


def test_a_directory_that_is_no_model_is_a_clear_error(model_copy: Path) -> None:
    (model_copy / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="can't be loaded"):
        load_encoder(EmbeddingConfig(encoder=str(model_copy), device="cpu"))
