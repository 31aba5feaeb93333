"""Scorers that are brought along are entered as what they are, or refused with what to do about it."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PretrainedConfig,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.database.connection import scalar
from samplemix_core.database.quality_models import find_quality_model
from samplemix_core.deployment import Deployment
from samplemix_core.embedding.loading import locate_model
from samplemix_core.errors import ConfigError, CorpusError, ModelError, QueryError, SampleMixError
from samplemix_core.identity import content_hash
from samplemix_core.models.add_scorer import AddedScorer, add_ensemble, add_fasttext, add_transformer, calibrate
from samplemix_core.models.add_scores import add_external
from samplemix_core.quality.kinds import language_file
from samplemix_core.scorers.scorer import Documents
from samplemix_core.scorers.transformer import SequenceClassifier, load_classifier
from samplemix_core.worker.artifacts import fetch_files
from tests.integration.conftest import LedgeredCorpus

SIZES = {"vocab_size": 30522, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture
def network(tmp_path: Path) -> Callable[[PretrainedConfig], Path]:
    """Saves a small classifier, with weights that a seed made and the shipped encoder's tokenizer."""

    def save(config: PretrainedConfig) -> Path:
        torch.manual_seed(0)
        kind = RobertaForSequenceClassification if isinstance(config, RobertaConfig) else BertForSequenceClassification
        place = tmp_path / "network"
        kind(config).save_pretrained(place)
        AutoTokenizer.from_pretrained(str(locate_model(EmbeddingConfig())), model_max_length=10**9).save_pretrained(place)
        return place

    return save


def scorer_of(added: AddedScorer, settings: Deployment, home: Path) -> SequenceClassifier:
    with settings.transaction() as cursor:
        spec = find_quality_model(cursor, added.name).spec
    loaded = load_classifier(fetch_files(spec["files"], settings.state, home), "cpu")
    return SequenceClassifier(
        added.name, added.key, *loaded, spec["output"], spec["label"], spec["max_tokens"], added.low, added.high, "cpu"
    )


def documents(*texts: str) -> Documents:
    return Documents(
        pa.chunked_array([pa.array(texts, pa.large_string())]), [content_hash(text) for text in texts], [None] * len(texts)
    )


URI = "s3://bucket/corpus"
LONG = "bread and soup " * 1000


@pytest.mark.parametrize(
    ("config", "most"),
    [
        (RobertaConfig(**SIZES, max_position_embeddings=130, pad_token_id=1, num_labels=2), 128),
        (BertConfig(**SIZES, max_position_embeddings=130, num_labels=2), 130),
    ],
)
def test_a_text_is_read_as_far_as_there_are_positions(
    database: Deployment, network: Callable[[PretrainedConfig], Path], tmp_path: Path, config: PretrainedConfig, most: int
) -> None:
    added = add_transformer("net", str(network(config)), database, label="LABEL_1")
    scorer = scorer_of(added, database, tmp_path)
    assert (added.low, added.high, scorer.max_tokens) == (0, 1, most)
    found = scorer.score(documents(LONG, "", "Bread."))["quality"]
    assert np.isfinite(found).all()
    fewer = add_transformer("net", str(tmp_path / "network"), database, label="LABEL_1", max_tokens=16)
    assert (scorer_of(fewer, database, tmp_path).max_tokens, fewer.key == added.key) == (16, False)


def test_outputs_mean_what_they_are_said_to_mean(
    database: Deployment, network: Callable[[PretrainedConfig], Path], tmp_path: Path
) -> None:
    labels = {0: "style", 1: "facts", 2: "depth"}
    place = str(network(BertConfig(**SIZES, id2label=labels, problem_type="multi_label_classification")))
    texts = documents("Bread and soup.", "The kernel maps pages.")
    number = add_transformer("facts", place, database, output="regression", label="facts", low=-9, high=9)
    assert number.found == {"classes": ["style", "facts", "depth"]}
    assert add_transformer("facts", place, database, output="regression", label="1", low=-9, high=9) == number
    logits = scorer_of(number, database, tmp_path).score(texts)["quality"]
    # Labels that hold at once: the probability of one is not a share of all.
    several = scorer_of(add_transformer("several", place, database, label="facts"), database, tmp_path).score(texts)["quality"]
    np.testing.assert_allclose(several, 1 / (1 + np.exp(-logits)), atol=1e-6)
    with pytest.raises(ConfigError, match="has 3 outputs, which don't fit --output level"):
        add_transformer("levels", place, database, output="level")
    with pytest.raises(ConfigError, match=r"returns a number, but its range is unknown(?s:.*)--low 0 --high 5"):
        add_transformer("number", place, database, output="regression", label="facts")
    unknown: tuple[str | None, ...] = ("taste", None)
    for label in unknown:
        with pytest.raises(
            ConfigError, match=r"has (no output 'taste'|several outputs)\.(?s:.*)Give --label one of: style, facts, depth"
        ):
            add_transformer("class", place, database, output="probability", label=label)
    with database.transaction() as cursor, pytest.raises(ConfigError, match="no quality model"):
        find_quality_model(cursor, "class")


def test_one_output_is_a_number(database: Deployment, network: Callable[[PretrainedConfig], Path]) -> None:
    place = str(network(BertConfig(**SIZES, num_labels=1)))
    added = add_transformer("number", place, database, low=0, high=5)
    assert (added.low, added.high, added.name) == (0, 5, "number")
    assert add_transformer("number", place, database, low=0, high=5).quality_model_id == added.quality_model_id
    with pytest.raises(ConfigError, match="has 1 outputs, which don't fit --output probability"):
        add_transformer("number", place, database, output="probability")
    with pytest.raises(ConfigError, match="5 to 5 are not a range"):
        add_transformer("number", place, database, low=5, high=5)


HASHES = [content_hash(str(i)).hex() for i in range(4)]


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ({"doc_id": ["a"], "score": ["good"]}, {}, "does not hold numbers"),
        ({"doc_id": ["a"], "rating": [1]}, {}, r"does not have exactly one column 'score'(?s:.*)doc_id, rating"),
        ({"doc_id": ["a", None], "score": [None, 1.0]}, {}, "has no usable score"),
        ({"content_hash": ["abc"], "score": [1.0]}, {"by": "content_hash"}, "not 32 hex digits or 16 bytes"),
        ({"content_hash": ["x" * 32], "score": [1.0]}, {"by": "content_hash"}, "not 32 hex digits or 16 bytes"),
        ({"doc_id": ["a", "b"], "score": [1.0, 7.0]}, {"low": 0, "high": 5}, "Scores are from 1 to 7: not within 0 to 5"),
        ({"doc_id": ["a", "b"], "score": [1.0, 7.0]}, {"missing": 9}, "and 9 where there is none: not within 1 to 7"),
        ({"doc_id": ["a"], "score": [1.0]}, {}, "1 to 1 are not a range"),
        ({"doc_id": pa.array([2**62], pa.timestamp("us")), "score": [1.0]}, {}, "ids that can't be read"),
    ],
)
def test_scores_that_can_not_be_used_are_refused(
    database: Deployment, tmp_path: Path, columns: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet")
    with pytest.raises(SampleMixError, match=said):
        add_external("scores", str(tmp_path / "scores.parquet"), database, **{"by": "doc_id", **options})


def test_scores_may_be_in_any_format_of_a_corpus(database: Deployment, tmp_path: Path) -> None:
    """Records that can't be read, or lack a field, are set aside; ids of several types are text."""
    lines = [{"id": 7, "s": 0.5}, {"id": "b", "s": "0.25"}, {"id": "c"}, {"s": 1.0}]
    text = "\n".join([*map(json.dumps, lines), "torn {", "[1]", ""])
    (tmp_path / "scores.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    added = add_external("lines", str(tmp_path / "scores.jsonl.gz"), database, by="doc_id", column="id", score="s")
    assert added.found == {"records": 6, "documents": 2, "repeated": 0, "set_aside": 4}
    assert (added.low, added.high) == (0.25, 0.5)
    (tmp_path / "scores.docx").write_text("id,s")
    with pytest.raises(ConfigError, match=r"scores\.docx is not a file of scores"):
        add_external("docx", str(tmp_path / "scores.docx"), database, by="doc_id", column="id", score="s")


def test_scores_are_counted(database: Deployment, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    pq.write_table(pa.table({"hash": [*HASHES[:3], None], "s": [1, 2, 3, 4]}), tmp_path / "parts" / "a.parquet")
    pq.write_table(pa.table({"hash": [HASHES[3], HASHES[0]], "s": [float("nan"), 2.0]}), tmp_path / "parts" / "b.parquet")
    told: list[int] = []
    added = add_external(
        "parts",
        str(tmp_path / "parts"),
        database,
        lambda progress: told.append(progress.documents),
        by="content_hash",
        column="hash",
        score="s",
    )
    assert added.found == {"records": 6, "documents": 3, "repeated": 1, "set_aside": 2}
    assert (added.low, added.high, told) == (1, 3, [4, 6])
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="There is no file of scores at"):
        add_external("parts", str(tmp_path / "none"), database, by="doc_id")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorpusError, match=r"torn\.parquet can't be read as Parquet"):
        add_external("parts", str(tmp_path / "torn.parquet"), database, by="doc_id")


def test_a_fasttext_model_has_the_label(database: Deployment, tmp_path: Path) -> None:
    added = add_fasttext("english", str(language_file()), "en", database)
    assert (added.low, added.high, added.found) == (0, 1, {"labels": 176})
    with pytest.raises(ConfigError, match=r"has no label 'good'(?s:.*)Give --label one of: "):
        add_fasttext("english", str(language_file()), "good", database)
    with pytest.raises(ConfigError, match="There is no file"):
        add_fasttext("english", str(tmp_path / "gone.bin"), "en", database)
    (tmp_path / "other.bin").write_bytes(b"not a model at all")
    with pytest.raises(ModelError, match="is not a readable fastText model"):
        add_fasttext("english", str(tmp_path / "other.bin"), "en", database)


def test_what_has_not_scored_a_corpus_is_not_combined(ledgered: LedgeredCorpus, database: Deployment) -> None:
    assert ledgered.shards
    add_fasttext("english", str(language_file()), "en", database)
    add_fasttext("german", str(language_file()), "de", database)
    with pytest.raises(ConfigError, match="needs at least two different quality models"):
        add_ensemble("both", ["english", "english"], URI, database)
    with pytest.raises(ConfigError, match="has not scored any document of"):
        add_ensemble("both", ["english", "german"], URI, database)
    with pytest.raises(ConfigError, match="has not scored 200 documents of one content type"):
        calibrate("fair", "english", URI, database)


def test_sql_finds_a_model_by_name_and_key_as_the_command_does(database: Deployment) -> None:
    english = add_fasttext("english", str(language_file()), "en", database)
    german = add_fasttext("german", str(language_file()), "de", database)
    asked = (
        "english",
        english.key[:8],
        f"english@{english.key[:8]}",
        f"english@{german.key[:8]}",
        f"english@{english.key[:7]}",
        "ger",
    )
    found: list[tuple[int | None, int | None]] = []
    for name in asked:
        with database.transaction() as cursor:
            try:
                by_python = find_quality_model(cursor, name).quality_model_id
            except ConfigError:
                by_python = None
        try:
            with database.transaction() as cursor:
                cursor.execute("SELECT quality_model_of(%s)", (name,))
                by_sql = scalar(cursor)
        except QueryError:
            by_sql = None
        found.append((by_python, by_sql))
    assert found == [(english.quality_model_id,) * 2] * 3 + [(None, None)] * 3
