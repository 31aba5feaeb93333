"""What runs on a Dask worker. Arguments and results are small; the data goes between the worker and the stores.

A worker finds the services by its own environment (settings.py): no connection and no secret travels with a task.
"""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core import schemas
from samplemix_core.config import EmbeddingConfig
from samplemix_core.corpus.batches import ShardBatch
from samplemix_core.corpus.reader import read_shard
from samplemix_core.corpus.samples import describe
from samplemix_core.diversity.assign import assign
from samplemix_core.diversity.health import check_health
from samplemix_core.diversity.model import ClusterModel
from samplemix_core.diversity.statistics import ClusterSums
from samplemix_core.embedding.encoder import Encoder, load_encoder
from samplemix_core.embedding.files import read_embeddings, read_positions, to_table, write_embeddings
from samplemix_core.errors import CorpusError, ModelError, ShardRefusedError
from samplemix_core.identity import fingerprint
from samplemix_core.pipeline.tasks import AssignTask, FitResult, FitTask, ScoreResult, ScoreTask
from samplemix_core.quality.composite import composite_model, score_quality
from samplemix_core.quality.rubric import RUBRIC
from samplemix_core.settings import Settings
from samplemix_core.store import clusters, scores
from samplemix_core.store.ledger import Shard, begin_shard
from samplemix_core.store.object_store import ObjectStore
from samplemix_core.store.objects import open_store
from samplemix_core.store.postgres import transaction

_CHUNK_BYTES = 2**20
_READS_AT_ONCE = 8


def describe_models(embedding: EmbeddingConfig) -> dict[str, Any]:
    """What the configured encoder, as this worker loads it, and the quality model are."""
    encoder = load_encoder(embedding)
    return {
        "encoder_key": encoder.encoder_id,
        "encoder": encoder.spec,
        "tokenizer_id": encoder.tokenizer_id,
        "quality_model": composite_model(),
        "quality_range": (0.0, float(sum(dimension.maximum for dimension in RUBRIC))),
    }


def score_shard(task: ScoreTask) -> ScoreResult:
    """Read a shard, score and embed its documents, store all of it, and close the ledger row in one transaction.

    Doing it again gives the same bytes, and does nothing where it is done. A shard that can't be trusted is entered as refused, and
    its error raised.
    """
    started = time.monotonic()
    settings = Settings.load()
    database = settings.require("database_url")
    with transaction(database) as cursor:
        done = begin_shard(cursor, task.shard, task.version)
    if done is not None:
        return ScoreResult(done.scored, done.quarantined, done.tokens)
    encoder = _load_models(task)
    samples, quality = _Tables(schemas.SAMPLES), _Tables(schemas.QUALITY)
    records = 0

    def embedded(batches: Iterator[ShardBatch], quarantine: pa.RecordBatchFileWriter) -> Iterator[pa.Table]:
        nonlocal records
        for batch in batches:
            records += batch.records
            quarantine.write_table(batch.quarantine)
            if batch.documents.num_rows:
                yield _score_batch(batch.documents, encoder, samples, quality)

    try:
        with settings.scratch() as directory:
            path, rejects = directory / "embeddings.parquet", directory / "quarantine.arrow"
            with (
                open_store(task.corpus_uri, settings).open(task.shard.path) as stream,
                pa.OSFile(str(rejects), "wb") as file,
                pa.ipc.new_file(file, schemas.QUARANTINE) as writer,
            ):
                batches = read_shard(stream, task.shard.path, task.reader)
                write_embeddings(path, embedded(batches, writer), encoder.dim, encoder.encoder_id)
            with path.open("rb") as embeddings:
                digest = hashlib.file_digest(embeddings, "sha256").hexdigest()
            _require_unchanged(open_store(task.corpus_uri, settings), task.shard)
            # Named after its content: no other attempt can replace it.
            embedding_key = f"{task.embedding_prefix}.{digest[:32]}.parquet"
            open_store(settings.state_root, settings).upload(embedding_key, path)
            # A shard may have more rejected records than memory: they stay on disk until Postgres has them.
            with pa.memory_map(str(rejects)) as mapped:
                result = scores.ShardScores(
                    samples=samples.table(),
                    quality=quality.table(),
                    quarantine=pa.ipc.open_file(mapped).read_all(),
                    embedding_key=embedding_key,
                    embedding_sha256=digest,
                    embedding_dim=encoder.dim,
                    seconds=time.monotonic() - started,
                    records=records,
                )
                with transaction(database) as cursor:
                    scores.commit_shard(cursor, task.shard, task.version, result)
    except ShardRefusedError as error:
        with transaction(database) as cursor:
            scores.refuse_shard(cursor, task.shard, task.version, str(error))
        raise
    n_tokens = result.samples["n_tokens"].to_numpy()
    return ScoreResult(result.samples.num_rows, result.quarantine.num_rows, int(n_tokens.sum(dtype=np.int64)))


def _load_models(task: ScoreTask) -> Encoder:
    """The encoder; ModelError unless it and the quality model are those that the run registered, down to device and precision."""
    encoder = load_encoder(task.embedding)
    if encoder.encoder_id != task.encoder_key:
        raise ModelError(
            f"This worker's encoder ({encoder.spec['name']} on {encoder.device} in {encoder.precision}) is not the run's: it has"
            f" the key {encoder.encoder_id}, the run registered {task.encoder_key}.",
            "Give all workers the same model files and kind of processor, or set embedding.device and embedding.precision to what"
            " each of them has.",
        )
    found = fingerprint(composite_model())
    if found != task.quality_model_key:
        raise ModelError(
            f"This worker's quality model has the key {found}, the run registered {task.quality_model_key}.",
            "Bring all workers and Airflow to the same version of SampleMix.",
        )
    return encoder


class _Tables:
    """Tables of one schema, in order."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._tables: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        self._tables.append(table)

    def table(self) -> pa.Table:
        return pa.concat_tables([self._schema.empty_table(), *self._tables])


def _score_batch(documents: pa.Table, encoder: Encoder, samples: _Tables, quality: _Tables) -> pa.Table:
    """Score one batch of documents into the two tables; returns its embeddings."""
    rows = documents["row"]
    tokenized = encoder.tokenize(documents["text"].to_pylist())
    n_bytes, content_hash = describe(documents)
    values = [rows, documents["domain"], documents["doc_id"], tokenized.n_tokens, n_bytes, content_hash]
    samples.add(pa.table(values, schema=schemas.SAMPLES))
    scored = score_quality(documents["text"])
    quality.add(pa.table([rows, scored.quality, *np.ascontiguousarray(scored.dimensions.T)], schema=schemas.QUALITY))
    return to_table(rows.to_numpy(), encoder.encode(tokenized))


def _require_unchanged(corpus: ObjectStore, shard: Shard) -> None:
    info = corpus.head(shard.path)
    if info is None or (info.etag, info.size) != (shard.etag, shard.size_bytes):
        raise CorpusError(
            f"{corpus.uri}/{shard.path} changed while the run was on: its etag was {shard.etag}, now it is "
            f"{info.etag if info else 'gone'}.",
            "Run again when nothing writes to it: a shard that changed is scored again.",
        )


def fit_model(task: FitTask) -> FitResult:
    """Fit clusters on sampled vectors and store the model; raise DiversityHealthError if a gate says they are degenerate."""
    from samplemix_core.diversity.fit import fit_clusters  # UMAP takes seconds to import: only the worker that fits pays

    settings = Settings.load()
    store = open_store(settings.state_root, settings)

    def read(drawn: tuple[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
        with store.open(drawn[0]) as stream:
            return read_positions(stream, task.encoder_key, drawn[1])

    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        vectors = np.concatenate(list(pool.map(read, task.sample)))
    model = fit_clusters(vectors, task.diversity, task.diversity.seed, encoder_id=task.encoder_key)
    check_health(model, task.diversity)
    key = f"clusters/{model.digest}.safetensors"
    store.put(key, model.to_bytes())
    return FitResult(key, model.digest, model.n_clusters, len(vectors), model.noise_share, model.largest_share)


def assign_shard(task: AssignTask) -> int:
    """Assign a shard's documents to their nearest clusters and store the result with its sums; returns how many there are."""
    settings = Settings.load()
    store = open_store(settings.state_root, settings)
    model = ClusterModel.from_bytes(store.get(task.artifact_key)[0])
    assignments = _Tables(schemas.ASSIGNMENTS)
    with settings.scratch() as directory:
        path = directory / "embeddings.parquet"
        _download(store, task.embedding_key, task.embedding_sha256, path)
        for rows, vectors in read_embeddings(path, task.encoder_key):
            part = assign(vectors, model)
            assignments.add(pa.table([rows, part.cluster, part.distance, part.is_noise], schema=schemas.ASSIGNMENTS))
    table = assignments.table()
    sums = ClusterSums.of(table["cluster"].to_numpy(), table["distance"].to_numpy(), model.n_clusters)
    assignment = clusters.Assignment(table, task.embedding_sha256, sums.counts, sums.distance_sum)
    with transaction(settings.require("database_url")) as cursor:
        clusters.commit_assignment(cursor, task.cluster_model_id, task.shard, assignment)
    return int(table.num_rows)


def _download(store: ObjectStore, key: str, sha256: str, path: Path) -> None:
    """Copy an object to a file; ModelError unless its bytes are those that the ledger knows."""
    digest = hashlib.sha256()
    with store.open(key) as stream, path.open("wb") as file:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != sha256:
        raise ModelError(
            f"{store.uri}/{key} has SHA-256 {digest.hexdigest()}, the ledger says {sha256}.",
            "Something has changed an embedding file: restore it, or score its shard again.",
        )
