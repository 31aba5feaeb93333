"""Scorers that are made of examples of a target, each against a plain one."""

import re
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from samplemix_core.errors import ModelError
from samplemix_core.quality.importance import BUCKETS, count_buckets, log_ratios, mean_ratios
from samplemix_core.scorers.importance import Importance
from samplemix_core.scorers.scorer import Documents
from samplemix_core.scorers.similarity import Similarity, SimilaritySpec


def column(texts: list[str]) -> pa.ChunkedArray:
    half = len(texts) // 2
    return pa.chunked_array([pa.array(texts[:half], pa.large_string()), pa.array(["x", *texts[half:]], pa.large_string()).slice(1)])


def hashed(word: str) -> int:
    value = 14695981039346656037
    for byte in word.encode():
        small = byte | 32 if 65 <= byte <= 90 else byte
        value = ((value ^ small) * 1099511628211) % 2**64
    return value | 1


def bucket(value: int) -> int:
    mixed = value ^ (value >> 32)
    return ((mixed * 0x9E3779B97F4A7C15) % 2**64 >> 11) % BUCKETS


def buckets(text: str) -> list[int]:
    # Runs of letters, digits and other scripts, or of other signs.
    other = "\u0080-\U0010ffff"
    words = [hashed(word) for word in re.findall(rf"[A-Za-z0-9_{other}]+|[^\s\x00-\x20A-Za-z0-9_{other}]+", text)]
    pairs = [(one * 31 + two) % 2**64 for one, two in pairwise(words)]
    return [bucket(value) for value in (*words, *pairs)]


TEXTS = [
    "The quick brown fox jumps -- over the lazy dog!",
    "def f(x):\n\treturn x+1  # a comment",
    "",
    "Ein Satz mit Umlauten: ÄÖÜ, ß; und 3,14.",
    " \n\t ",
    "word",
    "the QUICK brown fox",
]


def test_words_and_pairs_are_counted_as_a_plain_program_does() -> None:
    expected = np.zeros(BUCKETS, dtype=np.int64)
    for text in TEXTS:
        for place in buckets(text):
            expected[place] += 1
    assert np.array_equal(count_buckets(column(TEXTS)), expected)


def test_a_texts_score_is_the_mean_ratio_of_its_words_and_pairs_whatever_its_length() -> None:
    target, corpus = count_buckets(column(["the quick brown fox"] * 3 + ["jumps over"])), count_buckets(column(TEXTS))
    ratios = log_ratios(target, corpus)
    np.testing.assert_allclose(ratios, np.log(target / target.sum() + 1e-8) - np.log(corpus / corpus.sum() + 1e-8), rtol=1e-12)
    found = mean_ratios(column(TEXTS), ratios)
    for text, score in zip(TEXTS, found.tolist(), strict=True):
        own = [ratios[place] for place in buckets(text)]
        assert score == pytest.approx(np.mean(own) if own else 0.0)
    scorer = Importance("target", "key", ratios)
    documents = Documents(column(TEXTS), [bytes(16)] * len(TEXTS), [None] * len(TEXTS))
    quality = scorer.score(documents)["quality"]
    assert quality.dtype == np.float32
    assert quality.argmax() == 6
    alone = [scorer.score(Documents(column([text]), [bytes(16)], [None]))["quality"][0] for text in TEXTS]
    assert quality.tolist() == alone


def test_similarity_is_that_to_the_nearest_example(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    vectors, examples = (rng.normal(size=(n, 16)).astype(np.float32) for n in (50, 7))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    examples /= np.linalg.norm(examples, axis=1, keepdims=True)
    documents = Documents(column(["x"] * 50), [bytes(16)] * 50, [None] * 50, vectors.astype(np.float16))
    monkeypatch.setattr("samplemix_core.scorers.similarity._AT_ONCE", 21)
    found = Similarity("target", "key", examples).score(documents)["quality"]
    expected = [max(float(a @ b) for b in examples) for a in vectors.astype(np.float16).astype(np.float32)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_examples_of_another_encoder_are_refused() -> None:
    family = {"name": "one", "max_seq": 256}
    spec = SimilaritySpec(range=(0.0, 1.0), encoder=family, vectors_sha256="0" * 64)
    spec.require_encoder("exams", family)
    with pytest.raises(ModelError, match="examples of exams are vectors of one"):
        spec.require_encoder("exams", {"name": "two", "max_seq": 512})
