"""A corpus in the ledger, and shards' scores to put into it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from samplemix_core import schemas
from samplemix_core.corpus.records import Block
from samplemix_core.database import clusters, columns, ledger, mixtures, registration, scores
from samplemix_core.database.clusters import Assignment
from samplemix_core.database.connection import Cursor, transaction
from samplemix_core.database.mixtures import MixtureRows
from samplemix_core.database.scope import Scope, ScoredCounts, ScoreVersion, Shard
from samplemix_core.database.scores import BlockScores, commit_block
from samplemix_core.deployment import Deployment
from samplemix_core.diversity.geometry import Bounds
from samplemix_core.identity import content_hash
from samplemix_core.manifest.format import Manifest, domain_shares
from samplemix_core.mixing.rollup import MixtureRollup
from samplemix_core.mixing.source import Source
from samplemix_core.objects.interface import ObjectInfo
from samplemix_core.policies.natural import Natural
from samplemix_core.policies.policy import Scale
from tests.manifests import manifest_of


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
def ledgered(database: Deployment) -> LedgeredCorpus:
    url = database.database
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


def scores_of(
    texts: list[str], *, bad_rows: tuple[int, ...] = (), domains: tuple[str, ...] = ("web", "books"), unknown: Sequence[int] = ()
) -> BlockScores:
    """Scores of made-up documents: row i has text i; the rows in `bad_rows` come between them and are quarantined."""
    rows = [row for row in range(len(texts) + len(bad_rows)) if row not in bad_rows]
    n = len(texts)
    samples = {
        "row": rows,
        "domain": [domains[i % len(domains)] for i in range(n)],
        "doc_id": [None if i % 3 == 0 else f"doc-{i}" for i in range(n)],
        "n_tokens": [len(text.split()) for text in texts],
        "unknown_tokens": unknown or [0] * n,
        "n_bytes": [len(text.encode()) for text in texts],
        "content_hash": [content_hash(text) for text in texts],
        "content_type": [("prose", "code", "list")[i % 3] for i in range(n)],
        "language": [("en", "de")[i % 2] for i in range(n)],
        "url": [f"https://site-{i % 3}.example/{i}" for i in range(n)],
        "host": [f"site-{i % 3}.example" for i in range(n)],
        "license": [("CC-BY-4.0", None, "mit")[i % 3] for i in range(n)],
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
    diversity = np.array([1.0, 0.5, 0.0], dtype=np.float32)[cluster % 3]
    table = pa.table([rows, cluster, distance, distance > 0.9, diversity], schema=schemas.ASSIGNMENTS)
    return Assignment((table,), scores.embedding_digest)


def rows_in(shard: Shard, row: Sequence[int], copies: Sequence[int], weight: Sequence[float] | None = None) -> MixtureRows:
    """Rows of a mixture: all of one domain; their tokens and scores are made up of their places."""
    place = np.array(row, dtype=np.int64)
    return MixtureRows(
        shard=shard,
        row=place,
        copies=np.array(copies, dtype=np.int32),
        weight=np.array(weight if weight is not None else [1.0] * place.size, dtype=np.float64),
        domain=["web"] * place.size,
        n_tokens=(place + 1).astype(np.int32),
        quality=(place % 11).astype(np.float32),
        diversity=np.array([1.0, 0.5, 0.0], dtype=np.float32)[place % 3],
        cluster=(place % 3).astype(np.int32),
    )


def rollup_for(manifest: Manifest, snapshot: str = "crawl-a") -> MixtureRollup:
    """A roll-up that comes to what a manifest says: one cell, and one sample that has all copies but one of each other."""
    domain = manifest.domains[0].domain
    sums = {name: [0] for name in schemas.CELLS.names} | {
        "domain": [domain],
        "language": ["en"],
        "content_type": ["prose"],
        **{"diversity": [0.5], "mixture_diversity": [0.5]},
        "documents": [manifest.counts.eligible],
        "tokens": [sum(item.source_tokens for item in manifest.domains)],
        "samples": [manifest.samples],
        "copies": [manifest.copies],
        "mixture_tokens": [manifest.realised_tokens],
    }
    often = manifest.copies - manifest.samples + 1
    counts = {
        "snapshot": [snapshot] * 3,
        "domain": [domain] * 3,
        "copies": [0, 1, often],
        "samples": [manifest.counts.eligible - manifest.samples, manifest.samples - 1, 1],
        "tokens": [0, manifest.realised_tokens, 0],
    }
    return MixtureRollup(pa.table(sums, schema=schemas.CELLS), pa.table(counts, schema=schemas.COPY_COUNTS))


TEXTS = {
    0: ["alpha one", "beta", "alpha one", "gamma three words"],
    1: ["beta", "delta"],
    2: ["epsilon five"],
    3: ["alpha one", "zeta"],
    4: ["zeta", "eta", "eta", "delta", "theta"],
}


@pytest.fixture
def assigned(ledgered: LedgeredCorpus) -> LedgeredCorpus:
    """The corpus with five scored and assigned shards and one refused, written in an order that is not theirs."""
    with transaction(ledgered.url) as cursor:
        model = save_model(cursor, ledgered)
        clusters.prepare_assignment(cursor, model.cluster_model_id, ledgered.snapshot_ids)
        for index in (4, 2, 0, 3, 1):
            shard, result = ledgered.shards[index], scores_of(TEXTS[index], bad_rows=(1,) if index == 0 else ())
            commit_scores(cursor, shard, ledgered.version, result)
            clusters.commit_assignment(cursor, model.cluster_model_id, shard, assignment_of(result))
        scores.refuse_shard(cursor, ledgered.shards[5], ledgered.version, "truncated")
        table = pa.table([[0, 1, 2], [5, 5, 4], [0.5] * 3, [0.9] * 3, [1.0, 0.5, 0.0]], schema=schemas.CLUSTERS)
        clusters.finish_cluster_model(cursor, model.cluster_model_id, table, Bounds(0.0, 1.0))
        registration.set_current_models(
            cursor,
            ledgered.corpus_id,
            quality_model_id=ledgered.version.quality_model_id,
            cluster_model_id=model.cluster_model_id,
        )
    return ledgered


@pytest.fixture
def mixed(assigned: LedgeredCorpus) -> LedgeredCorpus:
    """The corpus with a mixture of it, recorded with what it really comes to."""
    mix(assigned, 1)
    return assigned


def mix(assigned: LedgeredCorpus, version: int, step: int = 7) -> Manifest:
    """Record a version that takes 0 to 3 copies of each eligible document, by its place."""
    with transaction(assigned.url) as cursor:
        states = ledger.shard_states(cursor, assigned.scope)
        shards = {state.shard.path: state.shard for state in states}
        duplicates = columns.find_duplicates(cursor, assigned.scope)
        total = sum(state.scored for state in states) - sum(rows.size for rows in duplicates.values())
        diversity = clusters.cluster_table(cursor, 1)["diversity"].to_numpy().astype(np.float32)
        source = Source(total, registration.domain_names(cursor), diversity, 1)
        for shard, samples in columns.stream_samples(cursor, assigned.version, 1, states):
            repeated = duplicates.get(shard.shard_id)
            source.add(samples if repeated is None else samples.without(repeated))
        source.finish().weigh(Natural().weigh(Scale(0.0, 10.0)))
        copies = (np.arange(total) * step % 4).astype(np.uint16)
        sums = source.domain_sums(copies)
        manifest = manifest_of(version, domain_shares(source.domains, **sums.as_lists()), str(version))
        counts = manifest.counts.model_copy(update={"eligible": total, "scored": total, "documents": total + 6})
        facts = {
            "counts": counts,
            "samples": int(np.count_nonzero(copies)),
            "copies": int(copies.sum()),
            "realised_tokens": int(sums.mixture_tokens.sum()),
        }
        manifest = manifest.model_copy(update=facts)
        rows = (
            mixtures.MixtureRows(
                shard=shards[table["shard"][0].as_py()],
                domain=table["domain"].to_pylist(),
                **{
                    name: table[name].to_numpy()
                    for name in ("row", "copies", "weight", "n_tokens", "quality", "diversity", "cluster")
                },
            )
            for table in source.rows(copies)
        )
        provenance = mixtures.Provenance(
            assigned.corpus_id,
            assigned.snapshot_ids,
            assigned.version.quality_model_id,
            assigned.version.encoder_id,
            1,
            "uri",
            "sha",
        )
        mixtures.save_mixture(cursor, manifest, provenance, {}, rows, MixtureRollup.of(source, copies, 0.0, 10.0))
        return manifest
