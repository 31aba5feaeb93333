import numpy as np
import pytest

from samplemix_core.mixing.domain_share import DomainShare
from samplemix_core.mixing.summary import domain_table

TOKENS = np.array([10, 20, 30, 40], dtype=np.int32)


def test_figures_of_each_domain_sorted_by_name() -> None:
    codes = np.array([1, 0, 1, 0], dtype=np.int16)
    web, books = domain_table(codes, ["web", "books"], TOKENS, np.array([0, 1, 2, 3], dtype=np.uint16))[::-1]
    assert web == DomainShare(
        domain="web", source_samples=2, source_tokens=60, source_share=0.6, samples=2, copies=4,
        mixture_tokens=140, mixture_share=0.7, mean_copies=2.0,
    )  # fmt: skip
    assert books == DomainShare(
        domain="books", source_samples=2, source_tokens=40, source_share=0.4, samples=1, copies=2,
        mixture_tokens=60, mixture_share=0.3, mean_copies=1.0,
    )  # fmt: skip


def test_leaves_out_domains_without_samples() -> None:
    table = domain_table(np.array([2, 2, 2, 2], dtype=np.int32), ["a", "b", "c"], TOKENS, np.ones(4, dtype=np.int32))
    assert [row.domain for row in table] == ["c"]


def test_sums_do_not_overflow() -> None:
    n = 70_000
    tokens = np.full(n, 2**31 - 1, dtype=np.int32)
    (row,) = domain_table(np.zeros(n, dtype=np.int16), ["all"], tokens, np.full(n, 60_000, dtype=np.uint16))
    assert row.source_tokens == n * (2**31 - 1)
    assert row.mixture_tokens == 60_000 * n * (2**31 - 1)


def test_no_samples_no_rows() -> None:
    empty = np.empty(0, dtype=np.int32)
    assert domain_table(empty, ["a"], empty, empty) == ()


def test_refuses_codes_without_a_name_and_names_that_repeat() -> None:
    ones = np.ones(4, dtype=np.uint16)
    with pytest.raises(ValueError, match=r"domain codes 0\.\.2 do not index 2"):
        domain_table(np.array([0, 1, 2, 0], dtype=np.int32), ["a", "b"], TOKENS, ones)
    with pytest.raises(ValueError, match="repeat"):
        domain_table(np.zeros(4, dtype=np.int32), ["a", "a"], TOKENS, ones)
    with pytest.raises(ValueError, match="shapes differ"):
        domain_table(np.zeros(3, dtype=np.int32), ["a"], TOKENS, ones)
