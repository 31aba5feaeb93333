"""The 4-gram model gives the losses of the textbook's formula, however it is fed."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplemix_core.evaluation import ngram
from samplemix_core.evaluation.ngram import MOST_TOKENS, ORDER, NgramModel
from tests.unit.evaluation.conftest import Text, packed


def fed(texts: list[Text], vocabulary: int) -> NgramModel:
    model = NgramModel(vocabulary)
    model.read(*packed(texts))
    return model


class Slow:
    """Interpolated Kneser-Ney as the formula has it, by sets and counters."""

    def __init__(self, texts: list[Text], vocabulary: int) -> None:
        self.vocabulary = vocabulary
        highest = Counter(gram for text in texts for gram in self.grams(text))
        self.counts: dict[int, Counter[tuple[int, ...]]] = {ORDER: highest}
        for order in range(ORDER - 1, 0, -1):
            self.counts[order] = Counter(gram[1:] for gram in self.counts[order + 1])
        self.discounts = {}
        for order, counts in self.counts.items():
            once, twice = (sum(count == n for count in counts.values()) for n in (1, 2))
            self.discounts[order] = once / (once + 2 * twice) if once and twice else 0.5

    def grams(self, text: Text) -> Iterator[tuple[int, ...]]:
        whole = [self.vocabulary] * (ORDER - 1) + text
        for i in range(len(text)):
            yield tuple(whole[i : i + ORDER])

    def p(self, gram: tuple[int, ...]) -> float:
        if not gram:
            return 1 / self.vocabulary
        order, lower = len(gram), self.p(gram[1:])
        after = {other: count for other, count in self.counts[order].items() if other[:-1] == gram[:-1]}
        if not after:
            return lower
        discount = self.discounts[order]
        own = max(after.get(gram, 0) - discount, 0)
        return (own + discount * len(after) * lower) / sum(after.values())

    def loss(self, text: Text) -> float:
        return -sum(float(np.log(self.p(gram))) for gram in self.grams(text))


texts_of = st.lists(st.lists(st.integers(0, 5), max_size=12), max_size=8)


@given(texts=texts_of, heldout=texts_of)
def test_losses_are_those_of_the_formula(texts: list[Text], heldout: list[Text]) -> None:
    slow = Slow(texts, 6)
    found = fed(texts, 6).losses(*packed(heldout))
    np.testing.assert_allclose(found, [slow.loss(text) for text in heldout], rtol=1e-9, atol=1e-12)


def test_what_was_read_in_parts_or_another_order_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    texts = [(rng.zipf(1.4, size=int(rng.integers(0, 90))) % 500).tolist() for _ in range(400)]
    heldout = packed(texts[:20])
    whole = fed(texts, 500).losses(*heldout)
    parts = NgramModel(500)
    # Tables grow at once, from next to nothing.
    monkeypatch.setattr(ngram, "_AT_ONCE", 1000)
    for start in range(399, -1, -7):
        parts.read(*packed(texts[max(start - 6, 0) : start + 1]))
    assert np.array_equal(parts.losses(*heldout), whole)


def test_tables_grow_as_they_fill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram, "_FIRST_SLOTS", 16)
    monkeypatch.setattr(ngram, "_AT_ONCE", 100)
    texts = [np.random.default_rng(i).integers(0, 5, size=40).tolist() for i in range(30)]
    small, slow = fed(texts, 5), Slow(texts, 5)
    assert small.losses(*packed(texts[:3])) == pytest.approx([slow.loss(text) for text in texts[:3]])


def test_the_tokens_after_any_context_sum_to_one() -> None:
    model = fed([[0, 1, 2, 3, 0, 1, 2, 0], [3, 3, 1], [0, 1, 2, 3]], 7)
    for context in ([0, 1, 2], [3, 3], [], [6, 6, 6]):
        before = model.losses(*packed([context]))[0]
        after = model.losses(*packed([[*context, token] for token in range(7)]))
        assert np.exp(before - after).sum() == pytest.approx(1)


def test_a_model_that_has_read_nothing_knows_nothing() -> None:
    assert NgramModel(8).losses(*packed([[1, 2], []])) == pytest.approx([2 * np.log(8), 0])


@pytest.mark.parametrize("vocabulary", [0, MOST_TOKENS + 1])
def test_a_vocabulary_that_does_not_fit_is_refused(vocabulary: int) -> None:
    with pytest.raises(ValueError, match="A vocabulary has 1 to"):
        NgramModel(vocabulary)


def test_the_largest_vocabulary_fits() -> None:
    last = MOST_TOKENS - 1
    model, slow = fed([[last, 0, last, last, 0]], MOST_TOKENS), Slow([[last, 0, last, last, 0]], MOST_TOKENS)
    assert model.losses(*packed([[last, last, 0]]))[0] == pytest.approx(slow.loss([last, last, 0]))
