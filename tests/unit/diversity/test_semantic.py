"""Semantic duplicates against a plain comparison of all documents of each cluster."""

import numpy as np
import numpy.typing as npt
import pytest

from samplemix_core.diversity import semantic
from samplemix_core.diversity.semantic import closest, farthest_first, pieces


def documents(n: int, dim: int = 8, seed: int = 1) -> npt.NDArray[np.float16]:
    """Unit vectors of which many are near each other."""
    draw = np.random.default_rng(seed)
    near = draw.standard_normal((n // 4 + 1, dim))[draw.integers(0, n // 4 + 1, n)]
    vectors = near + draw.exponential(0.1, (n, 1)) * draw.standard_normal((n, dim))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def plain(vectors: npt.NDArray[np.float16], most: int = 10**9) -> list[int]:
    """One by one, in double precision."""
    found = []
    for place, vector in enumerate(vectors.astype(float)):
        others = vectors[max(0, place - most) : place].astype(float)
        cosines = [float(vector @ other / np.sqrt((vector @ vector) * (other @ other))) for other in others]
        best = round(max(cosines, default=-1.0) * 10_000)
        found.append(best if best >= 9_000 else 0)
    return found


@pytest.mark.parametrize("n", [1, 2, 300, 1_500])
def test_each_documents_closest_neighbour_before_it(n: int) -> None:
    vectors = documents(n)
    assert closest(vectors, 0).tolist() == (expected := plain(vectors))
    assert closest(vectors, n // 2).tolist() == expected[n // 2 :]
    if n > 2:
        assert 0.2 * n < np.count_nonzero(expected) < 0.9 * n


def test_clusters_in_pieces_are_compared_as_whole_ones_are(monkeypatch: pytest.MonkeyPatch) -> None:
    draw, vectors = np.random.default_rng(2), documents(400)
    cluster = draw.integers(0, 5, 400).astype(np.uint8)
    cluster[cluster == 3] = 4
    cluster[0] = 3
    distance = draw.integers(0, 20, 400).astype(np.int16)
    order = farthest_first(cluster, distance)
    assert order.tolist() == sorted(range(400), key=lambda i: (cluster[i], -distance[i], i))
    sizes = np.bincount(cluster, minlength=7)

    def compared() -> list[int]:
        found = np.zeros(400, dtype=np.int16)
        for piece in pieces(sizes):
            assert len(set(cluster[order[piece.start : piece.stop]].tolist())) == 1
            found[order[piece.own : piece.stop]] = closest(vectors[order[piece.start : piece.stop]], piece.own - piece.start)
        return [int(value) for value in found]

    expected = np.zeros(400, dtype=int)
    for number in range(7):
        own = order[cluster[order] == number]
        expected[own] = plain(vectors[own])
    assert compared() == expected.tolist()
    monkeypatch.setattr(semantic, "OWN", 13)
    monkeypatch.setattr(semantic, "_ROWS_AT_ONCE", 5)
    monkeypatch.setattr(semantic, "_COLUMNS_AT_ONCE", 7)
    assert compared() == expected.tolist()


def test_in_a_large_cluster_documents_are_compared_with_those_next_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = documents(200)
    monkeypatch.setattr(semantic, "MOST_COMPARED", 30)
    monkeypatch.setattr(semantic, "OWN", 45)
    monkeypatch.setattr(semantic, "_ROWS_AT_ONCE", 1)
    found = [closest(vectors[piece.start : piece.stop], piece.own - piece.start) for piece in pieces(np.array([200]))]
    assert [len(part) for part in found] == [45, 45, 45, 45, 20]
    assert np.concatenate(found).tolist() == plain(vectors, 30)
