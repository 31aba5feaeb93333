"""A corpus in the ledger, and shards' scores to put into it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from samplemix_core import schemas
from samplemix_core.corpus.records import Block
from samplemix_core.database import clusters, ledger, registration
from samplemix_core.database.clusters import Assignment
from samplemix_core.database.connection import Cursor, transaction
from samplemix_core.database.scope import Scope, ScoredCounts, ScoreVersion, Shard
from samplemix_core.database.scores import BlockScores, commit_block
from samplemix_core.diversity.clusters import ClusterSums
from samplemix_core.identity import content_hash
from samplemix_core.objects.interface import ObjectInfo
from samplemix_core.settings import Settings


@dataclass(frozen=True)
class LedgeredCorpus:
    """Two snapshots of three shards each, registered in an order that is not theirs; nothing is scored."""

    url: str = field(repr=False)
    reader_url: str = field(repr=False)
    corpus_id: int
    version: ScoreVersion
    snapshot_ids: tuple[int, ...]
    shards: tuple[Shard, ...]
    scope: Scope


@pytest.fixture
def ledgered(database: Settings) -> LedgeredCorpus:
    url = database.require("database_url")
    with transaction(url) as cursor:
        corpus = registration.register_corpus(
            cursor, uri="s3://bucket/corpus", reader={"text_field": "text"}, tokenizer="a tokenizer", tokenizer_id="tok"
        )
        ids = {}
        for snapshot in ("crawl-b", "crawl-a"):
            # In byte order 'B' < 'a' < 'ä': no locale's order.
            entries = [ObjectInfo(f"{snapshot}/{name}", 100, f"etag-{name}") for name in ("ä.jsonl", "a.jsonl", "B.jsonl")]
            registered = registration.register_snapshot(cursor, corpus.corpus_id, snapshot, entries)
            ids[snapshot] = registered.snapshot_id
        version = ScoreVersion(
            registration.ensure_encoder(cursor, "encoder-1", {"name": "encoder", "dim": 4}),
            registration.ensure_quality_model(cursor, "quality-1", {"name": "quality"}),
        )
        snapshots = (ids["crawl-a"], ids["crawl-b"])
        scope = Scope(snapshots, version, 2**31 - 1)
        shards = tuple(state.shard for state in ledger.shard_states(cursor, scope))
    return LedgeredCorpus(url, database.require("reader_database_url"), corpus.corpus_id, version, snapshots, shards, scope)


def save_model(
    cursor: Cursor, ledgered: LedgeredCorpus, artifact_sha256: str = "sha-c", spec: dict[str, Any] | None = None
) -> clusters.ClusterModelRecord:
    """Enter a model of three clusters for the corpus."""
    return clusters.save_cluster_model(
        cursor,
        corpus_id=ledgered.corpus_id,
        encoder_id=ledgered.version.encoder_id,
        spec=spec or {"seed": 1},
        fitted=clusters.FittedModel("clusters/x", artifact_sha256, n_clusters=3, fit_rows=100, fit_noise_share=0.25),
    )


def commit_scores(cursor: Cursor, shard: Shard, version: ScoreVersion, scores: BlockScores) -> ScoredCounts:
    """Commit a shard of one block."""
    ledger.save_plan(cursor, shard, [Block()])
    return commit_block(cursor, shard, version, Block(), scores)


def scores_of(texts: list[str], *, bad_rows: tuple[int, ...] = (), domains: tuple[str, ...] = ("web", "books")) -> BlockScores:
    """Scores of made-up documents: row i has text i; the rows in `bad_rows` come between them and are quarantined."""
    rows = [row for row in range(len(texts) + len(bad_rows)) if row not in bad_rows]
    n = len(texts)
    samples = {
        "row": rows,
        "domain": [domains[i % len(domains)] for i in range(n)],
        "doc_id": [None if i % 3 == 0 else f"doc-{i}" for i in range(n)],
        "n_tokens": [len(text.split()) for text in texts],
        "n_bytes": [len(text.encode()) for text in texts],
        "content_hash": [content_hash(text) for text in texts],
    }
    quality = np.array([len(text) % 11 for text in texts], dtype=np.float32)
    scores = {"row": rows, "quality": quality} | {name: quality / (i + 10) for i, name in enumerate(schemas.DIMENSIONS)}
    quarantine = {
        "row": list(bad_rows),
        "byte_offset": [row * 100 for row in bad_rows],
        "reason": ["bad_json"] * len(bad_rows),
        "detail": ["not \0 JSON"] * len(bad_rows),
    }
    return BlockScores(
        samples=pa.table(samples, schema=schemas.SAMPLES),
        quality=pa.table(scores, schema=schemas.QUALITY),
        quarantine=pa.table(quarantine, schema=schemas.QUARANTINE),
        embedding_key="embeddings/x",
        embedding_sha256="sha-1",
        embedding_digest="1" * 64,
        embedding_dim=4,
        seconds=0.5,
        records=n + len(bad_rows),
    )


def assignment_of(scores: BlockScores, n_clusters: int = 3) -> Assignment:
    """Clusters of made-up documents: by their row."""
    rows = scores.samples["row"].to_numpy()
    cluster = (rows % n_clusters).astype(np.int32)
    distance = (0.1 + rows / 7 % 1).astype(np.float32)
    table = pa.table([rows, cluster, distance, distance > 0.9], schema=schemas.ASSIGNMENTS)
    return Assignment(
        table,
        scores.embedding_digest,
        ClusterSums.of(cluster, distance, n_clusters),
    )
