"""Compactness, separation and d against plain arithmetic."""

import numpy as np
import pytest

from samplemix_core import schemas
from samplemix_core.diversity.cluster_model import ClusterModel, cluster_table
from samplemix_core.diversity.geometry import Bounds, ClusterSums, assign, separation
from tests.unit.diversity.conftest import Blobs, Vectors


def sums_of(vectors: Vectors, model: ClusterModel) -> ClusterSums:
    assignment = assign(vectors, model.centroids, model.radii)
    return ClusterSums.of(assignment.cluster, assignment.distance, model.n_clusters)


def test_table_equals_a_plain_reference(blobs: Blobs, model: ClusterModel) -> None:
    table = cluster_table(sums_of(blobs.vectors, model), model).to_pydict()
    vectors, centroids = blobs.vectors.astype(np.float64), model.centroids.astype(np.float64)
    members: list[list[float]] = [[] for _ in centroids]
    for vector in vectors:
        distances = [1 - float(vector @ centroid) for centroid in centroids]
        nearest = int(np.argmin(distances))
        members[nearest].append(distances[nearest])
    raw = []
    for j, centroid in enumerate(centroids):
        apart = np.mean([1 - centroid @ other for i, other in enumerate(centroids) if i != j])
        assert table["size"][j] == len(members[j])
        assert table["compactness"][j] == pytest.approx(np.mean(members[j]), abs=1e-6)
        assert table["separation"][j] == pytest.approx(apart, abs=1e-6)
        raw.append(np.mean(members[j]) * apart)
    expected = (np.array(raw) - min(raw)) / (max(raw) - min(raw))
    np.testing.assert_allclose(table["diversity"], expected, atol=1e-4)
    assert min(table["diversity"]) == 0
    assert max(table["diversity"]) == 1


def test_table_has_the_contracts_schema(blobs: Blobs, model: ClusterModel) -> None:
    assert cluster_table(sums_of(blobs.vectors, model), model).schema == schemas.CLUSTERS


def test_a_cluster_without_documents_keeps_the_fits_compactness(blobs: Blobs, model: ClusterModel) -> None:
    assignment = assign(blobs.vectors, model.centroids, model.radii)
    others = blobs.vectors[assignment.cluster != 2]
    table = cluster_table(sums_of(others, model), model).to_pydict()
    assert table["size"][2] == 0
    assert table["compactness"][2] == model.compactness[2]
    assert np.isfinite(table["diversity"]).all()


def test_bounds_of_the_fit_clip_another_corpus() -> None:
    bounds = Bounds(low=0.2, high=0.4)
    np.testing.assert_allclose(bounds.normalise(np.array([0.1, 0.2, 0.25, 0.4, 0.9])), [0, 0, 0.25, 1, 1])


def test_equal_diversities_are_all_in_the_middle() -> None:
    raw = np.array([0.3, 0.3])
    assert Bounds.of(raw).normalise(raw).tolist() == [0.5, 0.5]


def test_one_cluster_is_separated_from_nothing() -> None:
    assert separation(np.eye(4, dtype=np.float32)[:1]).tolist() == [0]


def test_opposite_centroids_are_two_apart() -> None:
    axis = np.eye(2, dtype=np.float32)[:1]
    np.testing.assert_allclose(separation(np.concatenate([axis, -axis])), [2, 2])


def test_sums_of_nothing_are_zero() -> None:
    sums = ClusterSums.of(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32), 3)
    assert sums.counts.tolist() == [0, 0, 0]
    assert sums.distance_sum.dtype == np.float64
