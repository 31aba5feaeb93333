"""Scorers: each gives a document its quality, whatever stands beside it; what several read is made once."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from samplemix_core import schemas
from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.embedding.loading import locate_model
from samplemix_core.errors import CorpusError, ModelError
from samplemix_core.identity import content_hash
from samplemix_core.quality import composite
from samplemix_core.quality.composite import FEATURES, measure, score_quality
from samplemix_core.quality.kinds import language_model
from samplemix_core.quality.ordinal import HeadSettings, Inputs, expected_score, fit_heads
from samplemix_core.quality.rubric import DEFAULT_RUBRIC
from samplemix_core.scorers.calibrated import Calibrated
from samplemix_core.scorers.composite import Composite
from samplemix_core.scorers.ensemble import Ensemble, rank
from samplemix_core.scorers.external import EXTERNAL, External, Key, halves
from samplemix_core.scorers.fasttext import FastText
from samplemix_core.scorers.ordinal import Ordinal
from samplemix_core.scorers.scorer import Documents, Scores, quality_table
from samplemix_core.scorers.transformer import Output, SequenceClassifier, load_classifier, read_classifier

TEXTS = [
    "The lighthouse stands on the cliff. Nobody has lit it for years, because ships have other means to know where they are.",
    "BUY NOW!!! click here http://x.example http://y.example best best best best",
    "Der Leuchtturm steht auf der Klippe, und seit Jahren hat ihn niemand mehr angezündet.",
    "",
    "naïve café ☃ " * 60,
]


def documents(texts: list[str] = TEXTS, vectors: np.ndarray | None = None) -> Documents:
    ids = [None if i == 1 else f"doc-{i}" for i in range(len(texts))]
    return Documents(pa.chunked_array([pa.array(texts, pa.large_string())]), [content_hash(text) for text in texts], ids, vectors)


@dataclass
class Given:
    """A scorer that gives what it is given, and counts how often it is asked."""

    name: str
    values: list[float]
    waits: bool = False
    asked: list[int] = field(default_factory=list)

    @property
    def key(self) -> str:
        return self.name

    def score(self, documents: Documents) -> Scores:
        self.asked.append(len(documents))
        return {"quality": np.array(self.values, dtype=np.float32)}


def test_the_composite_scorer_gives_the_composite_score() -> None:
    found = quality_table(pa.chunked_array([pa.array(range(5))]), documents().scores(Composite("composite", "c")))
    expected = score_quality(pa.array(TEXTS, pa.large_string()))
    assert found.schema == schemas.QUALITY
    np.testing.assert_array_equal(found["quality"], expected.quality)
    np.testing.assert_array_equal(np.column_stack([found[name] for name in schemas.DIMENSIONS]), expected.dimensions)


def test_what_is_read_by_several_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []

    def counted(texts: pa.ChunkedArray) -> np.ndarray:
        measured.append(len(texts))
        return measure(texts)

    monkeypatch.setattr(composite, "measure", counted)
    read, given = documents(), Given("given", [1, 2, 3, 4, 5])
    both = Ensemble("both", "both", [(given, np.arange(6.0)), (Composite("composite", "c"), np.arange(11.0))], "mean")
    for scorer in (Composite("composite", "c"), given, both):
        read.scores(scorer)
    later = read.with_vectors(np.zeros((5, 4)))
    assert later.scores(given) is read.scores(given)
    assert (measured, given.asked) == ([5], [5])


def test_a_quality_that_is_no_number_names_the_document() -> None:
    with pytest.raises(ModelError, match=r"gave 2 of 5 documents a quality that is not finite, such as .* begins 'BUY NOW"):
        documents().scores(Given("broken", [1, np.nan, 2, np.inf, 3]))


@pytest.fixture(scope="module")
def ordinal() -> Ordinal:
    rng = np.random.default_rng(5)
    features = measure(pa.array(TEXTS * 20, pa.large_string()))
    vectors = rng.normal(size=(100, 8)).astype(np.float16)
    levels = {name: rng.integers(0, top + 1, 100) for name, top in DEFAULT_RUBRIC.maxima.items()}
    heads, _ = fit_heads(Inputs(vectors, features), levels, DEFAULT_RUBRIC.maxima, HeadSettings())
    return Ordinal("heads", "heads", heads, DEFAULT_RUBRIC.overall)


def test_heads_give_expected_scores_of_each_dimension(ordinal: Ordinal) -> None:
    vectors = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float16)
    found = documents(vectors=vectors).scores(ordinal)
    assert set(found) == {"quality", *schemas.DIMENSIONS}
    probabilities = ordinal.heads.probabilities(Inputs(vectors, measure(pa.array(TEXTS, pa.large_string()))))
    np.testing.assert_array_equal(found["quality"], expected_score(probabilities["overall"]))
    for i in range(5):
        alone = documents(TEXTS[i : i + 1], vectors[i : i + 1]).scores(ordinal)
        assert {name: values[0] for name, values in alone.items()} == {name: values[i] for name, values in found.items()}


def test_heads_of_another_rubric_have_no_dimensions(ordinal: Ordinal) -> None:
    heads, _ = fit_heads(
        Inputs(np.eye(4, dtype=np.float16), np.empty((4, 0))),
        {"legal_value": np.array([0, 1, 2, 2])},
        {"legal_value": 2},
        HeadSettings(),
    )
    own = Ordinal("own", "own", heads, "legal_value", embed=lambda texts: np.ones((len(texts), 4), dtype=np.float32))
    found = documents().scores(own)
    assert set(found) == {"quality"}
    table = quality_table(pa.chunked_array([pa.array(range(5))]), found)
    assert all(table[name].null_count == 5 for name in schemas.DIMENSIONS)


def test_fasttext_gives_the_probability_of_its_label() -> None:
    german = FastText("german", "german", language_model(), "__label__de")
    found = documents().scores(german)["quality"]
    assert found[2] > 0.9
    assert found[0] < 0.1
    assert ((found >= 0) & (found <= 1)).all()
    assert documents(TEXTS[2:3]).scores(german)["quality"][0] == found[2]


def external(by: Key, known: dict[bytes, float], missing: float | None = None) -> External:
    high, low = halves(sorted(known))
    table = pa.table([high, low, [known[key] for key in sorted(known)]], schema=EXTERNAL)
    return External("ratings", "ratings", table, by, missing)


def test_external_scores_are_found_by_hash_or_id() -> None:
    by_hash = external("content_hash", {content_hash(text): float(i) for i, text in enumerate(TEXTS)})
    assert documents().scores(by_hash)["quality"].tolist() == [0, 1, 2, 3, 4]
    known = {content_hash(f"doc-{i}"): float(i) for i in range(5)}
    assert documents().scores(external("doc_id", known, missing=-1.0))["quality"].tolist() == [0, -1, 2, 3, 4]


def test_a_document_without_an_external_score_is_an_error_unless_one_is_given() -> None:
    known = {content_hash(TEXTS[0]): 3.0}
    with pytest.raises(
        CorpusError, match=f"lack 4 of 5 documents, such as the one of content_hash '{content_hash(TEXTS[1]).hex()}'"
    ):
        documents().scores(external("content_hash", known))
    with pytest.raises(CorpusError, match="lack 5 of 5 documents, such as the one of doc_id 'doc-0'"):
        documents().scores(external("doc_id", known))
    assert documents().scores(external("content_hash", known, missing=0.5))["quality"].tolist() == [3.0, 0.5, 0.5, 0.5, 0.5]
    assert documents().scores(external("content_hash", {}, missing=0.5))["quality"].tolist() == [0.5] * 5


def test_documents_that_share_half_of_an_identity_are_told_apart() -> None:
    half = content_hash(TEXTS[0])[:8]
    hashes = [half + bytes([i] * 8) for i in range(5)]
    read = replace(documents(), content_hashes=hashes)
    known = {key: float(i) for i, key in enumerate(hashes) if i != 2}
    assert read.scores(external("content_hash", known, missing=-1.0))["quality"].tolist() == [0, 1, -1, 3, 4]


def test_a_rank_is_the_middle_of_those_that_are_equal() -> None:
    quantiles = np.array([0.0, 0.0, 0.0, 1.0, 3.0])
    np.testing.assert_allclose(rank(np.array([-1, 0, 0.5, 1, 2, 3, 9]), quantiles), [0.25, 0.25, 0.5, 0.75, 0.875, 1, 1])


def test_an_ensemble_combines_ranks() -> None:
    one, other = Given("one", [0, 1, 2, 3, 4]), Given("other", [30, 30, 0, 10, 20], waits=True)
    members = [(one, np.arange(5.0)), (other, np.array([0.0, 10, 20, 30]))]
    mean, highest = Ensemble("mean", "mean", members, "mean"), Ensemble("max", "max", members, "max")
    assert mean.waits
    np.testing.assert_allclose(documents().scores(mean)["quality"], [0.5, 0.625, 0.25, (0.75 + 1 / 3) / 2, (1 + 2 / 3) / 2])
    np.testing.assert_allclose(documents().scores(highest)["quality"], [1, 1, 0.5, 0.75, 1])


def test_a_calibrated_score_is_the_rank_within_content_type_and_language() -> None:
    texts = [TEXTS[0], TEXTS[2], "Ett fyrtorn står på klippan, och ingen har tänt det på många år.", "- a\n- b\n- c\n" * 9]
    read = documents(texts)
    assert (read.content_types, read.languages[:3]) == (["prose", "prose", "prose", "list"], ["en", "de", "sv"])
    given = Given("given", [4.0, 4.0, 4.0, 4.0])
    cells = {("prose", "en"): np.array([0.0, 4, 8]), ("prose", "de"): np.array([0.0, 1, 4]), ("prose", ""): np.array([4.0, 5, 6])}
    found = read.scores(Calibrated("fair", "fair", given, cells, np.array([0.0, 5.0, 9.0]), 10.0))
    assert found["quality"].tolist() == [5.0, 9.0, 0.0, 4.0], "in its middle, its highest, its lowest; and without a cell as it was"
    held = read.scores(Calibrated("held", "held", given, cells, np.array([0.0, 5.0, 9.0]), 2.0))
    assert held["quality"].tolist() == [5.0, 6.0, 2.0, 4.0]


def test_heads_of_features_alone_wait_for_no_vectors() -> None:
    features = measure(pa.array(TEXTS * 4, pa.large_string()))
    levels = {"good": np.arange(20) % 5 % 2}
    heads, _ = fit_heads(Inputs(np.empty((20, 0)), features), levels, {"good": 1}, HeadSettings())
    scorer = Ordinal("weighed", "weighed", heads, "good")
    assert not scorer.waits
    assert documents().scores(scorer)["quality"].tolist() == pytest.approx([0, 1, 0, 1, 0], abs=0.3)


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models on the shipped encoder, with heads of one, three and two outputs that a seed made."""
    root, encoder = tmp_path_factory.mktemp("classifiers"), locate_model(EmbeddingConfig())
    for outputs in (1, 2, 3):
        torch.manual_seed(outputs)
        model = AutoModelForSequenceClassification.from_pretrained(str(encoder), num_labels=outputs)
        model.save_pretrained(root / str(outputs))
        AutoTokenizer.from_pretrained(str(encoder)).save_pretrained(root / str(outputs))
    return root


def classifier(
    root: Path, outputs: int, output: Output, low: float = 0.0, high: float = 1.0, label: int = 0, device: str = "cpu"
) -> SequenceClassifier:
    model, tokenizer = load_classifier(root / str(outputs), device)
    return SequenceClassifier("net", "net", model, tokenizer, output, label, 64, low, high, device)


@pytest.mark.parametrize(("outputs", "output"), [(1, "regression"), (3, "level"), (2, "probability")])
def test_a_network_gives_what_its_outputs_mean(classifiers: Path, outputs: int, output: Output) -> None:
    scorer = classifier(classifiers, outputs, output, -1, 1, label=1 if output == "probability" else 0)
    found = documents().scores(scorer)["quality"]
    expected = []
    for text in TEXTS:
        with torch.inference_mode():
            logits = scorer.model(**scorer.tokenizer(text, truncation=True, max_length=64, return_tensors="pt")).logits[0]
        shares = logits.softmax(0)
        value = {
            "regression": logits[0].clamp(-1, 1),
            "level": shares @ torch.arange(len(logits)).float(),
            "probability": shares[-1],
        }
        expected.append(float(value[output]))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.unique(found).size == 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="wants a GPU")
def test_a_network_gives_on_a_gpu_what_it_gives_on_a_cpu(classifiers: Path) -> None:
    slow, fast = (classifier(classifiers, 3, "level", high=2, device=device) for device in ("cpu", "cuda"))
    texts = [f"{i} {text}" for i in range(100) for text in TEXTS]
    many = documents(texts)
    given, found = (scorer.score(many)["quality"] for scorer in (slow, fast))
    np.testing.assert_allclose(found, given, atol=0.02)
    np.testing.assert_array_equal(found, fast.score(many)["quality"])


def test_a_network_without_a_head_or_safetensors_is_refused(classifiers: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"lacks weights of a sequence-classification model: classifier\.bias"):
        load_classifier(locate_model(EmbeddingConfig()), "cpu")
    with pytest.raises(ModelError, match="has no weights in safetensors form"):
        read_classifier(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"none")
    with pytest.raises(ModelError, match="is not a readable model"):
        read_classifier(tmp_path)
    assert read_classifier(classifiers / "3").labels == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}


def test_features_of_heads_are_those_that_are_measured(ordinal: Ordinal) -> None:
    assert len(ordinal.heads.knots) == len(FEATURES)
