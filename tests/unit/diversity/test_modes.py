"""Each way to find clusters gives what its library gives, whatever numbers it gives them."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
from evoc import EVoC
from fast_plscan import PLSCAN
from hdbscan import HDBSCAN

from samplemix_core.config.run import DiversityConfig, FitMode
from samplemix_core.diversity.modes import MODES, Prepared, cluster, min_cluster_size
from tests.unit.diversity.conftest import Blobs, draw_blobs, unit


def assert_same_clusters(ours: npt.NDArray[np.int32], direct: npt.NDArray[np.integer]) -> None:
    """Equal but for the numbers, and ours are from the largest."""
    assert ours.dtype == np.int32
    np.testing.assert_array_equal(ours < 0, direct < 0)
    pairs = set(zip(ours.tolist(), direct.tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    sizes = np.bincount(ours[ours >= 0]).tolist()
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("selection", ["eom", "leaf"])
def test_hdbscan(blobs: Blobs, selection: str) -> None:
    sample = Prepared(blobs.vectors, DiversityConfig(selection=selection))
    reduced = sample.reduced(1)
    assert reduced.shape == (blobs.truth.size, sample.config.umap_components)
    direct = HDBSCAN(min_cluster_size=10, min_samples=5, cluster_selection_method=selection, core_dist_n_jobs=1)
    assert_same_clusters(cluster(sample, "hdbscan", 1), direct.fit_predict(reduced))


def test_plscan(blobs: Blobs) -> None:
    sample = Prepared(blobs.vectors, DiversityConfig())
    assert_same_clusters(cluster(sample, "plscan", 1), PLSCAN(min_samples=5, num_threads=1).fit_predict(sample.reduced(1)))


def test_evoc(blobs: Blobs) -> None:
    sample = Prepared(blobs.vectors, DiversityConfig(clusters=14))
    direct = EVoC(approx_n_clusters=14, random_state=1).fit_predict(blobs.vectors)
    assert_same_clusters(cluster(sample, "evoc", 1), direct)


def evoc_of_shapeless() -> str:
    """The digest of clusters of vectors that have none, which anything moves."""
    vectors = unit(np.random.default_rng(0).standard_normal((1500, 32)))
    return hashlib.sha256(cluster(Prepared(vectors, DiversityConfig(clusters=20)), "evoc", 1).tobytes()).hexdigest()


def test_evoc_is_the_same_with_any_number_of_threads() -> None:
    command = [sys.executable, "-c", f"from {__name__} import evoc_of_shapeless as found; print(found(), end='')"]
    found = subprocess.run(command, env=os.environ | {"NUMBA_NUM_THREADS": "2"}, stdout=subprocess.PIPE, text=True, check=True)
    assert found.stdout == evoc_of_shapeless()


def test_kmeans_is_where_no_document_and_no_centroid_moves(blobs: Blobs) -> None:
    found = cluster(Prepared(blobs.vectors, DiversityConfig(clusters=14)), "kmeans", 3)
    centroids = np.stack([blobs.vectors[found == j].mean(axis=0, dtype=np.float64) for j in range(found.max() + 1)])
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    assert np.mean((blobs.vectors @ centroids.T).argmax(axis=1) == found) == 1
    assert found.max() + 1 == 14


@pytest.mark.parametrize("mode", list(MODES))
def test_every_mode_is_fixed_by_its_seed_and_finds_blobs(blobs: Blobs, mode: FitMode) -> None:
    found = [cluster(Prepared(blobs.vectors, DiversityConfig(clusters=14)), mode, 5) for _ in range(2)]
    np.testing.assert_array_equal(found[0], found[1])
    for label in range(found[0].max() + 1):
        members = blobs.truth[found[0] == label]
        assert np.mean(members == np.bincount(members).argmax()) > 0.5


@pytest.mark.parametrize("mode", list(MODES))
@pytest.mark.parametrize("documents", [12, 30])
def test_every_mode_takes_a_small_sample(mode: FitMode, documents: int) -> None:
    small = draw_blobs(n_blobs=3, per_blob=documents // 3)
    found = cluster(Prepared(small.vectors, DiversityConfig(min_cluster_size=2)), mode, 0)
    assert found.shape == (documents,)
    assert found.min() >= -1


def test_neighbours_of_small_samples_are_exact(blobs: Blobs) -> None:
    sample = Prepared(blobs.vectors, DiversityConfig(umap_neighbors=7))
    index, distance = sample.neighbours
    units = sample.principal / np.linalg.norm(sample.principal, axis=1, keepdims=True)
    apart = 1 - units.astype(np.float64) @ units.astype(np.float64).T
    np.fill_diagonal(apart, -1)
    np.testing.assert_array_equal(index[:, 0], np.arange(len(index)))
    np.testing.assert_allclose(distance[:, 1:], np.sort(apart, axis=1)[:, 1:7], atol=1e-5)


def test_smallest_cluster_is_a_share_but_no_fewer_than_the_size() -> None:
    config = DiversityConfig(min_cluster_share=0.01, min_cluster_size=10)
    assert [min_cluster_size(config, n) for n in (100, 1000, 1001, 20_000)] == [10, 10, 11, 200]
