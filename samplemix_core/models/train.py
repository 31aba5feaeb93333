"""Train a quality model: read labels, find or make their texts' vectors, train and judge heads, and store everything."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from samplemix_core.config.quality import TrainingConfig
from samplemix_core.database.connection import transaction
from samplemix_core.database.labels import Annotator, keep_vectors, list_annotators, read_vectors
from samplemix_core.database.quality_models import save_quality_model
from samplemix_core.database.registration import ensure_encoder, known_encoders
from samplemix_core.deployment import Deployment, model_file
from samplemix_core.embedding.encoder import Encoder, load_known_encoder
from samplemix_core.errors import ConfigError
from samplemix_core.identity import fingerprint
from samplemix_core.models.tune import OnProgress, TrainingResult, label_pages, tune
from samplemix_core.quality.baselines import LabelledInputs
from samplemix_core.quality.composite import FEATURES, feature_model, measure
from samplemix_core.quality.ordinal import Inputs
from samplemix_core.quality.training import TrainingReport, train_heads
from samplemix_core.scorers.ordinal import OrdinalSpec
from samplemix_core.worker.reuse import EarlierVectors

LEAST_LABELS, LEAST_GROUPS = 50, 8


@dataclass(frozen=True)
class TrainedModel:
    """A quality model as it is stored, and how good it is."""

    name: str
    key: str
    quality_model_id: int
    artifact_key: str
    embedded: int
    report: TrainingReport


def train_quality(task: TrainingConfig, on_progress: Callable[[int], None] = lambda _: None) -> TrainedModel:
    """Train a quality model on a worker; `on_progress` is called with how many documents or steps are done."""
    return train(task, lambda done, *_: on_progress(done))


def train(task: TrainingConfig, on_progress: OnProgress) -> TrainedModel:
    """Train a quality model on the labels of the task's annotators, and enter it.

    Raises ConfigError if the annotators judged by several rubrics, too few texts, or texts of too few groups.
    """
    deployment = Deployment.load()
    annotators = find_annotators(task.annotators, deployment)
    rubric = annotators[0].rubric
    encoder = None
    if task.vectors:
        with deployment.transaction() as cursor:
            known = known_encoders(cursor)
        encoder = load_known_encoder(task.embedding, known)
    data, digest, embedded = _labelled_inputs(task, annotators, encoder, deployment, on_progress)
    if task.finetune is not None and encoder is not None:
        trained = tune(task, annotators, encoder, data, deployment, on_progress)
    else:
        heads, report = train_heads(
            data,
            folds=task.folds,
            seed=task.seed,
            baselines=task.baselines,
            on_progress=lambda done, total, what: on_progress(done, total, "steps", what),
        )
        trained = TrainingResult(heads, report, encoder.family if encoder is not None else None)
    weights = trained.heads.to_bytes()
    sha256 = hashlib.sha256(weights).hexdigest()
    spec = OrdinalSpec(
        rubric=rubric,
        encoder=trained.encoder,
        features=feature_model() if trained.heads.knots else None,
        heads_sha256=sha256,
        encoder_files=trained.files or None,
    )
    artifact_key = model_file(sha256)
    deployment.state.put(artifact_key, weights)
    lineage = {"annotators": list(task.annotators), "labels_digest": digest, "training": task.model_dump(mode="json")}
    with deployment.transaction() as cursor:
        model_id = save_quality_model(
            cursor,
            task.name,
            spec,
            high=rubric.maximum,
            rubric_key=rubric.rubric_key,
            artifact=(artifact_key, sha256),
            report={**asdict(trained.report), **lineage},
        )
    return TrainedModel(task.name, spec.key, model_id, artifact_key, embedded, trained.report)


def find_annotators(names: Sequence[str], deployment: Deployment) -> list[Annotator]:
    """Return annotators who judged by one rubric; raise ConfigError if a name is unknown, rubrics differ, or labels are too few."""
    with deployment.transaction() as cursor:
        annotators = list_annotators(cursor, names)
    keys = {annotator.rubric.rubric_key: annotator for annotator in annotators}
    if len(keys) > 1:
        one, other, *_ = keys.values()
        raise ConfigError(
            f"{one.name} and {other.name} judged by different rubrics, {one.rubric.name} and {other.rubric.name}.",
            "Train on annotators of one rubric.",
        )
    count = sum(annotator.annotations for annotator in annotators)
    if count < LEAST_LABELS:
        raise ConfigError(f"There are {count} labels by {', '.join(names)}.", f"At least {LEAST_LABELS} are needed.")
    return annotators


def _labelled_inputs(
    task: TrainingConfig, annotators: Sequence[Annotator], encoder: Encoder | None, deployment: Deployment, on_progress: OnProgress
) -> tuple[LabelledInputs, str, int]:
    """Return the heads' inputs, a digest of the labels, and how many texts were embedded. Holds a few hundred texts at a time."""
    total = sum(annotator.annotations for annotator in annotators)
    vectors: list[np.ndarray] = []
    features: list[np.ndarray] = []
    rest: list[pa.Table] = []
    embedded = done = 0
    finder = None if encoder is None else _Vectors(encoder, deployment)
    for part in label_pages([annotator.annotator_id for annotator in annotators], deployment):
        found, new = (np.empty((part.num_rows, 0), dtype=np.float32), 0) if finder is None else finder.of(part)
        embedded += new
        vectors.append(found)
        features.append(measure(part["text"]) if task.features else np.empty((part.num_rows, 0)))
        rest.append(part.drop_columns(["text", "rationale"]))
        done += part.num_rows
        on_progress(min(done, total), total, "texts", "vectors found or made" if encoder else "measured")
    labels = pa.concat_tables(rest)
    rubric = annotators[0].rubric
    scores = np.array(labels["scores"].to_pylist(), dtype=np.int64)
    hashes = [item.hex() for item in labels["content_hash"].to_pylist()]
    levels = {name: scores[:, i] for i, name in enumerate(rubric.names)} | {rubric.overall: scores.sum(axis=1)}
    names, sources = np.unique(np.array(labels["source"].to_pylist()), return_inverse=True)
    own = [group or content_hash for group, content_hash in zip(labels["split_group"].to_pylist(), hashes, strict=True)]
    least = max(task.folds, LEAST_GROUPS)
    if len(set(own)) < least:
        raise ConfigError(
            f"The {len(own)} labels are of {len(set(own))} groups; {task.folds} folds need at least {least}.",
            "Label documents of more sites or articles, or import without a group.",
        )
    data = LabelledInputs(
        inputs=Inputs(np.concatenate(vectors), np.concatenate(features)),
        levels=levels,
        maxima=rubric.maxima,
        sources=sources,
        source_names=tuple(names.tolist()),
        groups=np.unique(np.array(own), return_inverse=True)[1],
    )
    return data, fingerprint([hashes, scores.tolist()]), embedded


class _Vectors:
    """Vectors of labelled texts: those that were kept, those of corpora that hold the texts, and the rest, made now and kept."""

    def __init__(self, encoder: Encoder, deployment: Deployment) -> None:
        self._encoder = encoder
        self._database = deployment.database
        with transaction(self._database) as cursor:
            self._encoder_id = ensure_encoder(cursor, encoder.encoder_id, encoder.spec)
        store = deployment.state
        self._earlier = EarlierVectors(self._database, store, None, self._encoder_id, least_to_fetch=1)

    def of(self, labels: pa.Table) -> tuple[np.ndarray, int]:
        """The vectors of labelled texts, float32 (n, dim), rounded as they are stored; and how many of them were made."""
        hashes = labels["content_hash"].to_pylist()
        with transaction(self._database) as cursor:
            kept = read_vectors(cursor, self._encoder_id, hashes)
        vectors = np.empty((len(hashes), self._encoder.dim), dtype=np.float16)
        for i, content_hash in enumerate(hashes):
            if content_hash in kept:
                vectors[i] = kept[content_hash]
        missing = np.array([i for i, content_hash in enumerate(hashes) if content_hash not in kept], dtype=np.int64)
        if not missing.size:
            return vectors.astype(np.float32), 0
        found, stored = self._earlier.find([hashes[i] for i in missing])
        if found.size:
            vectors[missing[found]] = stored
        new = np.setdiff1d(missing, missing[found])
        if new.size:
            vectors[new] = self._encoder.encode(self._encoder.tokenize(labels["text"].take(new).to_pylist()))
        with transaction(self._database) as cursor:
            keep_vectors(cursor, self._encoder_id, [hashes[i] for i in missing], vectors[missing])
        return vectors.astype(np.float32), int(new.size)


def describe_training(task: TrainingConfig) -> dict[str, Any]:
    """Describe what a training would read, without doing it: labels, rubric, each score's levels, and the inputs."""
    annotators = find_annotators(task.annotators, Deployment.load())
    rubric = annotators[0].rubric
    return {
        "labels": sum(annotator.annotations for annotator in annotators),
        "rubric": rubric.name,
        "scores": {name: f"0 to {maximum}" for name, maximum in rubric.maxima.items()},
        "reads": [f"vectors of {task.embedding.encoder}"] * task.vectors + [f"{len(FEATURES)} measured features"] * task.features,
    }
