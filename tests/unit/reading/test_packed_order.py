"""Packed sequences: every token of every copy exactly once, found where it comes, and few documents cut."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplemix_core.errors import ConfigError
from samplemix_core.reading.order import Order, Piece, lay_out
from samplemix_core.reading.packed_order import Method, PackedEpoch, PackedOrder, Packing

METHODS: tuple[Method, ...] = ("concatenate", "best-fit")


def packed_order(n_tokens: list[int], copies: list[int], packing: Packing) -> PackedOrder:
    tokens, times = np.array(n_tokens, dtype=np.int32), np.array(copies, dtype=np.uint16)
    first = np.array([0, tokens.size // 2, tokens.size] if tokens.size > 1 else [0, 1])
    layout = lay_out(first, np.zeros(first.size - 1, dtype=bool), tokens, int(times.max()))
    return PackedOrder(Order("d" * 64, 3, layout, times), packing, tokens)


def all_of(epoch: PackedEpoch) -> list[list[Piece]]:
    return [epoch.at(position) for position in range(epoch.order.length)]


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 5)), min_size=1, max_size=100).filter(lambda rows: max(rows)[0] > 0),
    st.integers(2, 120),
    st.sampled_from(METHODS),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_each_token_of_each_copy_comes_exactly_once_and_is_found(
    rows: list[tuple[int, int]], length: int, method: Method, end: bool
) -> None:
    n_tokens, copies = (list(column) for column in zip(*rows, strict=True))
    order = packed_order(n_tokens, copies, Packing(length, method, end_of_document=end))
    epoch = order.epoch(1)
    found = all_of(epoch)
    pieces = [piece for sequence in found for piece in sequence]
    seen = Counter((piece.row, piece.copy, token) for piece in pieces for token in range(piece.start, piece.stop))
    wanted = [(row, copy, token) for row, (n, times) in enumerate(rows) for copy in range(times) for token in range(n + end)]
    assert seen == Counter(wanted)
    sizes = [sum(piece.stop - piece.start for piece in sequence) for sequence in found]
    assert sorted(sizes)[1:] == [length] * (len(sizes) - 1)
    assert order.tokens == sum(sizes) == len(wanted)
    for row in range(len(rows)):
        places = epoch.places(row)
        assert all(found[place.position][place.inside] == place.piece for place in places)
        assert len(places) == sum(piece.row == row for piece in pieces)
    for lane in range(epoch.turns.lanes):
        for read in epoch.reads(lane, 3):
            assert (read.positions >= 3).all()
            assert (epoch.turns.lanes_of(read.positions) == lane).all()
            assert [found[position] for position in read.positions.tolist()] == read.sequences


@pytest.fixture(scope="module")
def many() -> tuple[list[int], list[int]]:
    rng = np.random.default_rng(5)
    return np.minimum(rng.lognormal(5.5, 1.2, 4_000), 30_000).astype(int).tolist(), rng.integers(1, 4, 4_000).tolist()


def test_best_fit_cuts_few_documents_that_fit(many: tuple[list[int], list[int]]) -> None:
    cut = {}
    for method in METHODS:
        order = packed_order(*many, Packing(1_024, method))
        pieces = Counter(piece[:2] for found in all_of(order.epoch(0)) for piece in found)
        short = [count for (row, _), count in pieces.items() if many[0][row] < 1_024]
        cut[method] = sum(count > 1 for count in short) / len(short)
    assert cut["best-fit"] < 0.35 * cut["concatenate"]


def test_neighbours_in_an_epoch_are_not_neighbours_in_the_corpus(many: tuple[list[int], list[int]]) -> None:
    found = all_of(packed_order(*many, Packing(256)).epoch(0))
    first = np.array([pieces[0].row for pieces in found])
    assert (np.abs(np.diff(first)) < 50).mean() < 0.1


def test_the_sequences_of_an_epoch_are_fixed() -> None:
    """Where tokens come is part of every checkpoint: other pieces here need another ORDER_VERSION."""
    numbers = range(200)
    for method, pieces in zip(METHODS, (CONCATENATED, BEST_FIT), strict=True):
        order = packed_order([i * 7919 % 97 for i in numbers], [1 + i % 3 for i in numbers], Packing(64, method))
        assert order.epoch(1).at(17) == pieces


CONCATENATED = [Piece(136, 0, 56, 91), Piece(19, 0, 0, 15), Piece(20, 0, 0, 14)]
BEST_FIT = [Piece(20, 0, 0, 64)]


@pytest.mark.parametrize("packing", [{"length": 1}, {"length": 8, "method": "tight"}])
def test_a_packing_that_is_none_is_refused(packing: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Packing(**packing)  # type: ignore[arg-type]
