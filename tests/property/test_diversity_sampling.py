"""The fit's sample has the size asked for, sees every stratum, and depends on counts and seed alone."""

import itertools
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplemix_core.diversity.sampling import WINDOW_PLACES, ShardCount, allocate, nested_positions, stratified_positions
from samplemix_core.embedding.vectors import GROUP_ROWS


@st.composite
def corpora(draw: st.DrawFn) -> list[ShardCount]:
    counts = draw(
        st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["", "web", "books"]), st.integers(0, 80)), max_size=25)
    )
    return [
        ShardCount(snapshot, f"{snapshot}/{domain}/{i:03}.jsonl", domain, rows) for i, (snapshot, domain, rows) in enumerate(counts)
    ]


sizes_of_strata = st.dictionaries(st.tuples(st.sampled_from("abc"), st.text(max_size=3)), st.integers(0, 10**12), max_size=12)
seeds = st.integers(0, 2**53)


@given(sizes_of_strata, st.integers(1, 10**6))
def test_allocation_fills_the_sample_within_each_stratum(sizes: dict[tuple[str, str], int], sample_size: int) -> None:
    quotas = allocate(sizes, sample_size)
    assert quotas.keys() == sizes.keys()
    assert sum(quotas.values()) == min(sample_size, sum(sizes.values()))
    for stratum, quota in quotas.items():
        assert min(sizes[stratum], sample_size // (10 * len(sizes))) <= quota <= sizes[stratum]


@given(sizes_of_strata, st.integers(1, 10**6))
def test_a_larger_stratum_never_gets_fewer_places_but_for_rounding(sizes: dict[tuple[str, str], int], sample_size: int) -> None:
    quotas = allocate(sizes, sample_size)
    by_size = sorted(sizes, key=lambda stratum: sizes[stratum])
    for smaller, larger in itertools.pairwise(by_size):
        assert quotas[larger] >= quotas[smaller] - 1


@given(corpora(), st.integers(1, 500), seeds)
def test_positions_are_ascending_in_their_shard_and_as_many_as_asked_for(
    corpus: list[ShardCount], sample_size: int, seed: int
) -> None:
    chosen = stratified_positions(corpus, sample_size, seed)
    rows = {shard.path: shard.rows for shard in corpus}
    assert list(chosen) == sorted(chosen)
    assert sum(positions.size for positions in chosen.values()) == min(sample_size, sum(rows.values()))
    for path, positions in chosen.items():
        assert positions.dtype == np.int64
        assert positions.size
        assert positions[0] >= 0
        assert positions[-1] < rows[path]
        assert np.all(np.diff(positions) > 0)


@given(corpora(), st.integers(1, 500), seeds, st.randoms())
def test_order_of_listing_does_not_matter(corpus: list[ShardCount], sample_size: int, seed: int, random: Random) -> None:
    shuffled = corpus.copy()
    random.shuffle(shuffled)
    expected, found = (stratified_positions(shards, sample_size, seed) for shards in (corpus, shuffled))
    assert {path: positions.tolist() for path, positions in expected.items()} == {
        path: positions.tolist() for path, positions in found.items()
    }


def test_small_domains_are_seen_and_small_shards_have_their_chance() -> None:
    shards = [ShardCount("a", f"a/web/{i:04}", "web", 1000) for i in range(1000)] + [ShardCount("a", "a/rare/0", "rare", 40)]
    chosen = stratified_positions(shards, 500, seed=1)
    assert chosen["a/rare/0"].size == 25
    web = [path for path, positions in chosen.items() if path.startswith("a/web/") for _ in positions]
    assert len(web) == 475
    thirds = [sum(path < f"a/web/{bound:04}" for path in web) for bound in (333, 667)]
    assert abs(thirds[0] - 158) <= WINDOW_PLACES
    assert abs(thirds[1] - 317) <= WINDOW_PLACES


@pytest.mark.parametrize("rows", [600, 50_000])
def test_a_sample_of_many_shards_opens_few_of_them_and_neighbours_in_each(rows: int) -> None:
    chosen = stratified_positions([ShardCount("a", f"a/{i:05}", "", rows) for i in range(20_000)], 20_000, seed=3)
    assert sum(positions.size for positions in chosen.values()) == 20_000
    assert len(chosen) <= 2 * 20_000 // WINDOW_PLACES
    row_groups = sum(np.unique(positions // GROUP_ROWS).size for positions in chosen.values())
    assert row_groups <= 2 * 20_000 // WINDOW_PLACES


def test_another_seed_chooses_other_documents() -> None:
    shards = [ShardCount("a", "a/web/0", "web", 1000)]
    first, second = (stratified_positions(shards, 100, seed)["a/web/0"] for seed in (1, 2))
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("sizes", [(50, 7), (1, 900, 13)])
def test_every_position_is_about_equally_likely(sizes: tuple[int, ...]) -> None:
    shards = [ShardCount("a", f"a/web/{i}", "web", rows) for i, rows in enumerate(sizes)]
    quota = sum(sizes) // 6
    hits = {shard.path: np.zeros(shard.rows) for shard in shards}
    for seed in range(2000):
        for path, positions in stratified_positions(shards, quota, seed).items():
            hits[path][positions] += 1
    assert np.abs(np.concatenate(list(hits.values())) / 2000 - quota / sum(sizes)).max() < 0.05


@given(corpora(), st.integers(1, 300), st.randoms(use_true_random=False), seeds)
def test_a_nested_sample_has_each_stratums_places_whatever_the_order_of_shards(
    shards: list[ShardCount], sample_size: int, random: Random, seed: int
) -> None:
    chosen = nested_positions(shards, sample_size, seed)
    rows = {shard.path: shard.rows for shard in shards}
    assert sum(places.size for places in chosen.values()) == min(sample_size, sum(rows.values()))
    for path, places in chosen.items():
        assert places.size == np.unique(places).size
        assert (np.diff(places) > 0).all()
        assert 0 <= places.min() <= places.max() < rows[path]
    strata: dict[tuple[str, str], int] = {}
    taken: dict[tuple[str, str], int] = {}
    for shard in shards:
        stratum = shard.snapshot, shard.domain
        strata[stratum] = strata.get(stratum, 0) + shard.rows
        taken[stratum] = taken.get(stratum, 0) + (chosen[shard.path].size if shard.path in chosen else 0)
    assert taken == allocate(strata, sample_size)
    shuffled = random.sample(shards, len(shards))
    assert {path: places.tolist() for path, places in nested_positions(shuffled, sample_size, seed).items()} == {
        path: places.tolist() for path, places in chosen.items()
    }


@given(st.lists(st.integers(0, 200), min_size=1, max_size=8), st.integers(1, 300), st.integers(0, 300), seeds)
def test_of_one_stratum_a_larger_nested_sample_holds_the_smaller(rows: list[int], size: int, more: int, seed: int) -> None:
    shards = [ShardCount("a", f"a/{i}.jsonl", "web", count) for i, count in enumerate(rows)]
    smaller, larger = (nested_positions(shards, wanted, seed) for wanted in (size, size + more))
    for path, places in smaller.items():
        assert set(places.tolist()) <= set(larger[path].tolist())
