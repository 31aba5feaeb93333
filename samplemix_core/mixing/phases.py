"""Several phases of a mixture, read one after another, under one ledger of each sample's copies.

Each phase has its own weights and its share of the budget. Phases are solved in the order in which they are read, with what earlier
ones left: a sample's copies over all phases together never exceed its cap, and a phase gives a sample only what is left of it.

A sample's uniform number is carried from phase to phase. If c_p = kappa_p * w_p copies are wanted in phase p, it has
floor(c_1 + .. + c_p + u) copies after that phase, so its copies over all phases are those of the sums. Two phases that want it .3
and .5 times thus never give it twice: nothing is repeated before what is wanted once is used up. (Rounding each phase by itself
would repeat some samples and leave out others.)

The budget's boundaries between phases are met within one document too: what a phase leaves of its share is the next one's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from samplemix_core.compiled import compiled
from samplemix_core.errors import BudgetError
from samplemix_core.mixing.solver import MAX_COPIES, Float64Array, Int32Array, Solution, UInt16Array, solve_copies


class PhaseWanted(NamedTuple):
    """A phase: its share of the budget, the most copies of a sample in it, and what gives its weights, float64 (n,)."""

    name: str
    share: float
    max_copies: int
    weights: Callable[[], Float64Array]


@dataclass(frozen=True)
class SolvedPhase:
    """A phase's copies, and the tokens that they were to meet.

    `held_back` samples have fewer copies than the phase wants, because earlier phases had spent them.
    """

    name: str
    budget_tokens: int
    solution: Solution
    held_back: int


@dataclass(frozen=True)
class SolvedPhases:
    """All phases; `copies` (n,) of each sample over them, and `wanted` float64 (n,), the sum of kappa times its weight."""

    phases: tuple[SolvedPhase, ...]
    copies: UInt16Array
    wanted: Float64Array

    @property
    def realised_tokens(self) -> int:
        """Tokens of all copies."""
        return sum(phase.solution.realised_tokens for phase in self.phases)


def solve_phases(
    phases: Sequence[PhaseWanted],
    tokens: Int32Array,
    uniforms: Float64Array,
    budget_tokens: int,
    max_copies: int,
    max_tokens: int | None = None,
) -> SolvedPhases:
    """Solve phases one after another, each by solve_copies(). `max_copies` and `max_tokens` are of a sample over all phases.

    Time and memory are those of solving each phase; its copies are kept, 2 bytes a sample.

    Raises BudgetError, which names the phase, if one can't be met with what earlier ones left.
    """
    spent = np.zeros(tokens.size, dtype=np.uint16)
    wanted, carried = np.zeros(tokens.size), uniforms.copy()
    solved: list[SolvedPhase] = []
    share, realised = 0.0, 0
    for number, phase in enumerate(phases):
        share += phase.share
        target = (budget_tokens if number == len(phases) - 1 else round(budget_tokens * share)) - realised
        alone = np.full(tokens.size, min(phase.max_copies, MAX_COPIES), dtype=np.uint16)
        if max_tokens is not None:
            np.minimum(alone, max_tokens // np.maximum(tokens, 1), out=alone, casting="unsafe")
        room = np.minimum(alone, _left(tokens, spent, max_copies, max_tokens))
        weights = phase.weights()
        try:
            solution = solve_copies(weights, tokens, carried, target, phase.max_copies, room=room)
        except BudgetError as error:
            earlier = ", ".join(item.name for item in solved)
            raise BudgetError(
                f"Phase {phase.name!r} can't be met{f' with what {earlier} left' if earlier else ''}: {error.what}",
                f"{error.remedy} An earlier phase leaves more with a max_copies of its own." if earlier else error.remedy,
            ) from None
        held_back = int(_advance(weights, solution.kappa, solution.copies, alone, room, carried, wanted))
        spent += solution.copies
        realised += solution.realised_tokens
        solved.append(SolvedPhase(phase.name, target, solution, held_back))
    return SolvedPhases(tuple(solved), spent, wanted)


def _left(tokens: Int32Array, spent: UInt16Array, max_copies: int, max_tokens: int | None) -> UInt16Array:
    """Copies that each sample may still have."""
    left = np.full(tokens.size, max_copies, dtype=np.int64)
    if max_tokens is not None:
        np.minimum(left, max_tokens // np.maximum(tokens, 1), out=left)
    return (left - spent).astype(np.uint16)


@compiled
def _advance(
    weights: Float64Array,
    kappa: float,
    copies: UInt16Array,
    alone: UInt16Array,
    room: UInt16Array,
    carried: Float64Array,
    wanted: Float64Array,
) -> int:
    """Carry the uniform numbers on past a phase and add up what was wanted; returns how many samples earlier phases held back."""
    held_back = 0
    for i in range(weights.size):
        asked = kappa * weights[i]
        total = asked + carried[i]
        whole = np.floor(total)
        wanted[i] += asked
        # A copy that a tie gave early is not given again.
        carried[i] = total - whole if whole >= copies[i] else 0.0
        held_back += room[i] < alone[i] and whole > room[i]
    return held_back


def carried_on(uniform: float, wanted: float, copies: int) -> float:
    """A sample's uniform number after a phase that wanted it `wanted` times and gave it `copies`. See solve_phases()."""
    total = wanted + uniform
    whole = float(np.floor(total))
    return total - whole if whole >= copies else 0.0
