from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplemix_core.identity import canonical_json, content_hash, fingerprint
from samplemix_core.sample_key import keys_to_bytes, sample_keys, uniforms

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values)
def test_canonical_json_does_not_depend_on_key_order(value: Any) -> None:
    def reversed_keys(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: reversed_keys(node[key]) for key in reversed(node)}
        return [reversed_keys(item) for item in node] if isinstance(node, list) else node

    assert canonical_json(value) == canonical_json(reversed_keys(value))


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), float("inf"), {1: "a"}, b"bytes", object()])
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"canonical|not a string"):
        fingerprint({"value": value})


def test_keys_and_uniforms_are_the_published_ones() -> None:
    """They are part of the manifest format: a change here changes every mixture ever made."""
    keys = sample_keys("crawl-a", "crawl-a/books/part-00000.jsonl.zst", np.array([0, 1, 10**9]))
    assert [key.tobytes().hex() for key in keys_to_bytes(keys)] == [
        "a87f5cf9234be8d3f132813d9c4293a9",
        "f0441064a45a118a839e766faa26f854",
        "8ec43afa46b066aa0062b98e1d89a111",
    ]
    assert uniforms(42, keys).tolist() == [0.22445740380262413, 0.8165847554144618, 0.18477891115073009]
    assert content_hash("héllo").hex() == "249a5c7589499a8866064c0d58459744"


def test_keys_differ_within_and_between_shards() -> None:
    rows = np.arange(20_000)
    keys = np.concatenate([sample_keys("a", path, rows) for path in ("a/x/0", "a/x/1")] + [sample_keys("b", "a/x/0", rows)])
    assert len(np.unique(keys_to_bytes(keys))) == keys.shape[0]


def test_uniforms_are_uniform_and_independent_of_the_seed_before() -> None:
    keys = sample_keys("a", "a/x/0", np.arange(100_000))
    one, other = uniforms(1, keys), uniforms(2, keys)
    for numbers in (one, other):
        assert numbers.min() >= 0
        assert numbers.max() < 1
        counts = np.histogram(numbers, bins=100, range=(0, 1))[0]
        assert abs(counts - 1000).max() < 5 * np.sqrt(1000)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.02
