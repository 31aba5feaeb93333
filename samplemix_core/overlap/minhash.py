"""MinHash signatures of texts, in bands: texts that share a band may be alike. See recipe.py."""

import numpy as np
import numpy.typing as npt

from samplemix_core.compiled import compiled
from samplemix_core.overlap.recipe import BANDS, PERMUTATIONS, ROWS
from samplemix_core.overlap.words import Hashes, Places

_SEED = 2503_01506

Multipliers = npt.NDArray[np.uint32]


def bands(hashes: Hashes, begins: Places) -> Hashes:
    """The bands of n texts, uint64 (n, BANDS), from their shingles as words.shingles() returns them. Without shingles all are 0."""
    drawn = np.random.Generator(np.random.PCG64(_SEED)).integers(0, 2**32, (2, PERMUTATIONS), dtype=np.uint32)
    found = np.zeros((begins.size - 1, BANDS), dtype=np.uint64)
    _bands(hashes, begins, drawn[0] | np.uint32(1), drawn[1], found)
    return found


@compiled
def _bands(hashes: Hashes, begins: Places, factors: Multipliers, terms: Multipliers, found: Hashes) -> None:
    least = np.empty(PERMUTATIONS, dtype=np.uint32)
    for text in range(begins.size - 1):
        if begins[text] == begins[text + 1]:
            continue
        least[:] = np.uint32(0xFFFFFFFF)
        for i in range(begins[text], begins[text + 1]):
            upper = np.uint32(hashes[i] >> np.uint64(32))
            for k in range(PERMUTATIONS):
                # An odd factor permutes the numbers of 32 bits.
                number = np.uint32(factors[k] * upper + terms[k])
                least[k] = min(number, least[k])
        for band in range(BANDS):
            mixed = np.uint64(band + 1)
            for k in range(band * ROWS, (band + 1) * ROWS):
                mixed = (mixed ^ np.uint64(least[k])) * np.uint64(0x9E3779B97F4A7C15)
                mixed ^= mixed >> np.uint64(32)
            found[text, band] = mixed
