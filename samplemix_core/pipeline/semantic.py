"""Compare the documents that may be mixed by their vectors, for policies that leave out what repeats another in meaning.

Which documents may be mixed differs from mixture to mixture, and who repeats whom with it, so nothing of this is kept.
"""

import hashlib
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from samplemix_core.compute.fanout import Outcome, Work, connect, fan_out, require_all
from samplemix_core.database.embeddings import EmbeddingFile
from samplemix_core.deployment import Deployment, Prefix
from samplemix_core.diversity.semantic import Piece, farthest_first, pieces
from samplemix_core.mixing.source import Source
from samplemix_core.worker.jobs import SemanticTask

_FILES = pa.schema({"shard": pa.int32(), "key": pa.string(), "sha256": pa.string(), "rows": pa.int64()})

DOCUMENTS_AT_ONCE, MOST_AT_ONCE, TASKS = 2**17, 2**20, 32
"""Documents in a task: more if there are so many tasks, up to 800 MB of vectors with 384 dimensions. A task reads the embeddings of
all its documents' shards, so few large tasks read less."""


def compare_meanings(
    deployment: Deployment,
    run: str,
    source: Source,
    encoder_key: str,
    embeddings: Mapping[str, tuple[EmbeddingFile, ...]],
    directory: Path,
    cancelled: threading.Event,
    tell: Callable[[int, int], None],
) -> None:
    """Give the source the column `closest`: see diversity.semantic.

    `embeddings` are the files of each shard. `tell` is called with the tasks that are done and all.
    """
    order = farthest_first(source.cluster, source.distance)
    at_once = max(DOCUMENTS_AT_ONCE, min(MOST_AT_ONCE, order.size // TASKS))
    parts = list(_in_tasks(pieces(np.bincount(source.cluster, minlength=source.cluster_diversity.size)), at_once))
    found = np.zeros(source.tokens.size, dtype=np.int16)
    if not parts:
        source.closest = found
        return
    store, path = deployment.state, directory / "documents.parquet"
    prefix = f"{Prefix.DRAFTS}/{datetime.now(UTC).date().isoformat()}/{uuid.uuid4().hex}"
    keys = [f"{prefix}/{number}.parquet" for number in range(len(parts))]
    files_key = f"{prefix}/files.parquet"

    def put(key: str, table: pa.Table) -> str:
        pq.write_table(table, path)
        store.upload(key, path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    work, outcomes = list[Work](), list[Outcome]()
    try:
        files = [{"shard": number, **vars(file)} for number, shard in enumerate(source.shards()) for file in embeddings[shard]]
        files_sha256 = put(files_key, pa.Table.from_pylist(files, _FILES))
        for key, part in zip(keys, parts, strict=True):
            shard, row = source.places(np.concatenate([order[piece.start : piece.stop] for piece in part]))
            task = SemanticTask(
                run=run,
                encoder_key=encoder_key,
                files_key=files_key,
                files_sha256=files_sha256,
                documents_key=key,
                documents_sha256=put(key, pa.table({"shard": shard, "row": row})),
                pieces=tuple((piece.rows, piece.own - piece.start) for piece in part),
            )
            work.append(Work(f"part {len(work) + 1} of {len(parts)}", (task,), cost=row.size))
        tell(0, len(work))
        own = dict(zip(keys, parts, strict=True))
        with connect(deployment) as client:
            for outcome in fan_out(client, "samplemix_core.worker.semantic:compare_meanings", work, cancelled):
                outcomes.append(outcome)
                if outcome.error is None:
                    part = own[outcome.work.arguments[0].documents_key]
                    found[np.concatenate([order[piece.own : piece.stop] for piece in part])] = outcome.result
                tell(len(outcomes), len(work))
    finally:
        for key in (*keys, files_key):
            store.delete(key)
    require_all(outcomes, "parts", "were not compared", "scores are kept")
    source.closest = found


def _in_tasks(found: Iterator[Piece], at_once: int) -> Iterator[Sequence[Piece]]:
    """Pieces in their order, as many to a task as it has room for."""
    own, rows = list[Piece](), 0
    for piece in found:
        if own and rows + piece.rows > at_once:
            yield own
            own, rows = [], 0
        own.append(piece)
        rows += piece.rows
    if own:
        yield own
