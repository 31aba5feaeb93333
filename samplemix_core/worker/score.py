"""Scoring: a shard is cut into blocks, and each block read, hashed, counted, scored, embedded, and stored in one transaction.

A worker finds the services from its own environment (settings.py): no connection and no secret travels with a task.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import pyarrow as pa

from samplemix_core import schemas
from samplemix_core.config.reader import ReaderConfig
from samplemix_core.corpus.likeness import HEAD_BYTES, looks_like
from samplemix_core.corpus.reader import ShardReader
from samplemix_core.corpus.records import Reason, ShardBatch, describe, host_of
from samplemix_core.database import scores
from samplemix_core.database.connection import transaction
from samplemix_core.database.ledger import block_counts, save_plan
from samplemix_core.database.scope import ScoredCounts, Shard
from samplemix_core.database.upkeep import hold_file
from samplemix_core.deployment import Deployment
from samplemix_core.embedding.encoder import Encoder
from samplemix_core.embedding.tokens import TokenCounter, Tokenized
from samplemix_core.embedding.vectors import EmbeddingWriter
from samplemix_core.errors import ShardRefusedError
from samplemix_core.logs import event
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.scorers.scorer import Documents, Scorer
from samplemix_core.worker.jobs import PlanTask, ScoreTask
from samplemix_core.worker.models import load_models
from samplemix_core.worker.reuse import LEAST_TO_FETCH, EarlierVectors
from samplemix_core.worker.scorers import Answers, load_scorers
from samplemix_core.worker.texts import require_unchanged

log = logging.getLogger(__name__)

Item = TypeVar("Item")

Found = tuple[np.ndarray, np.ndarray]
_NOTHING: Found = np.empty(0, dtype=np.int64), np.empty((0, 0), dtype=np.float16)


@dataclass(frozen=True, eq=False)
class ReadBatch:
    """A batch of n documents before it is embedded: schemas.SAMPLES, what scorers read, and what the encoder reads of each.

    `set_aside` (schemas.QUARANTINE) are documents without a token, which are not among the n.
    """

    samples: pa.Table
    documents: Documents
    tokenized: Tokenized
    set_aside: pa.Table


def read_batch(documents: pa.Table, encoder: Encoder, counter: TokenCounter) -> ReadBatch:
    """Measure n documents (schemas.DOCUMENTS) of one shard. A pure function: the same documents and models, the same result."""
    texts = documents["text"]
    n_bytes, content_hash = describe(texts)
    read = Documents(texts, content_hash.to_pylist(), documents["doc_id"].to_pylist())
    tokenized = encoder.tokenize(read.as_strings)
    counted = tokenized if counter.tokenizer_id == encoder.tokenizer_id else counter.count(read.as_strings)
    if not counted.n_tokens.all():
        some = read_batch(documents.filter(pa.array(counted.n_tokens > 0)), encoder, counter)
        return replace(some, set_aside=_without_tokens(documents.filter(pa.array(counted.n_tokens == 0)), counter.name))
    samples = pa.table(
        [
            *(documents["row"], documents["domain"], documents["doc_id"], counted.n_tokens, counted.unknown, n_bytes, content_hash),
            *(pa.array(read.content_types, pa.string()), pa.array(read.languages, pa.string())),
            *(documents["url"], pa.array([url and host_of(url) for url in documents["url"].to_pylist()], pa.string())),
            documents["license"],
        ],
        schema=schemas.SAMPLES,
    )
    return ReadBatch(samples, read, tokenized, schemas.QUARANTINE.empty_table())


def _without_tokens(documents: pa.Table, tokenizer: str) -> pa.Table:
    details = [f"the tokenizer {tokenizer} finds no token in its {len(text)} characters" for text in documents["text"].to_pylist()]
    n = documents.num_rows
    columns = [documents["row"], np.full(n, -1, dtype=np.int64), pa.repeat(str(Reason.NO_TEXT), n), pa.array(details, pa.string())]
    return pa.table(columns, schema=schemas.QUARANTINE)


def plan_shard(task: PlanTask) -> int:
    """Cut a shard into blocks and enter them into the ledger; return their number. An existing plan stays."""
    started, deployment = time.monotonic(), Deployment.load()
    corpus = deployment.store(task.corpus_uri)
    with _refusing(task, deployment), corpus.open(task.shard.path) as stream:
        blocks = ShardReader(stream, task.shard.path, task.reader).plan(task.blocks.documents, task.blocks.bytes)
        require_unchanged(corpus, task.shard)
    with deployment.transaction() as cursor:
        save_plan(cursor, task.shard, blocks)
    _log(task, "planned", blocks=len(blocks), seconds=time.monotonic() - started)
    return len(blocks)


def score_block(task: ScoreTask, on_progress: Callable[[int], None] = lambda _: None) -> ScoredCounts:
    """Read a block, score and embed its documents, store all of it, and close its ledger row in one transaction.

    Running it again gives the same bytes, or does nothing if the block is done. A shard that can't be trusted is entered as
    refused, and its error raised. `on_progress` is called with how many records are done, batch by batch.
    """
    started = time.monotonic()
    deployment = Deployment.load()
    database = deployment.database
    with transaction(database) as cursor:
        found = [block_counts(cursor, task.shard, version, task.block) for version in task.versions]
    open_versions = [version for version, done in zip(task.versions, found, strict=True) if done is None]
    if not open_versions:
        assert found[0] is not None
        _log(task, "scored before", block=task.block.block, **asdict(found[0]))
        return found[0]
    encoder, counter = load_models(task)
    scorers = load_scorers([version.quality_model_id for version in open_versions], encoder, task.embedding)
    corpus = deployment.store(task.corpus_uri)
    with _refusing(task, deployment), deployment.scratch() as directory, _reader(task, corpus) as reader:
        state, least = deployment.state, LEAST_TO_FETCH[encoder.device]
        # A static encoder makes a vector faster than it could be found.
        earlier = None if encoder.is_static else EarlierVectors(database, state, task.shard, task.versions[0].encoder_id, least)
        files = score_to_files(reader.read(task.block), encoder, counter, scorers, directory, earlier, on_progress)
        require_unchanged(corpus, task.shard)
        # Named after its content: no other attempt can replace it.
        embedding_key = f"{task.embedding_prefix}.{task.block.block:06d}.{files.embedding_sha256[:32]}.parquet"
        with transaction(database) as cursor:
            hold_file(cursor, embedding_key)
            state.upload(embedding_key, files.embeddings)
        with pa.memory_map(str(files.quarantine)) as mapped, transaction(database) as cursor:
            quarantine = pa.ipc.open_file(mapped).read_all()
            others = sum(files.seconds[1:])
            for i, version in enumerate(open_versions):
                result = scores.BlockScores(
                    samples=files.samples,
                    quality=files.quality[i],
                    quarantine=quarantine,
                    embedding_key=embedding_key,
                    embedding_sha256=files.embedding_sha256,
                    embedding_digest=files.embedding_digest,
                    embedding_dim=encoder.dim,
                    # The time for the documents' facts and vectors counts for the first, so that all add up to the whole.
                    seconds=files.seconds[i] if i else time.monotonic() - started - others,
                    records=files.records,
                    reused=files.reused,
                    encoder_tokens=files.encoder_tokens,
                    run=task.run,
                )
                counts = scores.commit_block(cursor, task.shard, version, task.block, result)
    _log(task, "scored", block=task.block.block, **asdict(counts), seconds=time.monotonic() - started)
    return counts


@contextmanager
def _refusing(task: PlanTask | ScoreTask, deployment: Deployment) -> Iterator[None]:
    """Enter a shard as refused if it is, and raise the error again."""
    try:
        yield
    except ShardRefusedError as error:
        with deployment.store(task.corpus_uri).open(task.shard.path) as stream:
            kind = looks_like(stream.read(HEAD_BYTES), task.shard.path)
        refused = ShardRefusedError(f"{error.what} It looks like {kind}.", error.remedy) if kind else error
        with deployment.transaction() as cursor:
            for version in task.versions:
                scores.refuse_shard(cursor, task.shard, version, str(refused))
        _log(task, "refused", error=refused.what)
        raise refused from error


_kept: dict[tuple[str, Shard, ReaderConfig], tuple[BinaryIO, ShardReader]] = {}
"""The reader that this process used last, by what it reads: usually, the next block is a later one of the same shard."""


@contextmanager
def _reader(task: ScoreTask, corpus: ObjectStore) -> Iterator[ShardReader]:
    """A reader of the task's shard: the one kept from its last block here, or a new one. It is kept unless there is an error."""
    key = (task.corpus_uri, task.shard, task.reader)
    kept = _kept.pop(key, None)
    for stream, _ in _kept.values():
        stream.close()
    _kept.clear()
    stream = corpus.open(task.shard.path) if kept is None else kept[0]
    try:
        reader = ShardReader(stream, task.shard.path, task.reader) if kept is None else kept[1]
        yield reader
    except BaseException:
        stream.close()
        raise
    _kept[key] = stream, reader


@dataclass(frozen=True, eq=False)
class BlockFiles:
    """A scored block before it is stored: schemas.SAMPLES, schemas.QUALITY and seconds by scorer, two files, and counts.

    `records` is how many were read, `reused` how many documents took stored vectors, `encoder_tokens` how many tokens the documents
    have by the encoder's tokenizer.
    """

    samples: pa.Table
    quality: tuple[pa.Table, ...]
    seconds: tuple[float, ...]
    embeddings: Path
    embedding_sha256: str
    embedding_digest: str
    quarantine: Path
    records: int
    reused: int
    encoder_tokens: int


def _vectors(encoder: Encoder, read: ReadBatch, known: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """Vectors float32 (n, dim) of a batch of n documents, those at `known` as they are stored."""
    n = read.samples.num_rows
    new = np.setdiff1d(np.arange(n), known, assume_unique=True)
    made = np.empty((n, encoder.dim), dtype=np.float32)
    if known.size:
        # Already rounded when stored, so written unchanged.
        made[known] = stored
    made[new] = encoder.encode(read.tokenized.take(new))
    return made


def score_to_files(
    batches: Iterable[ShardBatch],
    encoder: Encoder,
    counter: TokenCounter,
    scorers: Sequence[Scorer],
    directory: Path,
    earlier: EarlierVectors | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> BlockFiles:
    """Score a block's batches in order; while one is being encoded, the next is read, tokenised and asked about.

    Vectors and quarantined records, which may be more than memory holds, go to files: the quarantine to an Arrow IPC file of
    schemas.QUARANTINE, the embeddings as in embedding/vectors.py. Vectors that `earlier` has are taken from there.
    """
    embeddings, quarantine = directory / "embeddings.parquet", directory / "quarantine.arrow"
    samples, scored = [schemas.SAMPLES.empty_table()], Answers(scorers)
    records = reused = encoder_tokens = 0

    def read() -> Iterator[tuple[ShardBatch, ReadBatch, Found]]:
        for batch in batches:
            result = read_batch(batch.documents, encoder, counter)
            scored.ask(result.documents, waiting=False)
            hashes = result.documents.content_hashes if earlier else []
            yield batch, result, earlier.find(hashes) if earlier and hashes else _NOTHING

    with (
        EmbeddingWriter(embeddings, encoder.dim, encoder.encoder_id) as vectors,
        pa.OSFile(str(quarantine), "wb") as file,
        pa.ipc.new_file(file, schemas.QUARANTINE) as rejects,
    ):
        for batch, result, (known, stored) in _ahead(read()):
            records += batch.records
            reused += known.size
            encoder_tokens += int(result.tokenized.n_tokens.sum(dtype=np.int64))
            rejects.write_table(pa.concat_tables([batch.quarantine, result.set_aside]).sort_by("row"))
            samples.append(result.samples)
            made = _vectors(encoder, result, known, stored)
            rows = result.samples["row"]
            # Scorers read vectors as they are stored, so that it doesn't matter which were reused.
            scored.take(rows, result.documents.with_vectors(made.astype(np.float16)))
            vectors.write(rows.to_numpy(), made)
            on_progress(records)
    with embeddings.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    return BlockFiles(
        samples=pa.concat_tables(samples),
        quality=tuple(map(pa.concat_tables, scored.quality)),
        seconds=tuple(scored.seconds),
        embeddings=embeddings,
        embedding_sha256=digest,
        embedding_digest=vectors.digest.hexdigest(),
        quarantine=quarantine,
        records=records,
        reused=reused,
        encoder_tokens=encoder_tokens,
    )


_reading = ThreadPoolExecutor(1, thread_name_prefix="samplemix-ahead")
"""One thread for the life of the process: with Dask's profiler on, threads that come and go can hang CPython 3.11."""


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the same items; while one is being used, a second thread makes the next."""
    following = _reading.submit(next, items, None)
    try:
        while (item := following.result()) is not None:
            following = _reading.submit(next, items, None)
            yield item
    finally:
        # A caller that stops early may close what the items are read from.
        wait([following])


def _log(task: PlanTask | ScoreTask, what: str, **fields: Any) -> None:
    event(log, what, run=task.run, snapshot=task.shard.snapshot, shard=task.shard.path, **fields)
