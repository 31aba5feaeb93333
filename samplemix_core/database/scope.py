"""What a run is about, as frozen values: models, snapshots, shards and parts of them."""

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
    """What a run is about: snapshots in the order of their names, the models, and the newest shard it knows.

    A shard that is registered later is left for the next run.
    """

    snapshot_ids: tuple[int, ...]
    version: ScoreVersion
    last_shard_id: int


class Group(FrozenModel):
    """A part of a scope's shards: those whose id leaves `index` when it is divided by `count`.

    A shard that lands or is replaced later moves no other to another group.
    """

    index: int = 0
    count: int = 1


WHOLE = Group()
"""The group that holds every shard."""


@dataclass(frozen=True)
class Shard:
    """A registered shard: its place, and the content it had when it was registered.

    While a file has the same size and stamp, it has the same etag; None where it has no stamp.
    """

    shard_id: int
    snapshot_id: int
    snapshot: str
    path: str
    etag: str
    size_bytes: int
    stamp: str | None


class ScoreState(StrEnum):
    """How far a shard is scored under one version: the column state of the table shard_score."""

    PENDING = "pending"
    FAILED = "failed"
    """By an error that may pass: it is pending again at the next run."""
    DONE = "done"
    REFUSED = "refused"
    """As a whole: no row of it can be trusted."""
    POISON = "poison"
    """It killed its workers."""


LEFT_OUT = (ScoreState.REFUSED, ScoreState.POISON)
"""Set aside as a whole: the same bytes end the same way."""

SETTLED = (ScoreState.DONE, *LEFT_OUT)


@dataclass(frozen=True)
class ShardState:
    """A shard and what the ledger says of it under one version; `pending` with zero attempts where it says nothing yet."""

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
    """What scoring a block gave: documents, records set aside, and the documents' tokens and their texts' bytes in UTF-8.

    `reused` documents took vectors that were there; what was there says nothing of the file, so equal counts may differ in it.
    """

    scored: int
    quarantined: int
    tokens: int
    text_bytes: int
    reused: int = field(default=0, compare=False)
