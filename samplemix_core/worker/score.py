"""Scoring a shard: read, hash, count, score, embed; one embedding file and one transaction at the end.

A worker finds the services by its own environment (settings.py): no connection and no secret travels with a task.
"""

import hashlib
import logging
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from samplemix_core import schemas
from samplemix_core.corpus.records import ShardBatch, describe
from samplemix_core.corpus.shards import read_shard
from samplemix_core.database import scores
from samplemix_core.database.connection import transaction
from samplemix_core.database.ledger import begin_shard
from samplemix_core.database.scope import ScoredCounts, Shard
from samplemix_core.embedding.encoder import Encoder
from samplemix_core.embedding.files import EmbeddingWriter
from samplemix_core.errors import CorpusError, ShardRefusedError
from samplemix_core.logs import event
from samplemix_core.objects import open_store
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.quality.composite import score_quality
from samplemix_core.settings import Settings
from samplemix_core.worker.jobs import ScoreTask
from samplemix_core.worker.models import load_models

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ScoredBatch:
    """What a batch of n documents gave, in row order: schemas.SAMPLES, schemas.QUALITY and unit vectors, float32 (n, dim)."""

    samples: pa.Table
    quality: pa.Table
    vectors: np.ndarray


def score_batch(documents: pa.Table, encoder: Encoder) -> ScoredBatch:
    """Score n documents (schemas.DOCUMENTS) of one shard. A pure function: the same documents and encoder, the same result."""
    rows, texts = documents["row"], documents["text"]
    tokenized = encoder.tokenize(texts.to_pylist())
    n_bytes, content_hash = describe(texts)
    scored = score_quality(texts)
    return ScoredBatch(
        samples=pa.table(
            [rows, documents["domain"], documents["doc_id"], tokenized.n_tokens, n_bytes, content_hash], schema=schemas.SAMPLES
        ),
        quality=pa.table([rows, scored.quality, *np.ascontiguousarray(scored.dimensions.T)], schema=schemas.QUALITY),
        vectors=encoder.encode(tokenized),
    )


def score_shard(task: ScoreTask) -> ScoredCounts:
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
        _log(task, "scored before", **asdict(done))
        return done
    encoder = load_models(task)
    corpus = open_store(task.corpus_uri, settings)
    try:
        with settings.scratch() as directory:
            with corpus.open(task.shard.path) as stream:
                files = score_to_files(read_shard(stream, task.shard.path, task.reader), encoder, directory)
            _require_unchanged(corpus, task.shard)
            # Named after its content: no other attempt can replace it.
            embedding_key = f"{task.embedding_prefix}.{files.embedding_sha256[:32]}.parquet"
            open_store(settings.state_root, settings).upload(embedding_key, files.embeddings)
            with pa.memory_map(str(files.quarantine)) as mapped:
                result = scores.ShardScores(
                    samples=files.samples,
                    quality=files.quality,
                    quarantine=pa.ipc.open_file(mapped).read_all(),
                    embedding_key=embedding_key,
                    embedding_sha256=files.embedding_sha256,
                    embedding_dim=encoder.dim,
                    seconds=time.monotonic() - started,
                    records=files.records,
                )
                with transaction(database) as cursor:
                    counts = scores.commit_shard(cursor, task.shard, task.version, result)
    except ShardRefusedError as error:
        with transaction(database) as cursor:
            scores.refuse_shard(cursor, task.shard, task.version, str(error))
        _log(task, "refused", error=error.what)
        raise
    _log(task, "scored", **asdict(counts), seconds=time.monotonic() - started)
    return counts


@dataclass(frozen=True, eq=False)
class ShardFiles:
    """A scored shard before it is stored: schemas.SAMPLES and QUALITY, two files, and how many records the reader met."""

    samples: pa.Table
    quality: pa.Table
    embeddings: Path
    embedding_sha256: str
    quarantine: Path
    records: int


def score_to_files(batches: Iterable[ShardBatch], encoder: Encoder, directory: Path) -> ShardFiles:
    """Score a shard's batches in order; vectors and quarantined records, which may be more than memory holds, go to files.

    The quarantine is an Arrow IPC file of schemas.QUARANTINE, the embeddings are as in embedding/files.py.
    """
    embeddings, quarantine = directory / "embeddings.parquet", directory / "quarantine.arrow"
    samples, quality = [schemas.SAMPLES.empty_table()], [schemas.QUALITY.empty_table()]
    records = 0
    with (
        EmbeddingWriter(embeddings, encoder.dim, encoder.encoder_id) as vectors,
        pa.OSFile(str(quarantine), "wb") as file,
        pa.ipc.new_file(file, schemas.QUARANTINE) as rejects,
    ):
        for batch in batches:
            records += batch.records
            rejects.write_table(batch.quarantine)
            if batch.documents.num_rows:
                scored = score_batch(batch.documents, encoder)
                samples.append(scored.samples)
                quality.append(scored.quality)
                vectors.write(scored.samples["row"].to_numpy(), scored.vectors)
    with embeddings.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    return ShardFiles(pa.concat_tables(samples), pa.concat_tables(quality), embeddings, digest, quarantine, records)


def _log(task: ScoreTask, what: str, **fields: Any) -> None:
    event(log, what, run=task.run, snapshot=task.shard.snapshot, shard=task.shard.path, **fields)


def _require_unchanged(corpus: ObjectStore, shard: Shard) -> None:
    info = corpus.head(shard.path)
    if info is None or (info.etag, info.size) != (shard.etag, shard.size_bytes):
        raise CorpusError(
            f"{corpus.uri}/{shard.path} changed while the run was on: its etag was {shard.etag}, now it is "
            f"{info.etag if info else 'gone'}.",
            "Run again when nothing writes to it: a shard that changed is scored again.",
        )
