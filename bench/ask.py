"""Questions about ten million samples: loading with roll-ups against bare COPY, the ready queries, the pages, and what if.

    python -m bench.ask [SAMPLES]

The samples are made up; they are loaded by the functions that workers and the publishing step call.
"""

import io
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from statistics import median

import numpy as np
import pyarrow as pa
from fastapi.testclient import TestClient

from bench.ledger import stores
from samplemix_core import schemas
from samplemix_core.corpus.records import Block
from samplemix_core.database import clusters, columns, ledger, mixtures, registration
from samplemix_core.database.connection import Cursor, transaction
from samplemix_core.database.copy import encode
from samplemix_core.database.query import ready_queries, run_query
from samplemix_core.database.scope import Scope, ScoreVersion, Shard
from samplemix_core.database.scores import BlockScores, commit_block
from samplemix_core.database.upkeep import index_scores, refresh_statistics
from samplemix_core.deployment import Deployment
from samplemix_core.diversity.geometry import Bounds
from samplemix_core.local.owner import Owner
from samplemix_core.manifest.format import (
    Counts,
    Lineage,
    ManifestDraft,
    PartFile,
    PolicyRecord,
    SolverRecord,
    domain_shares,
    publishable,
)
from samplemix_core.mixing.rollup import MixtureRollup
from samplemix_core.mixing.solver import solve_copies
from samplemix_core.mixing.source import Source
from samplemix_core.objects.interface import ObjectInfo
from samplemix_core.pages import api
from samplemix_core.pages.app import make_app
from samplemix_core.policies.registry import recorded

SAMPLES = 10_000_000
SNAPSHOTS = 10
SHARD_ROWS, BLOCK_ROWS = 20_000, 2_000
DOMAINS, CLUSTERS = 20, 400


@dataclass(frozen=True)
class Corpus:
    """The ids of the corpus that is asked about."""

    corpus_id: int
    version: ScoreVersion
    cluster_model_id: int
    snapshot_ids: tuple[int, ...]
    shards: tuple[Shard, ...]


def register(cursor: Cursor, samples: int) -> Corpus:
    """Enter the corpus and its shards."""
    corpus = registration.register_corpus(cursor, uri="s3://bench/ask", reader={}, tokenizer="none", tokenizer_id="none")
    version = ScoreVersion(registration.ensure_encoder(cursor, "none", {}), registration.ensure_quality_model(cursor, "none", {}))
    ids = []
    for i in range(SNAPSHOTS):
        entries = [ObjectInfo(f"crawl-{i:02}/web/{j:05}.jsonl", 1000, "etag") for j in range(samples // SNAPSHOTS // SHARD_ROWS)]
        ids.append(registration.register_snapshot(cursor, corpus.corpus_id, f"crawl-{i:02}", entries).snapshot_id)
    scope = Scope(tuple(ids), version, 2**31 - 1)
    model = clusters.save_cluster_model(
        cursor,
        corpus_id=corpus.corpus_id,
        encoder_id=version.encoder_id,
        spec={},
        fitted=clusters.FittedModel("none", "none", CLUSTERS, fit_rows=20_000, fit_noise_share=0.2),
    )
    clusters.prepare_assignment(cursor, model.cluster_model_id, ids)
    shards = tuple(state.shard for state in ledger.shard_states(cursor, scope))
    return Corpus(corpus.corpus_id, version, model.cluster_model_id, scope.snapshot_ids, shards)


def made_up(rng: np.random.Generator, domain: int, first_row: int, rows: int) -> tuple[pa.Table, pa.Table]:
    """Samples and qualities of a block of one domain: domains differ in length and quality."""
    quality = np.clip(rng.normal(3 + domain / 5, 1.5, rows), 0, 10).astype(np.float32)
    row = np.arange(first_row, first_row + rows)
    tokens = np.exp(rng.normal(5.5 + domain / 20, 0.8, rows)).astype(np.int32) + 1
    samples = {
        "row": row,
        "domain": [f"domain-{domain:02}"] * rows,
        "doc_id": [f"document-{number}" for number in row.tolist()],
        "n_tokens": tokens,
        "unknown_tokens": np.zeros(rows, dtype=np.int32),
        "n_bytes": tokens * 4,
        "content_hash": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), rows, [None, pa.py_buffer(rng.bytes(16 * rows))]),
        "content_type": ["prose"] * rows,
        "language": ["en"] * rows,
        "url": pa.nulls(rows),
        "host": pa.nulls(rows),
        "license": pa.nulls(rows),
    }
    dimensions = dict.fromkeys(schemas.DIMENSIONS, quality / 7)
    return pa.table(samples, schema=schemas.SAMPLES), pa.table(
        {"row": row, "quality": quality, **dimensions}, schema=schemas.QUALITY
    )


def assigned(rng: np.random.Generator, rows: int) -> pa.Table:
    """Clusters of a shard's samples, some larger than others."""
    cluster = (CLUSTERS * rng.random(rows) ** 1.5).astype(np.int32)
    distance = rng.uniform(0.05, 0.9, rows).astype(np.float32)
    columns = [np.arange(rows), cluster, distance, distance > 0.85, rng.random(rows).astype(np.float32)]
    return pa.table(columns, schema=schemas.ASSIGNMENTS)


def load(settings: Deployment, corpus: Corpus) -> float:
    """Load all shards by the product's own path; return the seconds, not counting those of making samples up."""
    url, seconds = settings.database, 0.0
    for shard in corpus.shards:
        rng = np.random.default_rng(shard.shard_id)
        plan = [Block(i, i * BLOCK_ROWS, BLOCK_ROWS, i * 1000, 1000) for i in range(SHARD_ROWS // BLOCK_ROWS)]
        blocks = [made_up(rng, shard.shard_id % DOMAINS, block.first_row, BLOCK_ROWS) for block in plan]
        table = assigned(rng, SHARD_ROWS)
        with transaction(url) as cursor:
            ledger.begin_shards(cursor, [shard], corpus.version)
            ledger.save_plan(cursor, shard, plan)
        started = time.perf_counter()
        for block, (samples, quality) in zip(plan, blocks, strict=True):
            scores = BlockScores(
                samples, quality, schemas.QUARANTINE.empty_table(), "none", "none", f"{1:064}", 384, 1.0, records=BLOCK_ROWS
            )
            with transaction(url) as cursor:
                commit_block(cursor, shard, corpus.version, block, scores)
        with transaction(url) as cursor:
            digest = ledger.shard_states(cursor, Scope((shard.snapshot_id,), corpus.version, shard.shard_id))
            found = next(state.embedding_digest for state in digest if state.shard == shard)
            assert found is not None
            clusters.commit_assignment(cursor, corpus.cluster_model_id, shard, clusters.Assignment((table,), found))
        seconds += time.perf_counter() - started
    return seconds


def copy_bare(settings: Deployment, shards: int, rows: int) -> float:
    """Seconds that COPY takes for the same rows of several shards, `rows` in a transaction.

    From Arrow, as in the product, into tables with the same keys and indexes.
    """
    rng, url = np.random.default_rng(1), settings.database
    with transaction(url) as cursor:
        for table in ("sample", "quality_score", "diversity_score"):
            cursor.execute(f"CREATE TABLE bare_{table} (LIKE {table} INCLUDING ALL)")
    seconds = 0.0
    for shard in range(shards):
        samples, quality = made_up(rng, shard % DOMAINS, 0, SHARD_ROWS)
        parts = [
            {"sample": samples.drop_columns("domain"), "quality_score": quality},
            {"diversity_score": assigned(rng, SHARD_ROWS)},
        ]
        pieces = [{name: table.slice(i, rows) for name, table in parts[0].items()} for i in range(0, SHARD_ROWS, rows)]
        for tables in [*pieces, parts[1]]:
            started = time.perf_counter()
            with transaction(url) as cursor:
                for name, table in tables.items():
                    names, data = numbered(table, name, shard)
                    cursor.copy_expert(f"COPY bare_{name} ({names}) FROM STDIN (FORMAT binary)", io.BytesIO(data), size=2**20)
            seconds += time.perf_counter() - started
    with transaction(url) as cursor:
        for table in ("sample", "quality_score", "diversity_score"):
            cursor.execute(f"DROP TABLE bare_{table}")
    return seconds


IDS = {
    "sample": ("snapshot_id", "domain_id"),
    "quality_score": ("snapshot_id", "quality_model_id"),
    "diversity_score": ("snapshot_id", "cluster_model_id"),
}


def numbered(table: pa.Table, name: str, shard: int) -> tuple[str, bytes]:
    """The names of a table's columns, including its ids, and its rows as COPY takes them."""
    for column, value in {**dict.fromkeys(IDS[name], 1), "shard_id": shard}.items():
        table = table.append_column(column, pa.array(np.full(table.num_rows, value, dtype=np.int32)))
    return ", ".join(table.column_names), b"".join(encode([table]))


def measure(settings: Deployment, corpus: Corpus) -> None:
    """Make the clusters differ in diversity, and refresh the planner's statistics."""
    rng = np.random.default_rng(2)
    diversity = rng.random(CLUSTERS)
    sizes = np.full(CLUSTERS, len(corpus.shards) * SHARD_ROWS // CLUSTERS)
    with settings.transaction() as cursor:
        table = pa.table([np.arange(CLUSTERS), sizes, diversity, np.ones(CLUSTERS), diversity], schema=schemas.CLUSTERS)
        clusters.finish_cluster_model(cursor, corpus.cluster_model_id, table, Bounds(0.0, 1.0))
        registration.set_current_models(
            cursor, corpus.corpus_id, quality_model_id=corpus.version.quality_model_id, cluster_model_id=corpus.cluster_model_id
        )
        for snapshot_id in corpus.snapshot_ids:
            index_scores(cursor, snapshot_id, corpus.cluster_model_id)
        refresh_statistics(cursor)


def mix(settings: Deployment, corpus: Corpus, version: int, parameters: dict[str, float], share: float) -> None:
    """Solve a mixture and record it as the publishing step does, without writing its parts."""
    with settings.transaction() as cursor:
        states = ledger.shard_states(cursor, Scope(corpus.snapshot_ids, corpus.version, 2**31 - 1))
        shards = {state.shard.path: state.shard for state in states}
        diversity = clusters.cluster_table(cursor, corpus.cluster_model_id)["diversity"].to_numpy().astype(np.float32)
        total = sum(state.scored for state in states)
        source = Source(total, registration.domain_names(cursor), diversity, 42)
        for _, samples in columns.stream_samples(cursor, corpus.version, corpus.cluster_model_id, states):
            source.add(samples)
        source.finish().weigh(recorded("samplemix", parameters))
        budget = int(share * source.total_tokens)
        solution = solve_copies(source.weight, source.tokens, source.uniform, budget, 4)
        draft = ManifestDraft(
            name="ask",
            corpus_root="s3://bench/ask",
            seed=42,
            policy=PolicyRecord(name="samplemix", parameters=parameters),
            solver=SolverRecord(max_copies=4, kappa=solution.kappa, next_tokens=solution.next_tokens),
            budget_tokens=budget,
            realised_tokens=solution.realised_tokens,
            samples=int(np.count_nonzero(solution.copies)),
            copies=int(solution.copies.sum(dtype=np.int64)),
            counts=Counts(documents=total, scored=total, quarantined=0, duplicates=0, eligible=total),
            domains=domain_shares(source.domains, **source.domain_sums(solution.copies).as_lists()),
            lineage=Lineage(
                **{"corpus": "c", "quality_model": "q", "encoder": "e", "cluster_model": "k", "code_version": "0"},
                snapshots=(),
                config_fingerprint="f",
            ),
        )
        part = PartFile(path="part-00000.parquet", rows=draft.samples, tokens=draft.realised_tokens, sha256=f"{version:064}")
        manifest = publishable(draft, version, version - 1 or None, (part,), datetime.now(UTC))
        names = ("row", "copies", "weight", "n_tokens", "quality", "diversity", "cluster")
        rows = (
            mixtures.MixtureRows(
                shard=shards[table["shard"][0].as_py()],
                domain=table["domain"].to_pylist(),
                **{name: table[name].to_numpy() for name in names},
            )
            for table in source.rows(solution.copies)
        )
        provenance = mixtures.Provenance(
            *(corpus.corpus_id, corpus.snapshot_ids, corpus.version.quality_model_id, corpus.version.encoder_id),
            *(corpus.cluster_model_id, "none", "none"),
        )
        mixtures.save_mixture(cursor, manifest, provenance, {}, rows, MixtureRollup.of(source, solution.copies, 0.0, 10.0))


PLAIN = {
    "domain_shift": """
        SELECT domain, sum(quality::float8 * n_tokens) / sum(n_tokens), sum(diversity * n_tokens) / sum(n_tokens), sum(n_tokens)
        FROM sample_scores GROUP BY domain
    """,
    "quality_by_domain": """
        SELECT domain, count(*), sum(n_tokens), avg(quality::float8), stddev_pop(quality::float8) FROM sample_scores GROUP BY domain
    """,
    "quality_by_snapshot": "SELECT domain, snapshot, count(*), avg(quality::float8) FROM sample_scores GROUP BY domain, snapshot",
    "noise_by_domain": "SELECT domain, count(*), avg(is_noise::int), avg(distance::float8) FROM sample_scores GROUP BY domain",
    "funnel": """
        SELECT domain, count(*), sum(copies), sum(n_tokens::bigint * copies)
        FROM sample_scores LEFT JOIN (SELECT * FROM mixture_samples WHERE mixture = 'ask' AND version = 2) AS held
            USING (snapshot, shard, row, domain, n_tokens)
        GROUP BY domain
    """,
    "copies_histogram": """
        SELECT copies, count(*), sum(n_tokens) FROM mixture_samples WHERE mixture = 'ask' AND version = 2 GROUP BY copies
    """,
}
"""Some ready queries, asked of the samples themselves; only a part of them, if the whole would take several passes."""


def milliseconds(call: Callable[[], object], times: int = 3) -> float:
    """The median of several calls."""
    took = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        took.append(1000 * (time.perf_counter() - started))
    return median(took)


def ask(settings: Deployment, corpus: Corpus) -> dict[str, float]:
    """Time the ready queries, and those that read roll-ups against the same without them."""
    reader = settings.require("reader_database_url")
    shard = corpus.shards[0].path
    known = {
        "mixture": "ask",
        "corpus": "s3://bench/ask",
        "older": "1",
        "cluster": str(CLUSTERS * 3 // 4),
        "shard": shard,
        "row": "7",
        "run": "none",
        "model": "composite",
        "other": "composite",
    }
    took, speedups = {}, []
    for query in ready_queries().values():
        values = query.filled({name: known[name] for name in query.parameters if name in known})
        took[query.name] = milliseconds(partial(run_query, reader, query.sql, values))
        beside = ""
        if query.name in PLAIN:
            plain = milliseconds(partial(run_query, reader, PLAIN[query.name], {}), times=1)
            speedups.append(plain / took[query.name])
            beside = f"{plain:>12,.0f} ms without roll-ups"
        print(f"{query.name:<24}{took[query.name]:>10,.1f} ms{beside}", flush=True)
    return {
        "query_median_ms": round(median(took.values()), 1),
        "query_worst_ms": round(max(took.values())),
        "speedup_over_no_rollup": round(min(speedups), 1),
    }


CHOSEN = (
    "order=copies",
    "order=copies&domain=domain-03",
    "order=copies&quality_from=9.99&copies_to=1",
    "order=weight&snapshot=crawl-09",
    "order=quality&copies_to=0",
    "order=distance&cluster=300",
    "order=place&domain=domain-19&copies_to=0",
)
"""Samples to ask for: the first ones, and some that are rare and far."""


def look(settings: Deployment) -> dict[str, float]:
    """Time the pages, and what-if: its time after the first, and how far its shares are from the solved mixture's, in points."""
    app = make_app(lambda: None)
    app.dependency_overrides[api.reader] = lambda: settings.require("reader_database_url")
    paths = [
        "/",
        "/corpora/1",
        "/mixtures/ask",
        "/mixtures/ask/1",
        "/mixtures/ask/diff",
        "/mixtures/ask/2/what-if",
        "/mixtures/ask/2/clusters",
        *(f"/mixtures/ask/2/samples?{chosen}" for chosen in CHOSEN),
        "/run",
        "/docs",
    ]
    # Version 1 under the settings of version 2.
    what_if = f"/api/mixtures/ask/1/what-if?alpha={OTHER['alpha']}&tau={OTHER['tau']}&budget_percent={100 * SHARE}&max_copies=4"
    with TestClient(app) as client:
        pages = {path: milliseconds(partial(client.get, path)) for path in paths}
        first = milliseconds(partial(client.get, what_if), times=1)
        later = milliseconds(partial(client.get, what_if), times=5)
        guessed = {row["domain"]: row["share"] for row in client.get(what_if).json()["domains"]}
        solved = {row["domain"]: row["mixture_share"] for row in client.get("/api/queries/domain_shift?mixture=ask").json()}
    for path, took in {**pages, "what if, first": first, "what if": later}.items():
        print(f"{path:<72}{took:>10,.1f} ms", flush=True)
    off = max(abs(guessed[domain] - share) for domain, share in solved.items())
    return {
        "page_median_ms": round(median(pages.values()), 1),
        "page_worst_ms": round(max(pages.values())),
        "what_if_ms": round(later),
        "what_if_off_points": round(100 * off, 3),
    }


PAPER = {"alpha": 0.8, "tau": 0.2, "q_low": 0.0, "q_high": 10.0}
OTHER = {**PAPER, "alpha": 0.6, "tau": 0.25}
SHARE = 0.2


def run(samples: int) -> dict[str, float]:
    """Load, ask, look; print tables."""
    with stores(Owner.of(os.getpid())) as settings:
        with settings.transaction() as cursor:
            corpus = register(cursor, samples)
        peer = min(50, len(corpus.shards))
        seconds = {
            "bare COPY, a shard at a time": copy_bare(settings, peer, SHARD_ROWS) / peer,
            "bare COPY, a block at a time": copy_bare(settings, peer, BLOCK_ROWS) / peer,
            "with ledger and roll-ups, a block at a time": load(settings, corpus) / len(corpus.shards),
            "bare COPY, a block at a time, again": copy_bare(settings, peer, BLOCK_ROWS) / peer,
        }
        for name, took in seconds.items():
            print(f"{name:<45}{SHARD_ROWS / took:>12,.0f} samples/s", flush=True)
        whole, first, loading, again = seconds.values()
        measure(settings, corpus)
        mix(settings, corpus, 1, PAPER, SHARE)
        mix(settings, corpus, 2, OTHER, SHARE)
        loaded = {"load_over_copy": round(min(first, again) / loading, 2), "load_over_whole_copy": round(whole / loading, 2)}
        return {**loaded, **ask(settings, corpus), **look(settings)}


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else SAMPLES)))
