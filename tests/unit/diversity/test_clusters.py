"""Compactness, separation and d against plain arithmetic."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import spearmanr

from samplemix_core import schemas
from samplemix_core.config.run import DiversityConfig
from samplemix_core.diversity.cluster_model import ClusterModel, Fit, Groups, Kinds, cluster_table
from samplemix_core.diversity.fit import fit_clusters
from samplemix_core.diversity.geometry import Bounds, centred, separation
from tests.unit.diversity.conftest import Blobs, Vectors


def slowly(vectors: Vectors, fit: Fit, neighbours: int | None = None) -> tuple[list[float], list[float], list[list[float]]]:
    """Compactness and separation by plain arithmetic, and the distances of each cluster's documents."""
    centroids = fit.centroids.astype(np.float64)
    members: list[list[float]] = [[] for _ in centroids]
    for vector in vectors.astype(np.float64):
        distances = [1 - float(vector @ centroid) for centroid in centroids]
        nearest = int(np.argmin(distances))
        members[nearest].append(distances[nearest])
    compactness = [float(np.mean(own)) for own in members]
    separation = []
    for j, centroid in enumerate(centroids):
        apart = sorted(1 - float(centroid @ other) for i, other in enumerate(centroids) if i != j)
        separation.append(float(np.mean(apart[:neighbours])))
    return compactness, separation, members


def normalised(raw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray((raw - raw.min()) / (raw.max() - raw.min()))


@pytest.mark.parametrize("neighbours", [None, 3])
def test_table_equals_a_plain_reference(blobs: Blobs, config: DiversityConfig, neighbours: int | None) -> None:
    settings = config.model_copy(update={"separation_neighbours": neighbours})
    model = fit_clusters(blobs.vectors, settings, seed=42, encoder_id="encoder-1")
    compactness, separation, members = slowly(blobs.vectors, model.first, neighbours)
    table = cluster_table(model.first.assigned, model)
    assert table.schema == schemas.CLUSTERS
    assert table["size"].to_pylist() == [len(own) for own in members]
    np.testing.assert_allclose(table["compactness"], compactness, atol=1e-6)
    np.testing.assert_allclose(table["separation"], separation, atol=1e-6)
    np.testing.assert_allclose(table["diversity"], normalised(np.array(compactness) * separation), atol=1e-4)


def test_a_documents_diversity_of_one_fit_is_that_of_its_cluster(blobs: Blobs, model: ClusterModel) -> None:
    compactness, separation, _ = slowly(blobs.vectors, model.first)
    own = normalised(np.array(compactness) * separation)
    found = model.assign(blobs.vectors, None)
    np.testing.assert_allclose(found.diversity, own[found.cluster], atol=1e-4)
    exact = model.first.bounds.normalise(model.first.raw)
    np.testing.assert_allclose(found.diversity, exact[found.cluster], atol=1e-6)


def test_a_documents_diversity_of_several_fits_is_averaged_by_rank(blobs: Blobs, several: ClusterModel) -> None:
    places, spread = np.zeros(len(blobs.vectors)), []
    for fit in several.fits:
        seen = blobs.vectors if fit.view == "plain" else centred(blobs.vectors, blobs.vectors.mean(axis=0))
        compactness, separation, _ = slowly(seen, fit)
        raw = np.array(compactness) * separation
        nearest = (seen.astype(np.float64) @ fit.centroids.astype(np.float64).T).argmax(axis=1)
        own = raw[nearest]
        place = np.array([((own < value).sum() + (own == value).sum() / 2) / own.size for value in own])
        places += place / len(several.fits)
        order = np.argsort(place)
        spread.append((place[order], normalised(raw)[nearest][order]))
    among = (np.array([(places < value).sum() + (places == value).sum() / 2 for value in places])) / places.size
    expected = np.mean([np.interp(among, *each) for each in spread], axis=0)
    found = several.assign(blobs.vectors, None).diversity
    # Ranks among all are kept as a hundred quantiles: what lies between is in proportion.
    assert np.abs(found - expected).mean() < 0.002
    assert spearmanr(found, places).statistic > 0.999


def test_several_fits_agree_better_than_two_of_them(blobs: Blobs, several: ClusterModel) -> None:
    settings = DiversityConfig(modes=("kmeans",), fits=4, clusters=12)
    found = [fit_clusters(blobs.vectors, settings, seed, "encoder-1") for seed in (1, 2)]
    one = [replace(model, fits=model.fits[:1]) for model in found]
    averaged, single = (spearmanr(*(model.placed(blobs.vectors)[2] for model in pair)).statistic for pair in (found, one))
    assert averaged > single


@pytest.mark.parametrize("evenness", [0.0, 0.5, 1.0])
def test_groups_are_brought_together_as_far_as_asked(evenness: float) -> None:
    rng = np.random.default_rng(4)
    places = np.concatenate([rng.random(5000) * 0.2, 0.5 + rng.random(3000) * 0.5, rng.random(5)])
    language = np.array([0] * 5000 + [1] * 3000 + [2] * 5)
    kinds = Kinds(["de", "en", "tr"], ["prose"], language, np.zeros(language.size, dtype=np.int64))
    groups = Groups.of(places, kinds, evenness)
    assert groups.ranks is not None
    moved = places - np.array([groups.offsets.get((name, "prose"), 0.0) for name in kinds.languages])[language]
    apart = [abs(float(each[language == 1].mean() - each[language == 0].mean())) for each in (places, moved)]
    assert apart[1] == pytest.approx((1 - evenness) * apart[0], abs=0.02)
    # Five documents say little of a language.
    assert abs(groups.offsets.get(("tr", "prose"), 0.0)) < 0.05
    found = groups.places(places, kinds)
    np.testing.assert_allclose(np.sort(found), np.linspace(0, 1, found.size), atol=0.01)
    for code in range(3):
        assert spearmanr(found[language == code], places[language == code]).statistic > 0.999


def test_a_language_that_the_fit_did_not_see_stays_where_it_is() -> None:
    places = np.linspace(0, 1, 1001)
    seen = Kinds(["de", "en"], ["prose"], (places > 0.5).astype(np.int64), np.zeros(1001, dtype=np.int64))
    groups = Groups.of(places, seen, 1.0)
    unseen = Kinds(["", "pl"], ["", "prose"], np.ones(1, dtype=np.int64), np.ones(1, dtype=np.int64))
    one = np.array([0.5])
    np.testing.assert_array_equal(groups.places(one, unseen), groups.places(one, None))


def test_places_don_t_depend_on_which_documents_come_together(blobs: Blobs, several: ClusterModel) -> None:
    whole = several.assign(blobs.vectors, None)
    parts = [several.assign(blobs.vectors[rows], None) for rows in np.array_split(np.arange(len(blobs.vectors)), 7)]
    for name in ("cluster", "distance", "is_noise", "diversity"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))


def test_noise_may_go_by_its_own_distance(blobs: Blobs, config: DiversityConfig) -> None:
    settings = config.model_copy(update={"noise": "distance"})
    model = fit_clusters(blobs.vectors, settings, seed=42, encoder_id="encoder-1")
    far = np.concatenate([-model.first.centroids[:1], model.first.centroids[:1]])
    found = model.assign(far, None)
    assert found.is_noise.tolist() == [True, False]
    assert found.diversity[0] == 1
    assert found.diversity[1] == pytest.approx(model.first.bounds.normalise(model.first.raw)[found.cluster[1]])


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
