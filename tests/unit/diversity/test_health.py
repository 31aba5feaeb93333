"""Gates let a healthy fit pass, and stop each kind of degenerate one with advice."""

from typing import Literal

import numpy as np
import pytest

from samplemix_core.config.run import DiversityConfig
from samplemix_core.diversity.cluster_model import ClusterModel, Fit, Groups, HealthReport, check_health
from samplemix_core.errors import DiversityHealthError
from tests.unit.diversity.conftest import Blobs


def fitted(assigned: list[int], noise: int = 0) -> ClusterModel:
    """A model whose sample has these counts by nearest centroid, `noise` of them HDBSCAN's noise."""
    labels = np.repeat(np.arange(len(assigned), dtype=np.int32), assigned)
    labels[:noise] = -1
    k = len(assigned)
    fit = Fit(
        mode="hdbscan",
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
    assert report == HealthReport(blobs.truth.size, model.n_clusters, model.first.largest_share, model.first.noise_share)


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
