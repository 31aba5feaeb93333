"""What each task on a Dask worker is told, and what it answers: keys and counts."""

from dataclasses import dataclass

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
