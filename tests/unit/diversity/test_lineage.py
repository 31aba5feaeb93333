"""Clusters that are still there keep their names through a refit; others are split, merged, born or die, and d doesn't mind."""

from dataclasses import asdict

import numpy as np
import pytest

from samplemix_core.config.run import DiversityConfig
from samplemix_core.diversity.cluster_model import INHERITED, ClusterModel, Kinds
from samplemix_core.diversity.fit import fit_clusters
from samplemix_core.diversity.lineage import Change, Heir, change_of, heirs
from tests.unit.diversity.conftest import Blobs, Vectors, draw_blobs, unit


def labels(*parts: tuple[int, int]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Labels, each so many times."""
    return np.concatenate([np.full(count, label, dtype=np.int32) for label, count in parts])


def test_the_same_clusters_in_another_order_are_kept() -> None:
    before, after = labels((0, 30), (1, 20), (2, 10)), labels((2, 30), (0, 20), (1, 10))
    assert heirs(before, after, 3, 3) == [
        Heir("kept", 1, 0, 1.0),
        Heir("kept", 2, 1, 1.0),
        Heir("kept", 0, 2, 1.0),
    ]


def test_each_fate_is_told_from_the_others() -> None:
    #                 0 splits into 0, 1           1, 2 merge into 2      3 is all over the place   nothing is 3's heir
    before = labels((0, 60), (0, 40), (1, 50), (2, 20), (3, 10), (3, 10), (3, 10), (1, 3), (2, 3), (0, 3))
    after = labels((0, 60), (1, 40), (2, 50), (2, 20), (0, 10), (1, 10), (2, 10), (3, 3), (3, 3), (3, 3))
    found = heirs(before, after, 4, 4)
    assert [(heir.fate, heir.parent, heir.cluster) for heir in found] == [
        ("kept", 0, 0),
        ("split", 0, 1),
        ("kept", 1, 2),
        ("born", None, 3),
        ("merged", 2, 2),
        ("died", 3, None),
    ]
    assert found[0].shared == pytest.approx(60 / (103 + 10))


@pytest.fixture(scope="module")
def grown(blobs: Blobs) -> Vectors:
    """The blobs without two of them, with three that are new, in another order."""
    new = draw_blobs(3, seed=9).vectors
    return np.concatenate([blobs.vectors[blobs.truth > 1], new])[::-1]


def refitted(vectors: Vectors, model: ClusterModel, config: DiversityConfig) -> ClusterModel:
    return fit_clusters(vectors, config, seed=7, encoder_id="encoder-1", parent=model)


def test_what_is_still_there_keeps_its_name(blobs: Blobs, grown: Vectors, model: ClusterModel, config: DiversityConfig) -> None:
    found = refitted(grown, model, config)
    assert [fit.mode for fit in found.fits] == [INHERITED, "hdbscan"]
    kinds = Kinds(["de", "en"], ["prose"], np.arange(len(grown)) % 2, np.zeros(len(grown), dtype=np.int64))
    before, after = model.assign(grown, kinds), found.assign(grown, kinds)
    told, change = change_of(model, found, before, after, kinds)
    assert change.fates == {"kept": 12, "born": 3, "died": 2}
    for heir in told:
        if heir.fate == "kept":
            members = (before.cluster == heir.parent) & ~before.is_noise
            assert (after.cluster[members] == heir.cluster).all()
            assert model.first.centroids[heir.parent] @ found.first.centroids[heir.cluster] > 0.99
            assert found.first.radii[heir.cluster] == model.first.radii[heir.parent]
    assert Change.of(asdict(change)) == change
    assert {group.language for group in change.groups} == {"de", "en"}
    assert "12 kept, 3 born, 2 died" in str(change)
    # And again: a refit of nothing new.
    again = refitted(grown, found, config)
    assert change_of(found, again, after, again.assign(grown, kinds), kinds)[1].fates == {"kept": 15}


def test_d_does_not_depend_on_the_clusters_before(grown: Vectors, model: ClusterModel, config: DiversityConfig) -> None:
    found, alone = refitted(grown, model, config), fit_clusters(grown, config, seed=7, encoder_id="encoder-1")
    assert [fit.mode for fit in alone.fits] == ["hdbscan"]
    assert np.array_equal(found.assign(grown, None).diversity, alone.assign(grown, None).diversity)
    assert found.ranks == alone.ranks
    assert ClusterModel.from_bytes(found.to_bytes()).digest == found.digest


def test_clusters_of_other_settings_are_new_ones(grown: Vectors, model: ClusterModel, config: DiversityConfig) -> None:
    other = config.model_copy(update={"selection": "leaf"})
    assert [fit.mode for fit in refitted(grown, model, other).fits] == ["hdbscan"]
    gates = config.model_copy(update={"gate_min_clusters": 3, "refit": True})
    assert refitted(grown, model, gates).fits[0].mode == INHERITED


def test_a_cluster_that_has_grown_by_much_is_split_as_the_new_fit_has_it(blobs: Blobs, config: DiversityConfig) -> None:
    rng = np.random.default_rng(4)
    # Two that were near enough to be one, while there were few of them.
    middle = blobs.vectors[blobs.truth == 0].mean(axis=0).astype(np.float64)
    apart = rng.standard_normal(middle.size)
    pair = [
        unit(middle + sign * 0.3 * apart / np.linalg.norm(apart) + 0.02 * rng.standard_normal((200, middle.size)))
        for sign in (-1, 1)
    ]
    few = np.concatenate([blobs.vectors[blobs.truth > 0], pair[0][:6], pair[1][:6]])
    model = fit_clusters(few, config, seed=1, encoder_id="encoder-1")
    one = set(model.first.nearest(np.concatenate(pair))[0].tolist())
    assert len(one) == 1
    found = fit_clusters(np.concatenate([blobs.vectors[blobs.truth > 0], *pair]), config, seed=1, encoder_id="e", parent=model)
    halves = [set(found.first.nearest(half)[0].tolist()) for half in pair]
    assert [len(half) for half in halves] == [1, 1]
    assert halves[0] != halves[1]


def test_clusters_in_the_centred_view_live_on_too(blobs: Blobs, grown: Vectors) -> None:
    config = DiversityConfig(modes=("kmeans",), views=("centred",), fits=2, clusters=14)
    model = fit_clusters(blobs.vectors, config, seed=1, encoder_id="encoder-1")
    found = refitted(grown, model, config)
    assert [(fit.mode, fit.view) for fit in found.fits] == [(INHERITED, "centred"), ("kmeans", "centred"), ("kmeans", "centred")]
    # The radii are those of the view: most documents are within them.
    assert found.assign(grown, None).is_noise.mean() < 0.1


def test_a_cluster_keeps_its_name_beside_a_bigger_newcomer(blobs: Blobs, config: DiversityConfig) -> None:
    rng = np.random.default_rng(4)
    middle = unit(blobs.vectors[blobs.truth == 0].mean(axis=0, keepdims=True).astype(np.float64))[0].astype(np.float64)
    wide = unit(middle + 0.09 * rng.standard_normal((40, middle.size)))
    model = fit_clusters(np.concatenate([blobs.vectors[blobs.truth > 0], wide]), config, seed=1, encoder_id="e")
    (own,) = set(model.first.nearest(wide)[0].tolist())
    aside = rng.standard_normal(middle.size)
    newcomer = unit(middle + 0.7 * aside / np.linalg.norm(aside) + 0.01 * rng.standard_normal((200, middle.size)))
    distance = 1 - newcomer @ model.first.centroids[own]
    assert (distance < model.first.radii[own]).all()
    vectors = np.concatenate([blobs.vectors[blobs.truth > 0], wide, newcomer])
    found = fit_clusters(vectors, config, seed=1, encoder_id="e", parent=model)
    assert found.parents is not None
    (heir,) = np.flatnonzero(found.parents == own)
    assert np.mean(found.first.nearest(wide)[0] == heir) > 0.9
    assert (found.first.nearest(newcomer)[0] != heir).all()


def test_refits_of_the_same_documents_find_no_more_noise_each_time(config: DiversityConfig) -> None:
    drawn = [draw_blobs(per_blob=60, spread=0.12, seed=0)]
    model = fit_clusters(drawn[0].vectors, config, seed=0, encoder_id="e")
    noise = [float(model.assign(drawn[0].vectors, None).is_noise.mean())]
    for seed in range(1, 5):
        rng = np.random.default_rng(seed)
        more = unit(drawn[0].vectors + 0.02 * rng.standard_normal(drawn[0].vectors.shape))
        model = fit_clusters(more, config, seed=seed, encoder_id="e", parent=model)
        assert model.first.mode == INHERITED
        noise.append(float(model.assign(drawn[0].vectors, None).is_noise.mean()))
    assert noise[-1] < noise[0] + 0.02


def test_clusters_that_spread_keep_their_names(config: DiversityConfig) -> None:
    model = fit_clusters(draw_blobs(spread=0.04).vectors, config, seed=0, encoder_id="e")
    for generation in range(1, 5):
        wider = draw_blobs(spread=0.04 * 1.2**generation).vectors
        found = fit_clusters(wider, config, seed=generation, encoder_id="e", parent=model)
        assert found.parents is not None
        assert (found.parents >= 0).sum() == model.n_clusters == 14
        model = found


def test_a_cluster_that_grows_slowly_is_split_in_the_end(config: DiversityConfig) -> None:
    rng = np.random.default_rng(2)
    others = draw_blobs(per_blob=60)
    middle = unit(rng.standard_normal((1, 64)))[0].astype(np.float64)
    sides = [middle + 0.35 * each / np.linalg.norm(each) for each in rng.standard_normal((3, 64))]

    def drawn(per_side: int) -> Vectors:
        return np.concatenate([others.vectors, *(unit(side + 0.02 * rng.standard_normal((per_side, 64))) for side in sides)])

    model = fit_clusters(drawn(4), config, seed=0, encoder_id="e")
    for per_side in (30, 50, 80, 130):
        model = fit_clusters(drawn(per_side), config, seed=0, encoder_id="e", parent=model)
    nearest = [set(model.first.nearest(unit(side[None]))[0].tolist()) for side in sides]
    assert len(set.union(*nearest)) == 3
