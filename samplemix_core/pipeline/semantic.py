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

DOCUMENTS_AT_ONCE = 2**17
"""Documents in a task: 200 MB of vectors with 384 dimensions. Each task reads the embeddings of all its documents' shards."""


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
    parts = list(_in_tasks(pieces(np.bincount(source.cluster, minlength=source.diversity.size))))
    found = np.zeros(source.tokens.size, dtype=np.int16)
    shards, store = source.shards(), deployment.state
    prefix = f"{Prefix.DRAFTS}/{datetime.now(UTC).date().isoformat()}/{uuid.uuid4().hex}"
    keys = [f"{prefix}/{number}.parquet" for number in range(len(parts))]
    work, outcomes = list[Work](), list[Outcome]()
    try:
        for key, part in zip(keys, parts, strict=True):
            shard, row = source.places(np.concatenate([order[piece.start : piece.stop] for piece in part]))
            known, number = np.unique(shard, return_inverse=True)
            path = directory / "documents.parquet"
            pq.write_table(pa.table({"shard": number.astype(np.int32), "row": row}), path)
            store.upload(key, path)
            task = SemanticTask(
                run=run,
                encoder_key=encoder_key,
                embeddings=tuple(embeddings[shards[each]] for each in known.tolist()),
                documents_key=key,
                documents_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
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
        for key in keys:
            store.delete(key)
    require_all(outcomes, "parts", "were not compared", "scores are kept")
    source.closest = found


def _in_tasks(found: Iterator[Piece]) -> Iterator[Sequence[Piece]]:
    """Pieces in their order, as many to a task as it has room for."""
    own, rows = list[Piece](), 0
    for piece in found:
        if own and rows + piece.rows > DOCUMENTS_AT_ONCE:
            yield own
            own, rows = [], 0
        own.append(piece)
        rows += piece.rows
    if own:
        yield own
