"""Candidates, similarities and who stays, each against a plain reference."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplemix_core.overlap import pairs
from samplemix_core.overlap.pairs import candidates, settle, similarities

Entry = tuple[int, int]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 7)), max_size=30), st.lists(st.booleans(), min_size=8, max_size=8))
def test_candidates_are_all_pairs_that_share_a_key(entries: list[Entry], new: list[bool]) -> None:
    keys = np.array([key for key, _ in entries], dtype=np.uint64)
    texts = np.array([text for _, text in entries], dtype=np.int64)
    spread = np.arange(8, dtype=np.uint64)
    expected = {(min(x, y), max(x, y)) for (k, x), (m, y) in combinations(entries, 2) if k == m and x != y and (new[x] or new[y])}
    found = candidates(keys, texts, spread, np.array(new))
    assert [tuple(pair) for pair in found.tolist()] == sorted(expected)


def test_a_large_bucket_is_cut_and_bands_cut_it_otherwise() -> None:
    n = 5000
    texts, is_new = np.arange(n), np.ones(n, dtype=bool)
    spread = np.random.default_rng(1).integers(0, 2**63, n).astype(np.uint64)
    found = [
        {tuple(pair) for pair in candidates(np.full(n, key, dtype=np.uint64), texts, spread, is_new).tolist()} for key in (7, 8)
    ]
    for each in found:
        assert n * pairs.CELL / 4 < len(each) < n * pairs.CELL
    assert len(found[0] & found[1]) < 0.05 * len(found[0])
    order = np.random.default_rng(2).permutation(n)
    shuffled = candidates(np.full(n, 7, dtype=np.uint64), texts[order], spread, is_new)
    assert {tuple(pair) for pair in shuffled.tolist()} == found[0]


def test_texts_that_are_in_many_files_count_once() -> None:
    texts = np.repeat(np.array([3, 5]), 400)
    found = candidates(np.full(800, 9, dtype=np.uint64), texts, np.arange(6, dtype=np.uint64), np.ones(6, dtype=bool))
    assert found.tolist() == [[3, 5]]


@given(st.lists(st.sets(st.integers(0, 12), max_size=8), min_size=2, max_size=6))
def test_similarities_are_jaccards(sets: list[set[int]]) -> None:
    hashes = np.array([number for each in sets for number in sorted(each)], dtype=np.uint64)
    begins = np.concatenate([[0], np.cumsum([len(each) for each in sets])]).astype(np.int64)
    left, right = map(np.array, zip(*combinations(range(len(sets)), 2), strict=True))
    found = similarities(hashes, begins, left, right)
    for i, j, similarity in zip(left.tolist(), right.tolist(), found.tolist(), strict=True):
        union = sets[i] | sets[j]
        assert similarity == (len(sets[i] & sets[j]) / len(union) if union else 0)


@given(st.data())
def test_a_text_goes_for_the_most_similar_before_it_that_stays(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 8))
    every = list(combinations(range(n), 2))
    chosen = data.draw(st.lists(st.sampled_from(every), unique=True) if every else st.just([]))
    alike = {pair: data.draw(st.sampled_from([0.8, 0.9, 1.0])) for pair in chosen}
    goes: dict[int, int] = {}
    for text in range(n):
        before = [(-alike[other, text], other) for other in range(text) if (other, text) in alike and other not in goes]
        if before:
            goes[text] = min(before)[1]
    order = data.draw(st.permutations(chosen))
    first, second = (np.array([pair[k] for pair in order], dtype=np.int64) for k in (0, 1))
    by = settle(first, second, np.array([alike[pair] for pair in order], dtype=np.float32), n)
    assert {text: order[pair][0] for text, pair in enumerate(by.tolist()) if pair >= 0} == goes
    assert all(order[pair][1] == text for text, pair in enumerate(by.tolist()) if pair >= 0)


def test_nothing_chains() -> None:
    # Each is like the next one only.
    n = 7
    first, second = np.arange(n - 1), np.arange(1, n)
    by = settle(first, second, np.full(n - 1, 0.9), n)
    assert (by >= 0).tolist() == [False, True, False, True, False, True, False]
    assert settle(first[:0], second[:0], np.empty(0), 3).tolist() == [-1, -1, -1]


@pytest.mark.parametrize("empty", [True, False])
def test_nothing_has_no_pairs(empty: bool) -> None:
    keys = np.array([] if empty else [1, 2], dtype=np.uint64)
    found = candidates(keys, np.arange(keys.size), np.arange(2, dtype=np.uint64), np.ones(2, dtype=bool))
    assert found.shape == (0, 2)
