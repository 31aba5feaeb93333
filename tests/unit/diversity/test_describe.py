"""Clusters for people: neighbours stay neighbours on the map, and words tell clusters apart."""

import numpy as np
import pytest

from samplemix_core.diversity.describe import OWN, TERMS, coherence, map_centroids, telling_terms


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def test_near_centroids_lie_near_each_other_on_the_map() -> None:
    rng = np.random.default_rng(1)
    families = rng.standard_normal((4, 64))
    centroids = unit(np.repeat(families, 15, axis=0) + 0.3 * rng.standard_normal((60, 64)))
    places = map_centroids(centroids)
    assert places.shape == (60, 2)
    assert places.dtype == np.float32
    assert np.abs(places).max() == pytest.approx(1)
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    family = np.repeat(np.arange(4), 15)
    assert np.mean(family[distance.argmin(axis=1)] == family) > 0.9
    assert np.array_equal(places, map_centroids(centroids))


@pytest.mark.parametrize("n", range(1, 9))
def test_a_handful_of_clusters_is_placed_too(n: int) -> None:
    places = map_centroids(unit(np.random.default_rng(n).standard_normal((n, 16))))
    assert places.shape == (n, 2)
    assert np.isfinite(places).all()
    assert len(np.unique(places, axis=0)) == n


@pytest.mark.parametrize("n", [3, 8])
def test_equal_centroids_are_placed(n: int) -> None:
    assert np.isfinite(map_centroids(np.tile(unit(np.ones((1, 8))), (n, 1)))).all()


TEXTS = [
    *(f"the kernel schedules a process and the kernel swaps a page {i}" for i in range(20)),
    *(f"the oven bakes the bread and the flour rises {i}" for i in range(20)),
    *(f"the court heard the appeal and the judge ruled {i}" for i in range(20)),
]


def test_words_tell_clusters_apart_and_common_ones_tell_nothing() -> None:
    cluster = np.repeat(np.array([2, 0, 1], dtype=np.int32), 20)
    found = telling_terms(TEXTS, cluster, 4)
    assert found[2][0] == "kernel"
    assert {"oven", "bread", "flour"} <= set(found[0])
    assert {"court", "judge"} <= set(found[1])
    assert found[3] == [], "no text is in it"
    assert all(len(terms) <= TERMS and not {"the", "and"} & set(terms) for terms in found)


def test_texts_without_words_give_none() -> None:
    assert telling_terms(["1 2 3", "<> {}"], np.zeros(2, dtype=np.int32), 2) == [[], []]
    assert telling_terms([], np.zeros(0, dtype=np.int32), 1) == [[]]


def test_words_are_letters_of_any_script_and_nothing_else() -> None:
    texts = ["данные обучения модели", 'null "quoted" {braces}, back\\slash', "данные модели null quoted"] * 3
    words = {word for terms in telling_terms(texts, np.array([0, 1, 2] * 3, dtype=np.int32), 3) for word in terms}
    assert all(word.isalpha() for word in words)
    assert "обучения" in words


def test_an_intruder_is_found_among_texts_of_one_subject_only() -> None:
    cluster = np.repeat(np.array([2, 0, 1], dtype=np.int32), 20)
    found = coherence(TEXTS, cluster, 4)
    assert found.dtype == np.float32
    assert found[:3].tolist() == [1, 1, 1]
    assert np.isnan(found[3])
    mixed = coherence(TEXTS, np.arange(60, dtype=np.int32) % 3, 3)
    assert mixed.max() < 0.5
    np.testing.assert_array_equal(mixed, coherence(TEXTS, np.arange(60, dtype=np.int32) % 3, 3))


def test_too_few_texts_say_nothing_of_coherence() -> None:
    few = np.array([0] * (OWN - 1) + [1] * (60 - OWN + 1), dtype=np.int32)
    assert np.isnan(coherence(TEXTS, few, 2)).tolist() == [True, False]
    assert np.isnan(coherence(TEXTS, np.zeros(60, dtype=np.int32), 1)).all()
    assert np.isnan(coherence(["1 2 3"] * 9, np.zeros(9, dtype=np.int32), 1)).all()
