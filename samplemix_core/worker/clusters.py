"""Fit clusters, assign a shard's documents to them, and describe what they are about, on a Dask worker."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

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
from samplemix_core.diversity.describe import MOST_CHARACTERS, coherence, map_centroids, map_documents, telling_terms
from samplemix_core.diversity.drift import Profiles, profiles_of
from samplemix_core.diversity.fit import fit_clusters, one_cluster
from samplemix_core.diversity.health import Attempted, FitHealth, attempt, check_health, failing, reports_of
from samplemix_core.diversity.lineage import Heir, change_of
from samplemix_core.embedding.vectors import read_embeddings, read_positions
from samplemix_core.errors import AccountingError, ObjectStoreError, ShardRefusedError
from samplemix_core.logs import event
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.worker.artifacts import download_embeddings, load_cluster_model
from samplemix_core.worker.jobs import AssignTask, AttemptTask, DescribeTask, FitTask, MapTask

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
        kinds, tokens = clusters.sampled_documents(cursor, places)
    heirs, change, own_health = list[Heir](), None, None
    if task.one_cluster:
        model = one_cluster(vectors, config, config.seed, encoder_id=task.encoder_key)
        assigned = model.assign(vectors, None)
    else:
        parent = load_cluster_model(store, *task.parent) if task.parent else None
        model = fit_clusters(vectors, config, config.seed, task.encoder_key, kinds, parent=parent)
        if model.parents is not None and (problems := failing(reports_of(model)[:1], config)[0]):
            # What lives on would hold up a model whose own fits are good: names are matched instead.
            event(log, "clusters don't live on", run=task.run, reason="; ".join(problems))
            model = replace(model, fits=model.counted, parents=None)
        check_health(model, config)
        assigned = model.assign(vectors, kinds)
        own_health = FitHealth.of(model, vectors, assigned, tokens, kinds)
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
        model.first.noise_share,
        diversity_ranks=ranks,
        run=task.run,
        seconds=seconds,
        change=None if change is None else {"against_parent": asdict(change)},
        health=None if own_health is None else asdict(own_health),
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


_ASSIGNED_AT_ONCE = 2**15
"""About the most documents whose vectors and assignments are in memory."""


def assign_shard(task: AssignTask) -> int:
    """Assign a shard's documents to their nearest clusters and store the result; return the number of documents.

    Raises AccountingError if the embedding files hold other rows than are stored.
    """
    started, deployment = time.monotonic(), Deployment.load()
    model = load_cluster_model(deployment.state, task.artifact_key, task.artifact_sha256)
    documents = 0
    with deployment.scratch() as directory:
        # First all of it to a file: what is stored is locked for as long as it takes to store it, and no longer.
        path = directory / "assigned.arrow"
        with pa.ipc.new_file(path, schemas.ASSIGNMENTS) as file:
            vectors_of = _vectors(task.encoder_key, task.embeddings, deployment.state, directory / "embeddings.parquet")
            for rows, vectors in _at_once(vectors_of):
                with deployment.transaction() as cursor:
                    stored, kinds = clusters.kinds_of_rows(cursor, task.shard, model.groups, int(rows[0]), int(rows[-1]))
                if not np.array_equal(stored, rows):
                    raise AccountingError(f"{task.shard.path}: its embedding files hold other rows than are stored.")
                found = model.assign(vectors, kinds)
                documents += len(rows)
                columns = [rows, found.cluster, found.distance, found.is_noise, found.diversity]
                file.write_table(pa.table(columns, schema=schemas.ASSIGNMENTS))
        with pa.memory_map(str(path)) as source, deployment.transaction() as cursor:
            assignment = clusters.Assignment(_tables(source), task.embedding_digest, task.run, started)
            clusters.commit_assignment(cursor, task.cluster_model_id, task.shard, assignment)
    place = {"run": task.run, "snapshot": task.shard.snapshot, "shard": task.shard.path}
    event(log, "assigned", **place, documents=documents, seconds=time.monotonic() - started)
    return documents


def _tables(source: pa.NativeFile) -> Iterator[pa.Table]:
    """Yield the tables of an Arrow file, one at a time."""
    reader = pa.ipc.open_file(source)
    for number in range(reader.num_record_batches):
        yield pa.Table.from_batches([reader.get_batch(number)])


_Part = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]


def _vectors(encoder_key: str, files: Sequence[EmbeddingFile], store: ObjectStore, path: Path) -> Iterator[_Part]:
    """Yield rows and vectors of a shard's embedding files, in order."""
    for file in files:
        download_embeddings(store, file, path)
        yield from read_embeddings(path, encoder_key)


def _at_once(parts: Iterable[_Part]) -> Iterator[_Part]:
    """Put small parts together, as far as _ASSIGNED_AT_ONCE."""
    held, documents = list[_Part](), 0
    for part in parts:
        if held and documents + len(part[0]) > _ASSIGNED_AT_ONCE:
            yield _together(held)
            held, documents = [], 0
        if len(part[0]):
            held.append(part)
            documents += len(part[0])
    if held:
        yield _together(held)


def _together(parts: Sequence[_Part]) -> _Part:
    return np.concatenate([rows for rows, _ in parts]), np.concatenate([vectors for _, vectors in parts])


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


MAPPED_DOCUMENTS = 20_000
_BEGINNING = 200
"""Characters of a text that the map shows at once and can be searched for."""


def map_shards(task: MapTask) -> int:
    """Put the first documents of each shard, MAPPED_DOCUMENTS in all at most, on a map, and store it; return their number.

    A shard whose texts can't be read now has none on it.
    """
    started, deployment = time.monotonic(), Deployment.load()
    wanted = -(-MAPPED_DOCUMENTS // max(1, len(task.shards)))
    found, parts, known = list[tuple[Shard, npt.NDArray[np.int64], list[str]]](), list[_Part](), list[npt.NDArray[np.float32]]()
    with deployment.scratch() as directory:
        for shard, embeddings in task.shards:
            held = list[_Part]()
            for part in _vectors(task.encoder_key, embeddings, deployment.state, directory / "embeddings.parquet"):
                held.append(part)
                if sum(len(rows) for rows, _ in held) >= wanted:
                    break
            if not held:
                continue
            rows, vectors = _together(held)
            rows, vectors = rows[:wanted], vectors[:wanted]
            try:
                texts = _texts(task, shard, rows)
            except (ObjectStoreError, ShardRefusedError) as error:
                event(log, "not on the map", shard=shard.path, error=str(error))
                continue
            here = np.array([row in texts for row in rows.tolist()], dtype=bool) & np.isfinite(vectors).all(axis=1)
            if not here.any():
                continue
            with deployment.transaction() as cursor:
                before = descriptions.mapped_places(cursor, task.cluster_model_id, shard)
            places = np.full((len(rows), 2), np.nan, dtype=np.float32)
            _, own, old = np.intersect1d(rows, before["row"], return_indices=True)
            places[own] = np.stack([before["x"][old], before["y"][old]], axis=1)
            found.append((shard, rows[here], [texts[row][:_BEGINNING] for row in rows[here].tolist()]))
            parts.append((rows[here], vectors[here]))
            known.append(places[here])
    places = map_documents(_together(parts)[1], np.concatenate(known)) if parts else np.empty((0, 2), dtype=np.float32)
    ends = np.cumsum([len(rows) for rows, _ in parts])
    mapped = [
        descriptions.MappedDocuments(shard, rows, places[end - len(rows) : end], beginnings)
        for (shard, rows, beginnings), end in zip(found, ends.tolist(), strict=True)
    ]
    with deployment.transaction() as cursor:
        descriptions.save_map(cursor, task.cluster_model_id, mapped, task.of)
    event(log, "mapped", run=task.run, documents=len(places), seconds=time.monotonic() - started)
    return len(places)


def _nearest(cluster: npt.NDArray[np.int32], distance: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Positions of the documents nearest to the centroid in each cluster, ascending."""
    order = np.lexsort((distance, cluster))
    grouped = cluster[order]
    rank = np.arange(order.size) - np.searchsorted(grouped, grouped)
    return np.sort(order[rank < _NEAREST]).astype(np.int64)


def _texts(task: DescribeTask | MapTask, shard: Shard, rows: npt.NDArray[np.int64]) -> dict[int, str]:
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
