"""Several phases of a mixture, read one after another, under one ledger of each sample's copies.

Each phase has its own weights and its share of the budget. Phases are solved in the order in which they are read, with what earlier
ones left: a sample's copies over all phases together never exceed its cap, and a phase gives a sample only what is left of it.

A sample's uniform number is carried from phase to phase. If c_p = kappa_p * w_p copies are wanted in phase p, it has
floor(c_1 + .. + c_p + u) copies after that phase, so its copies over all phases are those of the sums. Two phases that want it .3
and .5 times thus never give it twice: nothing is repeated before what is wanted once is used up. (Rounding each phase by itself
would repeat some samples and leave out others.)

The budget's boundaries between phases are met within one document too: what a phase leaves of its share is the next one's.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from samplemix_core.compiled import compiled
from samplemix_core.errors import BudgetError, ConfigError
from samplemix_core.mixing.constraints import Groups, solve_groups
from samplemix_core.mixing.solver import MAX_COPIES, MAX_TOKENS, Float64Array, Int32Array, Solution, UInt16Array

_ALL = np.empty(0, dtype=np.uint16)


class PhaseWanted(NamedTuple):
    """A phase: its share of the budget, the most copies of a sample in it, and what gives its weights, float64 (n,).

    weights and groups are given the phase's tokens, and the most copies that each sample can still have, uint16 (n,). chance:
    whether samples' own numbers round their copies; else they take them in the order of their weights.
    """

    name: str
    share: float
    max_copies: int
    weights: Callable[[int, UInt16Array], Float64Array]
    groups: Callable[[int, UInt16Array], Groups | None] = lambda *_: None
    chance: bool = True


@dataclass(frozen=True)
class SolvedPhase:
    """A phase's copies, the tokens that they were to meet, and its groups with limits.

    `held_back` samples have fewer copies than the phase wants, because earlier phases had spent them.
    """

    name: str
    budget_tokens: int
    solution: Solution
    held_back: int
    groups: Groups | None = None


@dataclass(frozen=True)
class SolvedPhases:
    """All phases; `copies` (n,) of each sample over them, and `wanted` float64 (n,).

    `wanted` is the sum over the phases of kappa times the sample's weight, or of the phase's most copies where that is less.
    """

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
    caps: UInt16Array | None = None,
) -> SolvedPhases:
    """Solve phases one after another, each by solve_groups(). `max_copies` and `max_tokens` are of a sample over all phases;
    `caps` (n,) are smaller numbers of copies for some.

    Shares count as parts of their sum. `uniforms` are overwritten: they are carried from phase to phase. Time is that of solving
    each phase; memory is what the phases' weights take, 12 bytes a sample, and 2 for each phase.

    Raises BudgetError, which names the phase, if one can't be met with what earlier ones left.
    """
    caps = _ALL if caps is None else caps
    spent, room = np.zeros(tokens.size, dtype=np.uint16), np.empty(tokens.size, dtype=np.uint16)
    wanted = np.zeros(tokens.size)
    most = MAX_TOKENS * MAX_COPIES if max_tokens is None else min(max_tokens, MAX_TOKENS * MAX_COPIES)
    solved: list[SolvedPhase] = []
    share, total, realised = 0.0, math.fsum(phase.share for phase in phases), 0
    for number, phase in enumerate(phases):
        share += phase.share
        target = (budget_tokens if number == len(phases) - 1 else round(budget_tokens * share / total)) - realised
        cap = min(phase.max_copies, max_copies)
        if target < 1:
            share_of = f"The share {phase.share:g} of phase {phase.name!r}"
            raise BudgetError(f"{share_of} is less than one token of the budget.", "Raise the phase's share, or the budget.")
        largest = int(_fill_room(tokens, spent, caps, cap, max_copies, most, room))
        if target > largest:
            more_all, no_limit = MAX_COPIES if cap == max_copies else cap, MAX_TOKENS * MAX_COPIES
            limits = {
                "its max_copies": _fill_room(tokens, spent, caps, max_copies, max_copies, most, room),
                "the run's max_copies": _fill_room(tokens, spent, caps, more_all, MAX_COPIES, most, room),
                "max_share": _fill_room(tokens, spent, caps, cap, max_copies, no_limit, room),
                "the constraints' copies": _fill_room(tokens, spent, _ALL, cap, max_copies, most, room),
            }
            raised = [name for name, more in limits.items() if more > largest]
            raise _unmet(phase.name, target, largest, f"{cap} {'copy' if cap == 1 else 'copies'}", raised, max_tokens, solved)
        own = uniforms if phase.chance else np.zeros(tokens.size)
        try:
            weights = phase.weights(target, room)
            groups = phase.groups(target, room)
            solution = solve_groups(weights, tokens, own, target, cap, room=room, groups=groups)
        except BudgetError as error:
            raise BudgetError(f"Phase {phase.name!r}: {error.what}", error.remedy) from None
        except ConfigError as error:
            raise ConfigError(f"Phase {phase.name!r}: {error.what}", error.remedy) from None
        if solution.cells is None or groups is None:
            kappas, cell = np.array([solution.kappa]), _ALL
        else:
            kappas, cell = solution.cells.kappa, groups.cell
        held_back = int(_advance(weights, kappas, cell, solution.copies, tokens, room, caps, cap, most, own, wanted))
        spent += solution.copies
        realised += solution.realised_tokens
        solved.append(SolvedPhase(phase.name, target, solution, held_back, groups))
    return SolvedPhases(tuple(solved), spent, wanted)


def _unmet(
    name: str, target: int, largest: int, cap: str, raised: list[str], max_tokens: int | None, solved: list[SolvedPhase]
) -> BudgetError:
    earlier = ", ".join(item.name for item in solved)
    limits = cap + ("" if max_tokens is None else f" and {max_tokens:,} tokens")
    left, spent = (f" of what {earlier} left", f" A smaller max_copies for {earlier} leaves more.") if earlier else ("", "")
    more = f" raise {' or '.join(raised)}," if raised else ""
    return BudgetError(
        f"Phase {name!r} is to have {target:,} tokens, and at most {largest:,} can be had{left}: {limits} of a sample.",
        f"Lower the budget or the phase's share,{more} or add snapshots.{spent}",
    )


def room_of(tokens: Int32Array, max_copies: int, max_tokens: int | None, caps: UInt16Array | None = None) -> UInt16Array:
    """How many copies each sample (n,) may have: at most its cap, and so many that all of them have at most max_tokens."""
    room = np.empty(tokens.size, dtype=np.uint16)
    most = MAX_TOKENS * MAX_COPIES if max_tokens is None else max_tokens
    _fill_room(tokens, np.zeros(tokens.size, dtype=np.uint16), _ALL if caps is None else caps, max_copies, max_copies, most, room)
    return room


@compiled
def _fill_room(
    tokens: Int32Array, spent: UInt16Array, caps: UInt16Array, cap: int, max_copies: int, most: int, room: UInt16Array
) -> int:
    """Fill in how many copies each sample may still have in a phase; returns the tokens of all these."""
    largest = 0
    for i in range(tokens.size):
        left = max_copies
        if tokens[i] * max_copies > most:
            left = most // tokens[i]
        if caps.size:
            left = min(left, int(caps[i]))
        left = min(max(left - spent[i], 0), cap)
        room[i] = left
        largest += left * tokens[i]
    return largest


@compiled
def _advance(
    weights: Float64Array,
    kappas: Float64Array,
    cell: UInt16Array,
    copies: UInt16Array,
    tokens: Int32Array,
    room: UInt16Array,
    caps: UInt16Array,
    cap: int,
    most: int,
    carried: Float64Array,
    wanted: Float64Array,
) -> int:
    """Carry the uniform numbers on past a phase and add up what was wanted; returns how many samples earlier phases held back."""
    held_back = 0
    for i in range(weights.size):
        asked = min(kappas[cell[i] if cell.size else 0] * weights[i], float(cap))
        total = asked + carried[i]
        whole = np.floor(total)
        wanted[i] += asked
        # A copy that a tie gave early is not given again.
        carried[i] = total - whole if whole >= copies[i] else 0.0
        alone = cap
        if tokens[i] * cap > most:
            alone = most // tokens[i]
        if caps.size:
            alone = min(alone, int(caps[i]))
        held_back += tokens[i] > 0 and room[i] < alone and whole > room[i]
    return held_back


def carried_on(uniform: float, wanted: float, copies: int, max_copies: int) -> float:
    """A sample's uniform number after a phase that wanted it `wanted` times and gave it `copies`. See solve_phases()."""
    total = min(wanted, float(max_copies)) + uniform
    whole = float(np.floor(total))
    return total - whole if whole >= copies else 0.0
