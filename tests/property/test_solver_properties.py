"""What the solver promises, on any input, and parity with two slow references."""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from samplemix_core.errors import BudgetError
from samplemix_core.mixing.line import FILL_ABOVE
from samplemix_core.mixing.solver import Solution, solve_copies
from samplemix_core.sample_key import sample_keys, uniforms

Problem = tuple[np.ndarray, np.ndarray, np.ndarray, int, int]


@st.composite
def problems(draw: st.DrawFn, hashed_uniforms: bool = False) -> Problem:
    n = draw(st.integers(1, 12))
    weight = st.floats(1e-6, 1e6) | st.sampled_from([1.0, 2.0, 3.0])
    uniform = st.floats(0, 1, exclude_max=True) | st.sampled_from([0.0, 0.5, 1 - 2**-53])
    weights = np.array(draw(st.lists(weight, min_size=n, max_size=n)))
    tokens = np.array(draw(st.lists(st.integers(0, 50), min_size=n, max_size=n)), dtype=np.int32)
    assume(tokens.sum() > 0)
    if hashed_uniforms:
        u = uniforms(draw(st.integers(0, 2**53)), sample_keys("s", "s/d/f", np.arange(n)))
    else:
        u = np.array(draw(st.lists(uniform, min_size=n, max_size=n)))
    max_copies = draw(st.integers(1, 5))
    return weights, tokens, u, draw(st.integers(1, max_copies * int(tokens.sum()))), max_copies


def solve(problem: Problem) -> Solution:
    try:
        return solve_copies(*problem)
    except BudgetError as error:
        assume("buys nothing" not in error.what)
        raise


def copies_at(kappa: float, problem: Problem) -> np.ndarray:
    weights, tokens, u, _, max_copies = problem
    return np.where(tokens > 0, np.minimum(max_copies, np.floor(kappa * weights + u)), 0)


def solution_left(problem: Problem, solution: Solution) -> int:
    return problem[3] - solution.realised_tokens


def step(weight: float, u: float, copy: int) -> float:
    """The smallest float kappa at which a sample has `copy` copies, by bisection."""
    low, high = 0.0, 1e300
    while low < (middle := (low + high) / 2) < high:
        low, high = (low, middle) if middle * weight + u >= copy else (middle, high)
    return high


def take(events: Sequence[tuple[Any, int]], problem: Problem) -> np.ndarray:
    """Copies when (kappa, sample) events are served in order until one does not fit and no more than FILL_ABOVE is left.

    Whenever one does not fit and more is left, all samples that are longer than what is left are passed over from then on.
    """
    _, tokens, _, budget, _ = problem
    copies = np.zeros(tokens.size, dtype=np.int64)
    left, longest = budget, budget + int(tokens.max())
    for _, i in sorted(events):
        if left < tokens[i] <= longest:
            if left <= FILL_ABOVE * budget:
                break
            longest = left
        elif tokens[i] <= longest:
            copies[i] += 1
            left -= int(tokens[i])
    return copies


@given(problems())
def test_adds_up_and_lands_within_one_document_of_the_budget(problem: Problem) -> None:
    _, tokens, _, budget, max_copies = problem
    solution = solve(problem)
    assert solution.realised_tokens == int((solution.copies.astype(np.int64) * tokens).sum())
    assert solution.realised_tokens <= budget
    if solution.next_tokens:
        assert budget - solution.realised_tokens < solution.next_tokens
        assert solution.next_tokens in tokens[solution.copies < max_copies]
    else:
        assert solution.realised_tokens == budget
        assert (solution.copies == max_copies * (tokens > 0)).all()
    open_tokens = tokens[(solution.copies < max_copies) & (tokens > 0)]
    if open_tokens.size and budget - solution.realised_tokens > FILL_ABOVE * budget:
        assert open_tokens.min() > budget - solution.realised_tokens


@given(problems())
def test_honours_caps_and_the_formula(problem: Problem) -> None:
    solution = solve(problem)
    stepped = solution.copies - copies_at(solution.kappa, problem)
    assert solution.copies.max() <= problem[4]
    assert set(stepped[stepped >= 0].tolist()) <= {0, 1}
    assert np.count_nonzero(stepped < 0) == solution.passed_over
    left = solution_left(problem, solution)
    assert (problem[1][stepped < 0] > left).all()
    assert (solution.copies <= copies_at(math.nextafter(solution.kappa, math.inf), problem)).all()


@given(problems())
def test_is_deterministic(problem: Problem) -> None:
    first, second = solve(problem), solve(problem)
    assert first.copies.tobytes() == second.copies.tobytes()
    assert (first.kappa, first.realised_tokens) == (second.kappa, second.realised_tokens)


@given(problems(), st.data())
def test_a_larger_weight_never_means_fewer_copies(problem: Problem, data: st.DataObject) -> None:
    weights, tokens, u, budget, max_copies = problem
    i = data.draw(st.integers(0, weights.size - 1))
    raised = weights.copy()
    raised[i] *= data.draw(st.floats(1.01, 100))
    before, after = solve(problem), solve((raised, tokens, u, budget, max_copies))
    # Who is passed over depends on what was left when the line came to it.
    assume(not before.passed_over and not after.passed_over)
    assert after.copies[i] >= before.copies[i]


@given(problems())
def test_of_two_samples_with_the_same_number_the_heavier_has_no_fewer_copies(problem: Problem) -> None:
    weights, tokens, u, budget, max_copies = problem
    solution = solve((weights, tokens, np.full_like(u, u[0]), budget, max_copies))
    assume(not solution.passed_over)
    tokens_last = np.lexsort((weights, tokens == 0))
    copies, order = solution.copies, tokens_last[: np.count_nonzero(tokens)]
    clearly = weights[order[1:]] > 1.000001 * weights[order[:-1]]
    assert (copies[order[1:]] >= copies[order[:-1]])[clearly].all()


@given(problems(), st.integers(-300, 300))
def test_only_ratios_of_weights_matter(problem: Problem, exponent: int) -> None:
    weights, tokens, u, budget, max_copies = problem
    scaled = solve((np.ldexp(weights, exponent), tokens, u, budget, max_copies))
    assert scaled.copies.tobytes() == solve(problem).copies.tobytes()


@given(problems(hashed_uniforms=True), st.randoms())
def test_order_of_samples_does_not_matter_where_none_tie(problem: Problem, random: Random) -> None:
    weights, tokens, u, budget, max_copies = problem
    order = np.array(random.sample(range(weights.size), weights.size))
    permuted = solve((weights[order], tokens[order], u[order], budget, max_copies))
    assert permuted.copies.tolist() == solve(problem).copies[order].tolist()


@given(problems())
def test_parity_with_serving_float_steps_in_order(problem: Problem) -> None:
    weights, tokens, u, _, max_copies = problem
    events = [
        (step(float(weights[i]), float(u[i]), copy), i)
        for i in range(weights.size)
        for copy in range(1, max_copies + 1)
        if tokens[i]
    ]
    costs = tokens > 0
    assert solve(problem).copies[costs].tolist() == take(events, problem)[costs].tolist()


@given(problems(hashed_uniforms=True))
def test_parity_with_exact_fractions(problem: Problem) -> None:
    weights, tokens, u, _, max_copies = problem
    steps = [
        ((copy - Fraction(float(u[i]))) / Fraction(float(weights[i])), i)
        for i in range(weights.size)
        for copy in range(1, max_copies + 1)
        if tokens[i]
    ]
    ordered = sorted(kappa for kappa, _ in steps)
    assume(all(b - a > a / 10**9 for a, b in pairwise(ordered)))
    costs = tokens > 0
    assert solve(problem).copies[costs].tolist() == take(steps, problem)[costs].tolist()


@given(st.integers(0, 2**53), st.floats(1e-6, 1e-3))
def test_a_small_change_of_weights_changes_few_copies(seed: int, change: float) -> None:
    n = 4000
    rng = np.random.default_rng(seed)
    weights, tokens = np.exp(5 * rng.random(n)), rng.integers(1, 2000, n).astype(np.int32)
    u = uniforms(seed, sample_keys("s", "s/d/f", np.arange(n)))
    budget = int(tokens.sum()) // 2
    before = solve_copies(weights, tokens, u, budget, 4).copies
    after = solve_copies(weights * rng.uniform(1 - change, 1 + change, n), tokens, u, budget, 4).copies
    changed = np.count_nonzero(before != after)
    assert changed <= 4 * change * before.sum() + 12
    fresh = solve_copies(weights, tokens, rng.random(n), budget, 4).copies
    assert np.count_nonzero(before != fresh) > 10 * changed
