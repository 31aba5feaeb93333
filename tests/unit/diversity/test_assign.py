"""Assignment at its edges; parity with a naive loop is in tests/property."""

import numpy as np
import pytest

from samplemix_core.diversity.cluster_model import ClusterModel
from samplemix_core.diversity.nearest import nearest_centroid
from samplemix_core.errors import ModelError
from tests.unit.diversity.conftest import Blobs


def test_members_go_where_hdbscan_put_them(blobs: Blobs, model: ClusterModel) -> None:
    members = model.first.labels >= 0
    assignment = model.assign(blobs.vectors, None)
    assert np.mean(assignment.cluster[members] == model.first.labels[members]) > 0.99
    assert [assignment.cluster.dtype, assignment.distance.dtype, assignment.is_noise.dtype] == [np.int32, np.float32, np.bool_]


def test_noise_is_what_lies_beyond_its_clusters_radius(blobs: Blobs, model: ClusterModel) -> None:
    assignment = model.assign(blobs.vectors, None)
    assert assignment.is_noise.tolist() == (assignment.distance > model.first.radii[assignment.cluster]).tolist()
    assert 0 < assignment.is_noise.mean() < 0.1
    assert model.assign(-model.first.centroids[:1], None).is_noise.all()


def test_ties_go_to_the_lowest_cluster() -> None:
    centroids = np.eye(3, dtype=np.float32)[[1, 0, 0]]
    cluster, distance = nearest_centroid(np.eye(3, dtype=np.float32), centroids)
    assert cluster.tolist() == [1, 0, 0]
    assert distance.tolist() == [0, 0, 1]


def test_distance_is_never_negative() -> None:
    vectors = np.full((1, 3), 0.6, dtype=np.float32)
    assert nearest_centroid(vectors, vectors)[1].tolist() == [0]


def test_no_vectors_give_no_assignment(model: ClusterModel) -> None:
    assert model.assign(np.empty((0, model.mean.size), dtype=np.float32), None).cluster.shape == (0,)


def test_a_vector_with_nan_is_named(model: ClusterModel) -> None:
    vectors = np.tile(model.first.centroids[:1], (1500, 1))
    vectors[1300, 0] = np.nan
    with pytest.raises(ModelError, match="Vector 1300 "):
        model.assign(vectors, None)


def test_another_encoders_dimensions_are_refused(model: ClusterModel) -> None:
    with pytest.raises(ModelError, match="Vectors have 7 dimensions, the cluster model's centroids 64"):
        model.assign(np.ones((1, 7), dtype=np.float32), None)
