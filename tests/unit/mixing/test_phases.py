"""Phases under one ledger: against a plain reference, and what they promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplemix_core.errors import BudgetError, ConfigError
from samplemix_core.mixing.phases import PhaseWanted, carried_on, solve_phases
from samplemix_core.mixing.solver import solve_copies
from samplemix_core.sample_key import sample_keys, uniforms

N = 5000
TOKENS = np.random.default_rng(0).integers(0, 900, N).astype(np.int32)
U = uniforms(3, sample_keys("crawl", "crawl/web/a.jsonl", np.arange(N)))
TOTAL = int(TOKENS.sum())
ONES, STEEP = np.ones(N), np.exp(4 * np.random.default_rng(1).random(N))


def phase(name: str, share: float, weights: np.ndarray, max_copies: int = 4) -> PhaseWanted:
    return PhaseWanted(name, share, max_copies, lambda *_: weights)


def test_one_phase_is_a_mixture_without_phases() -> None:
    found = solve_phases([phase("all", 1.0, STEEP)], TOKENS, U.copy(), TOTAL, 4)
    alone = solve_copies(STEEP, TOKENS, U, TOTAL, 4)
    assert (found.copies == alone.copies).all()
    assert found.phases[0].solution.kappa == alone.kappa
    assert found.wanted.tolist() == np.minimum(alone.kappa * STEEP, 4).tolist()


def test_nothing_is_repeated_before_everything_was_used_once() -> None:
    third = [phase(name, 1 / 3, ONES) for name in ("a", "b", "c")]
    found = solve_phases(third, TOKENS, U.copy(), TOTAL - 1, 4)
    assert found.copies.max() == 1
    assert (found.copies[TOKENS > 0] == 0).sum() <= 3
    # By itself, each phase would take the same samples.
    alone = solve_copies(ONES, TOKENS, U, TOTAL // 3, 4)
    assert np.count_nonzero(alone.copies & found.phases[0].solution.copies) == np.count_nonzero(alone.copies)


def test_two_phases_of_equal_weights_give_what_one_gives() -> None:
    both = solve_phases([phase("a", 0.5, STEEP), phase("b", 0.5, STEEP)], TOKENS, U.copy(), TOTAL, 100)
    one = solve_copies(STEEP, TOKENS, U, TOTAL, 100)
    assert np.abs(both.copies.astype(int) - one.copies).max() <= 1
    assert np.count_nonzero(both.copies != one.copies) < N / 50


@settings(max_examples=40, deadline=None)
@given(
    shares=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    caps=st.lists(st.integers(1, 5), min_size=4, max_size=4),
    max_copies=st.integers(1, 6),
    percent=st.integers(2, 120),
    seed=st.integers(0, 99),
    limited=st.booleans(),
)
def test_no_sample_is_over_its_cap_and_each_boundary_is_met_within_a_document(
    shares: list[int], caps: list[int], max_copies: int, percent: int, seed: int, limited: bool
) -> None:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 500, 300).astype(np.int32)
    u = rng.random(300)
    budget = int(tokens.sum()) * percent // 100
    most = 800 if limited else None
    asked = [
        phase(str(at), share / sum(shares), np.exp(rng.random(300) * 6), min(cap, max_copies))
        for at, (share, cap) in enumerate(zip(shares, caps, strict=False))
    ]
    try:
        found = solve_phases(asked, tokens, u, budget, max_copies, most)
    except BudgetError:
        return
    spent, boundary, realised = np.zeros(300, dtype=int), 0.0, 0
    for wanted, solved in zip(asked, found.phases, strict=True):
        copies, solution = solved.solution.copies.astype(int), solved.solution
        assert copies.max() <= wanted.max_copies
        spent += copies
        assert (copies[tokens == 0] == 0).all()
        assert solution.realised_tokens == int((copies * tokens).sum())
        boundary += wanted.share
        realised += solution.realised_tokens
        short = boundary * budget - realised
        assert short == pytest.approx(0, abs=1) if solution.next_tokens == 0 else -1 <= short < solution.next_tokens + 1
    assert (spent == found.copies).all()
    assert spent.max() <= max_copies
    assert most is None or (spent * tokens).max() <= most
    assert found.realised_tokens == realised <= budget


def test_a_number_is_carried_on_one_by_one_as_in_arrays() -> None:
    carried, ties = U.copy(), 0
    found = solve_phases(
        [phase("a", 0.5, ONES, 1), phase("b", 0.3, STEEP, 2), phase("c", 0.2, STEEP)], TOKENS, carried, 2 * TOTAL // 3, 3
    )
    for i in range(N):
        u, spent = float(U[i]), 0
        for solved, weights, cap in zip(found.phases, (ONES, STEEP, STEEP), (1, 2, 4), strict=True):
            asked = solved.solution.kappa * weights[i]
            copies = int(solved.solution.copies[i])
            limit = min(cap, 3 - spent) if TOKENS[i] else 0
            ties += copies == min(limit, int(asked + u) + 1) != min(limit, int(asked + u))
            assert copies in (min(limit, int(asked + u)), min(limit, int(asked + u) + 1))
            u, spent = carried_on(u, asked, copies, min(cap, 3)), spent + copies
        assert u == carried[i]
    # Of the samples at a phase's boundary.
    assert ties <= 3


def test_what_earlier_phases_spent_is_held_back_and_counted() -> None:
    weights, tokens, u = np.array([9.0, 9.0, 1.0, 1.0]), np.full(4, 10, dtype=np.int32), np.full(4, 0.5)
    first = PhaseWanted("first", 0.5, 2, lambda *_: weights)
    found = solve_phases([first, PhaseWanted("last", 0.5, 2, lambda *_: weights)], tokens, u, 80, 2)
    assert [item.solution.copies.tolist() for item in found.phases] == [[2, 2, 0, 0], [0, 0, 2, 2]]
    assert [item.held_back for item in found.phases] == [0, 2]


@pytest.mark.parametrize(
    ("shares", "caps", "budget", "max_copies", "max_tokens", "what", "remedy"),
    [
        (
            (0.9, 0.1),
            (1, 1),
            44,
            1,
            None,
            "have 4 tokens, and at most 0 can be had of what first left: 1 copy of",
            "raise the run's max_copies, or add snapshots. A smaller max_copies for first leaves more.",
        ),
        (
            (0.5, 0.5),
            (4, 4),
            30,
            4,
            9,
            "have 15 tokens, and at most 0 can be had: 4 copies and 9 tokens",
            "the phase's share, raise max_share, or add",
        ),
        (
            (0.5, 0.5),
            (1, 4),
            200,
            4,
            None,
            "'first' is to have 100 tokens, and at most 40 can be had",
            "share, raise its max_copies, or",
        ),
        (
            (1e-6, 1.0),
            (4, 4),
            100,
            4,
            None,
            "share 1e-06 of phase 'first' is less than one token",
            "Raise the phase's share, or the budget",
        ),
        ((0.1, 0.9), (4, 4), 50, 4, None, "'first': The budget of 5 tokens buys nothing", "Ask for at least"),
    ],
)
def test_a_phase_that_can_not_be_met_says_what_limits_it(
    shares: tuple[float, float],
    caps: tuple[int, int],
    budget: int,
    max_copies: int,
    max_tokens: int | None,
    what: str,
    remedy: str,
) -> None:
    asked = [PhaseWanted(*one, lambda *_: np.ones(4)) for one in zip(("first", "last"), shares, caps, strict=True)]
    with pytest.raises(BudgetError) as error:
        solve_phases(asked, np.full(4, 10, dtype=np.int32), np.full(4, 0.5), budget, max_copies, max_tokens)
    assert what in error.value.what
    assert remedy in error.value.remedy


def test_a_limit_of_billions_of_tokens_and_weights_of_any_magnitude() -> None:
    tokens, weights = np.array([10, 2**31 - 1], dtype=np.int32), np.array([1e-300, 1e300])
    three = [PhaseWanted(name, 1 / 3, 3, lambda *_: weights) for name in "abc"]
    found = solve_phases(three, tokens, np.array([0.25, 0.75]), 5 * 2**31, 9, 2**40)
    assert found.copies.tolist() == [9, 4]
    assert np.isfinite(found.wanted).all()


def test_a_weight_that_is_none_names_its_phase() -> None:
    with pytest.raises(ConfigError, match="Phase 'b': The weight of sample 0 is inf"):
        solve_phases([phase("a", 0.5, ONES), phase("b", 0.5, ONES * np.inf)], TOKENS, U.copy(), TOTAL, 4)
