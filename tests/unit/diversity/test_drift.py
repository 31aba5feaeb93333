"""Crawls that are like the sample don't drift, alien ones do; figures are those of a direct call."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ks_2samp

from samplemix_core.config.run import DiversityConfig
from samplemix_core.diversity.cluster_model import ClusterModel, Kinds
from samplemix_core.diversity.drift import ALL, BINS, Drift, Profile, drift_of, over_limits, profiles_of
from tests.unit.diversity.conftest import Blobs, Vectors, draw_blobs


@pytest.fixture(scope="module")
def bigger() -> Blobs:
    """As many blobs as in `blobs`, the same ones, with more documents."""
    return draw_blobs(per_blob=300, seed=0)


def found(model: ClusterModel, sample: Vectors, crawl: Vectors, language: str = "en") -> list[Drift]:
    def profiles(vectors: Vectors, name: str) -> dict[str, Profile]:
        kinds = Kinds([name], ["prose"], np.zeros(len(vectors), dtype=np.int64), np.zeros(len(vectors), dtype=np.int64))
        return profiles_of(model.assign(vectors, None), model.n_clusters, kinds)

    whole, *languages = drift_of(profiles(sample, "en"), profiles(crawl, language))
    return [replace(whole, over=over_limits(whole, DiversityConfig())), *languages]


@pytest.fixture(scope="module")
def fitted(bigger: Blobs, config: DiversityConfig) -> ClusterModel:
    from samplemix_core.diversity.fit import fit_clusters

    return fit_clusters(bigger.vectors[::3], config, seed=1, encoder_id="e")


def test_figures_are_those_of_a_direct_call(bigger: Blobs, fitted: ClusterModel) -> None:
    sample, crawl = bigger.vectors[::3], bigger.vectors[1::3][bigger.truth[1::3] > 3]
    (whole, english) = found(fitted, sample, crawl)
    one, other = fitted.assign(sample, None), fitted.assign(crawl, None)
    assert replace(whole, over=()) == replace(english, language=ALL)
    assert (whole.documents, whole.far, whole.far_in_sample) == (len(crawl), other.is_noise.mean(), one.is_noise.mean())
    assert whole.distance_shift == pytest.approx(ks_2samp(one.distance, other.distance).statistic, abs=0.02)
    p, q = (np.bincount(each.cluster, minlength=fitted.n_clusters) + 0.5 for each in (one, other))
    p, q = p / p.sum(), q / q.sum()
    # Of so many documents, chance makes little.
    assert whole.share_shift == pytest.approx(((p - q) * np.log(p / q)).sum(), abs=0.03)
    assert whole.share_shift > 1


def test_a_crawl_like_the_sample_does_not_drift(bigger: Blobs, fitted: ClusterModel) -> None:
    whole = found(fitted, bigger.vectors[::3], bigger.vectors[1::3])[0]
    assert whole.over == ()
    assert whole.share_shift < 0.02
    # Nor does a small one, whose shares are far off by chance.
    few = found(fitted, bigger.vectors[::3], bigger.vectors[1:250])[0]
    assert few.share_shift < 0.1


def test_alien_crawls_drift(bigger: Blobs, fitted: ClusterModel) -> None:
    elsewhere = draw_blobs(8, 50, seed=77).vectors
    whole, danish = found(fitted, bigger.vectors[::3], elsewhere, "da")
    assert [name.split(" differ")[0] for name in whole.over[:2]] == ["far documents", "distances"]
    assert not danish.known
    one_kind = found(fitted, bigger.vectors[::3], bigger.vectors[bigger.truth == 2])[0]
    assert len(one_kind.over) == 1
    assert one_kind.over[0].startswith("shares of clusters differ")


def test_what_is_far_in_the_sample_too_is_no_drift(bigger: Blobs, fitted: ClusterModel) -> None:
    elsewhere = draw_blobs(8, 50, seed=77).vectors
    assert found(fitted, elsewhere, elsewhere)[0].over == ()


def test_few_documents_are_no_reason(bigger: Blobs, fitted: ClusterModel) -> None:
    elsewhere = draw_blobs(8, 20, seed=77).vectors
    assert found(fitted, bigger.vectors[::3], elsewhere)[0].over == ()


def test_limits_decide(bigger: Blobs, fitted: ClusterModel) -> None:
    whole = found(fitted, bigger.vectors[::3], bigger.vectors[bigger.truth == 2])[0]
    assert over_limits(whole, DiversityConfig(drift_max_shares=1000)) == ()
    far = replace(whole, far=whole.far_in_sample + 0.25, distance_shift=0.25, share_shift=0.25)
    for name in ("drift_max_far", "drift_max_distances", "drift_max_shares"):
        limits = {"drift_max_far": 0.3, "drift_max_distances": 0.3, "drift_max_shares": 0.3} | {name: 0.2}
        assert len(over_limits(far, DiversityConfig(**limits))) == 1


def test_profiles_survive_json(fitted: ClusterModel, bigger: Blobs) -> None:
    profile = Profile.of(fitted.assign(bigger.vectors, None), fitted.n_clusters)
    again = Profile.from_json(profile.to_json(), fitted.n_clusters)
    assert np.array_equal(again.clusters, profile.clusters)
    assert np.array_equal(again.distances, profile.distances)
    assert (again.far, again.documents) == (profile.far, len(bigger.vectors))
    assert again.distances.size == BINS


def test_a_crawl_without_documents_does_not_drift(fitted: ClusterModel, bigger: Blobs) -> None:
    nothing = {ALL: Profile.of(fitted.assign(bigger.vectors[:0], None), fitted.n_clusters)}
    sample = {ALL: Profile.of(fitted.assign(bigger.vectors, None), fitted.n_clusters)}
    (whole,) = drift_of(sample, nothing)
    assert (whole.documents, whole.far, whole.distance_shift, whole.share_shift, whole.over) == (0, 0.0, 0.0, 0.0, ())
