"""Limits on groups of samples: met exactly, nearest to the weights as scipy finds it, and named where they conflict."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, minimize

from samplemix_core.errors import BudgetError
from samplemix_core.mixing import line
from samplemix_core.mixing.constraints import Groups, Limit, require_feasible, shared_out, solve_groups
from samplemix_core.mixing.solver import Solution, line_of, solve_copies
from samplemix_core.sample_key import sample_keys, uniforms

WEB, BOOKS, LAW = 0, 1, 2
ENGLISH, OTHER = 0, 1
N = 6000


def samples(n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = np.exp(5 * rng.random(n))
    tokens = rng.integers(0, 900, n).astype(np.int32)
    domain = rng.choice([WEB, BOOKS, LAW], n, p=[0.7, 0.25, 0.05])
    language = (rng.random(n) < np.array([0.4, 0.1, 0.5])[domain]).astype(int)
    return weights, tokens, uniforms(seed, sample_keys("crawl", "crawl/web/a.jsonl", np.arange(n))), domain, language


def grouped(domain: np.ndarray, language: np.ndarray, *limits: tuple[str, int, float, float]) -> Groups:
    cells = list(product((WEB, BOOKS, LAW), (ENGLISH, OTHER)))
    names = tuple({"domain": str(a), "language": str(b)} for a, b in cells)
    which = {"domain": 0, "language": 1}
    made = tuple(
        Limit(f"{kind} {value}", np.array([i for i, cell in enumerate(cells) if cell[which[kind]] == value]), least, most)
        for kind, value, least, most in limits
    )
    return Groups((domain * 2 + language).astype(np.uint16), names, made)


def share(solution: Solution, tokens: np.ndarray, of: np.ndarray) -> float:
    return float((solution.copies * tokens.astype(np.int64))[of].sum() / solution.realised_tokens)


def test_all_limits_hold_within_a_document_and_so_does_the_budget() -> None:
    weights, tokens, u, domain, language = samples()
    budget = int(tokens.sum()) // 3
    groups = grouped(
        domain,
        language,
        ("domain", LAW, 0.2, 0.25),
        ("domain", WEB, 0, 0.5),
        ("language", OTHER, 0.45, 1),
        ("domain", BOOKS, 0.3, 0.3),
    )
    free = solve_copies(weights, tokens, u, budget, 4)
    assert share(free, tokens, domain == LAW) < 0.1
    assert share(free, tokens, domain == WEB) > 0.6
    found = solve_groups(weights, tokens, u, budget, 4, groups=groups)
    assert 0 <= budget - found.realised_tokens < found.next_tokens
    assert int((found.copies * tokens.astype(np.int64)).sum()) == found.realised_tokens
    document = 2 * 900 / budget
    assert 0.2 - document <= share(found, tokens, domain == LAW) <= 0.25 + document
    assert share(found, tokens, domain == WEB) <= 0.5 + document
    assert share(found, tokens, language == OTHER) >= 0.45 - document
    assert share(found, tokens, domain == BOOKS) == pytest.approx(0.3, abs=document)
    assert found.copies.max() <= 4
    # Within a cell, copies still follow weights.
    assert found.cells is not None
    wanted = np.minimum(4, np.floor(found.cells.kappa[groups.cell] * weights + u)) * (tokens > 0)
    assert np.count_nonzero(found.copies < wanted) == found.passed_over
    assert np.count_nonzero(found.copies > wanted) <= len(groups.cells)


def test_limits_that_do_not_bind_change_nothing() -> None:
    weights, tokens, u, domain, language = samples()
    budget = int(tokens.sum()) // 3
    free = solve_copies(weights, tokens, u, budget, 4)
    found = solve_groups(weights, tokens, u, budget, 4, groups=grouped(domain, language, ("domain", LAW, 0.001, 0.999)))
    assert found.copies.tobytes() == free.copies.tobytes()


def nearest(weights: np.ndarray, tokens: np.ndarray, groups: Groups, budget: int, cap: int) -> np.ndarray:
    """Tokens of each cell in the mixture with the smallest relative entropy to the weights, by scipy."""
    rows = np.array([tokens * np.isin(groups.cell, limit.cells) for limit in groups.limits])
    least, most = (np.array([getattr(limit, end) * budget for limit in groups.limits]) for end in ("least", "most"))
    scale = budget / float((weights * tokens).sum())
    relative = weights * scale

    def entropy(copies: np.ndarray) -> float:
        return float((tokens * (copies * np.log(copies / relative) - copies)).sum()) / budget

    def slope(copies: np.ndarray) -> np.ndarray:
        return np.asarray(tokens * np.log(copies / relative)) / budget

    found = minimize(
        entropy,
        np.full(weights.size, budget / tokens.sum()),
        jac=slope,
        method="SLSQP",
        bounds=[(1e-9, cap)] * weights.size,
        constraints=[
            LinearConstraint(rows, least, most),
            LinearConstraint(tokens[None].astype(float), float(budget), float(budget)),
        ],
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert found.success, found.message
    return np.bincount(groups.cell, found.x * tokens, len(groups.cells))


@pytest.mark.parametrize("seed", range(6))
def test_cells_have_the_tokens_of_the_mixture_that_is_nearest_to_the_weights(seed: int) -> None:
    weights, tokens, u, domain, language = samples(80, seed)
    tokens += 1
    budget = int(tokens.sum() * 0.8)
    groups = grouped(domain, language, ("domain", BOOKS, 0.4, 0.45), ("language", OTHER, 0.3, 0.5), ("domain", WEB, 0, 0.56))
    room, survey = line_of(weights, tokens, u, 3, cell=groups.cell, cells=len(groups.cells))
    targets, binds = shared_out(room.by_weight(survey), survey.largest, budget, groups.limits)
    assert binds
    assert targets.sum() == budget
    np.testing.assert_allclose(targets / budget, nearest(weights, tokens, groups, budget, 3) / budget, atol=0.002)


@given(st.integers(0, 2**32), st.floats(0.05, 3.9), st.floats(0, 1), st.floats(0, 1))
def test_any_feasible_limits_are_met_and_others_are_named(seed: int, share_of_source: float, least: float, most: float) -> None:
    weights, tokens, u, domain, language = samples(400, seed)
    budget = int(tokens.sum() * share_of_source)
    groups = grouped(domain, language, ("domain", LAW, min(least, most), max(least, most)), ("language", OTHER, 0.2, 0.6))
    try:
        found = solve_groups(weights, tokens, u, budget, 4, groups=groups)
    except BudgetError as error:
        other = int(error.remedy.split("met is ")[1].split(" tokens")[0].replace(",", ""))
        require_feasible(line_of(weights, tokens, u, 4, cell=groups.cell, cells=6)[1].largest, other, groups.limits)
        return
    document = 3 * 900 / budget
    assert found.realised_tokens <= budget
    # All cells may be full but for one document each.
    assert budget - found.realised_tokens < max(found.next_tokens, 1)
    law = share(found, tokens, domain == LAW)
    assert min(least, most) - document <= law <= max(least, most) + document
    assert 0.2 - document <= share(found, tokens, language == OTHER) <= 0.6 + document


def test_limits_that_conflict_are_named_and_the_others_are_not() -> None:
    weights, tokens, u, domain, language = samples()
    groups = grouped(
        domain, language, ("domain", LAW, 0.6, 1), ("domain", WEB, 0.5, 1), ("language", OTHER, 0.1, 1), ("domain", BOOKS, 0, 0.9)
    )
    with pytest.raises(BudgetError) as error:
        solve_groups(weights, tokens, u, int(tokens.sum()) // 20, 4, groups=groups)
    assert "domain 2" in error.value.what
    assert "domain 0" in error.value.what
    assert "language" not in error.value.what
    assert "domain 1" not in error.value.what
    assert error.value.remedy == "No budget meets them: loosen a limit."


def test_a_budget_for_which_a_group_is_too_small_names_the_nearest_that_is_not() -> None:
    weights, tokens, u, domain, language = samples()
    groups = grouped(domain, language, ("domain", LAW, 0.5, 0.5))
    largest = 4 * int(tokens[domain == LAW].sum())
    with pytest.raises(BudgetError, match=f"domain 2 \\({largest:,} tokens at most\\)") as error:
        solve_groups(weights, tokens, u, int(tokens.sum()), 4, groups=groups)
    nearest_budget = int(error.value.remedy.split("met is ")[1].split(" tokens")[0].replace(",", ""))
    assert nearest_budget == pytest.approx(2 * largest, abs=4)
    found = solve_groups(weights, tokens, u, nearest_budget - 4, 4, groups=groups)
    assert (found.copies[(domain == LAW) & (tokens > 0)] == 4).mean() > 0.99
    with pytest.raises(BudgetError, match="all copies of the eligible samples have"):
        solve_groups(weights, tokens, u, 5 * int(tokens.sum()), 4, groups=groups)


@pytest.mark.parametrize("chance", [True, False])
@pytest.mark.parametrize("cap", [1, 4, 300])
def test_neither_parts_nor_threads_nor_mapped_files_nor_where_the_line_looks_first_change_a_copy(
    chance: bool, cap: int, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    weights, tokens, u, domain, language = samples(3000)
    weights[::7] = 0.0
    weights[1::7] = 2.0
    tokens[5] = 400_000
    u = u if chance else np.zeros_like(u)
    groups = grouped(domain, language, ("domain", LAW, 0.05, 1), ("language", OTHER, 0, 0.3))
    budgets = [int(tokens.sum() * part) for part in (0.001, 0.2, 0.5, 0.83 * cap)]

    most, room = int(tokens.sum()) // 2, np.full(3000, min(cap, 3), dtype=np.uint16)

    def all_of_them(w: np.ndarray, t: np.ndarray, u: np.ndarray) -> list[Solution]:
        found = [solve_copies(w, t, u, budget, cap) for budget in budgets]
        found += [solve_copies(w, t, u, budget, cap, most, room) for budget in budgets[:3]]
        return [*found, *(solve_groups(w, t, u, budget, cap, groups=groups) for budget in budgets[1:3])]

    plain = all_of_them(weights, tokens, u)
    directory = tmp_path_factory.mktemp("mapped")
    mapped = []
    for name, array in {"weights": weights, "tokens": tokens, "uniforms": u}.items():
        np.save(directory / f"{name}.npy", array)
        mapped.append(np.load(directory / f"{name}.npy", mmap_mode="r"))
    monkeypatch.setattr(line, "_PART", 97)
    again = all_of_them(*mapped)
    monkeypatch.setattr(line, "_MOST_UNDECIDED", 5)
    stepwise = all_of_them(weights, tokens, u)
    for name in ("_GUESS_ABOVE", "_MARGIN", "_NOISE"):
        monkeypatch.setattr(line, name, 0)
    guessed = all_of_them(weights, tokens, u)
    for which, others in {"again": again, "stepwise": stepwise, "guessed": guessed}.items():
        for number, (one, other) in enumerate(zip(plain, others, strict=True)):
            assert one.copies.tolist() == other.copies.tolist(), (which, number)
            assert one.copies.tobytes() == other.copies.tobytes()
            assert (one.kappa, one.realised_tokens, one.next_tokens, one.passed_over) == (
                *(other.kappa, other.realised_tokens, other.next_tokens, other.passed_over),
            )


@pytest.mark.parametrize("cells", [1, 9000])
@pytest.mark.parametrize("powers", [0.1, 300])
def test_many_cells_and_weights_of_any_magnitude_meet_their_targets_where_the_line_guesses(cells: int, powers: float) -> None:
    n, rng = 2**17 + 3, np.random.default_rng(1)
    weights, tokens, u = 10 ** rng.uniform(-powers, powers, n), rng.integers(1, 2000, n).astype(np.int32), rng.random(n)
    cell = rng.integers(0, cells, n).astype(np.uint16)
    room, survey = line_of(weights, tokens, u, 4, cell=cell, cells=cells)
    met = room.meet(survey.largest // 3, survey)
    assert (met.kappa >= 0).all()
    sums = np.bincount(cell, met.copies * tokens.astype(np.int64), cells)
    assert sums.tolist() == met.realised.tolist()
    assert (sums <= survey.largest // 3).all()
    for one in range(0, cells, 3000):
        own = cell == one
        alone = solve_copies(weights[own], tokens[own], u[own], int(survey.largest[one]) // 3, 4)
        assert met.copies[own].tolist() == alone.copies.tolist()
        assert met.kappa[one] == alone.kappa


def test_a_budget_just_over_all_that_there_is_is_refused() -> None:
    tokens = np.full(100, 10**6, dtype=np.int32)
    groups = Groups((np.arange(100) % 2).astype(np.uint16), ({"of": "a"}, {"of": "b"}), (Limit("half", np.array([0]), 0.5, 0.5),))
    with pytest.raises(BudgetError, match="all copies of the eligible samples have 100,000,000 tokens"):
        solve_groups(np.ones(100), tokens, np.full(100, 0.5), 10**8 + 1, 1, groups=groups)


def test_a_private_copy_of_a_mapped_file_keeps_what_was_written_to_it(tmp_path: Path) -> None:
    n = 2**19
    np.ones(n).tofile(tmp_path / "weights")
    weights = np.memmap(tmp_path / "weights", dtype=np.float64, mode="c")
    weights[::2] = 0
    found = solve_copies(weights, np.ones(n, dtype=np.int32), np.zeros(n), n // 4, 1)
    assert found.copies[::2].sum() == 0
    assert (weights[::2] == 0).all()
