"""Search a shard's texts for benchmarks', on a Dask worker."""

import logging
import time
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from samplemix_core.database.benchmarks import Checked, save_checked
from samplemix_core.database.near_duplicates import Texts, require_texts, shard_texts
from samplemix_core.deployment import Deployment
from samplemix_core.logs import event
from samplemix_core.overlap.contamination import Found, PartIndex, find_parts, index_parts
from samplemix_core.overlap.words import words
from samplemix_core.worker.artifacts import download
from samplemix_core.worker.jobs import BenchmarkFile, DecontaminateTask
from samplemix_core.worker.texts import read_texts

log = logging.getLogger(__name__)

_BENCHMARKS_HELD = 16


class _Parts(NamedTuple):
    """A benchmark's texts: their items and fields, and the index of them."""

    item: np.ndarray
    field: np.ndarray
    sought: PartIndex


def search_shard(task: DecontaminateTask) -> dict[int, int]:
    """Search a shard for some benchmarks, and enter what is found; returns how many texts hold something, by benchmark."""
    started, deployment = time.monotonic(), Deployment.load()
    known = {file.benchmark_id: _parts(file) for file in task.benchmarks}
    with deployment.transaction() as cursor:
        rows, texts = shard_texts(cursor, task.shard)
    found: dict[int, list[pa.Table]] = {benchmark_id: [] for benchmark_id in known}
    done = 0
    for part in read_texts(deployment.store(task.corpus_uri), task.shard, task.reader, rows, texts.as_arrow()):
        hashes, begins = words(part)
        own = texts.take(np.arange(done, done + len(part)))
        for benchmark_id, parts in known.items():
            found[benchmark_id].append(_contaminated(benchmark_id, parts, own, find_parts(parts.sought, hashes, begins)))
        done += len(part)
    seconds = (time.monotonic() - started) / len(known)
    counts = {}
    with deployment.transaction() as cursor:
        require_texts(cursor, task.shard, rows.size)
        for benchmark_id, tables in found.items():
            contaminated = pa.concat_tables([_contaminated(benchmark_id, known[benchmark_id], texts, _NOTHING), *tables])
            save_checked(cursor, task.shard, Checked(benchmark_id, rows.size, contaminated), task.run, seconds)
            counts[benchmark_id] = contaminated.num_rows
    event(log, "searched", run=task.run, shard=task.shard.path, texts=int(rows.size), seconds=time.monotonic() - started)
    return counts


_NOTHING = Found(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64))


def _contaminated(benchmark_id: int, parts: _Parts, texts: Texts, found: Found) -> pa.Table:
    """Columns of table contamination: for each text that holds something, what overlaps most, and how much it holds."""
    order = np.lexsort((found.part, -found.overlap, found.document))
    documents, first, count = np.unique(found.document[order], return_index=True, return_counts=True)
    best = order[first]
    return pa.table(
        {
            "benchmark_id": np.full(documents.size, benchmark_id, dtype=np.int32),
            "content_hash": texts.take(documents).as_arrow(),
            "item": parts.item[found.part[best]].astype(np.int32),
            "field": pa.array(parts.field[found.part[best]].tolist(), pa.string()),
            "overlap": found.overlap[best].astype(np.float32),
            "found": count.astype(np.int32),
        }
    )


@lru_cache(maxsize=_BENCHMARKS_HELD)
def _parts(file: BenchmarkFile) -> _Parts:
    deployment = Deployment.load()
    with deployment.scratch() as directory:
        path = download(
            deployment.state,
            file.artifact_key,
            file.artifact_sha256,
            directory / "parts.parquet",
            what="The file of a benchmark",
            remedy="Add the benchmark again.",
        )
        table = pq.read_table(path, page_checksum_verification=True)
    fields = np.array(table["field"].to_pylist(), dtype=object)
    return _Parts(table["item"].to_numpy(), fields, index_parts(table["text"].combine_chunks()))
