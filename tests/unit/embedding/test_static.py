"""Static encoders: the same vectors as sentence-transformers and model2vec, and what a distillation keeps of its transformer."""

import argparse
import datetime
import inspect
import json
import logging
import sqlite3
import subprocess
import unittest
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from model2vec import StaticModel
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, StaticEmbedding

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.embedding.encoder import Encoder, load_encoder
from samplemix_core.embedding.static import MADE_FROM, StaticNetwork, distill, distill_on, save_static
from samplemix_core.errors import ConfigError, ModelError

Vectors = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def of_tokens(float32_encoder: Encoder, texts: list[str]) -> Vectors:
    """The transformer's vectors of the tokens that these texts have; the others' are zero, so that this takes a second."""
    vocabulary = float32_encoder.tokenizer.vocabulary()
    used = np.unique(float32_encoder.tokenizer.without_special_tokens().tokenize([*texts, *_documents()]).ids)
    vectors = np.zeros((vocabulary.n_tokens.size, float32_encoder.dim), dtype=np.float32)
    vectors[used] = float32_encoder.encode(vocabulary.take(used.astype(np.int64)))
    return vectors


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, float32_encoder: Encoder, of_tokens: Vectors) -> Path:
    target = tmp_path_factory.mktemp("static") / "distilled"
    plain = float32_encoder.tokenizer.without_special_tokens().to_tokenizer()
    save_static(target, distill(of_tokens, 64), plain, {"encoder": "all-MiniLM-L6-v2"})
    return target


@pytest.fixture(scope="module")
def static(directory: Path) -> Encoder:
    return load_encoder(EmbeddingConfig(encoder=str(directory)))


def test_vectors_are_those_of_both_libraries_that_read_the_format(static: Encoder, directory: Path, texts: list[str]) -> None:
    short = [text for text in texts if text.strip() and len(text) < 500]
    vectors = static.encode(static.tokenize(short))
    theirs = SentenceTransformer(str(directory), device="cpu").encode(short)
    np.testing.assert_allclose(vectors, theirs, atol=1e-6)
    known = [i for i, text in enumerate(short) if "☃" not in text and "東" not in text]
    # model2vec leaves out what it does not know, so only texts without unknown tokens are the same; and does not normalise these.
    means = StaticModel.from_pretrained(directory).encode([short[i] for i in known])
    np.testing.assert_allclose(vectors[known], means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-6)


def test_counts_are_exact_and_the_transformers(static: Encoder, float32_encoder: Encoder, texts: list[str]) -> None:
    assert static.tokenize(texts).n_tokens.tolist() == float32_encoder.tokenize(texts).n_tokens.tolist()
    assert static.is_static
    assert not float32_encoder.is_static
    assert (static.dim, static.device, static.precision) == (64, "cpu", "float32")


def test_company_and_order_do_not_change_a_bit(static: Encoder, texts: list[str]) -> None:
    together = static.encode(static.tokenize(texts))
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(np.concatenate([static.encode(static.tokenize([text])) for text in texts]), together)
    np.testing.assert_array_equal(static.encode(static.tokenize(texts[::-1]))[::-1], together)
    assert static.encode(static.tokenize([])).shape == (0, 64)


def test_documents_of_which_nothing_is_known_are_alike() -> None:
    network = StaticNetwork(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    unknown, known, other = network(
        [np.array([0, 0], dtype=np.int32), np.array([1], dtype=np.int32), np.array([0], dtype=np.int32)]
    )
    np.testing.assert_allclose(known, [0.6, 0.8], atol=1e-7)
    np.testing.assert_array_equal(unknown, other)
    assert np.linalg.norm(unknown) == pytest.approx(1)


def test_model2vecs_own_files_load_with_half_precision_and_weights(tmp_path: Path, static: Encoder, texts: list[str]) -> None:
    vectors = np.random.default_rng(0).standard_normal((30522, 16)).astype(np.float16)
    weights = np.random.default_rng(1).uniform(0.1, 1, 30522).astype(np.float32)
    model = StaticModel(vectors, static.tokenizer.to_tokenizer(), {"normalize": True}, weights=weights, normalize=True)
    model.save_pretrained(tmp_path / "theirs")
    encoder = load_encoder(EmbeddingConfig(encoder=str(tmp_path / "theirs")))
    np.testing.assert_allclose(encoder.encode(encoder.tokenize(texts[:4])), model.encode(texts[:4]), atol=2e-3)


@pytest.mark.parametrize("setting", [{"device": "cuda"}, {"precision": "bfloat16"}])
def test_a_setting_that_means_nothing_to_it_is_refused(directory: Path, setting: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"is static.*Leave embedding\.device and embedding\.precision at 'auto'"):
        load_encoder(EmbeddingConfig.model_validate({"encoder": str(directory), **setting}))


def test_what_follows_the_vectors_may_be_normalising_alone(tmp_path: Path, static: Encoder) -> None:
    modules = [StaticEmbedding(static.tokenizer.to_tokenizer(), embedding_dim=8), Dense(8, 4), Normalize()]
    SentenceTransformer(modules=modules).save_pretrained(str(tmp_path / "model"), create_model_card=False)
    with pytest.raises(ModelError, match=r"StaticEmbedding \+ Dense \+ Normalize; supported are"):
        load_encoder(EmbeddingConfig(encoder=str(tmp_path / "model")))


def test_a_distillation_is_saved_whole_and_says_what_it_was_made_from(directory: Path) -> None:
    assert json.loads((directory / MADE_FROM).read_text()) == {"encoder": "all-MiniLM-L6-v2"}
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]


def _documents() -> list[str]:
    """What the documentation of very different modules says, a member each."""
    modules = (argparse, datetime, logging, np, np.linalg, np.random, sqlite3, subprocess, torch.nn, torch.nn.functional, unittest)
    found = (inspect.getdoc(member) for module in modules for _, member in sorted(vars(module).items()) if callable(member))
    return list(dict.fromkeys(text[:400] for text in found if text and len(text) > 200))[:300]


def test_fitted_to_documents_it_is_nearer_to_the_transformer(float32_encoder: Encoder, of_tokens: Vectors) -> None:
    documents = _documents()
    exact = float32_encoder.encode(float32_encoder.tokenize(documents))
    read = float32_encoder.tokenizer.without_special_tokens().tokenize(documents)
    seen, unseen = np.arange(0, len(documents), 2), np.arange(1, len(documents), 2)
    sequences = np.split(read.ids, read.offsets[1:-1])
    left, right = np.triu_indices(unseen.size, 1)

    def agreement(vectors: Vectors) -> float:
        own = StaticNetwork(torch.from_numpy(vectors))([sequences[i] for i in unseen])
        return float(spearmanr((own @ own.T)[left, right], (exact[unseen] @ exact[unseen].T)[left, right]).statistic)

    guessed, fitted = distill(of_tokens, 64), distill_on(of_tokens, 64, read.take(seen), exact[seen])
    assert guessed.shape == fitted.shape == (30522, 64)
    assert 0 < agreement(guessed) < agreement(fitted)
    assert agreement(fitted) > 0.5
