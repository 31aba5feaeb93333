"""The fit finds known clusters, is fixed by its seed, and refuses what can't be clustered."""

from typing import Any

import numpy as np
import pytest

from samplemix_core.config.run import DiversityConfig
from samplemix_core.diversity.cluster_model import ClusterModel, Fit
from samplemix_core.diversity.fit import fit_clusters, one_cluster
from samplemix_core.diversity.health import check_health
from samplemix_core.errors import DiversityHealthError
from tests.unit.diversity.conftest import Blobs, Vectors, draw_blobs, unit


def repeated(n_different: int, copies: int, dim: int = 48) -> Vectors:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((n_different, dim)).astype(np.float32)
    return np.repeat(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), copies, axis=0)


def test_known_blobs_are_found(blobs: Blobs, first: Fit) -> None:
    assert first.n_clusters >= 12
    assert first.noise_share < 0.2
    for label in range(first.n_clusters):
        members = blobs.truth[first.labels == label]
        assert np.mean(members == np.bincount(members).argmax()) > 0.95


def test_centroids_are_normalised_means_of_members(blobs: Blobs, first: Fit) -> None:
    for label in range(first.n_clusters):
        mean = blobs.vectors[first.labels == label].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(first.centroids[label], mean / np.linalg.norm(mean), atol=1e-6)


def test_radius_is_the_noise_quantile_of_members_distances(blobs: Blobs, first: Fit, config: DiversityConfig) -> None:
    for label in range(first.n_clusters):
        members = blobs.vectors[first.labels == label].astype(np.float64)
        distance = 1 - members @ first.centroids[label].astype(np.float64)
        assert first.radii[label] == pytest.approx(np.quantile(distance, config.noise_quantile), abs=2e-6)


def test_clusters_are_numbered_from_the_largest_then_by_first_member(first: Fit) -> None:
    sizes = first.sizes.tolist()
    assert sizes == sorted(sizes, reverse=True)
    members = [int(np.flatnonzero(first.labels == label)[0]) for label in range(first.n_clusters)]
    assert [label for _, _, label in sorted(zip([-size for size in sizes], members, range(len(sizes)), strict=True))] == list(
        range(len(sizes))
    )


def test_equal_seed_gives_equal_bytes(blobs: Blobs, model: ClusterModel, config: DiversityConfig) -> None:
    again = fit_clusters(blobs.vectors.copy(), config, seed=42, encoder_id="encoder-1")
    assert again.to_bytes() == model.to_bytes()


def test_what_does_not_decide_the_clusters_changes_no_byte_of_them(blobs: Blobs) -> None:
    one = one_cluster(blobs.vectors, DiversityConfig(), 7, "e")
    gates = DiversityConfig(refit=True, compare_with="none", gate_min_clusters=3, gate_max_largest_share=0.9)
    assert one_cluster(blobs.vectors, gates, 7, "e").to_bytes() == one.to_bytes()
    assert one_cluster(blobs.vectors, DiversityConfig(pca_components=3), 7, "e").digest != one.digest


def test_bounds_span_the_samples_own_clusters(blobs: Blobs, first: Fit) -> None:
    distance = 1 - blobs.vectors.astype(np.float64) @ first.centroids.astype(np.float64).T
    nearest = distance.argmin(axis=1)
    between = 1 - first.centroids.astype(np.float64) @ first.centroids.astype(np.float64).T
    raw = [distance[nearest == j, j].mean() * np.delete(between[j], j).mean() for j in range(first.n_clusters)]
    assert first.bounds.low == pytest.approx(min(raw), abs=1e-6)
    assert first.bounds.high == pytest.approx(max(raw), abs=1e-6)
    assert first.assigned.tolist() == np.bincount(nearest, minlength=first.n_clusters).tolist()


def test_copies_of_a_few_texts_cluster_without_noise_by_rounding(config: DiversityConfig) -> None:
    vectors = repeated(n_different=20, copies=15)
    model = fit_clusters(vectors, config, seed=5, encoder_id="encoder-1")
    assert model.n_clusters >= 10
    members = model.first.labels >= 0
    assert not model.assign(vectors[members], None).is_noise.any()


@pytest.mark.parametrize(
    ("vectors", "found"),
    [
        (repeated(10, 1), "10 documents: too few"),
        (repeated(1, 10), "10 documents, but only 1 different"),
        (repeated(1, 1), "1 documents: too few"),
        (repeated(1, 500), "500 documents, but only 1 different"),
        (repeated(6, 100), "600 documents, but only 6 different"),
        (np.zeros((100, 16), dtype=np.float32), "100 documents, but only 1 different"),
    ],
)
def test_samples_too_small_or_uniform_are_refused_with_a_remedy(vectors: Vectors, found: str) -> None:
    with pytest.raises(DiversityHealthError, match=found) as refused:
        fit_clusters(vectors, DiversityConfig(), seed=0, encoder_id="encoder-1")
    assert ("diversity.min_cluster_size (10)" in refused.value.remedy) is ("too few" in found)
    assert "policy natural" in refused.value.remedy


@pytest.mark.parametrize(
    ("settings", "documents", "remedy"),
    [
        ({"modes": ("hdbscan",), "min_cluster_share": 0.6}, 60, "lower diversity.min_cluster_share (0.6)"),
        ({"modes": ("plscan",), "umap_components": 40}, 30, "lower diversity.umap_components (40)"),
        ({"modes": ("kmeans",), "umap_components": 40}, 1, "Add documents, or mix by policy natural"),
    ],
)
def test_the_setting_that_asks_for_most_is_named(settings: dict[str, Any], documents: int, remedy: str) -> None:
    vectors = unit(np.random.default_rng(0).standard_normal((documents, 16)))
    with pytest.raises(DiversityHealthError, match="too few to cluster") as refused:
        fit_clusters(vectors, DiversityConfig(**settings), 0, "encoder-1")
    assert remedy in refused.value.remedy


def test_rounding_orders_no_clusters_of_copies() -> None:
    # All the same but for rounding, so nobody is more diverse.
    vectors = repeated(n_different=25, copies=12)
    found = fit_clusters(vectors, DiversityConfig(modes=("kmeans",), fits=1, clusters=25), 0, "encoder-1")
    assert found.n_clusters == 25
    assert set(found.assign(vectors, None).diversity.tolist()) == {0.5}


def test_fewer_than_a_hundred_documents_pass_the_gates() -> None:
    config, few = DiversityConfig(min_cluster_size=2), draw_blobs(n_blobs=11, per_blob=8)
    check_health(fit_clusters(few.vectors, config, 0, "encoder-1"), config)


def test_a_vector_with_nan_is_named(blobs: Blobs, config: DiversityConfig) -> None:
    vectors = blobs.vectors.copy()
    vectors[17, 3] = np.nan
    with pytest.raises(DiversityHealthError, match="Vector 17 of the sample"):
        fit_clusters(vectors, config, seed=0, encoder_id="encoder-1")


def test_a_sample_smaller_than_every_dimension_is_fitted() -> None:
    copies = repeated(3, 10)
    vectors = copies + 0.01 * np.random.default_rng(0).standard_normal(copies.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    config = DiversityConfig(modes=("hdbscan",), fits=1, min_cluster_size=5, umap_neighbors=50, pca_components=50)
    model = fit_clusters(vectors, config, seed=0, encoder_id="encoder-1")
    assert model.first.labels.tolist() == np.repeat(model.first.labels[[0, 10, 20]], 10).tolist()
    assert model.n_clusters == 3
