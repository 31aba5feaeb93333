"""A stream is read once, and what is seen at each point is what a model of all before it gives."""

from collections.abc import Iterator

import numpy as np
import pytest

from samplemix_core.evaluation.curves import stops
from samplemix_core.evaluation.ngram import NgramModel
from samplemix_core.evaluation.quick import Learnt, Part, learn
from tests.unit.evaluation.conftest import Text, packed

VOCABULARY = 60
TEXTS = [(np.random.default_rng(i).zipf(1.5, size=30 + i) % VOCABULARY).tolist() for i in range(120)]

HELDOUT, ENDS = packed(TEXTS[:10])
N_BYTES = np.diff(ENDS, prepend=0) * 3


def stream(texts: list[Text], at_once: int, again: list[int] | None = None) -> Iterator[Part]:
    repeated = set(again or [])
    for start in range(0, len(texts), at_once):
        ids, ends = packed(texts[start : start + at_once])
        yield Part(ids, ends, np.array([i in repeated for i in range(start, start + len(ends))]))


def learnt(texts: list[Text], at_once: int = 7, tokens: int | None = None, again: list[int] | None = None) -> Learnt:
    wanted = tokens or sum(map(len, texts))
    return learn(VOCABULARY, stream(texts, at_once, again), wanted, HELDOUT, ENDS, N_BYTES)


def test_each_point_is_that_of_a_model_of_all_before_it() -> None:
    texts = TEXTS[20:]
    found = learnt(texts)
    ends = np.cumsum([len(text) for text in texts])
    assert set(found.tokens.tolist()) <= set(ends.tolist())
    assert len(found.tokens) == len(found.nats) >= 6
    wanted = stops(int(ends[-1]))
    for tokens, nats in zip(found.tokens.tolist(), found.nats, strict=True):
        model = NgramModel(VOCABULARY)
        model.read(*packed(texts[: int(np.searchsorted(ends, tokens)) + 1]))
        np.testing.assert_allclose(nats, model.losses(HELDOUT, ENDS))
        # It is the first end of a document at or after a stop.
        assert ends[np.searchsorted(ends, wanted[wanted <= tokens][-1])] == tokens
    assert found.tokens[-1] == ends[-1]


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_parts_of_the_stream_make_no_difference(at_once: int) -> None:
    one, other = learnt(TEXTS, 7), learnt(TEXTS, at_once)
    assert np.array_equal(one.tokens, other.tokens)
    assert np.array_equal(one.nats, other.nats)


def test_repeats_spend_tokens_and_teach_nothing() -> None:
    texts = TEXTS[20:60]
    doubled = learnt([*texts, *texts], again=list(range(40, 80)))
    assert doubled.tokens[-1] == 2 * sum(map(len, texts))
    np.testing.assert_array_equal(doubled.nats[-1], learnt(texts).nats[-1])


def test_a_stream_stops_when_it_has_had_its_tokens_and_may_end_before() -> None:
    few = learnt(TEXTS, tokens=500)
    assert 500 <= few.tokens[-1] < 500 + max(map(len, TEXTS))
    short = learnt(TEXTS[:5], tokens=10_000)
    assert short.tokens[-1] == sum(map(len, TEXTS[:5]))
    with pytest.raises(ValueError, match="without tokens"):
        learnt([])


def test_a_macro_mean_gives_each_group_one_say() -> None:
    found = learnt(TEXTS)
    groups = np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 3])
    own = [found.curve(groups == group).nats for group in (0, 3)]
    np.testing.assert_allclose(found.macro(groups).nats, np.mean(own, axis=0))
    everything = found.curve(np.ones(10, dtype=bool)).nats
    np.testing.assert_allclose(everything, found.nats.sum(axis=1) / N_BYTES.sum())
