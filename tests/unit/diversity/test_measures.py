"""Measures besides the paper's product, against plain arithmetic; and what they leave alone."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.cluster.hierarchy import linkage
from scipy.stats import spearmanr

from samplemix_core.config.run import DiversityConfig
from samplemix_core.diversity.cluster_model import ClusterModel
from samplemix_core.diversity.fit import fit_clusters
from samplemix_core.diversity.measures import Neighbours, hierarchical, weighted_places
from tests.unit.diversity.conftest import Blobs, unit


def fitted(blobs: Blobs, **settings: Any) -> ClusterModel:
    config = DiversityConfig(**({"modes": ("kmeans",), "fits": 2, "clusters": 14} | settings))
    return fit_clusters(blobs.vectors, config, seed=3, encoder_id="e")


def test_a_place_is_what_lies_below_and_half_of_its_like() -> None:
    found = weighted_places(np.array([0.5, 0.1, 0.5, 0.9]), np.array([10, 20, 30, 40]))
    np.testing.assert_allclose(found, [0.4, 0.1, 0.4, 0.8])


def test_balanced_gives_both_factors_the_same_say(blobs: Blobs) -> None:
    for fit in fitted(blobs, measure="balanced").fits:
        documents = [np.repeat(values, fit.assigned) for values in (fit.compactness, fit.separation)]
        slow = [np.array([np.mean(own < value) + np.mean(own == value) / 2 for value in own]) for own in documents]
        np.testing.assert_allclose(np.repeat(fit.raw, fit.assigned), np.mean(slow, axis=0))


def test_noise_goes_by_its_own_distance_in_balanced_too(blobs: Blobs) -> None:
    model = fitted(blobs, measure="balanced", noise="distance", noise_quantile=0.5)
    fit = model.fits[0]
    ends = np.array([fit.compactness.min(), fit.compactness.max()], dtype=np.float32)
    cluster = np.full(2, int(fit.separation.argmax()), dtype=np.int32)
    near, far = fit.places_of(cluster, np.maximum(ends, fit.radii[cluster] + 0.001), "distance")
    assert far >= near


def slow_shares(centroids: np.ndarray[Any, Any], own: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The tree filled in twenty thousand small drops: each goes down from the root to the emptier side that has room."""
    k = len(own)
    children = {k + i: (int(a), int(b)) for i, (a, b) in enumerate(linkage(centroids.astype(np.float64), "ward")[:, :2])}
    held = np.zeros(2 * k - 1)

    def room(node: int) -> float:
        return sum(map(room, children[node])) if node in children else float(4 * own[node] - held[node])

    drops = 20_000
    for _ in range(drops):
        node = 2 * k - 2
        while True:
            held[node] += 1 / drops
            if node not in children:
                break
            with_room = [child for child in children[node] if room(child) > 1e-9] or list(children[node])
            node = min(with_room, key=lambda child: held[child])
    return held[:k]


def test_hierarchical_fills_the_tree_as_water_would() -> None:
    rng = np.random.default_rng(1)
    # Five topics in one corner, two alone, one of them too small for its half.
    corner = unit(np.eye(1, 16) + 0.2 * rng.standard_normal((5, 16)))
    centroids = np.concatenate([corner, unit(rng.standard_normal((2, 16)))])
    documents = np.array([300, 100, 100, 50, 250, 190, 10])
    own = documents / documents.sum()
    found = hierarchical(centroids, documents)
    np.testing.assert_allclose(found * own, slow_shares(centroids, own), atol=2e-3)
    assert (found * own).sum() == pytest.approx(1)
    assert found.max() <= 4 + 1e-9
    assert hierarchical(centroids[:1], documents[:1]).tolist() == [1.0]


def test_neighbours_are_those_of_a_direct_call_and_never_the_document_itself(blobs: Blobs) -> None:
    found = Neighbours.of(blobs.vectors, 5)
    nearest, kth = found.found(blobs.vectors)
    kept = blobs.vectors.astype(np.float16).astype(np.float64)
    distance = 1 - kept @ kept.T
    np.fill_diagonal(distance, np.inf)
    in_order = np.maximum(np.sort(distance, axis=1), 0)
    np.testing.assert_allclose(nearest, in_order[:, 0], atol=1e-6)
    np.testing.assert_allclose(kth, in_order[:, 4], atol=1e-6)
    parts = [found.found(part) for part in np.array_split(blobs.vectors, 7)]
    assert np.array_equal(np.concatenate([part[1] for part in parts]), kth)
    places = found.places(kth)
    assert spearmanr(places, kth).statistic > 0.999
    assert (places.min(), places.max()) == (pytest.approx(0, abs=0.01), pytest.approx(1, abs=0.01))
    # Copies are neighbours; of one alone, nobody is.
    copies = Neighbours.of(np.repeat(blobs.vectors[:1], 20, axis=0), 5)
    assert copies.found(blobs.vectors[:1])[1] < 2e-3
    assert Neighbours.of(blobs.vectors[:1], 5).found(blobs.vectors[:1])[1].tolist() == [2]


def test_density_differs_within_a_cluster_and_is_highest_where_nobody_is(blobs: Blobs) -> None:
    model, plain = fitted(blobs, measure="density", density_neighbours=5, fits=1), fitted(blobs, fits=1)
    found, usual = model.assign(blobs.vectors, None), plain.assign(blobs.vectors, None)
    assert np.array_equal(found.cluster, usual.cluster)
    within = [np.ptp(found.diversity[found.cluster == j]) for j in range(model.n_clusters)]
    assert min(within) > 0.1
    assert all(np.ptp(usual.diversity[usual.cluster == j]) == 0 for j in range(plain.n_clusters))
    alone = unit(np.random.default_rng(5).standard_normal((3, 64)))
    assert model.assign(alone, None).diversity.min() >= found.diversity.max()


def test_what_is_nearly_the_same_as_another_loses_of_its_d(blobs: Blobs) -> None:
    model, discounted = fitted(blobs), fitted(blobs, near_discount=0.9)
    near = unit(blobs.vectors[:50] + 0.008 * np.random.default_rng(0).standard_normal((50, 64)))
    apart = -model.first.centroids
    usual, found = (each.assign(np.concatenate([near, apart]), None).diversity for each in (model, discounted))
    assert found[:50].mean() < usual[:50].mean() - 0.1
    assert (found[50:] >= usual[50:] - 1e-6).all()


def test_copies_in_the_sample_lose_most(blobs: Blobs) -> None:
    copied = np.concatenate([blobs.vectors, np.repeat(blobs.vectors[:20], 3, axis=0)])
    of = Neighbours.of(copied, 1)
    nearest, _ = of.found(blobs.vectors)
    assert nearest[:20].max() < 2e-3 < nearest[20:].min()


@pytest.mark.parametrize(
    "settings",
    [{"measure": "balanced"}, {"measure": "hierarchical"}, {"measure": "density"}, {"near_discount": 0.5}],
    ids=lambda settings: next(iter(settings.values())),
)
def test_each_is_a_model_of_its_own_that_survives_its_file(blobs: Blobs, settings: dict[str, Any]) -> None:
    model, usual = fitted(blobs, **settings), fitted(blobs)
    assert model.digest != usual.digest
    again = ClusterModel.from_bytes(model.to_bytes())
    assert again.digest == model.digest
    found, kept = (each.assign(blobs.vectors, None) for each in (model, again))
    assert np.array_equal(found.diversity, kept.diversity)
    assert not np.array_equal(found.diversity, usual.assign(blobs.vectors, None).diversity)
    # d has the formula's spread, so alpha and tau mean what they meant.
    assert found.diversity.min() >= 0
    assert found.diversity.max() <= 1
    parts = [model.assign(part, None).diversity for part in np.array_split(blobs.vectors, 5)]
    assert np.array_equal(np.concatenate(parts), found.diversity)


def test_the_product_is_as_it_was(blobs: Blobs) -> None:
    assert fitted(blobs, measure="product", near_discount=0.0, density_neighbours=10).digest == fitted(blobs).digest
    assert fitted(blobs).to_bytes().count(b"measure") == 0


def test_a_measure_without_distances_takes_no_rule_by_distance() -> None:
    for measure in ("hierarchical", "density"):
        with pytest.raises(ValidationError, match="noise 'distance'"):
            DiversityConfig(measure=measure, noise="distance")
