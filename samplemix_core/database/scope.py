"""The scope of a run, as frozen values: models, snapshots, shards and parts of them."""

from dataclasses import dataclass, field
from enum import StrEnum

from samplemix_core.frozen import FrozenModel


@dataclass(frozen=True)
class ScoreVersion:
    """The pair of models that scores are made with."""

    encoder_id: int
    quality_model_id: int


@dataclass(frozen=True)
class Scope:
    """What a run covers: snapshots in the order of their names, the models, and the newest shard it knows.

    Shards registered later are left for the next run.
    """

    snapshot_ids: tuple[int, ...]
    version: ScoreVersion
    last_shard_id: int


class Group(FrozenModel):
    """A part of a scope's shards: those whose id modulo `count` is `index`.

    A shard that lands or is replaced later moves no other shard to a different group.
    """

    index: int = 0
    count: int = 1


WHOLE = Group()
"""The group that holds every shard."""


@dataclass(frozen=True)
class Shard:
    """A registered shard: its place, and the content it had when it was registered.

    As long as a file's size and stamp stay the same, so does its etag. `stamp` is None if the file has none.
    """

    shard_id: int
    snapshot_id: int
    snapshot: str
    path: str
    etag: str
    size_bytes: int
    stamp: str | None


class ScoreState(StrEnum):
    """How far a shard is scored under one version, or assigned to clusters: column `state` of shard_score and shard_assignment."""

    PENDING = "pending"
    FAILED = "failed"
    """By an error that may pass: it is pending again in the next run."""
    DONE = "done"
    REFUSED = "refused"
    """As a whole: no row of it can be trusted."""
    POISON = "poison"
    """It killed its workers."""


LEFT_OUT = (ScoreState.REFUSED, ScoreState.POISON)
"""Set aside as a whole: the same bytes would end the same way."""

SETTLED = (ScoreState.DONE, *LEFT_OUT)


@dataclass(frozen=True)
class ShardState:
    """A shard and its ledger entry under one version; `pending` with zero attempts if there is none yet."""

    shard: Shard
    state: ScoreState
    attempts: int
    error: str | None
    documents: int
    scored: int
    quarantined: int
    tokens: int
    embedding_digest: str | None

    @property
    def is_scored(self) -> bool:
        """Whether all of it is scored and stored."""
        return self.state is ScoreState.DONE


@dataclass(frozen=True)
class ScoredCounts:
    """The counts from scoring a block: documents, records set aside, and the documents' tokens and bytes in UTF-8.

    `reused` documents took existing vectors. Which vectors exist doesn't depend on the file, so equal counts may differ in this.
    """

    scored: int
    quarantined: int
    tokens: int
    text_bytes: int
    reused: int = field(default=0, compare=False)
