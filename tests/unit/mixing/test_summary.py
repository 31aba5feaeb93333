import numpy as np
import pytest

from samplemix_core.mixing.summary import domain_sums

TOKENS = np.array([10, 20, 30, 40], dtype=np.int32)


def test_sums_of_each_domain() -> None:
    codes = np.array([1, 0, 1, 0], dtype=np.int16)
    assert domain_sums(codes, 2, TOKENS, np.array([0, 1, 2, 3], dtype=np.uint16)).as_lists() == {
        "source_samples": [2, 2],
        "source_tokens": [60, 40],
        "samples": [2, 1],
        "copies": [4, 2],
        "mixture_tokens": [140, 60],
    }


def test_a_domain_without_samples_has_nothing() -> None:
    sums = domain_sums(np.array([2, 2, 2, 2], dtype=np.int32), 3, TOKENS, np.ones(4, dtype=np.int32))
    assert sums.source_samples.tolist() == sums.copies.tolist() == [0, 0, 4]


def test_sums_do_not_overflow() -> None:
    n = 70_000
    tokens = np.full(n, 2**31 - 1, dtype=np.int32)
    sums = domain_sums(np.zeros(n, dtype=np.int16), 1, tokens, np.full(n, 60_000, dtype=np.uint16))
    assert sums.source_tokens.tolist() == [n * (2**31 - 1)]
    assert sums.mixture_tokens.tolist() == [60_000 * n * (2**31 - 1)]


def test_no_samples_no_sums() -> None:
    empty = np.empty(0, dtype=np.int32)
    assert domain_sums(empty, 1, empty, empty).source_samples.tolist() == [0]


def test_refuses_codes_of_no_domain() -> None:
    ones = np.ones(4, dtype=np.uint16)
    with pytest.raises(ValueError, match=r"domain codes 0\.\.2 do not index 2"):
        domain_sums(np.array([0, 1, 2, 0], dtype=np.int32), 2, TOKENS, ones)
    with pytest.raises(ValueError, match="shapes differ"):
        domain_sums(np.zeros(3, dtype=np.int32), 1, TOKENS, ones)
