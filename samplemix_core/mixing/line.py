"""The line in which copies are given out, for any number of cells at once: each has its own tokens to meet and its own kappa.

A sample of weight w and number u has min(limit, floor(kappa * w + u)) copies, so its k-th copy comes at about kappa = (k - u) / w,
and a cell's tokens are a non-decreasing step function of its kappa. To find the largest kappa that stays within the tokens wanted:

1. A histogram of tokens by weight says where about it lies.
2. A look at all samples counts the tokens at both ends of a stretch around that place. Few samples step in between, and among them
   kappa is found by bisection, exactly. Where many do, their steps are counted in bins, and the next look is at one bin.

Where to look is only a guess. The tokens at both ends are counted by the same sum that gives the copies, and a stretch that doesn't
hold the target moves an end. So the result doesn't depend on bins, on how samples are cut into parts, or on threads: token sums are
integers. Each look is one pass over the samples, and a solution mostly takes four.

Columns may be mapped from files: a pass gives back the pages that it has read, and memory holds only what steps within a bin.
"""

import mmap
import os
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from samplemix_core.compiled import compiled

Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
UInt16Array = npt.NDArray[np.uint16]

ANY = np.iinfo(np.int64).max

FILL_ABOVE = 0.01
"""Share of what is wanted. With less of it left, the first copy that does not fit ends a cell's line."""

MOST_ROUNDS = 64
"""Most rounds of passing over; each leaves less of what is wanted, on average half of what was left."""

FRACTION_BITS = 52
"""Of a float64; the bits above are its exponent."""

_PART = 2**18
"""Samples looked at between two times that memory is given back."""

_MOST_UNDECIDED = 2**21
_BINS, _LEAST_BINS, _HISTOGRAM = 4096, 64, 2**21
"""Most and fewest bins of a cell, and of all cells together, if these are not more than 32,768: 16 MiB for each thread."""

_MISSES = 3
_HALVINGS = 34
_GUESS_ABOVE = 2**17
_MARGIN, _NOISE = 0.002, 4.0
"""How far from the guess to look, as a share of it: always, and in standard deviations of one sample's."""

_FINEST = 2.0**-24
"""The first histogram has one bin for all steps below this share of the heaviest sample's first whole copy."""


class Columns(NamedTuple):
    """Samples as the line sees them, (n,) each. `room` is how many copies each may have, and `cell` which line it stands in; both
    may be empty: then the cap alone counts, and there is one cell."""

    weights: Float64Array
    tokens: Int32Array
    uniforms: Float64Array
    room: UInt16Array
    cell: UInt16Array


class Rules(NamedTuple):
    """Most copies of a sample, and most tokens of all its copies."""

    cap: int
    most: int


@dataclass(frozen=True)
class Surveyed:
    """What one pass found. largest: int64 (G,), tokens of all copies that a cell may have. lightest and heaviest: weights above 0.

    chance: whether any number is above 0.
    bad: the first sample with a weight, tokens, a number or a cell that is none, -1 each where there is none.
    """

    largest: Int64Array
    tokens: int
    lightest: float
    heaviest: float
    chance: bool
    bad: tuple[int, int, int, int]


@dataclass(frozen=True)
class Met:
    """Copies (n,), and for each of G cells its kappa, its tokens, the tokens of the next copy in line (0 if there is none), and how
    many samples were passed over."""

    copies: UInt16Array
    kappa: Float64Array
    realised: Int64Array
    next_tokens: Int64Array
    passed_over: Int64Array


@dataclass
class _State:
    """What is known of each cell as copies are given out, (G,) each: kappa and the tokens there, and the next float, `after`.

    longest: samples with more tokens keep the copies that they have.
    among: of each round, the samples that step at the next float; None where they are too many to hold.
    """

    targets: Int64Array
    longest: Int64Array
    kappa: Float64Array
    after: Float64Array
    at_kappa: Int64Array
    realised: Int64Array
    next_tokens: Int64Array
    among: list[Int64Array | None] = field(default_factory=list)


@dataclass
class Line:
    """Samples in line, and the threads that look at them. `copies` (n,) are filled in; they may be mapped from a file too."""

    columns: Columns
    rules: Rules
    cells: int
    copies: UInt16Array
    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))

    def survey(self, low: float, high: float) -> Surveyed:
        """Look at all samples once; weights must be 0 or between `low` and `high`."""

        def look(part: Columns, copies: UInt16Array, start: int, state: Any) -> None:
            if part.room.size or part.cell.size or self.rules.most != ANY:
                _survey(*part, *self.rules, low, high, start, *state)
                return
            # The usual case, in loops that the compiler turns into vector instructions. What is wrong is looked for again.
            bits = part.weights.view(np.int64), part.uniforms.view(np.int64)
            if not _survey_plain(*bits, part.tokens, self.rules.cap, _bits(low), _bits(high), _bits(1.0), *state[:3]):
                _survey(*part, *self.rules, low, high, start, *state)

        def state() -> Any:
            largest = np.zeros(self.cells, dtype=np.int64)
            return largest, np.zeros(1, dtype=np.int64), np.array([np.inf, 0.0, 0.0]), np.full(4, -1, dtype=np.int64)

        found = self._over(look, state)
        bad = np.array([item[3] for item in found])
        first = [min((int(value) for value in column if value >= 0), default=-1) for column in bad.T]
        return Surveyed(
            largest=np.sum([item[0] for item in found], axis=0),
            tokens=sum(int(item[1][0]) for item in found),
            lightest=min(float(item[2][0]) for item in found),
            heaviest=max(float(item[2][1]) for item in found),
            chance=any(item[2][2] > 0 for item in found),
            bad=(first[0], first[1], first[2], first[3]),
        )

    def meet(self, targets: Int64Array, survey: Surveyed, budget: int = 0, by_weight: "Weights | None" = None) -> Met:
        """Give out copies so that each cell's tokens come to its target, never over it. `targets` (G,), none over `survey.largest`.

        Where more than FILL_ABOVE of a target is left, samples that are longer than what is left are passed over, and the line
        goes on without them. With a `budget`, what cells leave of it buys some of them one copy more, until none fits.
        `by_weight` spares a pass, where it is known.
        """
        cells = self.cells
        state = _State(
            targets=targets.copy(),
            longest=np.full(cells, ANY, dtype=np.int64),
            kappa=np.zeros(cells),
            after=np.zeros(cells),
            at_kappa=np.zeros(cells, dtype=np.int64),
            realised=np.zeros(cells, dtype=np.int64),
            next_tokens=np.zeros(cells, dtype=np.int64),
        )
        self._rounds(state, targets > 0, survey, by_weight)
        again = targets > 0
        while (left := budget - int(state.realised.sum())) > 0:
            self._buy(state, left)
            left = budget - int(state.realised.sum())
            if ((state.next_tokens > left) & (state.next_tokens < ANY)).any():
                break
            # The largest of the cells that can have more goes on, as long as that gives it any.
            able = np.flatnonzero(again & (self.shortest_open() <= left))
            if not able.size:
                break
            most = able[np.argmax(state.targets[able])]
            before = int(state.realised[most])
            state.targets[most] = min(int(state.realised[most]) + left, int(survey.largest[most]))
            state.longest[most], state.next_tokens[most] = ANY, 0
            self._rounds(state, np.arange(cells) == most, survey)
            again[most] = int(state.realised[most]) > before
        passed, passed_over = state.longest != ANY, np.zeros(cells, dtype=np.int64)
        if passed.any():
            passed_over = self._passed_over(state.longest, state.kappa)
            # Where there is none, all samples except those passed over have all their copies.
            state.next_tokens = np.where(passed & (state.next_tokens == 0), self.shortest_open(), state.next_tokens)
        return Met(self.copies, state.kappa, state.realised, state.next_tokens, passed_over)

    def _rounds(self, state: "_State", active: npt.NDArray[np.bool_], survey: Surveyed, by_weight: "Weights | None" = None) -> None:
        """Give out the copies of the cells that are `active`."""
        upper = (self.rules.cap + 1) / survey.lightest if survey.heaviest else 1.0
        full = active & (state.targets == survey.largest)
        state.kappa[full], state.after[full] = upper, upper
        for _ in range(MOST_ROUNDS):
            open_ = active & ~full
            found = self._kappas(state.targets, open_, state.longest, upper, survey, by_weight)
            for own, new in ((state.kappa, found.kappa), (state.after, found.after), (state.at_kappa, found.tokens)):
                own[open_] = new[open_]
            state.among.append(found.among)
            state.realised[active] = np.where(full, state.targets, found.tokens)[active]
            state.next_tokens[active] = 0
            self._settle(found.among, active, state)
            left = state.targets - state.realised
            again = open_ & (left > FILL_ABOVE * state.targets)
            if again.any():
                again &= self.shortest_open() <= left
            shortened = open_ & ~again & (state.realised == found.tokens)
            state.kappa[shortened] = self._shortest(found, state.realised, shortened, state.longest)[shortened]
            if not again.any():
                return
            state.longest[again], active = left[again], again

    def _buy(self, state: "_State", left: int) -> None:
        """Buy the next copy of cells that are farthest from their targets, while what is left pays for it."""
        short = np.divide(state.targets - state.realised, state.next_tokens, out=np.zeros(self.cells), where=state.next_tokens > 0)
        chosen = np.zeros(self.cells, dtype=np.bool_)
        for cell in np.argsort(-short, kind="stable"):
            if state.longest[cell] == ANY and 0 < state.next_tokens[cell] <= left:
                left -= int(state.next_tokens[cell])
                chosen[cell] = True
        if chosen.any():
            own = replace(
                state,
                targets=state.realised + state.next_tokens,
                realised=state.at_kappa.copy(),
                next_tokens=np.zeros(self.cells, dtype=np.int64),
            )
            known = [item for item in state.among if item is not None]
            self._settle(np.unique(np.concatenate(known)) if len(known) == len(state.among) else None, chosen, own)
            state.realised[chosen], state.next_tokens[chosen] = own.realised[chosen], own.next_tokens[chosen]
            # What follows is not known: no more is bought here.
            state.next_tokens[chosen & (state.next_tokens == 0)] = ANY

    def shortest_open(self) -> Int64Array:
        """The fewest tokens of a sample that may have another copy, by cell; ANY where there is none."""

        def look(part: Columns, copies: UInt16Array, start: int, state: Any) -> None:
            _shortest_open(*part, copies, *self.rules, state)

        return cast(Int64Array, np.min(self._over(look, lambda: np.full(self.cells, ANY, dtype=np.int64)), axis=0))

    def by_weight(self, survey: Surveyed) -> "Weights":
        """Tokens by weight and cell, from one pass over the samples."""
        count = max(_LEAST_BINS, min(_BINS, _HISTOGRAM // self.cells))
        start, shift = _bits(survey.lightest), 0
        while (_bits(survey.heaviest) - start) >> shift >= count:
            shift += 1

        def look(part: Columns, copies: UInt16Array, at: int, state: Any) -> None:
            _by_weight(*part, *self.rules, start, shift, *state)

        def state() -> Any:
            return np.zeros((self.cells, count), dtype=np.int64), np.zeros((self.cells, count), dtype=np.int64)

        found = self._over(look, state)
        heaviest = _bits(survey.heaviest)
        middle = start + (np.minimum(np.arange(count), (heaviest - start) >> shift) << shift) + (1 << shift) // 2
        middle = np.minimum(middle, heaviest)
        tokens, most = (np.sum([item[i] for item in found], axis=0) for i in range(2))
        return Weights(middle.view(np.float64), tokens, most, survey.chance)

    # --- one look after another at the samples

    def _kappas(
        self,
        targets: Int64Array,
        wanted: npt.NDArray[np.bool_],
        longest: Int64Array,
        upper: float,
        survey: Surveyed,
        by_weight: "Weights | None",
    ) -> "_Found":
        """Find, for the cells `wanted`, the largest kappa that stays within the target."""
        low, high = np.zeros(self.cells), np.full(self.cells, upper)
        before, beyond = low.copy(), high.copy()
        bins = self._bins(survey, upper)
        size, open_, fixed = self.columns.weights.size, wanted.copy(), np.zeros(self.cells, dtype=np.int64)
        room = min(size, _MOST_UNDECIDED)
        if size > _GUESS_ABOVE and open_.any():
            guess = (by_weight or self.by_weight(survey)).kappas(targets)
            margin = min(_MARGIN + _NOISE * float(np.sqrt(self.cells / size)), 0.5)
            near, far = guess * (1 - margin), np.minimum(guess * (1 + margin), upper)
            fit = open_ & (near > 0) & (near < far)
            low, high = np.where(fit, near, low), np.where(fit, far, high)
        index, missed = np.empty(0, dtype=np.int64), np.zeros(self.cells, dtype=np.bool_)
        misses = np.zeros(self.cells, dtype=np.int64)
        while open_.any():
            seen = self._look(low, high, bins, open_, longest, room)
            fixed[open_] = seen.low[open_]
            # Every sample that may have another copy has all of them.
            spent = open_ & (high == upper) & (seen.high <= targets)
            low[spent], fixed[spent] = np.nextafter(upper, 0.0), seen.high[spent]
            over, under = open_ & (seen.low > targets), open_ & ~spent & (seen.high <= targets)
            settled = spent | (open_ & ~over & ~under & (_steps(low, high) <= 1))
            open_ &= ~settled
            if seen.undecided is not None and not (over | under).any():
                index = seen.undecided
                break
            missed |= settled & ~spent
            misses += over | under
            for cell in np.flatnonzero(open_):
                if over[cell]:
                    low[cell], high[cell] = before[cell], low[cell]
                elif under[cell]:
                    low[cell], high[cell] = high[cell], beyond[cell]
                elif seen.undecided is None:
                    before[cell], beyond[cell] = low[cell], high[cell]
                    sums = seen.low[cell] + np.cumsum(seen.histogram[cell])
                    at = min(int(np.searchsorted(sums, targets[cell], side="right")), bins.count - 1)
                    ends = bins.edges(int(cell), at, low[cell], high[cell])
                    # Bins of a few floats, or where steps are rounded much, mislead: halving does not.
                    if misses[cell] > _MISSES or not ends[0] < ends[1] or ends == (low[cell], high[cell]):
                        ends = low[cell], _float((_bits(low[cell]) + _bits(high[cell])) // 2)
                    low[cell], high[cell] = ends
            bins = bins.between(low, high)
        undecided = self._undecided(index, low, fixed)
        down, up = low.view(np.int64).copy(), high.view(np.int64).copy()
        while open_.any() and (up - down)[open_].max() > 1:
            middle = down + (up - down) // 2
            within = undecided.totals(middle.view(np.float64)) <= targets
            down, up = np.where(open_ & within, middle, down), np.where(open_ & ~within, middle, up)
        kappa = down.view(np.float64)
        return _Found(kappa, up.view(np.float64), undecided.totals(kappa), undecided, None if missed.any() else index)

    def _bins(self, survey: Surveyed, upper: float) -> "_Bins":
        count = max(_LEAST_BINS, min(_BINS, _HISTOGRAM // self.cells))
        start = np.full(self.cells, min(_bits(_FINEST / survey.heaviest), _bits(upper) - count))
        return _Bins.of(count, start, np.full(self.cells, _bits(upper)))

    def _look(
        self,
        low: Float64Array,
        high: Float64Array,
        bins: "_Bins",
        wanted: npt.NDArray[np.bool_],
        longest: Int64Array,
        room: int,
    ) -> "_Seen":
        own = -(-room // self._stretches())

        def look(part: Columns, copies: UInt16Array, start: int, state: Any) -> None:
            _look(*part, copies, *self.rules, low, high, bins.start, bins.shift, wanted, longest, start, *state)

        def state() -> Any:
            zeros = np.zeros(self.cells, dtype=np.int64)
            histogram = np.zeros((self.cells, bins.count), dtype=np.int64)
            return zeros, zeros.copy(), histogram, np.empty(own, dtype=np.int64), np.zeros(1, dtype=np.int64)

        found = self._over(look, state)
        kept = [item[3][: item[4][0]] for item in found]
        whole = room > 0 and all(item[4][0] <= own for item in found)
        return _Seen(
            np.sum([item[0] for item in found], axis=0),
            np.sum([item[1] for item in found], axis=0),
            np.sum([item[2] for item in found], axis=0),
            np.concatenate(kept) if whole else None,
        )

    def _undecided(self, index: Int64Array, low: Float64Array, fixed: Int64Array) -> "_Undecided":
        columns = self.columns
        cell = _taken(columns.cell, index) if columns.cell.size else np.zeros(index.size, dtype=np.uint16)
        weights, tokens, uniforms = (_taken(array, index) for array in (columns.weights, columns.tokens, columns.uniforms))
        limit = _limits(tokens, _taken(columns.room, index) if columns.room.size else columns.room, *self.rules)
        base = _each(weights, uniforms, cell, limit, low)
        return _Undecided(weights, tokens, uniforms, cell, limit, base, fixed, low)

    def _settle(self, index: Int64Array | None, active: npt.NDArray[np.bool_], state: "_State") -> None:
        """Fill in the copies at kappa, then step samples to the next float in order until one does not fit.

        index: those that may step, in order; None if that isn't known.
        """
        ends = state.longest, state.kappa, state.after, state.targets, state.realised, state.next_tokens
        if index is None:
            # Many samples step at one float, or none: one after another, as the first ones go first.
            for part, copies, _ in self._parts(0, self.columns.weights.size):
                _settle(*part, copies, *self.rules, active, *ends)
            return

        def look(part: Columns, copies: UInt16Array, start: int, _: Any) -> None:
            _write(*part, copies, *self.rules, active, state.longest, state.kappa)

        self._over(look, lambda: None)
        own: list[Any] = [_taken(array, index) if array.size else array for array in self.columns]
        copies = _taken(self.copies, index)
        _settle(*own, copies, *self.rules, active, *ends)
        self.copies[index] = copies

    def _shortest(self, found: "_Found", realised: Int64Array, wanted: npt.NDArray[np.bool_], longest: Int64Array) -> Float64Array:
        """Return the kappas with the shortest fraction from their power of two on that realise the same tokens.

        A whole interval does. This picks the number in it that a person would: 1.0, where every sample is wanted once.
        """
        bits = found.kappa.view(np.int64)
        kept, cleared = np.zeros(self.cells, dtype=np.int64), np.full(self.cells, FRACTION_BITS + 1, dtype=np.int64)
        while wanted.any() and (cleared - kept)[wanted].max() > 1:
            middle = (kept + cleared) // 2
            same = self._realise((bits >> middle << middle).view(np.float64), found.undecided, realised, wanted, longest)
            kept, cleared = np.where(same, middle, kept), np.where(same, cleared, middle)
        return (bits >> kept << kept).view(np.float64)

    def _realise(
        self,
        kappa: Float64Array,
        undecided: "_Undecided",
        realised: Int64Array,
        wanted: npt.NDArray[np.bool_],
        longest: Int64Array,
    ) -> npt.NDArray[np.bool_]:
        """Whether the cells `wanted` have these tokens at kappas that may lie below what the undecided know."""
        same = undecided.totals(np.maximum(kappa, undecided.low)) == realised
        # Below it there are at most the tokens that are fixed.
        below = wanted & same & (kappa < undecided.low)
        same &= ~below
        below &= undecided.fixed == realised
        if below.any():
            none = np.zeros(self.cells, dtype=np.int64)
            same |= below & (self._look(kappa, kappa, _Bins(1, none, none), below, longest, 0).low == realised)
        return cast(npt.NDArray[np.bool_], same)

    def _passed_over(self, longest: Int64Array, kappa: Float64Array) -> Int64Array:
        def look(part: Columns, copies: UInt16Array, start: int, state: Any) -> None:
            _passed_over(*part, copies, *self.rules, longest, kappa, state)

        return cast(Int64Array, np.sum(self._over(look, lambda: np.zeros(self.cells, dtype=np.int64)), axis=0))

    # --- parts of the samples, and threads

    def _over(self, look: Callable[[Columns, UInt16Array, int, Any], None], state: Callable[[], Any]) -> list[Any]:
        """Look at all samples, each thread at its own stretch of them with a state of its own; returns the states, in order."""
        size = self.columns.weights.size
        stretches = self._stretches()
        ends = [size * number // stretches for number in range(stretches + 1)]

        def work(start: int, stop: int) -> Any:
            own = state()
            for part, copies, at in self._parts(start, stop):
                look(part, copies, at, own)
            return own

        if stretches == 1:
            return [work(0, size)]
        with ThreadPoolExecutor(stretches) as pool:
            return list(pool.map(work, ends[:-1], ends[1:]))

    def _stretches(self) -> int:
        return max(1, min(self.threads, -(-self.columns.weights.size // _PART)))

    def _parts(self, start: int, stop: int) -> Iterator[tuple[Columns, UInt16Array, int]]:
        for at in range(start, stop, _PART):
            part = slice(at, min(at + _PART, stop))
            cut: list[Any] = [array[part] if array.size else array for array in self.columns]
            yield Columns(*cut), self.copies[part], at
            for array in (*self.columns, self.copies):
                _give_back(array, part)


class Weights(NamedTuple):
    """Tokens by cell and weight: `weight` (bins,), and int64 (G, bins) the tokens of samples, and of all copies that they may have.

    chance: whether samples have numbers above 0, so that kappa * weight copies are wanted on average; else that, rounded down.
    """

    weight: Float64Array
    tokens: Int64Array
    most: Int64Array
    chance: bool

    def expected(self, kappa: Float64Array) -> Float64Array:
        """Tokens of each cell at its kappa, float64 (G,), as far as weights tell."""
        with np.errstate(over="ignore"):
            copies = np.minimum(kappa[:, None] * self.weight, np.iinfo(np.uint16).max)
        wanted = np.minimum(self.tokens * (copies if self.chance else np.floor(copies)), self.most)
        return np.asarray(wanted.sum(axis=1))

    def expected_of(self, cells: Int64Array, kappa: Float64Array) -> float:
        """The sum of expected() over some cells, whose kappas are float64 (cells,)."""
        return float(_tokens_at(self.weight, self.tokens, self.most, cells, kappa, self.chance))

    def kappa(self, budget: int) -> float:
        """The kappa at which all cells together are expected to have the budget's tokens."""
        together = Weights(self.weight, self.tokens.sum(axis=0)[None], self.most.sum(axis=0)[None], self.chance)
        return float(together.kappas(np.array([budget]))[0])

    def kappas(self, targets: Int64Array) -> Float64Array:
        """The kappa of each cell at which it is expected to have the target's tokens."""
        most = np.divide(self.most, self.tokens, out=np.zeros(self.tokens.shape), where=self.tokens > 0).max(initial=1.0)
        high = np.full(targets.size, (most + 1) / self.weight[0])
        low = np.full(targets.size, _FINEST / self.weight[-1])
        # Halving bit patterns: to one part in a million, whatever the range.
        for _ in range(_HALVINGS):
            middle = (low.view(np.int64) // 2 + high.view(np.int64) // 2).view(np.float64)
            within = self.expected(middle) <= targets
            low, high = np.where(within, middle, low), np.where(within, high, middle)
        return low


@compiled
def _tokens_at(
    weight: Float64Array, tokens: Int64Array, most: Int64Array, cells: Int64Array, kappa: Float64Array, chance: bool
) -> float:
    total = 0.0
    for i in range(cells.size):
        cell = cells[i]
        for j in range(weight.size):
            if tokens[cell, j]:
                copies = kappa[i] * weight[j]
                if not chance:
                    copies = np.floor(copies)
                total += min(tokens[cell, j] * copies, float(most[cell, j]))
    return total


class _Seen(NamedTuple):
    """Tokens of each cell at `low` and at `high`, those of the steps between by bin, and which samples step there (None: many)."""

    low: Int64Array
    high: Int64Array
    histogram: Int64Array
    undecided: Int64Array | None


@dataclass(frozen=True)
class _Bins:
    """Bins over bit patterns, (G,) each: the first holds all up to `start`, and the others are 2^shift wide."""

    count: int
    start: Int64Array
    shift: Int64Array

    @classmethod
    def of(cls, count: int, start: Int64Array, end: Int64Array) -> "_Bins":
        """As many bins, of which the last one ends at `end` or beyond."""
        width = np.maximum(1, -(-(end - start) // (count - 1)))
        return cls(count, start, np.ceil(np.log2(width)).astype(np.int64))

    def edges(self, cell: int, at: int, low: float, high: float) -> tuple[float, float]:
        """Where a bin of a cell between `low` and `high` begins and ends."""
        width = 1 << int(self.shift[cell])
        first = int(self.start[cell]) + (at - 1) * width
        ends = low if at == 0 else _float(first), _float(first + width)
        return max(low, min(ends[0], high)), max(low, min(ends[1], high))

    def between(self, low: Float64Array, high: Float64Array) -> "_Bins":
        """As many bins of one width between other ends."""
        return _Bins.of(self.count, low.view(np.int64).copy(), high.view(np.int64))


class _Undecided(NamedTuple):
    """Samples that step within their cell's stretch, and all tokens of each cell at its lower end, `fixed` at `low`."""

    weights: Float64Array
    tokens: Int32Array
    uniforms: Float64Array
    cell: UInt16Array
    limit: UInt16Array
    base: UInt16Array
    fixed: Int64Array
    low: Float64Array

    def totals(self, kappa: Float64Array) -> Int64Array:
        """Tokens of each cell at its kappa, which must not be below `low`."""
        return cast(Int64Array, _more(*self[:6], kappa, self.fixed))


class _Found(NamedTuple):
    """For each cell the largest kappa within its target, the next float, the tokens at it, and what it was found among.

    among: the samples that step at the next float are among these, in order; None if they are too many to hold.
    """

    kappa: Float64Array
    after: Float64Array
    tokens: Int64Array
    undecided: _Undecided
    among: Int64Array | None


def _give_back(array: npt.NDArray[Any], part: slice) -> None:
    """Let go of the pages of a mapped file that a pass has gone through; they stay in the system's cache, or on disk."""
    mapped = getattr(array, "_mmap", None)
    # Pages of a private copy would be lost.
    if mapped is None or getattr(array, "mode", None) not in ("r", "r+", "w+"):
        return
    base = np.frombuffer(mapped, dtype=np.uint8).ctypes.data
    start = array[part].ctypes.data - base
    first = start // mmap.PAGESIZE * mmap.PAGESIZE
    mapped.madvise(mmap.MADV_DONTNEED, first, start + (part.stop - part.start) * array.itemsize - first)


def _taken(array: npt.NDArray[Any], index: Int64Array) -> npt.NDArray[Any]:
    """The entries of a column at these places, ascending; pages of a mapped one are let go of on the way."""
    if getattr(array, "_mmap", None) is None:
        return array[index]
    found = np.empty(index.size, dtype=array.dtype)
    for start in range(0, array.size, _PART):
        first, last = np.searchsorted(index, (start, start + _PART))
        if first < last:
            found[first:last] = array[index[first:last]]
            _give_back(array, slice(start, min(start + _PART, array.size)))
    return found


def _bits(value: float) -> int:
    return cast(int, struct.unpack("<q", struct.pack("<d", value))[0])


def _float(bits: int) -> float:
    return cast(float, struct.unpack("<d", struct.pack("<q", bits))[0])


def _steps(low: Float64Array, high: Float64Array) -> Int64Array:
    """How many floats lie from one to the other; positive floats are ordered as their bit patterns are."""
    return high.view(np.int64) - low.view(np.int64)


@compiled
def _limit(weight: float, tokens: int, room: UInt16Array, i: int, cap: int, most: int) -> int:
    """Return the most copies that sample `i`, with this weight and many tokens, may have."""
    if tokens == 0 or weight == 0.0:
        return 0
    limit = cap if tokens * cap <= most else most // tokens
    return limit if room.size == 0 or limit <= room[i] else int(room[i])


@compiled
def _limits(tokens: Int32Array, room: UInt16Array, cap: int, most: int) -> UInt16Array:
    limits = np.empty(tokens.size, dtype=np.uint16)
    for i in range(tokens.size):
        limits[i] = _limit(1.0, tokens[i], room, i, cap, most)
    return limits


@compiled
def _wanted(weight: float, uniform: float, kappa: float, cap: int) -> int:
    wanted = kappa * weight + uniform
    return cap if wanted >= cap else int(wanted)


@compiled
def _each(weights: Float64Array, uniforms: Float64Array, cell: UInt16Array, limit: UInt16Array, kappa: Float64Array) -> UInt16Array:
    copies = np.empty(weights.size, dtype=np.uint16)
    for i in range(weights.size):
        copies[i] = _wanted(weights[i], uniforms[i], kappa[cell[i]], limit[i])
    return copies


@compiled
def _more(
    weights: Float64Array,
    tokens: Int32Array,
    uniforms: Float64Array,
    cell: UInt16Array,
    limit: UInt16Array,
    base: UInt16Array,
    kappa: Float64Array,
    fixed: Int64Array,
) -> Int64Array:
    totals = fixed.copy()
    for i in range(weights.size):
        more = _wanted(weights[i], uniforms[i], kappa[cell[i]], limit[i]) - base[i]
        totals[cell[i]] += more * np.int64(tokens[i])
    return totals


@compiled
def _survey_plain(
    weights: Int64Array,
    uniforms: Int64Array,
    tokens: Int32Array,
    cap: int,
    low: int,
    high: int,
    one: int,
    largest: Int64Array,
    total: Int64Array,
    ends: Float64Array,
) -> bool:
    """Survey a part, of which floats are given as bit patterns; False, and nothing is counted, if anything in it is bad."""
    least, greatest, negative = np.int64(np.iinfo(np.int64).max), np.int64(0), np.int64(0)
    zeros = np.int64(0)
    for i in range(weights.size):
        bits = weights[i]
        negative |= bits
        zeros += bits == 0
        least = min(least, bits if bits > 0 else np.int64(np.iinfo(np.int64).max))
        greatest = max(greatest, bits)
    number = np.int64(0)
    for i in range(uniforms.size):
        negative |= uniforms[i]
        number = max(number, uniforms[i])
    fewest = np.int32(0)
    added = np.int64(0)
    for i in range(tokens.size):
        fewest = min(fewest, tokens[i])
        added += tokens[i]
    without = np.int64(0)
    if zeros > 0:
        for i in range(weights.size):
            without += tokens[i] if weights[i] == 0 else 0
    if greatest > high or (greatest > 0 and least < low) or negative < 0 or number >= one or fewest < 0:
        return False
    if greatest > 0:
        ends[0] = min(ends[0], np.int64(least).view(np.float64))
        ends[1] = max(ends[1], np.int64(greatest).view(np.float64))
    ends[2] = max(ends[2], np.int64(number).view(np.float64))
    total[0] += added
    largest[0] += (added - without) * cap
    return True


@compiled
def _by_weight(
    weights: Float64Array,
    tokens: Int32Array,
    uniforms: Float64Array,
    room: UInt16Array,
    cell: UInt16Array,
    cap: int,
    most: int,
    start: int,
    shift: int,
    histogram: Int64Array,
    largest: Int64Array,
) -> None:
    own = 0
    plain = room.size == 0 and most == np.iinfo(np.int64).max
    for i in range(weights.size):
        weight = weights[i]
        if weight == 0.0:
            continue
        if cell.size:
            own = int(cell[i])
        place = (np.float64(weight).view(np.int64) - start) >> shift
        n = np.int64(tokens[i])
        histogram[own, place] += n
        largest[own, place] += (cap if plain else _limit(weight, n, room, i, cap, most)) * n


@compiled
def _write(
    weights: Float64Array,
    tokens: Int32Array,
    uniforms: Float64Array,
    room: UInt16Array,
    cell: UInt16Array,
    copies: UInt16Array,
    cap: int,
    most: int,
    active: npt.NDArray[np.bool_],
    longest: Int64Array,
    low: Float64Array,
) -> None:
    own = 0
    if room.size == 0 and cell.size == 0 and most == np.iinfo(np.int64).max and longest[0] == most and active[0]:
        for i in range(weights.size):
            copies[i] = _wanted(weights[i], uniforms[i], low[0], cap) if tokens[i] > 0 else 0
        return
    for i in range(weights.size):
        if cell.size:
            own = int(cell[i])
        if active[own] and tokens[i] <= longest[own]:
            copies[i] = _wanted(weights[i], uniforms[i], low[own], _limit(weights[i], tokens[i], room, i, cap, most))


@compiled
def _survey(
    weights: Float64Array,
    tokens: Int32Array,
    uniforms: Float64Array,
    room: UInt16Array,
    cell: UInt16Array,
    cap: int,
    most: int,
    low: float,
    high: float,
    start: int,
    largest: Int64Array,
    total: Int64Array,
    ends: Float64Array,
    bad: Int64Array,
) -> None:
    least, greatest = ends[0], ends[1]
    for i in range(weights.size):
        weight = weights[i]
        if not (weight == 0.0 or low <= weight <= high) and bad[0] < 0:
            bad[0] = start + i
        if tokens[i] < 0 and bad[1] < 0:
            bad[1] = start + i
        if not 0.0 <= uniforms[i] < 1.0 and bad[2] < 0:
            bad[2] = start + i
        ends[2] = max(ends[2], uniforms[i])
        own = 0
        if cell.size:
            own = int(cell[i])
            if own >= largest.size:
                bad[3] = start + i if bad[3] < 0 else bad[3]
                continue
        if weight > 0.0:
            least, greatest = min(least, weight), max(greatest, weight)
        total[0] += tokens[i]
        largest[own] += _limit(weight, tokens[i], room, i, cap, most) * np.int64(tokens[i])
    ends[0], ends[1] = least, greatest


@compiled
def _look(
    weights: Float64Array,
    tokens: Int32Array,
    uniforms: Float64Array,
    room: UInt16Array,
    cell: UInt16Array,
    copies: UInt16Array,
    cap: int,
    most: int,
    low: Float64Array,
    high: Float64Array,
    first: Int64Array,
    shift: Int64Array,
    wanted: npt.NDArray[np.bool_],
    longest: Int64Array,
    start: int,
    at_low: Int64Array,
    at_high: Int64Array,
    histogram: Int64Array,
    index: Int64Array,
    kept: Int64Array,
) -> None:
    bins = histogram.shape[1]
    own = 0
    plain = room.size == 0 and cell.size == 0 and most == np.iinfo(np.int64).max and longest[0] == most and wanted[0]
    for block in range(0, weights.size, 128):
        end = min(block + 128, weights.size)
        if plain:
            # The usual case, in a loop that the compiler turns into vector instructions.
            added, stepping = np.int64(0), np.int64(0)
            for i in range(block, end):
                below = _wanted(weights[i], uniforms[i], low[0], cap)
                added += below * tokens[i]
                stepping += (_wanted(weights[i], uniforms[i], high[0], cap) - below) * tokens[i]
            at_low[0] += added
            at_high[0] += added
            if stepping == 0:
                continue
        for i in range(block, end):
            if cell.size:
                own = int(cell[i])
            if not wanted[own]:
                continue
            n = np.int64(tokens[i])
            if n > longest[own]:
                at_low[own] += copies[i] * n
                at_high[own] += copies[i] * n
                continue
            limit = cap if plain else _limit(weights[i], n, room, i, cap, most)
            below = _wanted(weights[i], uniforms[i], low[own], limit)
            above = _wanted(weights[i], uniforms[i], high[own], limit)
            if not plain:
                at_low[own] += below * n
                at_high[own] += below * n
            if below == above or n == 0:
                continue
            at_high[own] += (above - below) * n
            if kept[0] < index.size:
                index[kept[0]] = start + i
            kept[0] += 1
            copy = below + 1
            once = 1.0 / weights[i]
            while copy <= above:
                bits = np.float64((copy - uniforms[i]) * once).view(np.int64) - first[own] - 1
                place = 0 if bits < 0 else min(1 + (bits >> shift[own]), bins - 1)
                # What comes after so many copies is counted at the next one: too early, which the next look mends.
                if copy - below == 16:
                    histogram[own, place] += (above - copy + 1) * n
                    break
                histogram[own, place] += n
                copy += 1


@compiled
def _shortest_open(
    weights: Float64Array,
    tokens: Int32Array,
    uniforms: Float64Array,
    room: UInt16Array,
    cell: UInt16Array,
    copies: UInt16Array,
    cap: int,
    most: int,
    shortest: Int64Array,
) -> None:
    own = 0
    for i in range(tokens.size):
        if cell.size:
            own = int(cell[i])
        if tokens[i] < shortest[own] and copies[i] < _limit(weights[i], tokens[i], room, i, cap, most):
            shortest[own] = tokens[i]


@compiled
def _settle(
    weights: Float64Array,
    tokens: Int32Array,
    uniforms: Float64Array,
    room: UInt16Array,
    cell: UInt16Array,
    copies: UInt16Array,
    cap: int,
    most: int,
    active: npt.NDArray[np.bool_],
    longest: Int64Array,
    low: Float64Array,
    high: Float64Array,
    targets: Int64Array,
    realised: Int64Array,
    next_tokens: Int64Array,
) -> None:
    own = 0
    for i in range(weights.size):
        if cell.size:
            own = int(cell[i])
        n = np.int64(tokens[i])
        if not active[own] or n > longest[own]:
            continue
        limit = _limit(weights[i], n, room, i, cap, most)
        count = _wanted(weights[i], uniforms[i], low[own], limit)
        if next_tokens[own] == 0:
            target = _wanted(weights[i], uniforms[i], high[own], limit)
            while count < target and next_tokens[own] == 0:
                if realised[own] + n <= targets[own]:
                    count += 1
                    realised[own] += n
                else:
                    next_tokens[own] = n
        copies[i] = count


@compiled
def _passed_over(
    weights: Float64Array,
    tokens: Int32Array,
    uniforms: Float64Array,
    room: UInt16Array,
    cell: UInt16Array,
    copies: UInt16Array,
    cap: int,
    most: int,
    longest: Int64Array,
    kappa: Float64Array,
    found: Int64Array,
) -> None:
    own = 0
    for i in range(weights.size):
        if cell.size:
            own = int(cell[i])
        limit = _limit(weights[i], tokens[i], room, i, cap, most)
        found[own] += tokens[i] > longest[own] and copies[i] < _wanted(weights[i], uniforms[i], kappa[own], limit)
