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

import math
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from samplemix_core.compiled import compiled
from samplemix_core.errors import BudgetError, ConfigError

Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
UInt16Array = npt.NDArray[np.uint16]

MIN_WEIGHT, MAX_WEIGHT = 1e-300, 1e300
"""Between these, every kappa that matters is a finite float."""

MAX_COPIES = np.iinfo(np.uint16).max
MAX_TOKENS = np.iinfo(np.int32).max

FILL_ABOVE = 0.01
"""Share of the budget. With less of it left, the first copy that does not fit ends the line."""

MOST_ROUNDS = 64
"""Most rounds of passing over; each leaves less of the budget, on average half of what was left."""

_ANY = np.iinfo(np.int64).max

FRACTION_BITS = 52
"""Of a float64; the bits above are its exponent."""


@dataclass(frozen=True)
class Solution:
    """Copies of each sample, and how they meet the budget.

    copies_i = min(max_copies, floor(kappa * weights_i + uniforms_i)), and 0 for a sample without tokens; if several samples step at
    that very float and only some fit, the first ones in order have one copy more. `passed_over` samples have fewer than that, as
    one more is longer than what was left. `realised_tokens` is the sum of copies * tokens, never over the budget and short of it by
    less than `next_tokens`, the tokens of the sample that would step next (`next_tokens` is 0 if every sample has all the copies it
    may have).
    """

    copies: UInt16Array
    kappa: float
    realised_tokens: int
    next_tokens: int
    passed_over: int = 0


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

    Only the ratios of the weights matter. `max_tokens` limits the tokens of one sample's copies together, and `room` (n,) the
    copies of each sample. Time is at most 80 passes over the samples, and as many again each time that samples are passed over;
    memory is the inputs and the result.

    Raises ConfigError for a weight that is not between MIN_WEIGHT and MAX_WEIGHT or a cap outside 1..65535; BudgetError for a
    budget that no copies can meet, stating the largest or smallest that they can; ValueError for malformed arrays.
    """
    _check_arrays(weights, tokens, uniforms)
    room = np.empty(0, dtype=np.uint16) if room is None else room
    if not 1 <= max_copies <= MAX_COPIES:
        raise ConfigError(f"max_copies = {max_copies!r} is not in 1..{MAX_COPIES}.", "Muennighoff et al. 2023 advise 4 at most.")
    if max_copies * int(tokens.sum(dtype=np.int64)) > _ANY:
        raise ConfigError(f"{max_copies} copies of all samples are too many tokens to count.", "Lower max_copies.")
    most = _ANY if max_tokens is None else min(max(max_tokens, 0), _ANY)
    largest = int(_largest(tokens, room, max_copies, most))
    if not 1 <= budget_tokens <= largest:
        limited = "" if max_tokens is None else f" and {max_tokens} tokens"
        raise BudgetError(
            f"The budget of {budget_tokens} tokens can't be met: {weights.size} eligible samples with at most {max_copies} "
            f"copies{limited} each give between 1 and {largest} tokens.",
            (f"Ask for at most {largest} tokens, raise max_copies{' or max_share' if limited else ''}, or add snapshots.")
            if largest
            else ("Raise max_share or the budget." if limited else "Add documents to the corpus."),
        )
    upper = (max_copies + 1) / float(weights.min())
    copies, longest = np.zeros(weights.size, dtype=np.uint16), _ANY
    line = _Line(weights, tokens, uniforms, copies, room, max_copies, most)
    for _ in range(MOST_ROUNDS):
        low, high = (upper, upper) if budget_tokens == largest else _bisect(line, budget_tokens, longest, upper)
        realised, next_tokens = _settle(*line, longest, low, high, budget_tokens)
        left = budget_tokens - realised
        if left <= FILL_ABOVE * budget_tokens or not _shortest_open(tokens, copies, room, max_copies, most) <= left:
            break
        longest = left
    if not next_tokens and longest != _ANY:
        # All samples except those passed over have all their copies.
        next_tokens = _shortest_open(tokens, copies, room, max_copies, most)
    if realised == 0:
        least = _shortest_open(tokens, copies, room, max_copies, most)
        raise BudgetError(
            f"The budget of {budget_tokens} tokens buys nothing: the shortest document has {least} tokens.",
            f"Ask for at least {least} tokens.",
        )
    if next_tokens and realised == _total(*line, longest, low):
        low = _shortest(line, realised, longest, low)
        _settle(*line, longest, low, low, budget_tokens)
    passed_over = 0 if longest == _ANY else _passed_over(*line, longest, low)
    return Solution(copies, low, int(realised), int(next_tokens), int(passed_over))


def _check_arrays(weights: Float64Array, tokens: Int32Array, uniforms: Float64Array) -> None:
    arrays: dict[str, tuple[npt.NDArray[Any], str]] = {
        "weights": (weights, "float64"),
        "tokens": (tokens, "int32"),
        "uniforms": (uniforms, "float64"),
    }
    for name, (array, dtype) in arrays.items():
        if array.dtype != dtype or array.shape != (weights.size,):
            raise ValueError(f"{name} is {array.dtype} {array.shape}, expected {dtype} ({weights.size},)")
    bad = _first_outside(weights, MIN_WEIGHT, MAX_WEIGHT)
    if bad >= 0:
        raise ConfigError(
            f"The weight of sample {bad} is {float(weights[bad])!r}, not a number from {MIN_WEIGHT:g} to {MAX_WEIGHT:g}.",
            "Choose a policy or temperature that gives every sample a finite, positive weight.",
        )
    bad = _first_outside(tokens, 0, MAX_TOKENS)
    if bad >= 0:
        raise ValueError(f"tokens[{bad}] is {tokens[bad]}, a negative number of tokens")
    bad = _first_outside(uniforms, 0.0, math.nextafter(1.0, 0.0))
    if bad >= 0:
        raise ValueError(f"uniforms[{bad}] is {float(uniforms[bad])!r}, not in [0, 1)")


@compiled
def _first_outside(values: npt.NDArray[Any], low: float, high: float) -> int:
    """Return the index of the first value that is not a number from low to high, -1 if there is none."""
    for i in range(values.size):
        if not low <= values[i] <= high:
            return i
    return -1


class _Line(NamedTuple):
    """What stays the same from round to round, in the order in which compiled functions take it. They fill in `copies`."""

    weights: Float64Array
    tokens: Int32Array
    uniforms: Float64Array
    copies: UInt16Array
    room: UInt16Array
    cap: int
    most: int


def _bisect(line: _Line, budget: int, longest: int, upper: float) -> tuple[float, float]:
    """Two neighbouring floats: the largest kappa whose copies stay within the budget, and the next one.

    Positive floats are ordered as their bit patterns are, so halving the patterns ends after 63 steps, whatever the range.
    """
    low, high = 0, _bits(upper)
    while high - low > 1:
        middle = (low + high) // 2
        if _total(*line, longest, _float(middle)) <= budget:
            low = middle
        else:
            high = middle
    return _float(low), _float(high)


def _shortest(line: _Line, realised: int, longest: int, kappa: float) -> float:
    """Return the kappa with the shortest fraction from its power of two up to `kappa` that realises the same tokens.

    A whole interval does. This picks the number in it that a person would: 1.0, where every sample is wanted once.
    """
    bits = _bits(kappa)
    kept, cleared = 0, FRACTION_BITS + 1
    while cleared - kept > 1:
        middle = (kept + cleared) // 2
        if _total(*line, longest, _float(bits >> middle << middle)) == realised:
            kept = middle
        else:
            cleared = middle
    return _float(bits >> kept << kept)


def _bits(value: float) -> int:
    return cast(int, struct.unpack("<q", struct.pack("<d", value))[0])


def _float(bits: int) -> float:
    return cast(float, struct.unpack("<d", struct.pack("<q", bits))[0])


@compiled
def _limit(tokens: int, room: UInt16Array, i: int, cap: int, most: int) -> int:
    """Return the most copies that sample `i`, with this many tokens, may have; without room for each, `room` is empty."""
    if tokens == 0:
        return 0
    limit = cap if tokens * cap <= most else most // tokens
    return limit if room.size == 0 or limit <= room[i] else int(room[i])


@compiled
def _wanted(weight: float, uniform: float, kappa: float, cap: int) -> int:
    wanted = kappa * weight + uniform
    return cap if wanted >= cap else int(wanted)


@compiled
def _largest(tokens: Int32Array, room: UInt16Array, cap: int, most: int) -> int:
    """Tokens of all copies that there can be."""
    total = 0
    for i in range(tokens.size):
        total += _limit(tokens[i], room, i, cap, most) * tokens[i]
    return total


@compiled
def _shortest_open(tokens: Int32Array, copies: UInt16Array, room: UInt16Array, cap: int, most: int) -> int:
    """Return the fewest tokens of a sample that may have another copy; the largest integer if there is none."""
    found = np.iinfo(np.int64).max
    for i in range(tokens.size):
        if tokens[i] < found and copies[i] < _limit(tokens[i], room, i, cap, most):
            found = int(tokens[i])
    return found


@compiled
def _total(
    weights: Float64Array,
    tokens: Int32Array,
    uniforms: Float64Array,
    copies: UInt16Array,
    room: UInt16Array,
    cap: int,
    most: int,
    longest: int,
    kappa: float,
) -> int:
    """Tokens of all copies at kappa, where samples over `longest` tokens keep the copies they have."""
    total = 0
    if longest == most == _ANY and room.size == 0:
        # The usual case, in a loop that the compiler turns into vector instructions.
        for i in range(weights.size):
            total += _wanted(weights[i], uniforms[i], kappa, cap) * tokens[i]
        return total
    if most == _ANY and room.size == 0:
        for i in range(weights.size):
            wanted = _wanted(weights[i], uniforms[i], kappa, cap)
            total += (wanted if tokens[i] <= longest else np.int64(copies[i])) * tokens[i]
        return total
    if longest == most == _ANY:
        for i in range(weights.size):
            total += min(_wanted(weights[i], uniforms[i], kappa, cap), np.int64(room[i])) * tokens[i]
        return total
    for i in range(weights.size):
        wanted = min(_wanted(weights[i], uniforms[i], kappa, cap), _limit(tokens[i], room, i, cap, most))
        total += (wanted if tokens[i] <= longest else np.int64(copies[i])) * tokens[i]
    return total


@compiled
def _settle(
    weights: Float64Array,
    tokens: Int32Array,
    uniforms: Float64Array,
    copies: UInt16Array,
    room: UInt16Array,
    cap: int,
    most: int,
    longest: int,
    low: float,
    high: float,
    budget: int,
) -> tuple[int, int]:
    """Fill in the copies at `low`, then step samples to `high` in order until one does not fit; skip samples over `longest` tokens.

    Returns the realised tokens, and the tokens of the sample that did not fit (0 if all did).
    """
    realised = _total(weights, tokens, uniforms, copies, room, cap, most, longest, low)
    next_tokens = 0
    for i in range(weights.size):
        if tokens[i] > longest:
            continue
        limit = _limit(tokens[i], room, i, cap, most)
        count = min(_wanted(weights[i], uniforms[i], low, cap), limit)
        if next_tokens == 0:
            target = min(_wanted(weights[i], uniforms[i], high, cap), limit)
            while count < target and next_tokens == 0:
                if realised + tokens[i] <= budget:
                    count += 1
                    realised += tokens[i]
                else:
                    next_tokens = tokens[i]
        copies[i] = count
    return realised, next_tokens


@compiled
def _passed_over(
    weights: Float64Array,
    tokens: Int32Array,
    uniforms: Float64Array,
    copies: UInt16Array,
    room: UInt16Array,
    cap: int,
    most: int,
    longest: int,
    kappa: float,
) -> int:
    """How many samples over `longest` tokens have fewer copies than at kappa."""
    found = 0
    for i in range(weights.size):
        wanted = min(_wanted(weights[i], uniforms[i], kappa, cap), _limit(tokens[i], room, i, cap, most))
        found += tokens[i] > longest and copies[i] < wanted
    return found
