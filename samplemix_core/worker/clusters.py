"""Fitting clusters, and assigning a shard's documents to them, on a Dask worker."""

import hashlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core import schemas
from samplemix_core.database import clusters
from samplemix_core.database.clusters import FittedModel
from samplemix_core.database.connection import transaction
from samplemix_core.diversity.clusters import ClusterSums, assign
from samplemix_core.diversity.fit import fit_clusters
from samplemix_core.diversity.model import ClusterModel, check_health
from samplemix_core.embedding.files import read_embeddings, read_positions
from samplemix_core.errors import ModelError
from samplemix_core.logs import event
from samplemix_core.objects import open_store
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.settings import Settings
from samplemix_core.worker.jobs import AssignTask, FitTask

log = logging.getLogger(__name__)

_READS_AT_ONCE = 8


def fit_model(task: FitTask) -> FittedModel:
    """Fit clusters on sampled vectors and store the model; raise DiversityHealthError if a gate says they are degenerate."""
    started, settings = time.monotonic(), Settings.load()
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
    seconds = time.monotonic() - started
    event(log, "fitted", run=task.run, clusters=model.n_clusters, documents=len(vectors), seconds=seconds)
    return FittedModel(key, model.digest, model.n_clusters, len(vectors), model.noise_share, task.run, seconds)


_CHUNK_BYTES = 2**20


def assign_shard(task: AssignTask) -> int:
    """Assign a shard's documents to their nearest clusters and store the result with its sums; returns how many there are."""
    started, settings = time.monotonic(), Settings.load()
    store = open_store(settings.state_root, settings)
    model = ClusterModel.from_bytes(store.get(task.artifact_key)[0])
    parts = [schemas.ASSIGNMENTS.empty_table()]
    with settings.scratch() as directory:
        path = directory / "embeddings.parquet"
        for file in task.embeddings:
            _download(store, file.key, file.sha256, path)
            for rows, vectors in read_embeddings(path, task.encoder_key):
                part = assign(vectors, model.centroids, model.radii)
                parts.append(pa.table([rows, part.cluster, part.distance, part.is_noise], schema=schemas.ASSIGNMENTS))
    table = pa.concat_tables(parts)
    sums = ClusterSums.of(table["cluster"].to_numpy(), table["distance"].to_numpy(), model.n_clusters)
    assignment = clusters.Assignment(table, task.embedding_digest, sums, task.run, time.monotonic() - started)
    with transaction(settings.require("database_url")) as cursor:
        clusters.commit_assignment(cursor, task.cluster_model_id, task.shard, assignment)
    place = {"run": task.run, "snapshot": task.shard.snapshot, "shard": task.shard.path}
    event(log, "assigned", **place, documents=table.num_rows, seconds=time.monotonic() - started)
    return int(table.num_rows)


def _download(store: ObjectStore, key: str, sha256: str, path: Path) -> None:
    """Copy an object to a file; raise ModelError unless its bytes are those that the ledger knows."""
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
