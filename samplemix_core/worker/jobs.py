"""The input of each task on a Dask worker: keys and settings, never data. `run` is the run's name, for the log."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.config.run import BlockConfig, DiversityConfig, EmbeddingConfig
from samplemix_core.corpus.records import Block
from samplemix_core.database.embeddings import EmbeddingFile
from samplemix_core.database.scope import ScoreVersion, Shard
from samplemix_core.diversity.health import Attempt


@dataclass(frozen=True)
class PlanTask:
    """One shard to cut into blocks."""

    run: str
    corpus_uri: str
    reader: ReaderConfig
    blocks: BlockConfig
    shard: Shard
    versions: tuple[ScoreVersion, ...]


@dataclass(frozen=True)
class ScoreTask:
    """One block to score with the encoder of this key and several quality models.

    Embeddings go below the state root, at the prefix and their own hash.
    """

    run: str
    corpus_uri: str
    reader: ReaderConfig
    embedding: EmbeddingConfig
    tokenizer: str
    shard: Shard
    block: Block
    versions: tuple[ScoreVersion, ...]
    encoder_key: str
    tokenizer_id: str
    embedding_prefix: str


@dataclass(frozen=True)
class EstimateTask:
    """Shards to read and score a little of: path and size in bytes."""

    corpus_uri: str
    reader: ReaderConfig
    embedding: EmbeddingConfig
    tokenizer: str
    quality_model_ids: tuple[int, ...]
    shards: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Sampled:
    """What was found in `file_bytes` bytes of files: documents and their texts' bytes in UTF-8.

    Of these, `scored` documents were scored: their texts' bytes, tokens and the seconds it took. `dim` is the length of a vector.
    """

    file_bytes: float
    documents: int
    text_bytes: int
    scored: int
    scored_text_bytes: int
    tokens: int
    seconds: float
    dim: int


@dataclass(frozen=True)
class FitTask:
    """A fit on a sample: embedding files below the state root, each with its shard and the positions drawn from it, ascending.

    With `one_cluster`, all documents are in one cluster, and no gate is checked. parent: the model before it, by its file's key and
    SHA-256, if there is one.
    """

    run: str
    sample: tuple[tuple[Shard, EmbeddingFile, npt.NDArray[np.int64]], ...]
    encoder_key: str
    diversity: DiversityConfig
    one_cluster: bool = False
    parent: tuple[str, str] | None = None


@dataclass(frozen=True)
class AttemptTask:
    """Settings to try on a sample, as in a FitTask."""

    sample: tuple[tuple[Shard, EmbeddingFile, npt.NDArray[np.int64]], ...]
    encoder_key: str
    attempt: Attempt


@dataclass(frozen=True)
class CompareTask:
    """Two encoders to compare on the first documents of these shards. The default reference is what the encoder was made from."""

    corpus_uri: str
    paths: tuple[str, ...]
    reader: ReaderConfig
    embedding: EmbeddingConfig
    reference: str | None
    diversity: DiversityConfig
    documents: int


@dataclass(frozen=True)
class AssignTask:
    """One scored shard to assign to the clusters of a model: the embedding files of its blocks, in order, and their digest."""

    run: str
    shard: Shard
    encoder_key: str
    embeddings: tuple[EmbeddingFile, ...]
    embedding_digest: str
    cluster_model_id: int
    artifact_key: str
    artifact_sha256: str


@dataclass(frozen=True)
class DescribeTask:
    """A measured cluster model to describe from the first documents of these shards, which are assigned to it."""

    corpus_uri: str
    reader: ReaderConfig
    shards: tuple[Shard, ...]
    cluster_model_id: int
    artifact_key: str
    artifact_sha256: str


@dataclass(frozen=True)
class MapTask:
    """Documents to put on a map for a cluster model: the first of these shards, each with the embedding files of its blocks.

    of: digest of the shards and their embeddings.
    """

    run: str
    corpus_uri: str
    reader: ReaderConfig
    encoder_key: str
    cluster_model_id: int
    shards: tuple[tuple[Shard, tuple[EmbeddingFile, ...]], ...]
    of: str


@dataclass(frozen=True)
class SemanticTask:
    """Documents to compare by their vectors: a Parquet file of shard, a number, and row; and one of the shards' embedding files.

    `pieces` lie in the first one after another: how many documents each has, and the place in it where its own begin.
    """

    run: str
    encoder_key: str
    files_key: str
    files_sha256: str
    documents_key: str
    documents_sha256: str
    pieces: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class SignTask:
    """One scored shard whose texts get signatures, which go below the state root, at the prefix and their own hash."""

    run: str
    corpus_uri: str
    reader: ReaderConfig
    shard: Shard
    signature_prefix: str


@dataclass(frozen=True)
class MatchTask:
    """Bands by which a corpus's new signatures are matched with all; of each only the keys that are `part` modulo `parts`."""

    run: str
    corpus_id: int
    bands: tuple[int, ...]
    part: int = 0
    parts: int = 1


@dataclass(frozen=True)
class ShingleTask:
    """Rows of a shard, ascending, whose texts are to be compared with others."""

    run: str
    corpus_uri: str
    reader: ReaderConfig
    corpus_id: int
    shard: Shard
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True)
class CompareTextsTask:
    """Pairs to compare: those whose first text has a content hash from `first` to `last`, 32 hexadecimal digits each."""

    run: str
    corpus_id: int
    first: str
    last: str


@dataclass(frozen=True)
class BenchmarkFile:
    """A benchmark whose texts are looked for: its id, and its file below the state root."""

    benchmark_id: int
    artifact_key: str
    artifact_sha256: str


@dataclass(frozen=True)
class DecontaminateTask:
    """One scored shard to search for some benchmarks."""

    run: str
    corpus_uri: str
    reader: ReaderConfig
    shard: Shard
    benchmarks: tuple[BenchmarkFile, ...]


@dataclass(frozen=True)
class StoredFile:
    """A file below the state root, and its SHA-256."""

    key: str
    sha256: str


@dataclass(frozen=True)
class VocabularyTask:
    """A vocabulary to train on the first documents of these shards."""

    corpus_uri: str
    paths: tuple[str, ...]
    reader: ReaderConfig
    documents: int


@dataclass(frozen=True)
class EncodeTask:
    """Documents of a shard to turn into a vocabulary's tokens, at these rows, ascending; they go below the state root to `key`."""

    run: str
    corpus_uri: str
    reader: ReaderConfig
    shard: Shard
    rows: npt.NDArray[np.int64]
    vocabulary: StoredFile
    key: str


@dataclass(frozen=True)
class LearnTask:
    """A stream to learn from: places (m,) of documents in the file of tokens; and texts, in groups, to look at the losses on.

    tokens: how many of the stream are read at most. size: how many different ones there are.
    """

    run: str
    name: str
    documents: StoredFile
    stream: StoredFile
    texts: StoredFile
    groups: int
    size: int
    tokens: int
    training: "TrainingTask | None" = None


@dataclass(frozen=True)
class TrainingTask:
    """How a transformer learns from the stream, and where it puts aside how far it is, below the state root.

    device: cpu or cuda. earlier: where it was put aside on other days, the latest first.
    """

    parameters: int
    sequence: int
    device: str
    precision: str
    seed: int
    checkpoint: str
    earlier: tuple[str, ...] = ()
