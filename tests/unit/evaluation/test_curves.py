"""Steps saved are read off where both curves have been."""

import numpy as np
import pytest

from samplemix_core.evaluation.curves import POINTS, Curve, Paired, steps_ratio, stops


def falling(saves: float, floor: float = -np.inf) -> Curve:
    """A curve that reaches each loss after `saves` times fewer tokens, but no loss below the floor."""
    tokens = stops(1_000_000)
    return Curve(tokens, np.maximum(10 - np.log(tokens * saves), floor))


def test_stops_are_spread_evenly_and_end_with_all() -> None:
    found = stops(1_000_000)
    assert (len(found), found[-1]) == (POINTS, 1_000_000)
    assert found[1:] / found[:-1] == pytest.approx(np.sqrt(2), rel=1e-3)
    assert stops(3).tolist() == [1, 2, 3]


@pytest.mark.parametrize("saves", [0.5, 1, 1.3, 2, 4])
def test_a_curve_that_needs_fewer_tokens_wins_by_as_much(saves: float) -> None:
    assert steps_ratio(falling(saves), falling(1)) == pytest.approx(saves)
    assert steps_ratio(falling(1), falling(saves)) == pytest.approx(1 / saves)


def test_what_learns_fast_and_then_no_more_loses() -> None:
    """The loss at the end decides, however early it was reached."""
    stuck = falling(4, floor=float(falling(1).nats[-3]))
    assert steps_ratio(stuck, falling(1)) == pytest.approx(1 / 2)
    assert steps_ratio(falling(1), stuck) == pytest.approx(2)
    flat = Curve(stops(1_000_000), np.full(POINTS, 5.0))
    better = Curve(stops(1_000_000), np.linspace(3.0, 1.5, POINTS))
    # Bounds: what the other had at its first point already.
    assert steps_ratio(flat, better) == pytest.approx(stops(1_000_000)[0] / 1_000_000)
    assert steps_ratio(better, flat) == pytest.approx(1_000_000 / stops(1_000_000)[0])
    assert steps_ratio(flat, flat) == 1


def test_curves_of_other_lengths_are_compared_where_both_have_been() -> None:
    short = Curve(stops(500_000), 10 - np.log(2 * stops(500_000)))
    assert steps_ratio(short, falling(1)) == pytest.approx(2, rel=0.01)
    assert steps_ratio(falling(1), short) == pytest.approx(1 / 2, rel=0.01)


def test_more_than_a_curve_has_is_not_claimed() -> None:
    good, bad = falling(1), falling(1e6)
    assert steps_ratio(good, bad) == pytest.approx(good.tokens[0] / good.tokens[-1], rel=0.01)


def test_a_loss_that_rises_again_was_reached() -> None:
    curve = falling(1)
    risen = Curve(curve.tokens, np.where(np.arange(POINTS) == POINTS - 3, curve.nats[0], curve.nats))
    assert risen.steps_to(float(curve.nats[4])) == pytest.approx(curve.tokens[4])
    assert steps_ratio(risen, curve) == 1


def test_the_error_is_that_of_the_mean_of_the_draws() -> None:
    found = Paired.of([1.0, 1.2, 1.4])
    assert found.mean == pytest.approx(1.2)
    assert found.error == pytest.approx(0.2 / np.sqrt(3))
    assert Paired.of([1.1]) == (1.1, float("inf"))
