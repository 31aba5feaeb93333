"""The scorers of a run, as a worker makes them from the quality models that are stored."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.database.quality import QualityModel, quality_models
from samplemix_core.deployment import Deployment
from samplemix_core.embedding.encoder import Encoder, load_encoder
from samplemix_core.embedding.model import detect_hardware, resolve_device
from samplemix_core.errors import ModelError
from samplemix_core.identity import fingerprint
from samplemix_core.quality.composite import composite_model, feature_model
from samplemix_core.quality.ordinal import OrdinalHeads
from samplemix_core.quality.rubric import Rubric
from samplemix_core.quality.scorers import (
    Calibrated,
    Composite,
    Documents,
    Ensemble,
    External,
    FastText,
    Ordinal,
    Scorer,
    quality_table,
)
from samplemix_core.schemas import QUALITY
from samplemix_core.worker.artifacts import fetch_files

SAME_VERSION = "Bring all workers and Airflow to the same version of SampleMix."


class ScorerLoader:
    """Makes scorers from stored quality models, for a run's encoder; members of an ensemble that a run asks too are the same."""

    def __init__(self, deployment: Deployment, encoder: Encoder, embedding: EmbeddingConfig) -> None:
        self._deployment, self._encoder, self._embedding = deployment, encoder, embedding
        self._made: dict[str, Scorer] = {}

    def load(self, quality_model_ids: Sequence[int]) -> list[Scorer]:
        """The scorers of these quality models, in order; raise ModelError for one that this worker can't make as it was."""
        with self._deployment.transaction() as cursor:
            models = quality_models(cursor, ids=quality_model_ids)
        return [self._of(models[model_id]) for model_id in quality_model_ids]

    def _of(self, model: QualityModel) -> Scorer:
        if model.key not in self._made:
            if fingerprint(model.spec) != model.key:
                raise ModelError(f"The quality model {model.name} is not what its key {model.key} says.", "Make it again.")
            make = _MAKERS.get(str(model.spec.get("kind")))
            if make is None:
                raise ModelError(
                    f"This worker knows no quality model of the kind {model.spec.get('kind')!r}, as {model.name} is.", SAME_VERSION
                )
            self._made[model.key] = make(self, model)
        return self._made[model.key]

    def _files(self, files: dict[str, str]) -> Path:
        return fetch_files(files, self._deployment.state, self._deployment.home)

    def _composite(self, model: QualityModel) -> Scorer:
        if (found := fingerprint(composite_model())) != model.key:
            raise ModelError(f"This worker's composite score has the key {found}, the run's has {model.key}.", SAME_VERSION)
        return Composite(model.name, model.key)

    def _ordinal(self, model: QualityModel) -> Scorer:
        spec, rubric = model.spec, Rubric.model_validate(model.spec["rubric"])
        if spec["features"] not in (None, feature_model()):
            raise ModelError(
                f"The quality model {model.name} reads other measured features than this worker measures.", SAME_VERSION
            )
        path = self._files({"heads.safetensors": spec["heads_sha256"]}) / "heads.safetensors"
        heads = OrdinalHeads.from_bytes(path.read_bytes(), tuple(rubric.maxima))
        return Ordinal(model.name, model.key, heads, rubric.overall, self._embed(model))

    def _embed(self, model: QualityModel) -> Callable[[list[str]], npt.NDArray[np.float32]] | None:
        """What makes a model's own vectors; None if it reads the run's. Raises ModelError if these are not what it learnt from."""
        spec = model.spec
        if "encoder_files" not in spec:
            model.require_encoder(self._encoder.family)
            return None
        own = EmbeddingConfig(
            encoder=str(self._files(spec["encoder_files"])),
            max_seq_tokens=spec["encoder"]["max_seq"],
            prompt=spec["encoder"].get("prompt", ""),
            device=self._embedding.device,
            precision=self._embedding.precision,
            batch_tokens=self._embedding.batch_tokens,
        )
        encoder = load_encoder(own)
        if {**encoder.family, "name": spec["encoder"]["name"]} != spec["encoder"]:
            raise ModelError(f"The encoder of the quality model {model.name} is not what it was trained with.", SAME_VERSION)
        return lambda texts: encoder.encode(encoder.tokenize(texts))

    def _transformer(self, model: QualityModel) -> Scorer:
        from samplemix_core.quality.transformer import SequenceClassifier, load_classifier

        spec = model.spec
        device = resolve_device(self._embedding, detect_hardware())
        network, tokenizer = load_classifier(self._files(spec["files"]), device)
        return SequenceClassifier(
            name=model.name,
            key=model.key,
            model=network,
            tokenizer=tokenizer,
            output=spec["output"],
            label=spec["label"],
            max_tokens=spec["max_tokens"],
            low=model.low,
            high=model.high,
            device=device,
        )

    def _fasttext(self, model: QualityModel) -> Scorer:
        import fasttext

        path = self._files({"model.bin": model.spec["model_sha256"]}) / "model.bin"
        return FastText(model.name, model.key, fasttext.load_model(str(path)), model.spec["label"])

    def _external(self, model: QualityModel) -> Scorer:
        spec = model.spec
        path = self._files({"scores.arrow": spec["scores_sha256"]}) / "scores.arrow"
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        return External(model.name, model.key, table, spec["by"], spec["missing"])

    def _made_of(self, model: QualityModel) -> list[Scorer]:
        with self._deployment.transaction() as cursor:
            found = {member.key: member for member in quality_models(cursor, keys=model.made_of).values()}
        return [self._of(found[key]) for key in model.made_of]

    def _ensemble(self, model: QualityModel) -> Scorer:
        quantiles = [np.array(member["quantiles"]) for member in model.spec["members"]]
        members = list(zip(self._made_of(model), quantiles, strict=True))
        return Ensemble(model.name, model.key, members, model.spec["combine"])

    def _calibrated(self, model: QualityModel) -> Scorer:
        (base,) = self._made_of(model)
        cells = {(cell["content_type"], cell["language"]): np.array(cell["quantiles"]) for cell in model.spec["cells"]}
        return Calibrated(model.name, model.key, base, cells, np.array(model.spec["overall"]), model.spec["most"])


_MAKERS: dict[str, Callable[[ScorerLoader, QualityModel], Scorer]] = {
    "composite": ScorerLoader._composite,
    "ordinal": ScorerLoader._ordinal,
    "transformer": ScorerLoader._transformer,
    "fasttext": ScorerLoader._fasttext,
    "external": ScorerLoader._external,
    "ensemble": ScorerLoader._ensemble,
    "calibrated": ScorerLoader._calibrated,
}


_MOST_LOADED = 2
_loaded: OrderedDict[tuple[str, EmbeddingConfig, tuple[int, ...]], list[Scorer]] = OrderedDict()
_loading = threading.Lock()


def load_scorers(quality_model_ids: Sequence[int], encoder: Encoder, embedding: EmbeddingConfig) -> list[Scorer]:
    """The scorers of these quality models, in order; the same objects while this process is asked for the same ones."""
    deployment = Deployment.load()
    key = (deployment.database, embedding, tuple(quality_model_ids))
    with _loading:
        if key not in _loaded:
            _loaded[key] = ScorerLoader(deployment, encoder, embedding).load(quality_model_ids)
        _loaded.move_to_end(key)
        while len(_loaded) > _MOST_LOADED:
            _loaded.popitem(last=False)
        return _loaded[key]


class Answers:
    """What each scorer gave, batch by batch, and how long it took."""

    def __init__(self, scorers: Sequence[Scorer]) -> None:
        self._scorers = scorers
        self.quality = [[QUALITY.empty_table()] for _ in scorers]
        self.seconds = [0.0] * len(scorers)

    def ask(self, documents: Documents, *, waiting: bool) -> None:
        """Ask those that wait for vectors, or the others."""
        for i, scorer in enumerate(self._scorers):
            if scorer.waits == waiting:
                started = time.monotonic()
                documents.scores(scorer)
                self.seconds[i] += time.monotonic() - started

    def take(self, rows: pa.ChunkedArray, documents: Documents) -> None:
        """Ask those that waited, and keep what all gave."""
        self.ask(documents, waiting=True)
        for scorer, kept in zip(self._scorers, self.quality, strict=True):
            kept.append(quality_table(rows, documents.scores(scorer)))
