"""What clusters are about, from documents of their own: files that are there, files that are not, and what is stored of it."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.database import clusters, descriptions, ledger
from samplemix_core.database.connection import transaction
from samplemix_core.database.embeddings import EmbeddingFile
from samplemix_core.deployment import Deployment
from samplemix_core.diversity.cluster_model import ClusterModel, Fit, Groups, cluster_table
from samplemix_core.embedding.vectors import EmbeddingWriter
from samplemix_core.settings import ENVIRONMENT
from samplemix_core.worker.clusters import describe_clusters, map_shards
from samplemix_core.worker.jobs import DescribeTask, MapTask
from tests.integration.conftest import LedgeredCorpus, assignment_of, commit_scores, save_model, scores_of

WORDS = ("kernel process page", "oven bread flour", "court judge appeal")
"""Of the documents of each of three clusters."""


@dataclass(frozen=True)
class Described:
    """A corpus whose files lie in a directory, and the task that describes its clusters."""

    corpus: LedgeredCorpus
    files: Path
    task: DescribeTask


@pytest.fixture
def described(ledgered: LedgeredCorpus, services: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Described:
    environment = {
        name: getattr(services, field)
        for field, name in ENVIRONMENT.items()
        if field.startswith("s3_") and getattr(services, field)
    }
    for name, value in {**environment, "SAMPLEMIX_DATABASE_URL": ledgered.url, "SAMPLEMIX_HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value)
    fit = Fit(
        mode="hdbscan",
        view="plain",
        seed=1,
        centroids=np.eye(3, 4, dtype=np.float32),
        radii=np.ones(3, dtype=np.float32),
        labels=np.zeros(3, dtype=np.int32),
        compactness=np.ones(3),
        separation=np.ones(3),
        assigned=np.ones(3, dtype=np.int64),
    )
    model = ClusterModel((fit,), np.zeros(4, dtype=np.float32), Groups({}, None), "nearest", {}, 1, "encoder-1")
    services.state.put("clusters/x", model.to_bytes())
    shards = ledgered.shards[:3]
    with transaction(ledgered.url) as cursor:
        record = save_model(cursor, ledgered, model.digest)
        clusters.prepare_assignment(cursor, record.cluster_model_id, ledgered.snapshot_ids)
        for shard in shards:
            # assignment_of gives row i the cluster i % 3.
            texts = [f"the {WORDS[row % 3]} of {shard.path} number {row}" for row in range(30)]
            loaded = scores_of(texts)
            commit_scores(cursor, shard, ledgered.version, loaded)
            clusters.commit_assignment(cursor, record.cluster_model_id, shard, assignment_of(loaded))
            path = tmp_path / "corpus" / shard.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
        sizes = clusters.cluster_sizes(cursor, record, ledger.shard_states(cursor, ledgered.scope))
        clusters.finish_cluster_model(cursor, record.cluster_model_id, cluster_table(sizes, model), fit.bounds)
    reader = ReaderConfig(domain_path_index=0)
    task = DescribeTask(
        f"file://{tmp_path / 'corpus'}", reader, shards, record.cluster_model_id, record.artifact_key, record.artifact_sha256
    )
    return Described(ledgered, tmp_path / "corpus", task)


def test_words_are_of_the_documents_of_each_cluster_and_are_kept(described: Described) -> None:
    found = describe_clusters(described.task)
    for terms, words in zip(found.terms, WORDS, strict=True):
        assert set(words.split()) <= set(terms)
        assert not set(terms) & {word for other in WORDS if other != words for word in other.split()}
    assert found.places.shape == (3, 2)
    with transaction(described.corpus.url) as cursor:
        descriptions.save_description(cursor, described.task.cluster_model_id, found)
        cursor.execute("SELECT x, y, terms, coherence FROM cluster ORDER BY cluster")
        kept = cursor.fetchall()
        assert descriptions.is_described(cursor, described.task.cluster_model_id)
    assert [row[2] for row in kept] == found.terms
    assert [row[3] for row in kept] == [1, 1, 1]
    np.testing.assert_array_equal(np.array([row[:2] for row in kept], dtype=np.float32), found.places)


def test_a_file_that_is_gone_or_broken_gives_no_words_and_stops_nothing(described: Described) -> None:
    first, second, third = (described.files / shard.path for shard in described.task.shards)
    first.unlink()
    second.write_text("{not JSON\n" * 30)
    third.write_text(third.read_text().replace("oven", "stove"))
    found = describe_clusters(described.task)
    assert "stove" in found.terms[1]
    third.unlink()
    assert describe_clusters(described.task).terms == [[], [], []]


@pytest.fixture
def mapped(described: Described, services: Deployment, tmp_path: Path) -> MapTask:
    """A task that maps the same documents, with vectors of three kinds."""
    random = np.random.default_rng(0)
    shards = []
    for number, shard in enumerate(described.task.shards):
        kinds = np.eye(4, dtype=np.float32)[np.arange(30) % 3]
        vectors = kinds + 0.05 * random.standard_normal((30, 4)).astype(np.float32)
        path = tmp_path / "vectors.parquet"
        with EmbeddingWriter(path, 4, "encoder-1") as writer:
            writer.write(np.arange(30), vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        data = path.read_bytes()
        services.state.put(f"embeddings/{number}", data)
        shards.append((shard, (EmbeddingFile(f"embeddings/{number}", hashlib.sha256(data).hexdigest(), 30),)))
    task = described.task
    return MapTask("run", task.corpus_uri, task.reader, "encoder-1", task.cluster_model_id, tuple(shards), "first")


def places_of(described: Described) -> dict[tuple[str, int], tuple[float, float, str]]:
    with transaction(described.corpus.url) as cursor:
        cursor.execute("SELECT path, row, x, y, beginning FROM sample_map JOIN shard USING (shard_id)")
        return {(path, row): (x, y, beginning) for path, row, x, y, beginning in cursor.fetchall()}


def test_documents_of_a_kind_lie_together_on_the_map_and_stay_when_others_come(described: Described, mapped: MapTask) -> None:
    some = replace(mapped, shards=mapped.shards[:2])
    assert map_shards(some) == 60
    before = places_of(described)
    assert before.keys() == {(shard.path, row) for shard, _ in some.shards for row in range(30)}
    assert all(beginning == f"the {WORDS[row % 3]} of {path} number {row}" for (path, row), (*_, beginning) in before.items())
    assert all(abs(x) <= 1.2 and abs(y) <= 1.2 for x, y, _ in before.values())

    def centres(found: dict[tuple[str, int], tuple[float, float, str]]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        return np.array([np.mean([place[:2] for (_, row), place in found.items() if row % 3 == kind], axis=0) for kind in range(3)])

    for (_, row), place in before.items():
        assert np.linalg.norm(centres(before) - np.array(place[:2]), axis=1).argmin() == row % 3
    with transaction(described.corpus.url) as cursor:
        assert descriptions.is_mapped(cursor, mapped.cluster_model_id, "first")
        assert not descriptions.is_mapped(cursor, mapped.cluster_model_id, "second")
    assert map_shards(replace(mapped, of="second")) == 90
    after = places_of(described)
    assert len(after) == 90
    moved = np.linalg.norm(centres(after) - centres(before), axis=1)
    apart = np.linalg.norm(centres(before) - np.roll(centres(before), 1, axis=0), axis=1)
    assert (moved < 0.35 * apart.min()).all()


def test_a_shard_that_is_gone_or_not_assigned_any_more_is_not_on_the_map(described: Described, mapped: MapTask) -> None:
    assert map_shards(mapped) == 90
    first, second, third = (shard for shard, _ in mapped.shards)
    (described.files / first.path).unlink()
    with transaction(described.corpus.url) as cursor:
        # As if it had been replaced while the map was made.
        cursor.execute("DELETE FROM shard_assignment WHERE shard_id = %s", (second.shard_id,))
    assert map_shards(mapped) == 60
    assert {path for path, _ in places_of(described)} == {third.path}
    for shard in (second, third):
        (described.files / shard.path).unlink()
    assert map_shards(mapped) == 0
    assert places_of(described) == {}
