import numpy as np
import pytest

from samplemix_core.errors import BudgetError, ConfigError
from samplemix_core.mixing.solver import Solution, solve_copies
from samplemix_core.sample_key import sample_keys, uniforms


def samples(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = np.exp(5 * rng.random(n))
    tokens = rng.integers(0, 2000, n).astype(np.int32)
    return weights, tokens, uniforms(seed, sample_keys("crawl", "crawl/web/a.jsonl", np.arange(n)))


def solve(weights: list[float], tokens: list[int], u: list[float], budget: int, max_copies: int) -> Solution:
    return solve_copies(np.array(weights), np.array(tokens, dtype=np.int32), np.array(u), budget, max_copies)


def test_natural_weights_and_the_whole_source_give_every_sample_once() -> None:
    _, tokens, u = samples(10_000)
    assert (tokens == 0).any()
    solution = solve_copies(np.ones(10_000), tokens, u, int(tokens.sum()), 4)
    assert (solution.copies == (tokens > 0)).all()
    assert solution.kappa == 1.0


def test_whole_multiples_of_the_source_give_whole_copies() -> None:
    _, tokens, u = samples(1000)
    solution = solve_copies(np.ones(1000), tokens, u, 3 * int(tokens.sum()), 4)
    assert (solution.copies == 3 * (tokens > 0)).all()


def test_the_largest_feasible_budget_gives_every_sample_all_its_copies() -> None:
    weights, tokens, u = samples(1000)
    solution = solve_copies(weights, tokens, u, 4 * int(tokens.sum()), 4)
    assert (solution.copies == 4 * (tokens > 0)).all()
    assert solution.next_tokens == 0


def test_ties_are_broken_in_sample_order() -> None:
    solution = solve([1.0] * 5, [10] * 5, [0.5] * 5, 35, 4)
    assert solution.copies.tolist() == [1, 1, 1, 0, 0]
    assert (solution.realised_tokens, solution.next_tokens) == (30, 10)


def test_what_does_not_fit_ends_the_line_where_little_is_left() -> None:
    solution = solve([8.0, 4.0, 2.0, 1.0], [990, 20, 1, 1], [0.0] * 4, 1000, 1)
    assert solution.copies.tolist() == [1, 0, 0, 0]
    assert (solution.next_tokens, solution.passed_over) == (20, 0)


def test_what_is_longer_than_what_is_left_is_passed_over_where_much_is_left() -> None:
    solution = solve([8.0, 4.0, 2.0, 1.0, 1.0], [10, 2_200_000, 300, 40, 40], [0.0] * 5, 500, 1)
    assert solution.copies.tolist() == [1, 0, 1, 1, 1]
    assert (solution.realised_tokens, solution.next_tokens, solution.passed_over) == (390, 2_200_000, 1)
    # It keeps the copies that it has, and shorter ones go on.
    solution = solve([4.0, 2.0, 1.0], [100, 20, 7], [0.0] * 3, 170, 4)
    assert solution.copies.tolist() == [1, 3, 1]
    assert (solution.realised_tokens, solution.next_tokens) == (167, 20)


def test_what_the_copies_of_one_sample_come_to_can_be_limited() -> None:
    weights, tokens, u = np.array([8.0, 4.0, 1.0, 1.0]), np.array([10, 100, 51, 50], dtype=np.int32), np.full(4, 0.5)
    solution = solve_copies(weights, tokens, u, 90, 4, 50)
    assert solution.copies.tolist() == [4, 0, 0, 1]
    assert (solution.realised_tokens, solution.next_tokens) == (90, 0)
    with pytest.raises(BudgetError, match="Raise max_share or the budget"):
        solve_copies(weights, tokens, u, 9, 4, 9)
    with pytest.raises(BudgetError, match="at most 90 tokens, raise max_copies or max_share"):
        solve_copies(weights, tokens, u, 91, 4, 50)


def test_weights_of_any_magnitude() -> None:
    solution = solve([1e-300, 1e300, 1.0], [7, 7, 7], [0.3, 0.4, 0.5], 7 * 9, 4)
    assert solution.copies.tolist() == [1, 4, 4]


def test_a_sample_without_tokens_has_no_copy() -> None:
    solution = solve([1.0, 1.0], [0, 8], [0.0, 0.0], 8, 4)
    assert solution.copies.tolist() == [0, 1]


def test_a_sample_of_weight_zero_has_no_copy_and_limits_what_there_is() -> None:
    solution = solve([0.0, 1.0, 0.0, 1.0], [8, 8, 8, 8], [0.9, 0.0, 0.9, 0.0], 24, 2)
    assert solution.copies.tolist() == [0, 2, 0, 1]
    with pytest.raises(BudgetError, match="at most 32 tokens"):
        solve([0.0, 1.0, 0.0, 1.0], [8, 8, 8, 8], [0.9, 0.0, 0.9, 0.0], 33, 2)
    with pytest.raises(BudgetError, match="Add documents"):
        solve([0.0], [8], [0.5], 8, 2)


def test_the_largest_cap_and_the_longest_documents_do_not_overflow() -> None:
    longest = 2**31 - 1
    solution = solve([1.0] * 3, [longest] * 3, [0.1, 0.2, 0.3], 65_535 * longest * 3 - 1, 65_535)
    assert sorted(solution.copies.tolist()) == [65_534, 65_535, 65_535]


def test_tokens_follow_weights() -> None:
    weights, tokens, u = samples(20_000)
    solution = solve_copies(weights, tokens, u, int(tokens.sum()) // 10, 100)
    expected = solution.kappa * weights
    for low, high in ((0, 0.1), (0.1, 0.3), (0.3, 10)):
        inside = (expected >= low) & (expected < high)
        assert solution.copies[inside].mean() == pytest.approx(expected[inside].mean(), rel=0.1)


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf, 1e-301])
def test_refuses_a_weight_that_is_no_weight(weight: float) -> None:
    with pytest.raises(ConfigError, match=r"weight of sample 1 is"):
        solve([1.0, weight], [5, 5], [0.5, 0.5], 5, 4)


def test_a_budget_that_is_too_large_names_the_largest_feasible() -> None:
    with pytest.raises(BudgetError, match="at most 60 tokens") as error:
        solve([1.0, 2.0], [5, 10], [0.5, 0.5], 61, 4)
    assert "61 tokens" in error.value.what


@pytest.mark.parametrize("budget", [0, -5])
def test_refuses_a_budget_below_one_token(budget: int) -> None:
    with pytest.raises(BudgetError, match=f"budget of {budget} tokens"):
        solve([1.0], [5], [0.5], budget, 4)


def test_a_budget_below_the_first_document_names_what_it_takes() -> None:
    with pytest.raises(BudgetError, match="at least 12 tokens"):
        solve([1.0, 1.0], [12, 90], [0.9, 0.5], 11, 4)
    assert solve([1.0, 1.0], [12, 90], [0.9, 0.5], 12, 4).realised_tokens == 12
    with pytest.raises(BudgetError, match="the shortest document has 100 tokens"):
        solve([1.0, 1.0], [100, 200], [0.5, 0.9], 50, 4)


@pytest.mark.parametrize("tokens", [[], [0, 0]])
def test_no_tokens_to_mix(tokens: list[int]) -> None:
    with pytest.raises(BudgetError, match="Add documents"):
        solve([1.0] * len(tokens), tokens, [0.5] * len(tokens), 1, 4)


@pytest.mark.parametrize("max_copies", [0, 65_536])
def test_refuses_a_cap_out_of_range(max_copies: int) -> None:
    with pytest.raises(ConfigError, match=f"max_copies = {max_copies}"):
        solve([1.0], [5], [0.5], 5, max_copies)


def test_refuses_malformed_arrays() -> None:
    with pytest.raises(ValueError, match=r"tokens is int64 \(1,\), expected int32 \(1,\)"):
        solve_copies(np.ones(1), np.ones(1, dtype=np.int64), np.zeros(1), 1, 1)
    with pytest.raises(ValueError, match=r"uniforms is float64 \(2,\), expected float64 \(1,\)"):
        solve([1.0], [5], [0.5, 0.5], 5, 1)
    with pytest.raises(ValueError, match=r"tokens\[0\] is -5"):
        solve([1.0], [-5], [0.5], 5, 1)
    with pytest.raises(ValueError, match=r"uniforms\[0\] is 1.0"):
        solve([1.0], [5], [1.0], 5, 1)
