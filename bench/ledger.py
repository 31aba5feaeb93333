"""What a run costs its driver: time by number of finished shards, and memory by number of mixed samples.

    python -m bench.ledger

Corpora are made up in SQL, as if they had been scored and assigned; the steps are the real ones, over a Postgres and an S3.
"""

import json
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.solver import MEGABYTE, peak_megabytes
from samplemix_core import schemas
from samplemix_core.config.budget import Budget
from samplemix_core.config.run import DiversityConfig, RunConfig
from samplemix_core.database import clusters, ledger, registration
from samplemix_core.database.connection import scalar
from samplemix_core.database.migrate import migrate
from samplemix_core.deployment import Deployment
from samplemix_core.diversity.cluster_model import ClusterModel, Fit, Groups
from samplemix_core.local.owner import Owner
from samplemix_core.local.stack import Stack
from samplemix_core.objects.interface import ObjectInfo
from samplemix_core.overlap.recipe import RECIPE
from samplemix_core.pipeline.assign import assign_clusters, measure_clusters
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.fit import fit_diversity, fit_spec
from samplemix_core.pipeline.handoff import Registered
from samplemix_core.pipeline.mix import mix
from samplemix_core.pipeline.near_duplicates import find_near_duplicates
from samplemix_core.pipeline.register import shard_groups
from samplemix_core.pipeline.score import check_loss, score

SHARDS = (1_000, 10_000, 100_000)
SAMPLES = (1_000_000, 4_000_000)
SAMPLES_PER_SHARD = 50_000
CLUSTERS = 100
LENIENT = DiversityConfig(gate_min_clusters=1, gate_max_largest_share=1.0, gate_max_noise_share=1.0)

_FILL = (
    """
    CREATE TEMP TABLE made ON COMMIT DROP AS
    SELECT shard_id, etag, row, (row_number() OVER (ORDER BY shard_id, row) - 1) AS n
    FROM shard, generate_series(0, %(rows)s - 1) AS row WHERE snapshot_id = %(snapshot)s
    """,
    # One document in twenty repeats another.
    """
    INSERT INTO sample (row, content_hash, snapshot_id, shard_id, domain_id, n_tokens, n_bytes)
    SELECT row, md5('%(snapshot)s/' || n %% greatest(1, %(samples)s * 19 / 20))::uuid, %(snapshot)s, shard_id, %(domain)s,
           100 + n %% 900, 500 FROM made
    """,
    """
    INSERT INTO quality_score (row, snapshot_id, shard_id, quality_model_id, quality)
    SELECT row, %(snapshot)s, shard_id, %(quality)s, n %% 97 / 10.0 FROM made
    """,
    """
    INSERT INTO diversity_score (row, cluster_model_id, snapshot_id, shard_id, cluster, distance, is_noise, diversity)
    SELECT row, %(model)s, %(snapshot)s, shard_id, n %% %(clusters)s, 0.5, false, n %% %(clusters)s / %(clusters)s::real FROM made
    """,
    """
    INSERT INTO shard_score (shard_id, encoder_id, quality_model_id, state, etag, attempts, documents, scored, quarantined,
                             tokens, text_bytes, embedding_digest, embedding_rows, embedding_dim)
    SELECT shard_id, %(encoder)s, %(quality)s, 'done', etag, 1, count(*), count(*), 0,
           sum(100 + n %% 900), 0, 'none', count(*), 4
    FROM made GROUP BY shard_id, etag
    """,
    """
    INSERT INTO near_shard (shard_id, recipe, signature_key, signature_sha256, texts, compared, seconds)
    SELECT shard_id, %(recipe)s, 'none', 'none', count(*), true, 0 FROM made GROUP BY shard_id
    """,
    """
    INSERT INTO shard_assignment (cluster_model_id, shard_id, state, attempts, embedding_digest, rows, noise_rows)
    SELECT %(model)s, shard_id, 'done', 1, 'none', count(*), 0 FROM made GROUP BY shard_id
    """,
)


@dataclass(frozen=True)
class Corpus:
    """A corpus as a run finds it when all its shards are done."""

    config: RunConfig
    registered: Registered
    entries: list[ObjectInfo]


@contextmanager
def stores(owner: Owner) -> Iterator[Deployment]:
    """A Postgres and an S3 that end with their owner."""
    with tempfile.TemporaryDirectory(prefix="samplemix-bench-", ignore_cleanup_errors=True) as directory:
        stack = Stack(Path(directory) / "home", ports="free", owner=owner)
        try:
            settings = stack.up({"postgres", "s3"})
            migrate(settings.database)
            yield settings
        finally:
            stack.destroy()


def make_corpus(settings: Deployment, name: str, shards: int, rows: int) -> Corpus:
    """Enter a corpus of `shards` shards with `rows` samples each, scored, assigned and measured."""
    uri = f"s3://bench/{name}"
    entries = [ObjectInfo(f"crawl/web/{i:06}.jsonl", 1000, f"etag-{i}") for i in range(shards)]
    config = RunConfig(corpus_uri=uri, mixture_name=name, budget=Budget(percent=100), diversity=LENIENT)
    store = settings.state
    fitted = made_up_model()
    store.put(f"clusters/{name}", fitted.to_bytes())
    with settings.transaction() as cursor:
        corpus = registration.register_corpus(
            cursor, uri=uri, reader=config.reader.identity(), tokenizer="a tokenizer", tokenizer_id="none"
        )
        snapshot = registration.register_snapshot(cursor, corpus.corpus_id, "crawl", entries)
        registered = Registered(
            corpus_id=corpus.corpus_id,
            corpus_key=corpus.corpus_key,
            encoder_id=registration.ensure_encoder(cursor, "none", {}),
            encoder_key="none",
            device="cpu",
            precision="float32",
            batch_tokens=4096,
            tokenizer="encoder",
            tokenizer_id="tokenizer",
            quality_model_id=registration.ensure_quality_model(cursor, "none", {}),
            quality_model_key="none",
            quality_low=0.0,
            quality_high=10.0,
            snapshots=("crawl",),
            snapshot_ids=(snapshot.snapshot_id,),
            shards=shards,
            last_shard_id=snapshot.last_shard_id,
        )
        cursor.execute("INSERT INTO domain (name) VALUES (%s) RETURNING domain_id", (name,))
        domain = scalar(cursor)
        model = clusters.save_cluster_model(
            cursor,
            corpus_id=corpus.corpus_id,
            encoder_id=registered.encoder_id,
            spec=fit_spec(ledger.shard_states(cursor, registered.scope), config.diversity),
            fitted=clusters.FittedModel(f"clusters/{name}", fitted.digest, CLUSTERS, fit_rows=CLUSTERS, fit_noise_share=0.0),
        ).cluster_model_id
        clusters.prepare_assignment(cursor, model, registered.snapshot_ids)
        parameters = {
            "snapshot": snapshot.snapshot_id,
            "rows": rows,
            "samples": rows * shards,
            "domain": domain,
            "quality": registered.quality_model_id,
            "encoder": registered.encoder_id,
            "model": model,
            "clusters": CLUSTERS,
            "recipe": RECIPE,
        }
        for statement in _FILL:
            cursor.execute(statement, parameters)
        diversity = np.linspace(0, 1, CLUSTERS)
        columns = [np.arange(CLUSTERS), np.full(CLUSTERS, rows * shards // CLUSTERS), diversity, diversity, diversity]
        clusters.finish_cluster_model(cursor, model, pa.table(columns, schema=schemas.CLUSTERS), fitted.first.bounds)
        cursor.execute("ANALYZE")
    return Corpus(config, registered, entries)


def made_up_model() -> ClusterModel:
    """Clusters that nobody fitted."""
    ones = np.ones(CLUSTERS)
    fit = Fit(
        mode="hdbscan",
        view="plain",
        seed=0,
        centroids=np.eye(CLUSTERS, dtype=np.float32),
        radii=ones.astype(np.float32),
        labels=np.arange(CLUSTERS, dtype=np.int32),
        compactness=ones,
        separation=ones,
        assigned=ones.astype(np.int64),
    )
    return ClusterModel((fit,), np.zeros(CLUSTERS, dtype=np.float32), Groups({}, None), "nearest", {}, 0, "none")


def drive(settings: Deployment, corpus: Corpus) -> dict[str, float]:
    """Seconds of each step's driver over a corpus whose shards are all done: no worker has anything to do."""
    run = RunContext(corpus.config, settings, lambda progress: None)
    registered, groups = corpus.registered, shard_groups(run, corpus.registered)
    seconds: dict[str, float] = {}

    def register_again() -> None:
        with settings.transaction() as cursor:
            registration.register_snapshot(cursor, registered.corpus_id, "crawl", corpus.entries)

    def timed(name: str, step: Callable[[], object]) -> None:
        start = time.perf_counter()
        step()
        seconds[name] = time.perf_counter() - start

    timed("register", register_again)
    timed("score", lambda: [score(run, registered, group) for group in groups])
    timed("check_loss", lambda: check_loss(run, registered))
    timed("near-duplicates", lambda: find_near_duplicates(run, registered))
    timed("fit", lambda: fit_diversity(run, registered))
    model = fit_diversity(run, registered)
    timed("assign", lambda: [assign_clusters(run, registered, model, group) for group in groups])
    timed("measure", lambda: measure_clusters(run, registered, model))
    timed("mix", lambda: mix(run, registered, model))
    return seconds


def mix_peaks(settings: Deployment, corpus: Corpus) -> list[float]:
    """Peak memory in MB of this process up to each report of the mix step: reading, solving, writing, done."""
    peaks: list[float] = []
    run = RunContext(corpus.config, settings, lambda progress: peaks.append(peak_megabytes()))
    model = fit_diversity(run, corpus.registered)
    peaks.clear()
    mix(run, corpus.registered, model)
    return peaks


def run() -> dict[str, float]:
    """Measure both and print tables; the figures are the growth from the smallest to the largest."""
    with stores(Owner.of(os.getpid())) as settings:
        peaks = []
        for samples in SAMPLES:
            corpus = make_corpus(settings, f"samples-{samples}", samples // SAMPLES_PER_SHARD, SAMPLES_PER_SHARD)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                peaks.append(pool.apply(mix_peaks, (settings, corpus)))
            print(f"mixing {samples:>9,} samples takes {peaks[-1][-1]:,.0f} MB at most", flush=True)
        totals = []
        for shards in SHARDS:
            corpus = make_corpus(settings, f"shards-{shards}", shards, 1)
            tries = 3 if shards == SHARDS[0] else 1
            seconds = min((drive(settings, corpus) for _ in range(tries)), key=lambda item: sum(item.values()))
            totals.append(sum(seconds.values()))
            steps = ", ".join(f"{name} {value:.2f}" for name, value in seconds.items())
            print(f"{shards:>7,} shards that are done: {totals[-1]:.2f} s ({steps})", flush=True)
    growth = [large - small for small, large in zip(peaks[0], peaks[-1], strict=True)]
    return {
        # Whether solving or writing, the stage that grows fastest is what counts in the end.
        "mix_bytes_per_sample": round(max(growth) * MEGABYTE / (SAMPLES[-1] - SAMPLES[0]), 1),
        "driver_exponent_shards": round(math.log(totals[-1] / totals[0]) / math.log(SHARDS[-1] / SHARDS[0]), 3),
    }


if __name__ == "__main__":
    print(json.dumps(run()))
