"""A quality model is trained on labels in Postgres: nothing is embedded twice, and what is stored is all of the model."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from samplemix_core.config.quality import FineTuningConfig, TrainingConfig
from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.database.labels import read_labels
from samplemix_core.database.quality_models import find_quality_model, list_quality_models, quality_rows
from samplemix_core.database.registration import ensure_encoder, known_encoders
from samplemix_core.deployment import Deployment
from samplemix_core.embedding.encoder import load_encoder
from samplemix_core.errors import ConfigError, ModelError
from samplemix_core.frozen import load_config
from samplemix_core.identity import fingerprint
from samplemix_core.models.import_labels import import_labels
from samplemix_core.models.train import describe_training, train, train_quality
from samplemix_core.quality.composite import measure
from samplemix_core.quality.labels import LabelFields
from samplemix_core.quality.ordinal import Inputs, OrdinalHeads, expected_score
from samplemix_core.quality.rubric import Dimension, Rubric
from samplemix_core.quality.training import ORDINAL, TUNED
from samplemix_core.report.training import draw_training, method_rows
from samplemix_core.scorers.scorer import Documents
from samplemix_core.settings import ENVIRONMENT
from samplemix_core.worker.artifacts import fetch_files, store_files
from samplemix_core.worker.scorers import load_scorers

RUBRIC = Rubric(
    name="two",
    dimensions=(
        Dimension(name="cooking", maximum=2, meaning="How much it is about cooking"),
        Dimension(name="length", maximum=1, meaning="Whether it is long"),
    ),
)
TOPICS = (
    "The kernel schedules processes and maps pages of memory for them.",
    "Courts weigh the evidence while the cook waits with her soup.",
    "Knead the dough, let it rise, bake the bread until its crust is brown.",
)


@pytest.fixture
def labelled(database: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    for field, name in ENVIRONMENT.items():
        if getattr(database, field):
            monkeypatch.setenv(name, getattr(database, field))
    monkeypatch.setenv("SAMPLEMIX_HOME", str(tmp_path / "home"))
    records = [
        {
            "text": f"Note {i}. " + " ".join([TOPICS[i % 3]] * (1 + 7 * (i % 2))),
            "cooking": i % 3,
            "length": i % 2,
            "source": f"site-{i % 4}",
            "group": f"page-{i // 2}",
        }
        for i in range(96)
    ]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, records)))
    import_labels(str(tmp_path / "labels.jsonl"), "team", RUBRIC, LabelFields(), database)
    return database


EMBEDDING = EmbeddingConfig(max_seq_tokens=64, precision="float32")
SHORT = EMBEDDING.model_copy(update={"max_seq_tokens": 16})
CONFIG = TrainingConfig(name="cooking", annotators=("team",), folds=3, baselines=False, embedding=EMBEDDING)


def test_a_model_is_trained_stored_and_found(labelled: Deployment, tmp_path: Path) -> None:
    assert describe_training(CONFIG)["scores"] == {"cooking": "0 to 2", "length": "0 to 1", "overall": "0 to 3"}
    heard: list[tuple[int, int, str, str]] = []
    trained = train(CONFIG, lambda *step: heard.append(step))
    assert trained.embedded == trained.report.documents == 96
    assert trained.report.groups == 48
    assert (96, 96, "texts", "vectors found or made") in heard
    assert heard[-1][0] == heard[-1][1]
    assert trained.report.scores[-1].methods[ORDINAL]["kappa"].value > 0.8
    with labelled.transaction() as cursor:
        model = find_quality_model(cursor, "cooking")
        assert find_quality_model(cursor, trained.key[:10]) == model
        labels = read_labels(cursor, [1])
    assert (model.key, model.low, model.high) == (trained.key, 0, 3)
    assert model.key == fingerprint(model.spec)
    assert model.spec["rubric"] == RUBRIC.model_dump(mode="json")
    assert "device" not in model.spec["encoder"]
    # What lies in the store gives the texts the scores that were learnt.
    data, _ = labelled.state.get(str(model.artifact_key))
    heads = OrdinalHeads.from_bytes(data, tuple(RUBRIC.maxima))
    encoder = load_encoder(EMBEDDING)
    inputs = Inputs(encoder.encode(encoder.tokenize(labels["text"].to_pylist())), measure(labels["text"]))
    truth = np.array([sum(scores) for scores in labels["scores"].to_pylist()])
    assert np.abs(expected_score(heads.probabilities(inputs)["overall"]) - truth).mean() < 0.5
    draw_training(tmp_path / "picture.png", "cooking", trained.report)
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    rows = method_rows(trained.report.scores[-1])
    assert {row["method"] for row in rows} == set(trained.report.scores[-1].methods)
    assert [row["mae"] for row in rows] == sorted(row["mae"] for row in rows)


def test_training_again_embeds_nothing_and_is_the_same_model(labelled: Deployment) -> None:
    first = train(CONFIG, lambda *_: None)
    told: list[int] = []
    again = train_quality(CONFIG, told.append)
    assert (again.embedded, again.key, again.quality_model_id) == (0, first.key, first.quality_model_id)
    assert told
    other = train(CONFIG.model_copy(update={"features": False}), lambda *_: None)
    assert (other.embedded, other.key == first.key) == (0, False)
    with labelled.transaction() as cursor:
        models = list_quality_models(cursor, "cooking")
        assert find_quality_model(cursor, "cooking").key == other.key, "the newest of a name"
    assert [row["key"] for row in quality_rows(models)] == [first.key[:12], other.key[:12]]
    assert quality_rows(models)[0]["labels"] == 96
    with pytest.raises(ConfigError, match="exists already as 'cooking'"):
        train(CONFIG.model_copy(update={"name": "baking"}), lambda *_: None)


def test_training_takes_the_precision_that_the_platform_has_and_measures_none(labelled: Deployment) -> None:
    exact = load_encoder(EMBEDDING)
    with labelled.transaction() as cursor:
        ensure_encoder(cursor, exact.encoder_id, exact.spec)
    train(CONFIG.model_copy(update={"embedding": EMBEDDING.model_copy(update={"precision": "auto"})}), lambda *_: None)
    with labelled.transaction() as cursor:
        assert [spec["precision"] for spec in known_encoders(cursor)] == ["float32"]


def test_what_can_not_be_trained_on_is_refused(labelled: Deployment, tmp_path: Path) -> None:
    (tmp_path / "few.jsonl").write_text(json.dumps({"text": "One.", "a": 1}))
    rubric = Rubric(name="other", dimensions=(Dimension(name="a", maximum=1, meaning="m"),))
    import_labels(str(tmp_path / "few.jsonl"), "few", rubric, LabelFields(), labelled)
    for annotators, said in (
        (("few",), "There are 1 labels"),
        (("team", "few"), "different rubrics"),
        (("x",), "no annotator 'x'"),
    ):
        with pytest.raises(ConfigError, match=said):
            train(CONFIG.model_copy(update={"annotators": annotators}), lambda *_: None)
    with pytest.raises(ConfigError, match="of 48 groups; 49 folds need at least"):
        train(CONFIG.model_copy(update={"folds": 49}), lambda *_: None)
    with labelled.transaction() as cursor, pytest.raises(ConfigError, match="no quality model 'cooking'"):
        find_quality_model(cursor, "cooking")


def test_an_encoder_is_tuned_and_one_that_was_cut_off_goes_on(labelled: Deployment, tmp_path: Path) -> None:
    settings = FineTuningConfig(epochs=1, batch_tokens=512, evaluations_per_epoch=2, learning_rate=1e-4)
    config = CONFIG.model_copy(update={"name": "tuned", "finetune": settings})
    store = labelled.state

    def cut(_done: int, _total: int, _unit: str, what: str) -> None:
        if any(store.list("quality-training/")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, cut)
    (checkpoint,) = store.list("quality-training/")
    heard: list[tuple[int, int, str, str]] = []
    trained = train(config, lambda *step: heard.append(step))
    assert next(done for done, _, unit, _ in heard if unit == "documents") > 0, "it goes on where it was"
    assert not any(store.list("quality-training/")), checkpoint
    assert trained.embedded == 0
    assert trained.report.method == TUNED
    assert {TUNED, ORDINAL, "majority"} <= set(trained.report.scores[-1].methods)
    assert len(trained.report.tuning) == 3
    draw_training(tmp_path / "picture.png", "tuned", trained.report)
    with labelled.transaction() as cursor:
        model = find_quality_model(cursor, "tuned")
    assert model.spec["features"] is None
    # What lies in the store is all that it takes to score with an encoder of its own, whatever the run's is.
    texts = [f"Note. {TOPICS[i % 3]}" for i in range(6)]
    read = Documents(pa.chunked_array([pa.array(texts, pa.large_string())]), [b""] * 6, [None] * 6)
    other = load_encoder(SHORT)
    (scorer,) = load_scorers([trained.quality_model_id], other, SHORT)
    found = read.scores(scorer)["quality"]
    assert scorer.waits
    assert (found[:3] == found[3:]).all()
    directory = next((tmp_path / "home" / "quality-models").glob("*/config.json")).parent
    own = load_encoder(EMBEDDING.model_copy(update={"encoder": str(directory)}))
    assert {**own.family, "name": "all-MiniLM-L6-v2"} == model.spec["encoder"]
    assert own.family["weights_sha256"] != other.family["weights_sha256"]
    with pytest.raises(ModelError, match=r"reads vectors of all-MiniLM-L6-v2 \(64 tokens\), and the run's are of .* \(16 tokens\)"):
        load_scorers([train(CONFIG, lambda *_: None).quality_model_id], other, SHORT)


def test_features_weighed_by_labels_need_no_encoder(labelled: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("samplemix_core.models.train.load_known_encoder", lambda *_: pytest.fail("an encoder is loaded"))
        trained = train(CONFIG.model_copy(update={"name": "weighed", "vectors": False}), lambda *_: None)
    assert trained.embedded == 0
    assert next(score for score in trained.report.scores if score.score == "length").methods[ORDINAL]["kappa"].value > 0.9
    (scorer,) = load_scorers([trained.quality_model_id], load_encoder(EMBEDDING), EMBEDDING)
    assert not scorer.waits
    with pytest.raises(ConfigError, match="without vectors, features are what is read"):
        load_config(TrainingConfig, {"name": "x", "annotators": ["team"], "vectors": False, "features": False})


def test_a_file_of_a_model_that_is_another_than_it_was_is_refused(labelled: Deployment, tmp_path: Path) -> None:
    store = labelled.state
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a").write_bytes(b"weights")
    files = store_files(tmp_path / "files", store)
    kept = fetch_files(files, store, tmp_path / "home")
    assert (kept / "a").read_bytes() == b"weights"
    (digest,) = files.values()
    store.put(f"quality-models/files/{digest}", b"others")
    assert fetch_files(files, store, tmp_path / "home") == kept, "what is here is not fetched again"
    with pytest.raises(ModelError, match="has SHA-256"):
        fetch_files(files, store, tmp_path / "elsewhere")
    store.delete(f"quality-models/files/{digest}")
    with pytest.raises(ModelError, match="of a quality model is gone: "):
        fetch_files(files, store, tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="not within its directory"):
        fetch_files({"../a": digest}, store, tmp_path / "elsewhere")
    assert not any((tmp_path / "elsewhere" / "quality-models").iterdir()), "nothing half is left"


@pytest.mark.parametrize(
    ("change", "said"),
    [({"embedding": EMBEDDING.model_copy(update={"windows": 2})}, "one stretch"), ({"folds": 2}, "nothing is left to learn from")],
)
def test_what_can_not_be_tuned_is_refused(labelled: Deployment, change: dict[str, object], said: str) -> None:
    config = CONFIG.model_copy(update={"finetune": FineTuningConfig(), **change})
    with pytest.raises(ConfigError, match=said):
        train(config, lambda *_: None)
