"""Compare the vectors of some clusters' documents with each other, on a Dask worker."""

import logging
import time

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from samplemix_core.database.embeddings import EmbeddingFile
from samplemix_core.deployment import Deployment
from samplemix_core.diversity.semantic import closest
from samplemix_core.embedding.vectors import read_stored
from samplemix_core.errors import CorpusError
from samplemix_core.logs import event
from samplemix_core.worker.artifacts import download, download_embeddings
from samplemix_core.worker.jobs import SemanticTask

log = logging.getLogger(__name__)


def compare_meanings(task: SemanticTask) -> npt.NDArray[np.int16]:
    """Return diversity.semantic.closest for the own documents of each piece, one after another.

    Raises CorpusError if the embedding files lack one of the documents.
    """
    started, deployment = time.monotonic(), Deployment.load()
    store = deployment.state
    with deployment.scratch() as directory:
        path = directory / "documents.parquet"
        download(store, task.documents_key, task.documents_sha256, path, what="A list of documents", remedy="Mix again.")
        documents = pq.read_table(path)
        shard, row = documents["shard"].to_numpy(), documents["row"].to_numpy()
        order = np.lexsort((row, shard))
        by_shard = shard[order]
        download(store, task.files_key, task.files_sha256, path, what="A list of embeddings", remedy="Mix again.")
        files = pq.read_table(path)
        shards = files["shard"].to_numpy()
        vectors: npt.NDArray[np.float16] | None = None
        known = 0
        for number in np.unique(shard).tolist():
            first_own, count = _stretch(by_shard, number)
            own = order[first_own : first_own + count]
            wanted = row[own]
            for file in files.slice(*_stretch(shards, number)).select(["key", "sha256", "rows"]).to_pylist():
                download_embeddings(store, EmbeddingFile(**file), path)
                for rows, read in read_stored(path, task.encoder_key):
                    if vectors is None:
                        vectors = np.empty((row.size, read.shape[1]), dtype=np.float16)
                    # Blocks' rows ascend, and a document may be wanted by two pieces.
                    first, last = np.searchsorted(wanted, [rows[0], rows[-1] + 1]) if rows.size else (0, 0)
                    at = np.minimum(np.searchsorted(rows, wanted[first:last]), max(rows.size - 1, 0))
                    met = rows[at] == wanted[first:last]
                    vectors[own[first:last][met]] = read[at[met]]
                    known += int(np.count_nonzero(met))
    if vectors is None or known != row.size:
        raise CorpusError(f"The embeddings have {known:,} of {row.size:,} documents.", "Run again from the step score.")
    parts, begin = [], 0
    for rows_of, own_of in task.pieces:
        parts.append(closest(vectors[begin : begin + rows_of], own_of))
        begin += rows_of
    event(log, "compared meanings", run=task.run, documents=int(row.size), seconds=time.monotonic() - started)
    return np.concatenate(parts)


def _stretch(ascending: npt.NDArray[np.int32], value: int) -> tuple[int, int]:
    """Where a value begins, and how often it is there."""
    first, end = np.searchsorted(ascending, [value, value + 1]).tolist()
    return first, end - first
