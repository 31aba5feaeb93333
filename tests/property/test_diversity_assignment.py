"""Blocked assignment equals a naive loop, whatever the blocks and the company."""

import numpy as np
import numpy.typing as npt
import torch  # noqa: F401 products in half precision are tried where it is loaded
from hypothesis import given, settings
from hypothesis import strategies as st

from samplemix_core.diversity import nearest as assign_module
from samplemix_core.diversity.geometry import separation
from samplemix_core.diversity.nearest import nearest_centroid, nearest_centroids

Vectors = npt.NDArray[np.float32]


def unit(n: int, dim: int, seed: int) -> Vectors:
    vectors = np.random.default_rng(seed).standard_normal((n, dim))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Vectors, Vectors]:
    dim, seed = draw(st.integers(2, 24)), draw(st.integers(0, 2**32 - 1))
    return unit(draw(st.integers(1, 60)), dim, seed), unit(draw(st.integers(1, 20)), dim, seed + 1)


@given(problems(), st.sampled_from([1, 7, 1024]))
def test_blocks_equal_a_naive_loop(problem: tuple[Vectors, Vectors], block_rows: int) -> None:
    vectors, centroids = problem
    assign_module.BLOCK_ROWS, whole = block_rows, assign_module.BLOCK_ROWS
    try:
        cluster, distance = nearest_centroid(vectors, centroids)
    finally:
        assign_module.BLOCK_ROWS = whole
    for i, vector in enumerate(vectors.astype(np.float64)):
        naive = [1 - float(vector @ centroid) for centroid in centroids.astype(np.float64)]
        assert distance[i] >= 0
        assert abs(distance[i] - max(min(naive), 0)) < 1e-6
        assert naive[cluster[i]] - min(naive) < 1e-6


@given(problems(), st.data())
def test_a_vectors_cluster_and_distance_are_the_same_bits_in_any_company(
    problem: tuple[Vectors, Vectors], data: st.DataObject
) -> None:
    vectors, centroids = problem
    # Some centroids twice: ties, which a product of matrices breaks by its shape.
    centroids = np.concatenate([centroids, centroids[: data.draw(st.integers(0, len(centroids)))]])
    cluster, distance = nearest_centroid(vectors, centroids)
    rows = data.draw(st.lists(st.integers(0, len(vectors) - 1), min_size=1, max_size=9))
    some, apart = nearest_centroid(np.asarray(vectors[rows]), centroids)
    assert some.tolist() == cluster[rows].tolist()
    assert apart.tobytes() == distance[rows].tobytes()
    assert cluster.max() < len(problem[1])


@given(problems(), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_several_sets_in_one_pass_are_each_as_alone(problem: tuple[Vectors, Vectors], sets: int, seed: int) -> None:
    vectors, centroids = problem
    several = [centroids, *(unit(3 + i, vectors.shape[1], seed + i) for i in range(sets))]
    for alone, together in zip(several, nearest_centroids(vectors, several), strict=True):
        cluster, distance = nearest_centroid(vectors, alone)
        assert cluster.tolist() == together[0].tolist()
        assert distance.tobytes() == together[1].tobytes()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_half_precision_finds_the_same_bits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Large enough for a trial, and near each other, as texts are.
    centroids = unit(700, 96, seed)
    vectors = centroids[rng.integers(0, 700, 300)] + rng.normal(0, 0.08, (300, 96)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = []
    for faster in (0.0, np.inf):
        assign_module._Products.FASTER, kept = faster, assign_module._Products.FASTER
        try:
            found.append(nearest_centroid(vectors, centroids))
        finally:
            assign_module._Products.FASTER = kept
    assert found[0][0].tobytes() == found[1][0].tobytes()
    assert found[0][1].tobytes() == found[1][1].tobytes()


@given(st.integers(2, 30), st.integers(2, 16), st.integers(0, 1000), st.none() | st.integers(1, 40))
def test_separation_equals_the_mean_over_pairs(n_clusters: int, dim: int, seed: int, neighbours: int | None) -> None:
    centroids = unit(n_clusters, dim, seed)
    pairs = 1 - centroids.astype(np.float64) @ centroids.astype(np.float64).T
    expected = [np.sort(np.delete(pairs[j], j))[:neighbours].mean() for j in range(n_clusters)]
    np.testing.assert_allclose(separation(centroids, neighbours), expected, atol=1e-12)
