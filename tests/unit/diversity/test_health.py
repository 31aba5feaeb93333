"""Gates let a healthy fit pass, and stop each kind of degenerate one with advice."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from samplemix_core.config.run import DiversityConfig
from samplemix_core.diversity.cluster_model import INHERITED, ClusterModel, Fit, Groups, Kinds
from samplemix_core.diversity.health import (
    AS_THEY_ARE,
    FIFTH,
    SEED,
    Attempt,
    Health,
    HealthReport,
    attempt,
    attempts,
    best_first,
    check_health,
    grid,
    health,
    tuned,
)
from samplemix_core.errors import DiversityHealthError
from tests.unit.diversity.conftest import Blobs, unit


def fitted(assigned: list[int], noise: int = 0, mode: str = "hdbscan") -> ClusterModel:
    """A model whose sample has these counts by nearest centroid, `noise` of them noise."""
    labels = np.repeat(np.arange(len(assigned), dtype=np.int32), assigned)
    labels[:noise] = -1
    k = len(assigned)
    fit = Fit(
        mode=mode,
        view="plain",
        seed=0,
        centroids=np.eye(k, dtype=np.float32),
        radii=np.full(k, 0.1, dtype=np.float32),
        labels=labels,
        compactness=np.full(k, 0.05),
        separation=np.ones(k),
        assigned=np.array(assigned, dtype=np.int64),
    )
    return ClusterModel((fit,), np.zeros(k, dtype=np.float32), Groups({}, None), "nearest", {}, 0, "encoder-1")


def test_a_real_fit_passes_with_its_figures(model: ClusterModel, config: DiversityConfig, blobs: Blobs) -> None:
    report = check_health(model, config)
    assert report == HealthReport("hdbscan", blobs.truth.size, model.n_clusters, model.first.largest_share, model.first.noise_share)


def test_figures_at_the_gates_pass() -> None:
    report = check_health(fitted([50] + [5] * 10, noise=60), DiversityConfig())
    assert (report.clusters, report.largest_share, report.noise_share) == (11, 0.5, 0.6)


@pytest.mark.parametrize(
    ("model", "selection", "problem", "advice"),
    [
        (fitted([10] * 9), "eom", "9 clusters, fewer than gate_min_clusters = 10", "lower min_cluster_size"),
        (fitted([60] + [4] * 10), "eom", "the largest cluster has 60.0% of the documents", "set selection to 'leaf'"),
        (fitted([60] + [4] * 10), "leaf", "the largest cluster has 60.0% of the documents", "lower umap_neighbors"),
        (fitted([10] * 10, noise=61), "eom", "61.0% noise, more than gate_max_noise_share = 60.0%", "lower min_samples"),
        (fitted([10] * 10, noise=61), "leaf", "61.0% noise, more than gate_max_noise_share = 60.0%", "set selection to 'eom'"),
    ],
)
def test_each_gate_trips_with_its_figure_and_advice(
    model: ClusterModel, selection: Literal["eom", "leaf"], problem: str, advice: str
) -> None:
    with pytest.raises(DiversityHealthError) as refused:
        check_health(model, DiversityConfig(selection=selection))
    assert problem in refused.value.what
    assert advice in refused.value.remedy


def test_every_failed_gate_is_named_at_once() -> None:
    with pytest.raises(DiversityHealthError, match=r"2 clusters.*90\.0%.*70\.0% noise"):
        check_health(fitted([90, 10], noise=70), DiversityConfig())


def kinds_of(blobs: Blobs) -> Kinds:
    return Kinds(["de", "en"], ["prose"], blobs.truth % 2, np.zeros(blobs.truth.size, dtype=np.int64))


def measured(blobs: Blobs, config: DiversityConfig, *, sensitivity: bool = False) -> Health:
    lengths = np.arange(blobs.truth.size) % 97
    wanted = attempts(config, sensitivity=sensitivity)
    return health([(one, attempt(one, blobs.vectors, lengths, kinds_of(blobs))) for one in wanted])


def test_blobs_are_steady_whatever_the_seed(blobs: Blobs) -> None:
    found = measured(blobs, DiversityConfig(modes=("hdbscan", "kmeans"), fits=2, clusters=14, evenness=0))
    assert found.fits == 4
    assert found.report.clusters >= 12
    assert found.seed is not None
    assert min(found.seed.diversity, found.agreement) > 0.8
    assert found.seed.clusters > 0.9
    assert found.dbcv is not None
    assert found.dbcv > 0.5
    assert found.trials == ()
    factors = {factor.name: factor.correlation for factor in found.factors}
    assert set(factors) == {"compactness", "separation", "length", "language", "content_type"}
    assert abs(factors["length"]) < 0.2
    assert factors["content_type"] == 0


def test_a_setting_at_whose_double_clusters_vanish_is_a_cliff(blobs: Blobs) -> None:
    # Blobs have 40 documents.
    edge = DiversityConfig(modes=("hdbscan",), fits=1, min_cluster_size=2, min_cluster_share=30 / blobs.truth.size)
    trials = {trial.setting: trial for trial in measured(blobs, edge, sensitivity=True).trials}
    assert len(trials) >= 10
    doubled = trials[f"min_cluster_size = 4, min_cluster_share = {60 / blobs.truth.size:g}"]
    assert doubled.cliff
    halved = trials[f"min_cluster_size = 2, min_cluster_share = {15 / blobs.truth.size:g}"]
    assert halved.cliff == ""
    assert halved.clusters >= 12
    assert "selection = leaf" in trials


def test_of_several_modes_the_one_that_a_setting_changes_is_shown(blobs: Blobs) -> None:
    found = measured(blobs, DiversityConfig(modes=("hdbscan", "kmeans"), fits=1, clusters=40), sensitivity=True)
    trials = {trial.setting: trial for trial in found.trials}
    assert trials["clusters = 20"].clusters == 20
    assert trials["clusters = 80"].clusters > 60


def test_what_is_unsteady_is_said_with_what_to_do(blobs: Blobs) -> None:
    noise = np.random.default_rng(0).standard_normal(blobs.vectors.shape)
    shapeless = blobs._replace(vectors=unit(noise))
    found = measured(shapeless, DiversityConfig(modes=("kmeans",), fits=1, clusters=20, evenness=0))
    assert found.dbcv is None
    assert found.seed is not None
    assert found.seed.diversity < 0.5
    assert any("another seed gives another d" in line and "raise fits" in line for line in found.advice)


def test_a_grid_has_what_is_configured_and_nothing_twice() -> None:
    configs = DiversityConfig(), DiversityConfig(modes=("kmeans",)), DiversityConfig(clusters=70), DiversityConfig(noise="distance")
    for config in configs:
        points = grid(config)
        assert points[0] == {}
        # What isn't allowed together is no point.
        assert ({"measure": "density"} in points) is (config.noise == "nearest")
        settings = [config.model_copy(update=change) for change in points]
        assert all(settings.count(one) == 1 for one in settings)


def test_points_that_fail_a_gate_come_last(blobs: Blobs) -> None:
    config = DiversityConfig(modes=("kmeans",), fits=1, evenness=0, gate_min_clusters=10)
    points = []
    for change in ({"clusters": 5}, {"clusters": 14}):
        settings = config.model_copy(update=change)
        wanted = [Attempt(AS_THEY_ARE, settings), Attempt(SEED, settings, 1), Attempt(FIFTH, settings, 2, 0.2)]
        lengths = np.ones(blobs.truth.size, dtype=np.int64)
        found = {one.name: attempt(one, blobs.vectors, lengths, kinds_of(blobs)) for one in wanted}
        points.append(tuned(change, settings, found))
    assert [point.settings["clusters"] for point in best_first(points)] == [14, 5]
    assert points[0].failed == "5 clusters, fewer than gate_min_clusters = 10"
    assert points[1].name == "clusters = 14"


def test_what_can_not_be_clustered_is_refused() -> None:
    few = np.eye(8, 16, dtype=np.float32)
    kinds = Kinds(["en"], ["prose"], np.zeros(8, dtype=np.int64), np.zeros(8, dtype=np.int64))
    wanted = attempts(DiversityConfig(), sensitivity=False)
    with pytest.raises(DiversityHealthError, match="8 documents: too few to cluster"):
        health([(one, attempt(one, few, np.ones(8, dtype=np.int64), kinds)) for one in wanted])


def test_what_could_not_be_fitted_is_named_and_has_no_figure(blobs: Blobs) -> None:
    # A fifth of 60 documents is too few for clusters of 10.
    few = Blobs(blobs.vectors[:60], blobs.truth[:60])
    found = measured(few, DiversityConfig(modes=("hdbscan",), fits=1, evenness=0))
    assert found.seed is not None
    assert found.fifth is None
    assert found.failed == (
        f"{FIFTH} could not be fitted: The sample has 12 documents: too few to cluster. It takes 20 documents and 7"
        " different ones with these settings.",
    )
    assert found.advice[0] == found.failed[0]


def test_languages_explain_nothing_of_a_d_that_most_have(blobs: Blobs) -> None:
    config = DiversityConfig(modes=("kmeans",), fits=1, clusters=2, evenness=0)
    in_order = np.argsort(blobs.truth % 2, kind="stable")
    ordered = Blobs(blobs.vectors[in_order], blobs.truth[in_order])
    factors = {factor.name: factor.correlation for factor in measured(ordered, config).factors}
    assert factors["language"] < 0.2
    assert factors["content_type"] == 0


@pytest.mark.parametrize(("mode", "says"), [("kmeans", "raise clusters (10)"), ("plscan", "lower min_samples (5)")])
def test_advice_names_settings_of_the_mode(mode: Literal["kmeans", "plscan"], says: str) -> None:
    with pytest.raises(DiversityHealthError) as refused:
        check_health(fitted([10] * 9, mode=mode), DiversityConfig(modes=(mode,)))
    assert says in refused.value.remedy
    assert "min_cluster_size" not in refused.value.remedy


def test_a_gate_that_a_later_fit_fails_is_named_with_its_mode_once() -> None:
    good, bad = fitted([10] * 10), fitted([60] + [4] * 10, mode="kmeans")
    with pytest.raises(DiversityHealthError) as refused:
        check_health(replace(good, fits=(*good.fits, *bad.fits, *bad.fits)), DiversityConfig())
    assert refused.value.what.count("kmeans: the largest cluster has 60.0%") == 1
    assert "raise clusters (10)" in refused.value.remedy


def test_clusters_that_live_on_are_gated_with_advice_on_the_mode_that_fitted_them() -> None:
    with pytest.raises(DiversityHealthError) as refused:
        check_health(fitted([10] * 9, mode=INHERITED), DiversityConfig(modes=("kmeans",)))
    assert "raise clusters (10)" in refused.value.remedy
