"""Blocked assignment equals a naive loop, and sums by shard add up to the sums of the whole."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from samplemix_core.diversity import geometry as assign_module
from samplemix_core.diversity.geometry import ClusterSums, nearest_centroid, separation

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


@given(problems(), st.data())
def test_sums_by_shard_are_the_sums_of_the_whole(problem: tuple[Vectors, Vectors], data: st.DataObject) -> None:
    vectors, centroids = problem
    cluster, distance = nearest_centroid(vectors, centroids)
    cuts = sorted(data.draw(st.lists(st.integers(0, cluster.size), max_size=5)))
    shards = list(zip([0, *cuts], [*cuts, cluster.size], strict=True))
    merged = ClusterSums(np.zeros(len(centroids), dtype=np.int64), np.zeros(len(centroids)))
    for a, b in shards:
        sums = ClusterSums.of(cluster[a:b], distance[a:b], len(centroids))
        (met,) = np.nonzero(sums.counts)
        merged.add(met.astype(np.int32), sums.counts[met].astype(np.int32), sums.distance_sum[met])
    whole = ClusterSums.of(cluster, distance, len(centroids))
    assert merged.counts.tolist() == whole.counts.tolist()
    np.testing.assert_allclose(merged.distance_sum, whole.distance_sum, rtol=1e-12, atol=1e-12)


@given(st.integers(2, 30), st.integers(2, 16), st.integers(0, 1000))
def test_separation_equals_the_mean_over_pairs(n_clusters: int, dim: int, seed: int) -> None:
    centroids = unit(n_clusters, dim, seed)
    pairs = 1 - centroids.astype(np.float64) @ centroids.astype(np.float64).T
    expected = [np.delete(pairs[j], j).mean() for j in range(n_clusters)]
    np.testing.assert_allclose(separation(centroids), expected, atol=1e-12)
