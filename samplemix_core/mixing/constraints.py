"""Shares of a mixture that must hold, over any weights: least and most tokens of groups of samples, all at once.

Samples that are in the same groups make a cell. The mixture that meets all limits and is nearest to the weights gives a sample
min(limit, kappa_cell * w) copies, where kappa_cell is a product of one factor for each limit that binds: above 1 for a group that
would have too little, below 1 for one that would have too much. ("Nearest" is the smallest sum of tokens * c * log(c / w), a
relative entropy. Its dual has one variable a limit, and is solved limit by limit, as in iterative proportional fitting: Deming and
Stephan 1940; Csiszar 1975.) The factors are found on a histogram of tokens by weight, and make whole tokens for each cell. The line
then meets these exactly.

Whether limits can be met is a linear programme. If they can't, those that conflict are named, and the nearest budget for which they
can.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from samplemix_core.compiled import compiled
from samplemix_core.errors import BudgetError
from samplemix_core.mixing.line import ANY, Weights
from samplemix_core.mixing.solver import Cells, Float64Array, Int32Array, Solution, UInt16Array, line_of, solve_copies

Int64Array = npt.NDArray[np.int64]

MOST_CELLS = 2**15
"""Of different groups that samples are in."""

_SWEEPS = 500
_CLOSE = 1e-9
"""By how much the logarithm of a factor changes when it is final."""

_FIRST_STEP, _FARTHEST = 1e-3, 64.0
"""Of a factor's logarithm."""

_NEARLY_NONE = 1e-6
"""Share of all tokens: the programme's own tolerance is below it."""

_TOLERANCE = 2e-7
"""Share of all tokens by which the programme may miss a limit: a little more than its own tolerance."""

_NAMED = 64
"""Most limits among which those that conflict are looked for."""

_SLACK = 1.0
"""Tokens by which a limit may be missed before documents are counted: shares of a budget are not whole tokens."""


class Limit(NamedTuple):
    """A limit: what people call it, the cells that it is about, and their least and most share of the budget."""

    name: str
    cells: Int64Array
    least: float = 0.0
    most: float = 1.0


@dataclass(frozen=True, eq=False)
class Groups:
    """The cell of each sample, uint16 (n,); what distinguishes each of G cells, by column; and the limits on them."""

    cell: UInt16Array
    cells: tuple[Mapping[str, str], ...]
    limits: tuple[Limit, ...] = field(default=())


def solve_groups(
    weights: Float64Array,
    tokens: Int32Array,
    uniforms: Float64Array,
    budget_tokens: int,
    max_copies: int,
    max_tokens: int | None = None,
    room: UInt16Array | None = None,
    groups: Groups | None = None,
) -> Solution:
    """Return copies as solve_copies() does, such that each limit of `groups` holds, within one document of each of its cells.

    Raises BudgetError, naming the limits that conflict and the nearest feasible budget, if no copies meet the limits.
    """
    if groups is None or not groups.limits:
        return solve_copies(weights, tokens, uniforms, budget_tokens, max_copies, max_tokens, room)
    line, survey = line_of(weights, tokens, uniforms, max_copies, max_tokens, room, groups.cell, len(groups.cells))
    require_feasible(survey.largest, budget_tokens, groups.limits)
    by_weight = line.by_weight(survey)
    targets, binds = shared_out(by_weight, survey.largest, budget_tokens, groups.limits)
    if not binds:
        free = solve_copies(weights, tokens, uniforms, budget_tokens, max_copies, max_tokens, room)
        if _holds(free, tokens, groups):
            return free
    met = line.meet(targets, survey, budget_tokens, by_weight)
    realised = int(met.realised.sum())
    if realised == 0:
        least = int(line.shortest_open().min())
        raise BudgetError(
            f"The budget of {budget_tokens} tokens buys nothing: the shortest document has {least} tokens.",
            f"Ask for more: the budget is shared out among groups, and no group's share buys a document of {least} tokens.",
        )
    left = budget_tokens - realised
    following = np.concatenate([met.next_tokens, line.shortest_open()])
    open_ = following[(following > left) & (following < ANY)]
    return Solution(
        copies=met.copies,
        kappa=1.0,
        realised_tokens=realised,
        next_tokens=int(open_.min()) if open_.size else 0,
        passed_over=int(met.passed_over.sum()),
        cells=Cells(met.kappa, targets, met.realised),
    )


def _holds(solution: Solution, tokens: Int32Array, groups: Groups) -> bool:
    """Whether a solution that knows nothing of limits keeps them."""
    sums = _sums(groups.cell, tokens, solution.copies, len(groups.cells))
    total = solution.realised_tokens
    shares = [(limit, float(sums[limit.cells].sum())) for limit in groups.limits]
    return all(limit.least * total <= own <= limit.most * total for limit, own in shares)


@compiled
def _sums(cell: UInt16Array, tokens: Int32Array, copies: UInt16Array, cells: int) -> Int64Array:
    sums = np.zeros(cells, dtype=np.int64)
    for i in range(cell.size):
        sums[cell[i]] += np.int64(copies[i]) * tokens[i]
    return sums


def shared_out(weights: Weights, largest: Int64Array, budget: int, limits: Sequence[Limit]) -> tuple[Int64Array, bool]:
    """Return tokens for each of G cells, int64 (G,), that meet the budget and the limits, and are nearest to the weights.

    `largest` (G,) are the tokens that each cell can have. The limits must be feasible. Also says whether any of them binds.
    """
    every = Limit("the budget", np.arange(largest.size), 1.0, 1.0)
    factors = np.zeros(len(limits) + 1)
    start = np.log(max(float(weights.kappa(budget)), 1e-300))
    kappa = np.full(largest.size, start)
    for _ in range(_SWEEPS):
        moved = 0.0
        for number, limit in enumerate((*limits, every)):
            cells = limit.cells
            base = kappa[cells] - factors[number]
            ends = limit.least * budget, limit.most * budget
            factor = _factor(weights, cells, base, *ends)
            moved = max(moved, abs(factor - factors[number]))
            kappa[cells] = base + factor
            factors[number] = factor
        if moved < _CLOSE:
            break
    with np.errstate(over="ignore"):
        found = weights.expected(np.exp(kappa))
    targets = _whole(np.minimum(_within(found, largest, budget, limits), largest), largest, budget)
    return targets, bool(factors[:-1].any())


def _factor(weights: Weights, cells: Int64Array, base: Float64Array, least: float, most: float) -> float:
    """Return the logarithm of the factor on `cells` that brings their tokens to the nearer end, and 0 if they lie between."""
    from scipy.optimize import brentq

    def above(factor: float) -> float:
        with np.errstate(over="ignore"):
            kappa = np.exp(base + factor)
        return weights.expected_of(cells, kappa) - target

    target = 0.0
    now = above(0.0)
    if least <= now <= most and least < most:
        return 0.0
    target = least if now < least else most
    near, far = 0.0, _FIRST_STEP if now < target else -_FIRST_STEP
    while abs(far) < _FARTHEST and (above(far) < 0) == (now < target):
        near, far = far, 2 * far
    if (above(far) < 0) == (above(near) < 0):
        return far
    return float(brentq(above, near, far, xtol=_CLOSE / 10))


def _whole(found: Float64Array, largest: Int64Array, budget: int) -> Int64Array:
    """Round so that the sum is the budget, the largest remainders up, and nothing beyond `largest`."""
    whole = np.minimum(np.floor(found).astype(np.int64), largest)
    left = budget - int(whole.sum())
    order = np.argsort(whole - found, kind="stable")
    while left:
        able = order[(whole[order] < largest[order]) if left > 0 else (whole[order] > 0)]
        if not able.size:
            raise BudgetError(f"The budget of {budget:,} tokens is not all that {int(largest.sum()):,} tokens of copies can be.")
        step = max(1, abs(left) // max(1, able.size))
        for cell in able[: abs(left)]:
            part = min(step, abs(left), int(largest[cell] - whole[cell]) if left > 0 else int(whole[cell]))
            whole[cell] += part if left > 0 else -part
            left -= part if left > 0 else -part
            if not left:
                break
    return whole


def _within(found: Float64Array, largest: Int64Array, budget: int, limits: Sequence[Limit]) -> Float64Array:
    """Return tokens of cells within all limits, moved as little as possible: factors are not final where limits nearly conflict."""
    sums = [(limit, float(found[limit.cells].sum())) for limit in limits]
    kept = all(limit.least * budget - _SLACK <= tokens <= limit.most * budget + _SLACK for limit, tokens in sums)
    if kept and abs(found.sum() - budget) <= _SLACK:
        return found
    size = largest.size
    cost = np.concatenate([np.zeros(size), np.ones(2 * size)])
    result = _programme(cost, largest, limits, budget, found)
    return found if result is None else result[:size]


def _programme(
    cost: Float64Array,
    largest: Int64Array,
    limits: Sequence[Limit],
    budget: float | None,
    moved: Float64Array | None = None,
) -> Float64Array | None:
    """Solve a linear programme over the cells' tokens, as shares of all that there are; None if nothing is feasible.

    With `moved`, two more variables a cell say by how much its tokens are above and below these. Without a budget, the last
    variable is one.
    """
    from scipy.optimize import linprog
    from scipy.sparse import coo_array, eye_array, hstack, vstack

    size, unit = largest.size, max(1.0, float(largest.sum() if budget is None else budget))
    cells = [limit.cells for limit in limits]
    rows = np.repeat(np.arange(len(limits)), [item.size for item in cells])
    columns = np.concatenate([*cells, np.empty(0, dtype=np.int64)])
    member = coo_array((np.ones(rows.size), (rows, columns)), shape=(len(limits), size))
    least, most = (np.array([getattr(limit, end) for limit in limits]) for end in ("least", "most"))
    slack = max(_SLACK / unit, _TOLERANCE)
    ones = coo_array(np.ones((1, size)))
    if budget is None:
        # The budget is a variable: tokens add up to it, and shares are of it.
        above, below = member, -member
        upper = vstack([hstack([above, coo_array(-most[:, None])]), hstack([below, coo_array(least[:, None])])])
        equal, sums = hstack([ones, coo_array(-np.ones((1, 1)))]), np.zeros(1)
        bounds = [*((0.0, value / unit) for value in largest), (0.0, None)]
        limit = np.zeros(2 * len(limits))
    else:
        upper = vstack([member, -member])
        limit = np.concatenate([most * budget / unit + slack, -least * budget / unit + slack])
        equal, sums = ones, np.array([budget / unit])
        bounds = [(0.0, value / unit) for value in largest]
        if moved is not None:
            nothing = coo_array((2 * len(limits), 2 * size))
            upper = hstack([upper, nothing])
            equal = vstack([hstack([ones, coo_array((1, 2 * size))]), hstack([eye_array(size), -eye_array(size), eye_array(size)])])
            sums = np.concatenate([sums, moved / unit])
            bounds += [(0.0, None)] * (2 * size)
    found = linprog(cost, A_ub=upper.tocsr(), b_ub=limit, A_eq=equal.tocsr(), b_eq=sums, bounds=bounds, method="highs")
    return None if found.x is None or found.status != 0 else np.asarray(found.x) * unit


def _is_feasible(largest: Int64Array, budget: int, limits: Sequence[Limit]) -> bool:
    return _programme(np.zeros(largest.size), largest, limits, budget) is not None


def require_feasible(largest: Int64Array, budget: int, limits: Sequence[Limit]) -> None:
    """Raise BudgetError if cells with at most `largest` (G,) tokens can't meet a budget under limits on shares.

    It names the limits of which each is needed for the conflict, and the nearest feasible budget.
    """
    total = int(largest.sum())
    if 1 <= budget <= total and _is_feasible(largest, budget, limits):
        return
    conflict = list(limits)
    if not 1 <= budget <= total:
        conflict = []
    elif len(conflict) > _NAMED:
        conflict = [limit for limit in limits if limit.least * budget > largest[limit.cells].sum() + _SLACK][:_NAMED]
        if not conflict:
            conflict = [Limit(f"{len(limits):,} limits", np.arange(largest.size))]
    # What a group must not have says less than what another must have.
    for limit in sorted(conflict, key=lambda limit: limit.least) if len(limits) <= _NAMED else []:
        rest = [other for other in conflict if other is not limit]
        if not _is_feasible(largest, budget, rest):
            conflict = rest
    named = "; ".join(f"{limit.name} ({int(largest[limit.cells].sum()):,} tokens at most)" for limit in conflict)
    nearest = _nearest(largest, budget, limits)
    what = f"The budget of {budget:,} tokens can't be met" + (
        f" with these limits together: {named}." if named else f": all copies of the eligible samples have {total:,} tokens."
    )
    remedy = (
        f"The nearest budget that can be met is {nearest:,} tokens. Or loosen a limit, allow more copies, or add snapshots."
        if nearest
        else "No budget meets them: loosen a limit."
    )
    raise BudgetError(what, remedy)


def _nearest(largest: Int64Array, budget: int, limits: Sequence[Limit]) -> int:
    """The feasible budget that is nearest; 0 if there is none."""
    ends = []
    for sign in (1.0, -1.0):
        cost = np.zeros(largest.size + 1)
        cost[-1] = sign
        found = _programme(cost, largest, limits, None)
        if found is None:
            return 0
        ends.append(float(found[-1]))
    least, most = max(1, int(np.ceil(ends[0]))), int(np.floor(ends[1]))
    if least > most or most < _NEARLY_NONE * largest.sum():
        return 0
    return min(max(budget, least), most)
