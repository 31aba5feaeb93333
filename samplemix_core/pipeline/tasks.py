"""The work that goes to Dask workers: what each task is told, and where it begins.

This module is imported on both sides. What a task needs (torch, models, numba) is imported on the worker only, so that
the processes which fan work out stay light.
"""

from dataclasses import dataclass
from typing import Any

from samplemix_core.config import DiversityConfig, EmbeddingConfig, ReaderConfig
from samplemix_core.store.ledger import ScoreVersion, Shard


@dataclass(frozen=True)
class ScoreTask:
    """One shard to score, and where its embeddings go below the state root."""

    corpus_uri: str
    reader: ReaderConfig
    embedding: EmbeddingConfig
    shard: Shard
    version: ScoreVersion
    embedding_key: str


@dataclass(frozen=True)
class ScoreResult:
    """What became of a scored shard."""

    documents: int
    quarantined: int
    tokens: int


@dataclass(frozen=True)
class FitTask:
    """A fit on the scored shards of some snapshots (ids), which the worker looks up in the ledger."""

    snapshots: tuple[int, ...]
    version: ScoreVersion
    reader: ReaderConfig
    encoder_key: str
    diversity: DiversityConfig
    seed: int


@dataclass(frozen=True)
class FitResult:
    """A fitted cluster model, stored below the state root."""

    artifact_key: str
    artifact_sha256: str
    clusters: int
    rows: int
    noise_share: float
    largest_share: float


@dataclass(frozen=True)
class AssignTask:
    """One scored shard to assign to the clusters of a model."""

    shard: Shard
    encoder_key: str
    embedding_key: str
    embedding_sha256: str
    cluster_model_id: int
    artifact_key: str


def describe_models(embedding: EmbeddingConfig) -> dict[str, Any]:
    """The identities of encoder and quality model, as a worker has them."""
    from samplemix_core.pipeline import worker

    return worker.describe_models(embedding)


def score_shard(task: ScoreTask) -> ScoreResult:
    """Score and embed one shard."""
    from samplemix_core.pipeline import worker

    return worker.score_shard(task)


def fit_model(task: FitTask) -> FitResult:
    """Fit clusters on a sample."""
    from samplemix_core.pipeline import worker

    return worker.fit_model(task)


def assign_shard(task: AssignTask) -> int:
    """Assign one shard to clusters; returns how many documents it has."""
    from samplemix_core.pipeline import worker

    return worker.assign_shard(task)
