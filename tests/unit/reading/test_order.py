"""The order of an epoch: a permutation of all copies, the same everywhere, that spreads the copies of a sample."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplemix_core.reading.order import GROUPS, Epoch, Order, lay_out


def order_of(shards: list[int], tokens: list[int], copies: list[int], *, archives: bool = False, seed: int = 3) -> Order:
    numbers = np.array(copies, np.uint16)
    first = np.append(np.flatnonzero(np.diff(shards, prepend=-1)), len(shards))
    layout = lay_out(first, np.full(first.size - 1, archives), np.array(tokens, np.int32), max(copies))
    return Order("0" * 64, seed, layout, numbers)


def random_order(n: int, shards: int, most: int, seed: int = 3) -> Order:
    rng = np.random.default_rng(7)
    shard, tokens = np.sort(rng.integers(0, shards, n)), rng.integers(1, 2_000, n)
    return order_of(shard.tolist(), tokens.tolist(), rng.integers(1, most + 1, n).tolist(), seed=seed)


def all_of(epoch: Epoch) -> tuple[list[int], list[int]]:
    rows, copies = epoch.at(np.arange(epoch.order.length))
    return rows.tolist(), copies.tolist()


MIXTURES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3_000), st.integers(1, 9)), min_size=1, max_size=120).map(sorted)


@given(MIXTURES, st.integers(0, 2), st.booleans())
@settings(max_examples=60, deadline=None)
def test_each_copy_comes_exactly_once_and_is_found_where_it_comes(
    rows: list[tuple[int, int, int]], number: int, archives: bool
) -> None:
    order = order_of(*(list(column) for column in zip(*rows, strict=True)), archives=archives)
    epoch = order.epoch(number)
    found = list(zip(*all_of(epoch), strict=True))
    assert sorted(found) == [(row, copy) for row, (_, _, copies) in enumerate(rows) for copy in range(copies)]
    for row in range(len(rows)):
        assert [found[position] for position in epoch.places(row).tolist()] == [(row, copy) for copy in range(rows[row][2])]


@pytest.mark.parametrize(("n", "shards", "most"), [(2_000, 3, 4), (5_000, 2_000, 8), (20_000, 40, 2), (3_000, 1, 30)])
def test_copies_of_a_sample_have_most_of_a_sweep_between_them(n: int, shards: int, most: int) -> None:
    rows = np.array(all_of(random_order(n, shards, most).epoch(0))[0])
    by_row = np.argsort(rows, kind="stable")
    gaps = np.diff(by_row)[rows[by_row][1:] == rows[by_row][:-1]]
    sweeps = 2 ** (most - 1).bit_length()
    assert gaps.min() > 0.6 * (GROUPS - 1) / GROUPS * rows.size / sweeps


def test_neighbours_come_from_many_places_and_a_rank_reads_few_of_them() -> None:
    order = random_order(20_000, 40, 2)
    rows = np.array(all_of(order.epoch(0))[0])
    shard_of = order.layout.shard[order.layout.stretch[np.searchsorted(order.layout.first, rows, side="right") - 1]]
    assert (np.diff(shard_of) == 0).mean() < 0.05
    runs = np.searchsorted(order.layout.first, rows[:: order.lanes], side="right") - 1
    # One rank of as many as there are lanes goes on in its run.
    assert (np.diff(runs) == 0).mean() > 0.5


def test_an_order_is_fixed_by_the_digest_the_seed_and_the_epoch() -> None:
    """Where copies come is part of every checkpoint: other numbers here need another ORDER_VERSION."""

    def made(seed: int = 3) -> Order:
        numbers = range(500)
        return order_of([i // 200 for i in numbers], [i * 7919 % 1000 for i in numbers], [1 + i % 4 for i in numbers], seed=seed)

    order = made()
    assert all_of(order.epoch(0)) == all_of(made().epoch(0))
    assert all_of(order.epoch(0)) != all_of(order.epoch(1))
    assert all_of(order.epoch(0)) != all_of(made(seed=4).epoch(0))
    rows, copies = order.epoch(2).at(np.array([0, 1, 2, 100, 700, order.length - 1]))
    assert (rows.tolist(), copies.tolist()) == ([323, 387, 50, 111, 435, 30], [0, 0, 2, 1, 3, 1])


def test_the_reads_of_all_lanes_hold_each_position_once_and_go_forwards_in_a_stretch() -> None:
    order = random_order(3_000, 5, 4)
    epoch, stretch = order.epoch(0), order.layout.stretch
    seen: list[int] = []
    for lane in range(order.lanes):
        reads = list(epoch.reads(lane))
        positions = np.concatenate([read.positions for read in reads])
        assert (np.diff(positions) > 0).all()
        assert (epoch.turns.lanes_of(positions) == lane).all()
        rows, copies = epoch.at(positions)
        assert rows.tolist() == np.concatenate([read.rows for read in reads]).tolist()
        assert copies.tolist() == [read.copy for read in reads for _ in read.rows]
        seen += positions.tolist()
        backwards = [a for a, b in pairwise(reads) if stretch[a.run] == stretch[b.run] and b.run <= a.run]
        # Only where one visit to a stretch ends and another one happens to begin.
        assert len(backwards) <= 0.02 * len(reads)
        for position in (1, 700, order.length - 1):
            later = np.concatenate([np.empty(0, np.int64), *(read.positions for read in epoch.reads(lane, position))])
            assert later.tolist() == positions[positions >= position].tolist()
    assert sorted(seen) == list(range(order.length))
