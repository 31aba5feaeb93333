"""Fine-tuning on labels: an encoder is trained with its heads, judged as it will score, and its files are stored."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from samplemix_core.config.quality import TrainingConfig
from samplemix_core.database.labels import Annotator, read_labels
from samplemix_core.deployment import Deployment, Prefix
from samplemix_core.embedding.encoder import Encoder, load_encoder
from samplemix_core.embedding.loading import detect_hardware, load_sentence_transformer, locate_model, resolve_device
from samplemix_core.embedding.tokens import Tokenized
from samplemix_core.errors import ConfigError
from samplemix_core.identity import fingerprint
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.quality.baselines import LabelledInputs, assign_folds
from samplemix_core.quality.finetune import Examples, finetune
from samplemix_core.quality.ordinal import Inputs, OrdinalHeads, fit_heads
from samplemix_core.quality.training import TrainingReport, choose_settings, judge_tuned
from samplemix_core.worker.artifacts import store_files

TEXTS_AT_ONCE = 512
LEAST_FOLDS = 3

OnProgress = Callable[[int, int, str, str], None]
"""Called with progress: how much is done, of how much, its unit, and what is being done."""


@dataclass(frozen=True)
class TrainingResult:
    """A training's result: heads, how good they are, the encoder of their vectors, if any, and its files if it was tuned."""

    heads: OrdinalHeads
    report: TrainingReport
    encoder: dict[str, Any] | None
    files: dict[str, str] = field(default_factory=dict)


def label_pages(annotator_ids: Sequence[int], deployment: Deployment) -> Iterator[pa.Table]:
    """Yield all labels, a few hundred at a time, so that no transaction is open while their texts are embedded."""
    after = b""
    while True:
        with deployment.transaction() as cursor:
            part = read_labels(cursor, annotator_ids, after, TEXTS_AT_ONCE)
        if not part.num_rows:
            return
        yield part
        after = part["content_hash"][-1].as_py()


def _require_tunable(task: TrainingConfig, encoder: Encoder) -> None:
    if encoder.is_static:
        raise ConfigError(f"The encoder {task.embedding.encoder!r} is static: it can't be fine-tuned.", "Name a transformer.")
    if task.embedding.windows > 1:
        raise ConfigError(
            f"An encoder is fine-tuned on one stretch of each document, not on {task.embedding.windows}.",
            "Set embedding.windows to 1, and embedding.max_seq_tokens to what it is to read.",
        )
    if task.folds < LEAST_FOLDS:
        raise ConfigError(
            f"With {task.folds} folds, one for judging and one for choosing when to end, nothing is left to learn from.",
            f"Set folds to at least {LEAST_FOLDS}.",
        )


def tune(
    task: TrainingConfig,
    annotators: Sequence[Annotator],
    encoder: Encoder,
    data: LabelledInputs,
    deployment: Deployment,
    on_progress: OnProgress,
) -> TrainingResult:
    """Train an encoder with its own heads. One fold is for judging, one for choosing when to stop, the rest for learning.

    A training that was cut off continues from its last evaluation, on whichever worker.
    """
    assert task.finetune is not None
    _require_tunable(task, encoder)
    ids: list[np.ndarray] = []
    for part in label_pages([annotator.annotator_id for annotator in annotators], deployment):
        read = encoder.tokenize(part["text"].to_pylist())
        ids += np.split(read.ids, read.offsets[1:-1])
        on_progress(len(ids), len(data.inputs), "texts", "tokenised")
    fold = assign_folds(data, task.folds, task.seed)
    test, held_out, learnt = (np.flatnonzero(chosen) for chosen in (fold == 0, fold == 1, fold > 1))
    plain = replace(data, inputs=Inputs(data.inputs.vectors, np.empty((len(ids), 0)))).take(learnt)
    start, _ = fit_heads(plain.inputs, plain.levels, plain.maxima, choose_settings(plain, task.seed))
    examples = Examples(ids, data.levels)
    store = deployment.state
    levels = [level.tolist() for level in data.levels.values()]
    identity = [task.identity(), encoder.family, [read.tolist() for read in ids], levels]
    with deployment.scratch() as directory:
        checkpoints = _Checkpoints(store, f"{Prefix.TRAINING}/{fingerprint(identity)}.safetensors", directory)
        model = load_sentence_transformer(locate_model(task.embedding))
        tuned = finetune(
            model,
            start,
            examples.take(learnt),
            examples.take(held_out),
            task.finetune,
            checkpoints,
            seed=task.seed,
            device=resolve_device(task.embedding, detect_hardware()),
            on_progress=lambda done, total, what: on_progress(done, total, "documents", what),
        )
        own = directory / "encoder"
        model.to("cpu").save_pretrained(str(own), create_model_card=False)
        found = load_encoder(task.embedding.model_copy(update={"encoder": str(own), "revision": None}))
        on_progress(0, 1, "steps", "judging it as it will score")
        vectors = found.encode(_tokenized([ids[i] for i in test]))
        report = judge_tuned(
            data,
            test,
            tuned.heads.probabilities(Inputs(vectors, np.empty((test.size, 0)))),
            [(each.documents, each.held_out_loss) for each in tuned.evaluations],
            seed=task.seed,
            baselines=task.baselines,
        )
        files = store_files(own, store)
        store.delete(checkpoints.key)
        on_progress(1, 1, "steps", "done")
        return TrainingResult(tuned.heads, report, {**found.family, "name": encoder.spec["name"]}, files)


def _tokenized(ids: Sequence[np.ndarray]) -> Tokenized:
    """Documents of one sequence each, as an encoder reads them."""
    offsets = np.cumsum([0, *(each.size for each in ids)], dtype=np.int64)
    nothing = np.zeros(len(ids), dtype=np.int32)
    return Tokenized(nothing, nothing, np.concatenate(ids), offsets, np.arange(len(ids) + 1))


@dataclass(frozen=True)
class _Checkpoints:
    """One object of a store, replaced as a whole."""

    store: ObjectStore
    key: str
    directory: Path

    def load(self) -> Path | None:
        if self.store.head(self.key) is None:
            return None
        path = self.directory / "loaded.safetensors"
        with self.store.open(self.key) as stream, path.open("wb") as file:
            shutil.copyfileobj(stream, file, 2**20)
        return path

    def save(self, write: Callable[[Path], None]) -> None:
        path = self.directory / "saved.safetensors"
        write(path)
        self.store.upload(self.key, path)
