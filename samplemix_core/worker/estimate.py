"""Estimate scoring from a sample: the beginnings of a few shards are read, and a few documents of each are scored."""

import time

import numpy as np

from samplemix_core.corpus.reader import ShardReader
from samplemix_core.corpus.records import describe
from samplemix_core.deployment import Deployment
from samplemix_core.embedding.counter import counter_for
from samplemix_core.embedding.encoder import load_encoder
from samplemix_core.errors import ShardRefusedError
from samplemix_core.worker.jobs import EstimateTask, Sampled
from samplemix_core.worker.score import read_batch
from samplemix_core.worker.scorers import load_scorers

READ_BYTES = 4 * 2**20
SCORED_OF_A_SHARD = 32


def sample_shards(task: EstimateTask) -> Sampled:
    """Read and score a little of each of the task's shards, storing nothing. A refused shard contributes nothing."""
    store = Deployment.load().store(task.corpus_uri)
    encoder = load_encoder(task.embedding)
    counter = counter_for(task.tokenizer, encoder)
    scorers = load_scorers(task.quality_model_ids, encoder, task.embedding)
    encoder.encode(encoder.tokenize(["What is done once is not counted."]))
    file_bytes, documents, text_bytes = 0.0, 0, 0
    scored, scored_text_bytes, tokens, seconds = 0, 0, 0, 0.0
    for path, size in task.shards:
        read = records = 0
        try:
            with store.open(path) as stream:
                reader = ShardReader(stream, path, task.reader)
                for batch in reader.read():
                    n_bytes, _ = describe(batch.documents["text"])
                    if read == 0 and batch.documents.num_rows:
                        few = batch.documents.slice(0, SCORED_OF_A_SHARD)
                        started = time.perf_counter()
                        result = read_batch(few, encoder, counter)
                        found = result.documents.with_vectors(encoder.encode(result.tokenized).astype(np.float16))
                        for scorer in scorers:
                            found.scores(scorer)
                        seconds += time.perf_counter() - started
                        scored += few.num_rows
                        scored_text_bytes += sum(n_bytes[: few.num_rows].to_pylist())
                        tokens += sum(result.samples["n_tokens"].to_pylist())
                    read += batch.documents.num_rows
                    records += batch.records
                    text_bytes += sum(n_bytes.to_pylist())
                    if stream.tell() >= READ_BYTES and records >= SCORED_OF_A_SHARD:
                        file_bytes += reader.share_read(stream.tell(), size, records)
                        break
                else:
                    file_bytes += size
        except ShardRefusedError:
            continue
        documents += read
    return Sampled(file_bytes, documents, text_bytes, scored, scored_text_bytes, tokens, seconds, encoder.dim)
