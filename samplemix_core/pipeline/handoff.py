"""What steps hand to each other: keys and counts, small enough for an XCom, never data or secrets."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from samplemix_core.config.run import RunConfig
from samplemix_core.database.changes import Changes
from samplemix_core.database.scope import Scope, ScoreVersion, ShardState
from samplemix_core.errors import CorpusError
from samplemix_core.frozen import FrozenModel


class Configured(FrozenModel):
    """What a run is to do: its configuration, the name of its corpus if it has one, and the crawl to score if it is a single one.

    A `dry_run` only registers and estimates.
    """

    config: RunConfig
    corpus: str | None = None
    crawl: str | None = None
    dry_run: bool = False


class Registered(FrozenModel):
    """A corpus in the ledger, its snapshots in the order of their names, and the models that score it.

    Ids are the database's own and leave it only this way. `device`, `precision` and `batch_tokens` were chosen for the encoder by
    one worker, and all others follow it. `tokenizer` names the tokenizer that counts tokens. The mixture is made with one quality
    model. The others (`other_quality_model_ids`), in the order of the configuration, score the same documents in the same pass.
    `unread` counts the files that are not read, by reason. `held_out` are the benchmarks, name@key, of targets that were drawn from
    the corpus before.
    """

    corpus_id: int
    corpus_key: str
    encoder_id: int
    encoder_key: str
    device: Literal["cpu", "cuda"]
    precision: Literal["float32", "bfloat16", "float16"]
    batch_tokens: int
    tokenizer: str
    tokenizer_id: str
    quality_model_id: int
    quality_model_key: str
    quality_low: float
    quality_high: float
    other_quality_model_ids: tuple[int, ...] = ()
    snapshots: tuple[str, ...]
    snapshot_ids: tuple[int, ...]
    shards: int
    unread: dict[str, int] = Field(default_factory=dict)
    last_shard_id: int
    held_out: tuple[str, ...] = ()

    @property
    def version(self) -> ScoreVersion:
        """The pair of models that the mixture is made with."""
        return ScoreVersion(self.encoder_id, self.quality_model_id)

    @property
    def versions(self) -> tuple[ScoreVersion, ...]:
        """The pairs of models that score each document, that of the mixture first."""
        return tuple(ScoreVersion(self.encoder_id, model) for model in (self.quality_model_id, *self.other_quality_model_ids))

    @property
    def scope(self) -> Scope:
        """The shards and models that the mixture is made of."""
        return Scope(self.snapshot_ids, self.version, self.last_shard_id)

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The same shards under each pair of models."""
        return tuple(Scope(self.snapshot_ids, version, self.last_shard_id) for version in self.versions)

    def require_unreplaced(self, states: Sequence[ShardState]) -> None:
        """Raise CorpusError if files were replaced since the run registered them; `states` are its shards' current ones."""
        if len(states) != self.shards:
            raise CorpusError(
                f"{self.shards - len(states)} of the run's {self.shards} shards were replaced during the run.",
                "Run again: the new files are scored.",
            )


class Estimate(FrozenModel):
    """A run's approximate work: counts over all its shards, and what is left to score, with the core-seconds that takes.

    Scoring adds `embedding_bytes` (on the object store) and `database_bytes`.
    """

    snapshots: tuple[str, ...]
    shards: int
    shards_done: int
    file_bytes: int
    documents: int
    tokens: int
    documents_left: int
    text_bytes_left: int
    core_seconds_left: float
    seconds_left: float
    embedding_bytes: int
    database_bytes: int
    sampled_documents: int


class ScoreCounts(FrozenModel):
    """What a scoring step did. Refused and poison shards are named in the ledger and in the quarantine.

    `reused` documents took the vectors of texts that this corpus had already embedded.
    """

    shards: int
    skipped: int
    documents: int
    quarantined: int
    tokens: int
    reused: int
    refused: tuple[str, ...]
    poison: tuple[str, ...]


class LossCounts(FrozenModel):
    """The documents of a run that were set aside. Those of refused and poison shards are estimated from the size of their files.

    `share` is the share of documents. `share_of_files` and `share_of_bytes` are about files that were left out as a whole.
    """

    documents: int
    quarantined: int
    refused: int
    poison: int
    share: float
    share_of_files: float = 0.0
    share_of_bytes: float = 0.0


class DecontaminationCounts(FrozenModel):
    """What a search for benchmarks did: shards, those searched before, and new texts that hold something, by benchmark."""

    shards: int
    skipped: int
    contaminated: dict[str, int]


class NearDuplicateCounts(FrozenModel):
    """What a search for near-duplicates did: shards with signatures, new texts, pairs compared, and pairs that are alike in all."""

    shards: int
    skipped: int
    texts: int
    candidates: int
    pairs: int


class ClusterModelRef(FrozenModel):
    """A fitted cluster model."""

    cluster_model_id: int
    cluster_model_key: str
    clusters: int


class AssignCounts(FrozenModel):
    """What an assigning step did."""

    shards: int
    skipped: int
    documents: int


class MeasuredClusters(FrozenModel):
    """The clusters of a model, measured over the corpus."""

    clusters: int
    documents: int
    largest: int


class DriftFound(FrozenModel):
    """How many crawls were compared with the sample of their clusters' fit, and those that drift, with what is over a limit."""

    crawls: int
    drifted: dict[str, tuple[str, ...]]


class Reclustered(FrozenModel):
    """What clusters that were fitted again change: how many are kept, split and so on, and the rank correlation of d with before.

    overlap: share of the current version's tokens that the next one would hold too. is_new: whether versions change to them.
    """

    fates: dict[str, int]
    correlation: float | None
    overlap: float | None
    is_new: bool


class DraftRef(FrozenModel):
    """A mixture that is computed and not yet published. `warnings` tell people what may be unexpected about it."""

    draft: str
    content_digest: str
    realised_tokens: int
    samples: int
    warnings: tuple[str, ...] = ()


class PublishedRef(FrozenModel):
    """A published version. `created` is False if its content was published before."""

    name: str
    version: int
    manifest_uri: str
    content_digest: str
    created: bool
    registered: Registered


class VerifiedCounts(FrozenModel):
    """What a published version's parts add up to, which is what its manifest says."""

    rows: int
    copies: int
    tokens: int
    manifest_uri: str


class ReportedChanges(FrozenModel):
    """A published and verified version and what it changed, as told to consumers that wait for versions."""

    name: str
    version: int
    created: bool
    manifest_uri: str
    content_digest: str
    snapshots: tuple[str, ...]
    samples: int
    copies: int
    tokens: int
    changes: Changes | None
