"""What steps hand to each other: keys and counts, small enough for an XCom, never data or secrets."""

from typing import Any

from samplemix_core.config import FrozenModel
from samplemix_core.database.ledger import Scope, ScoreVersion


class Registered(FrozenModel):
    """A corpus in the ledger, its snapshots in the order of their names, and the models that score it.

    Ids are the database's own and leave it only this way.
    """

    corpus_id: int
    corpus_key: str
    encoder_id: int
    encoder_key: str
    quality_model_id: int
    quality_model_key: str
    quality_low: float
    quality_high: float
    snapshots: tuple[str, ...]
    snapshot_ids: tuple[int, ...]
    shards: int
    last_shard_id: int

    @property
    def version(self) -> ScoreVersion:
        """The pair of models that the run's scores are made with."""
        return ScoreVersion(self.encoder_id, self.quality_model_id)

    @property
    def scope(self) -> Scope:
        """The shards and models that the run is about."""
        return Scope(self.snapshot_ids, self.version, self.last_shard_id)


class ClusterModelRef(FrozenModel):
    """A fitted cluster model."""

    cluster_model_id: int
    cluster_model_key: str
    clusters: int


class DraftRef(FrozenModel):
    """A mixture that is computed and not yet published."""

    draft: str
    content_digest: str
    realised_tokens: int
    samples: int


class PublishedRef(FrozenModel):
    """A published version. `created` is False where its content was published before."""

    name: str
    version: int
    manifest_uri: str
    content_digest: str
    created: bool
    registered: Registered


def as_xcom(value: FrozenModel) -> dict[str, Any]:
    """The value as plain JSON types."""
    return value.model_dump(mode="json")
