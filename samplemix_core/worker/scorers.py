"""Make a run's scorers on a worker, from stored quality models."""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.database.quality_models import QualityModel, quality_models
from samplemix_core.deployment import Deployment
from samplemix_core.embedding.encoder import Encoder
from samplemix_core.errors import ModelError
from samplemix_core.identity import fingerprint
from samplemix_core.schemas import QUALITY
from samplemix_core.scorers.scorer import Documents, Materials, Scorer, quality_table
from samplemix_core.worker.artifacts import fetch_files


class ScorerLoader:
    """Makes scorers from stored quality models, for a run's encoder. An ensemble shares members with the run's own scorers."""

    def __init__(self, deployment: Deployment, encoder: Encoder, embedding: EmbeddingConfig) -> None:
        self._deployment = deployment
        self._materials = Materials(encoder, embedding, self._files, self._others)
        self._made: dict[str, Scorer] = {}

    def load(self, quality_model_ids: Sequence[int]) -> list[Scorer]:
        """The scorers of these quality models, in order; raise ModelError for one that this worker can't make as it was."""
        with self._deployment.transaction() as cursor:
            models = quality_models(cursor, ids=quality_model_ids)
        return [self._of(models[model_id]) for model_id in quality_model_ids]

    def _of(self, model: QualityModel) -> Scorer:
        if model.key not in self._made:
            if fingerprint(model.spec) != model.key:
                raise ModelError(f"The quality model {model.name} does not match its key {model.key}.", "Add or train it again.")
            self._made[model.key] = model.specification.make(model.name, model.key, self._materials)
        return self._made[model.key]

    def _files(self, files: Mapping[str, str]) -> Path:
        return fetch_files(files, self._deployment.state, self._deployment.home)

    def _others(self, keys: Sequence[str]) -> list[Scorer]:
        with self._deployment.transaction() as cursor:
            found = {model.key: model for model in quality_models(cursor, keys=keys).values()}
        return [self._of(found[key]) for key in keys]


_MOST_LOADED = 2
_loaded: OrderedDict[tuple[str, EmbeddingConfig, tuple[int, ...]], list[Scorer]] = OrderedDict()
_loading = threading.Lock()


def load_scorers(quality_model_ids: Sequence[int], encoder: Encoder, embedding: EmbeddingConfig) -> list[Scorer]:
    """The scorers of these quality models, in order; the same objects while this process asks for the same ones."""
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
        """Ask the scorers that wait for vectors, or the others."""
        for i, scorer in enumerate(self._scorers):
            if scorer.waits == waiting:
                started = time.monotonic()
                documents.scores(scorer)
                self.seconds[i] += time.monotonic() - started

    def take(self, rows: pa.ChunkedArray, documents: Documents) -> None:
        """Ask the scorers that waited, and keep the scores of all."""
        self.ask(documents, waiting=True)
        for scorer, kept in zip(self._scorers, self.quality, strict=True):
            kept.append(quality_table(rows, documents.scores(scorer)))
