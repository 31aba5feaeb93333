"""Which of a mixture's documents a check reads, and in which order: by random numbers of their keys, so that draws are paired.

A check at 1/k of a mixture's tokens reads 1/k of its documents, each as often as the whole mixture has it: repetition stays that of
the mixture, as it would not if another mixture were solved for the small budget (arXiv 2606.07597).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from samplemix_core.identity import fingerprint
from samplemix_core.sample_key import UInt64Array, uniforms

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def _seed(*of: object) -> int:
    return int(fingerprint(list(of))[:16], 16)


def chosen_by_chance(keys: UInt64Array, share: float, seed: int) -> BoolArray:
    """Whether each sample (n,), by its key (n, 2), is among a share of all: the same ones in every mixture."""
    return uniforms(_seed("evaluation", "chosen", seed), keys) < share


def in_order(keys: UInt64Array, phases: Sequence[npt.NDArray[np.integer]], seed: int) -> Int64Array:
    """The copies of samples, by their places, in the order of a stream: phase after phase, each shuffled.

    keys: (n, 2). phases: copies (n,) in each phase. A copy's place depends on its sample, its number and the seed alone, so streams
    of two mixtures have what they share in the same order.
    """
    parts = [np.empty(0, dtype=np.int64)]
    for number, copies in enumerate(phases):
        places, chance = [np.empty(0, dtype=np.int64)], [np.empty(0)]
        for copy in range(int(copies.max(initial=0))):
            there = np.flatnonzero(copies > copy)
            places.append(there)
            chance.append(uniforms(_seed("evaluation", "order", seed, number, copy), keys[there]))
        order = np.argsort(np.concatenate(chance), kind="stable")
        parts.append(np.concatenate(places)[order])
    return np.concatenate(parts)


def had_before(stream: Int64Array) -> BoolArray:
    """Whether a stream's document (m,) was in it before."""
    again = np.ones(stream.size, dtype=np.bool_)
    again[np.unique(stream, return_index=True)[1]] = False
    return again
