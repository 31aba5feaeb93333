"""Fit clusters, assign a shard's documents to them, and describe what they are about, on a Dask worker."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core import schemas
from samplemix_core.corpus.reader import ShardReader
from samplemix_core.database import clusters, descriptions
from samplemix_core.database.clusters import FittedModel
from samplemix_core.database.embeddings import EmbeddingFile
from samplemix_core.database.scope import Shard
from samplemix_core.deployment import Deployment, Prefix
from samplemix_core.diversity.describe import MOST_CHARACTERS, coherence, map_centroids, telling_terms
from samplemix_core.diversity.drift import Profiles, profiles_of
from samplemix_core.diversity.fit import fit_clusters, one_cluster
from samplemix_core.diversity.health import Attempted, attempt, check_health
from samplemix_core.diversity.lineage import Heir, change_of
from samplemix_core.embedding.vectors import read_embeddings, read_positions
from samplemix_core.errors import AccountingError, ObjectStoreError, ShardRefusedError
from samplemix_core.logs import event
from samplemix_core.worker.artifacts import download_embeddings, load_cluster_model
from samplemix_core.worker.jobs import AssignTask, AttemptTask, DescribeTask, FitTask

log = logging.getLogger(__name__)

_READS_AT_ONCE = 8


@dataclass(frozen=True, eq=False)
class FitResult:
    """A stored model, the profiles of its sample by language, and what became of its parent's clusters."""

    model: FittedModel
    profiles: Profiles
    heirs: tuple[Heir, ...]


def fit_model(task: FitTask) -> FitResult:
    """Fit clusters on sampled vectors and store the model; raise DiversityHealthError if a gate says they are degenerate."""
    started, deployment = time.monotonic(), Deployment.load()
    store, config = deployment.state, task.diversity
    vectors, places = _read_sample(deployment, task.sample, task.encoder_key)
    with deployment.transaction() as cursor:
        kinds, _ = clusters.sampled_documents(cursor, places)
    heirs, change = list[Heir](), None
    if task.one_cluster:
        model = one_cluster(vectors, config, config.seed, encoder_id=task.encoder_key)
        assigned = model.assign(vectors, None)
    else:
        parent = load_cluster_model(store, *task.parent) if task.parent else None
        model = fit_clusters(vectors, config, config.seed, task.encoder_key, kinds, parent=parent)
        check_health(model, config)
        assigned = model.assign(vectors, kinds)
        if parent is not None:
            heirs, change = change_of(parent, model, parent.assign(vectors, kinds), assigned, kinds)
    key = f"{Prefix.CLUSTERS}/{model.digest}.safetensors"
    store.put(key, model.to_bytes())
    seconds = time.monotonic() - started
    event(log, "fitted", run=task.run, clusters=model.n_clusters, documents=len(vectors), seconds=seconds)
    ranks = {name: list(values) for name, values in model.ranks._asdict().items()}
    fitted = FittedModel(
        key,
        model.digest,
        model.n_clusters,
        len(vectors),
        model.counted[0].noise_share,
        diversity_ranks=ranks,
        run=task.run,
        seconds=seconds,
        change=None if change is None else asdict(change),
    )
    return FitResult(fitted, profiles_of(assigned, model.n_clusters, kinds), tuple(heirs))


_Sample = tuple[tuple[Shard, EmbeddingFile, npt.NDArray[np.int64]], ...]
_Places = list[tuple[Shard, npt.NDArray[np.int64]]]


def _read_sample(deployment: Deployment, sample: _Sample, encoder_key: str) -> tuple[npt.NDArray[np.float32], _Places]:
    """Vectors (n, dim) of a sample in its order, and the shards and rows that they are of."""
    with deployment.scratch() as directory, ThreadPoolExecutor(_READS_AT_ONCE) as pool:

        def read(i: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
            _, file, positions = sample[i]
            path = download_embeddings(deployment.state, file, directory / str(i))
            found = read_positions(path, encoder_key, positions)
            path.unlink()
            return found

        parts = list(pool.map(read, range(len(sample))))
    vectors = np.concatenate([part for _, part in parts])
    return vectors, [(shard, rows) for (shard, *_), (rows, _) in zip(sample, parts, strict=True)]


def attempt_fit(task: AttemptTask) -> Attempted:
    """Try settings on a sample; nothing is stored."""
    deployment = Deployment.load()
    vectors, places = _read_sample(deployment, task.sample, task.encoder_key)
    with deployment.transaction() as cursor:
        kinds, tokens = clusters.sampled_documents(cursor, places)
    return attempt(task.attempt, vectors, tokens, kinds)


def assign_shard(task: AssignTask) -> int:
    """Assign a shard's documents to their nearest clusters and store the result; return the number of documents.

    Raises AccountingError if the embedding files hold other rows than are stored.
    """
    started, deployment = time.monotonic(), Deployment.load()
    store = deployment.state
    model = load_cluster_model(store, task.artifact_key, task.artifact_sha256)
    parts, at = [schemas.ASSIGNMENTS.empty_table()], 0
    with deployment.transaction() as cursor:
        stored, kinds = clusters.kinds_of_shard(cursor, task.shard, model.groups)
    with deployment.scratch() as directory:
        path = directory / "embeddings.parquet"
        for file in task.embeddings:
            download_embeddings(store, file, path)
            for rows, vectors in read_embeddings(path, task.encoder_key):
                here = slice(at, at + len(vectors))
                if not np.array_equal(stored[here], rows):
                    raise AccountingError(f"{task.shard.path}: its embedding files hold other rows than are stored.")
                at += len(vectors)
                own = kinds._replace(language=kinds.language[here], content_type=kinds.content_type[here])
                part = model.assign(vectors, own)
                columns = [rows, part.cluster, part.distance, part.is_noise, part.diversity]
                parts.append(pa.table(columns, schema=schemas.ASSIGNMENTS))
    table = pa.concat_tables(parts)
    assignment = clusters.Assignment(table, task.embedding_digest, task.run, time.monotonic() - started)
    with deployment.transaction() as cursor:
        clusters.commit_assignment(cursor, task.cluster_model_id, task.shard, assignment)
    place = {"run": task.run, "snapshot": task.shard.snapshot, "shard": task.shard.path}
    event(log, "assigned", **place, documents=table.num_rows, seconds=time.monotonic() - started)
    return int(table.num_rows)


DESCRIBED_DOCUMENTS = 40_000
_NEAREST = 30
"""Documents of each cluster, those nearest to its centroid, whose words are counted."""


def describe_clusters(task: DescribeTask) -> descriptions.Description:
    """Return the clusters' places on a map, the words that tell each from the others, and how far; none without documents.

    Reads the first documents of each shard, about DESCRIBED_DOCUMENTS in all at most. A shard that can't be read now gives none.
    """
    started, deployment = time.monotonic(), Deployment.load()
    model = load_cluster_model(deployment.state, task.artifact_key, task.artifact_sha256)
    wanted = -(-DESCRIBED_DOCUMENTS // max(1, len(task.shards)))
    texts: list[str] = []
    cluster, distance = [np.empty(0, dtype=np.int32)], [np.empty(0, dtype=np.float32)]
    for shard in task.shards:
        with deployment.transaction() as cursor:
            assigned = descriptions.assigned_rows(cursor, task.cluster_model_id, shard, wanted)
        near = _nearest(assigned["cluster"], assigned["distance"])
        try:
            found = _texts(task, shard, assigned["row"][near])
        except (ObjectStoreError, ShardRefusedError) as error:
            event(log, "not described", shard=shard.path, error=str(error))
            continue
        here = near[[row in found for row in assigned["row"][near].tolist()]]
        texts += [found[row] for row in assigned["row"][here].tolist()]
        cluster.append(assigned["cluster"][here])
        distance.append(assigned["distance"][here])
    of, far = np.concatenate(cluster), np.concatenate(distance)
    chosen = _nearest(of, far)
    shown = [texts[i] for i in chosen.tolist()], of[chosen], model.n_clusters
    terms, found_out = telling_terms(*shown), coherence(*shown)
    event(log, "described", clusters=model.n_clusters, documents=len(chosen), seconds=time.monotonic() - started)
    return descriptions.Description(places=map_centroids(model.first.centroids), terms=terms, coherence=found_out)


def _nearest(cluster: npt.NDArray[np.int32], distance: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Positions of the documents nearest to the centroid in each cluster, ascending."""
    order = np.lexsort((distance, cluster))
    grouped = cluster[order]
    rank = np.arange(order.size) - np.searchsorted(grouped, grouped)
    return np.sort(order[rank < _NEAREST]).astype(np.int64)


def _texts(task: DescribeTask, shard: Shard, rows: npt.NDArray[np.int64]) -> dict[int, str]:
    """The beginnings of the texts of some rows, ascending."""
    found: dict[int, str] = {}
    if not rows.size:
        return found
    wanted, deployment = set(rows.tolist()), Deployment.load()
    with deployment.store(task.corpus_uri).open(shard.path) as stream:
        for batch in ShardReader(stream, shard.path, task.reader).read():
            columns = (batch.documents["row"].to_pylist(), batch.documents["text"].to_pylist())
            found |= {row: text[:MOST_CHARACTERS] for row, text in zip(*columns, strict=True) if row in wanted}
            if columns[0] and columns[0][-1] >= rows[-1]:
                break
    return found
