"""The budget solver: weights and a token budget in, whole copies out; exact, deterministic, in linear time.

The paper takes floor(c_i) copies for certain and one more with probability c_i - floor(c_i). With one fixed uniform number u_i per
sample, that is floor(c_i + u_i), which grows with c_i and nothing else. So the realised tokens are a non-decreasing step function
of the common scale kappa, and the largest kappa that stays within the budget is found by bisection. Because u_i is the sample's
own, a small change of the weights changes few copies.

Copies are thus given out in line, by the kappa at which a sample takes its next one, until one does not fit. If more than
FILL_ABOVE of the budget is left then, samples longer than what is left are passed over from there on, and the line continues
without them.

The result is a function of its arguments alone. Token sums are integers, so their order does not matter. The only floating point is
one product and one sum per sample, which numba without fastmath does not contract into a fused operation.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from samplemix_core.errors import BudgetError, ConfigError
from samplemix_core.mixing.line import ANY, Columns, Line, Rules, Surveyed

Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
UInt16Array = npt.NDArray[np.uint16]

MIN_WEIGHT, MAX_WEIGHT = 1e-300, 1e300
"""Between these, every kappa that matters is a finite float."""

MAX_COPIES = np.iinfo(np.uint16).max
MAX_TOKENS = np.iinfo(np.int32).max


class Cells(NamedTuple):
    """What limits on groups made of a solution: for each of G cells its kappa, the tokens that it was to have, and those it has."""

    kappa: Float64Array
    targets: npt.NDArray[np.int64]
    realised: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Solution:
    """Copies of each sample, and how they meet the budget.

    copies_i = min(max_copies, floor(kappa * weights_i + uniforms_i)), and 0 for a sample without tokens; if several samples step at
    that very float and only some fit, the first ones in order have one copy more. `passed_over` samples have fewer than that, as
    one more is longer than what was left. `realised_tokens` is the sum of copies * tokens, never over the budget and short of it by
    less than `next_tokens`, the tokens of the sample that would step next (`next_tokens` is 0 if every sample has all the copies it
    may have). With limits on groups that bind, `cells` has the kappas, and `kappa` is 1.
    """

    copies: UInt16Array
    kappa: float
    realised_tokens: int
    next_tokens: int
    passed_over: int = 0
    cells: "Cells | None" = None


def solve_copies(
    weights: Float64Array,
    tokens: Int32Array,
    uniforms: Float64Array,
    budget_tokens: int,
    max_copies: int,
    max_tokens: int | None = None,
    room: UInt16Array | None = None,
) -> Solution:
    """Return copies (n,) of n samples with these weights, tokens and uniform numbers in [0, 1), within one document of the budget.

    Only the ratios of the weights matter, and a weight of 0 gives no copy. `max_tokens` limits the tokens of one sample's copies
    together, and `room` (n,) the copies of each sample. Time is a few passes over the samples, and as many again each time that
    samples are passed over; memory is the inputs and the result.

    Raises ConfigError for a weight that is neither 0 nor between MIN_WEIGHT and MAX_WEIGHT or a cap outside 1..65535; BudgetError
    for a budget that no copies can meet, stating the largest or smallest that they can; ValueError for malformed arrays.
    """
    line, survey = line_of(weights, tokens, uniforms, max_copies, max_tokens, room)
    largest = int(survey.largest[0])
    if not 1 <= budget_tokens <= largest:
        limited = "" if max_tokens is None else f" and {max_tokens} tokens"
        raise BudgetError(
            f"The budget of {budget_tokens} tokens can't be met: {weights.size} eligible samples with at most {max_copies} "
            f"copies{limited} each give between 1 and {largest} tokens.",
            (f"Ask for at most {largest} tokens, raise max_copies{' or max_share' if limited else ''}, or add snapshots.")
            if largest
            else (
                "Raise max_share or the budget."
                if limited
                else "Allow more copies: constraints allow none."
                if room is not None
                else "Add documents to the corpus."
            ),
        )
    met = line.meet(np.array([budget_tokens]), survey)
    realised = int(met.realised[0])
    if realised == 0:
        least = int(line.shortest_open()[0])
        raise BudgetError(
            f"The budget of {budget_tokens} tokens buys nothing: the shortest document has {least} tokens.",
            f"Ask for at least {least} tokens.",
        )
    return Solution(met.copies, float(met.kappa[0]), realised, int(met.next_tokens[0]), int(met.passed_over[0]))


def line_of(
    weights: Float64Array,
    tokens: Int32Array,
    uniforms: Float64Array,
    max_copies: int,
    max_tokens: int | None = None,
    room: UInt16Array | None = None,
    cell: UInt16Array | None = None,
    cells: int = 1,
    copies: UInt16Array | None = None,
) -> tuple[Line, Surveyed]:
    """Check samples (n,) and stand them in line, in `cells` cells. Raises as solve_copies() does."""
    columns: dict[str, tuple[npt.NDArray[Any] | None, type[Any]]] = {
        "weights": (weights, np.float64),
        "tokens": (tokens, np.int32),
        "uniforms": (uniforms, np.float64),
        "room": (room, np.uint16),
        "cell": (cell, np.uint16),
    }
    for name, (array, dtype) in columns.items():
        if array is not None and (array.dtype != dtype or array.shape != (weights.size,)):
            raise ValueError(f"{name} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} ({weights.size},)")
    if not 1 <= max_copies <= MAX_COPIES:
        raise ConfigError(f"max_copies = {max_copies!r} is not in 1..{MAX_COPIES}.", "Muennighoff et al. 2023 advise 4 at most.")
    none = np.empty(0, dtype=np.uint16)
    most = ANY if max_tokens is None else min(max(max_tokens, 0), ANY)
    own: list[Any] = [none if array is None else array for array, _ in columns.values()]
    copies = np.zeros(weights.size, dtype=np.uint16) if copies is None else copies
    line = Line(Columns(*own), Rules(max_copies, most), cells, copies)
    survey = line.survey(MIN_WEIGHT, MAX_WEIGHT)
    weight, token, number, place = survey.bad
    if weight >= 0:
        raise ConfigError(
            f"The weight of sample {weight} is {float(weights[weight])!r}, neither 0 nor from {MIN_WEIGHT:g} to {MAX_WEIGHT:g}.",
            "Choose a policy or temperature that gives every sample a finite weight.",
        )
    if token >= 0:
        raise ValueError(f"tokens[{token}] is {tokens[token]}, a negative number of tokens")
    if number >= 0:
        raise ValueError(f"uniforms[{number}] is {float(uniforms[number])!r}, not in [0, 1)")
    if place >= 0:
        raise ValueError(f"sample {place} is in a cell that is not one of {cells}")
    if max_copies * survey.tokens > ANY:
        raise ConfigError(f"{max_copies} copies of all samples are too many tokens to count.", "Lower max_copies.")
    return line, survey
