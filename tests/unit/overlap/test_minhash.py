"""Signatures: texts share bands as often as theory says, whatever stands beside them."""

import numpy as np
import pyarrow as pa

from samplemix_core.overlap.minhash import bands
from samplemix_core.overlap.recipe import BANDS, ROWS
from samplemix_core.overlap.words import shingles

GOLDEN = ["0x1bca968115a2a92d", "0x6aaedb03fca44017", "0x85bf24b3fe304af4"]


def of(texts: list[str]) -> np.ndarray:
    return bands(*shingles(pa.array(texts, pa.large_string())))


def test_a_texts_signature_is_its_own() -> None:
    texts = ["one two three four five six seven", "", "one two three four five six seven", "x"]
    found = of(texts)
    assert found.shape == (4, BANDS)
    assert (found[0] == found[2]).all()
    assert not found[1].any()
    assert (found[0] != found[3]).all()
    assert (of(texts[2:3])[0] == found[0]).all()


def test_bands_are_shared_as_often_as_theory_says() -> None:
    random = np.random.default_rng(3)
    n, size = 3000, 400
    for similarity in (0.5, 0.8):
        common = round(2 * size * similarity / (1 + similarity))
        sets = random.integers(0, 2**63, (n, 2 * size - common)).astype(np.uint64)
        begins = np.arange(n + 1) * size
        one = bands(sets[:, :size].ravel(), begins)
        other = bands(sets[:, -size:].ravel(), begins)
        each = (one == other).mean()
        any_of = (one == other).any(axis=1).mean()
        exact = common / (2 * size - common)
        expected = exact**ROWS
        assert abs(each - expected) < 4 * np.sqrt(expected / (n * BANDS)) + 0.003
        p = 1 - (1 - expected) ** BANDS
        assert abs(any_of - p) < 4 * np.sqrt(p * (1 - p) / n) + 0.002


def test_the_recipe_stays_what_its_name_says() -> None:
    # Stored signatures are compared with new ones: other numbers need another RECIPE.
    (found,) = of(["The quick brown fox jumps over the lazy dog, again and again."])
    assert [hex(key) for key in found[:3].tolist()] == GOLDEN
