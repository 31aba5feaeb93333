"""Learning curves, and how many steps one mixture saves against another."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

POINTS = 12
_APART = np.sqrt(2)


def stops(tokens: int, points: int = POINTS) -> Int64Array:
    """After how many of a stream's tokens to look at its losses: (points,) or fewer, evenly apart by logarithm, and after all."""
    return np.unique(np.maximum(np.rint(tokens / _APART ** np.arange(points)), 1)).astype(np.int64)


class Curve(NamedTuple):
    """What is learnt from a stream.

    tokens: int64 (p,), read so far, ascending. nats: float64 (p,), a byte of a target, after so many.
    """

    tokens: Int64Array
    nats: Float64Array

    def steps_to(self, nats: float) -> float:
        """Tokens after which the loss is so low, between points by their logarithm, but within the first and the last.

        What was reached counts as reached, even if the loss rises again.
        """
        reached, first = np.unique(-np.minimum.accumulate(self.nats), return_index=True)
        return float(np.exp(np.interp(-nats, reached, np.log(self.tokens[first]))))

    def at(self, tokens: int) -> float:
        """The loss after so many tokens, between points by their logarithm."""
        return float(np.interp(np.log(tokens), np.log(self.tokens), self.nats))


def steps_ratio(curve: Curve, reference: Curve) -> float:
    """Tokens that a reference needs over tokens that a curve needs, for a loss that both reach: above 1 the curve's mixture wins.

    It is the higher one of their losses after as many tokens as both have had, T, so that nothing is extrapolated, and what learns
    fast and then no more doesn't win. One of the two needs T for it. A loss that the other had at its first point already makes a
    bound of the ratio.
    """
    tokens = min(int(curve.tokens[-1]), int(reference.tokens[-1]))
    own, its = curve.at(tokens), reference.at(tokens)
    if own == its:
        # Not to within rounding: draws that are the same have no error to allow for.
        return 1.0
    return tokens / min(curve.steps_to(its), tokens) if own <= its else min(reference.steps_to(own), tokens) / tokens


class Paired(NamedTuple):
    """A mean over paired draws, and its standard error; infinite with one draw, which says nothing about the next."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Paired":
        """From one value a draw, at least one."""
        n = len(values)
        return cls(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else float("inf"))
