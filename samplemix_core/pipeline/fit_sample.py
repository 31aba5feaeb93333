"""What a fit is made from: the scored shards, as counts and as an identity."""

from collections.abc import Sequence
from typing import Any

from samplemix_core.config import DiversityConfig, ReaderConfig
from samplemix_core.corpus.listing import parse_shard_path
from samplemix_core.database.ledger import ShardState
from samplemix_core.diversity.sampling import ShardCount
from samplemix_core.identity import fingerprint

METHOD = "pca-umap-hdbscan-2"
"""Name of the way clusters are fitted; another way gets another name, so that its models are other models."""


def scored_shards(states: Sequence[ShardState]) -> list[ShardState]:
    """Those that are done, in the order given."""
    return [state for state in states if state.state == "done"]


def shard_counts(states: Sequence[ShardState], reader: ReaderConfig) -> list[ShardCount]:
    """The vectors each scored shard has, with the stratum its path puts it in."""
    return [
        ShardCount(state.shard.snapshot, state.shard.path, parse_shard_path(state.shard.path, reader)[1] or "", state.scored)
        for state in scored_shards(states)
    ]


def fit_spec(states: Sequence[ShardState], config: DiversityConfig) -> dict[str, Any]:
    """All that decides a fit: the method, its settings without the gates, and the vectors that it draws from."""
    vectors = [[state.shard.snapshot, state.shard.path, state.embedding_sha256] for state in scored_shards(states)]
    settings = {name: value for name, value in config.model_dump(mode="json").items() if not name.startswith("gate_")}
    del settings["refit"]
    return {"method": METHOD, "diversity": settings, "vectors": fingerprint(vectors)}
