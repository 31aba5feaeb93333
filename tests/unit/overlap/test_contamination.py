"""A benchmark's texts within documents: found as the docstring says, against a plain reading, and edited."""

import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplemix_core.overlap import contamination
from samplemix_core.overlap.contamination import Found, find_parts, index_parts, needed_overlap
from samplemix_core.overlap.words import words

RANDOM = np.random.default_rng(4)
VOCABULARY = [f"w{number}" for number in range(400)]


def large(texts: list[str]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


def found_in(parts: list[str], documents: list[str]) -> Found:
    return find_parts(index_parts(large(parts)), *words(large(documents)))


def some(count: int) -> str:
    return " ".join(RANDOM.choice(VOCABULARY, count))


def pairs(found: Found) -> list[tuple[int, int]]:
    return list(zip(found.document.tolist(), found.part.tolist(), strict=True))


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (10, 1), (20, 0.875), (30, 0.75), (1000, 0.75)])
def test_short_texts_need_more(count: int, expected: float) -> None:
    assert needed_overlap(count) == pytest.approx(expected)


def test_copies_are_found_however_they_are_written() -> None:
    parts = [some(length) for length in (8, 12, 40, 150)]
    documents = [f"{some(30)} {part} {some(30)}" for part in parts]
    whole = found_in(parts, documents)
    assert pairs(whole) == [(number, number) for number in range(len(parts))]
    assert whole.overlap.tolist() == [1.0] * len(parts)
    rewritten = [re.sub(" ", lambda _: str(RANDOM.choice(["\n", " -- ", ", ", "  "])), text.upper()) for text in documents]
    assert pairs(found_in(parts, rewritten)) == pairs(whole)
    # At the very beginning and end, and alone.
    assert pairs(found_in(parts, [parts[2], f"{parts[3]} {some(9)}", f"{some(9)} {parts[1]}"])) == [(0, 2), (1, 3), (2, 1)]


def test_edited_copies_are_found_and_halves_are_not() -> None:
    parts = [some(length) for length in (40, 60, 200)]
    edited, halves = [], []
    for part in parts:
        own = part.split()
        edited.append(" ".join("other" if i % 10 == 3 else word for i, word in enumerate(own)))
        halves.append(" ".join(own[: len(own) // 2]))
    assert pairs(found_in(parts, [f"{some(20)} {text} {some(20)}" for text in edited])) == [(0, 0), (1, 1), (2, 2)]
    assert pairs(found_in(parts, [f"{text} {some(200)}" for text in halves])) == []


def test_what_all_texts_begin_with_leads_nowhere_and_weighs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contamination, "MOST_PLACES", 5)
    preamble = "answer the following question as well as you can please"
    parts = [f"{preamble} {some(30)}" for _ in range(30)]
    found = found_in(parts, [f"{some(5)} {preamble} {some(50)}", f"{some(5)} {parts[7]}"])
    assert pairs(found) == [(1, 7)]
    # A text that has only common runs is found by them.
    assert (1, 30) in pairs(found_in([*parts, preamble], [some(30), f"{preamble} {some(3)}"]))
    # Of texts that differ in a word only, another of their kind is found by the first ones.
    ending = some(30)
    alike = [f"{preamble} {number} {ending}" for number in range(30)]
    assert pairs(found_in(alike, [f"{preamble} 99 {ending}"])) == [(0, part) for part in range(5)]


def test_a_phrase_that_is_repeated_everywhere_takes_no_forever() -> None:
    phrase = "zero zero zero zero zero one"
    part = f"{' '.join([phrase] * 60)} {some(400)}"
    found = found_in([part], [" ".join([phrase] * 30_000), f"{' '.join([phrase] * 100)} {part}"])
    assert pairs(found) == [(1, 0)]


def test_short_texts_are_not_looked_for() -> None:
    parts = ["the capital of france is paris now", "", "!", some(9)]
    index = index_parts(large(parts))
    assert index.is_sought.tolist() == [False, False, False, True]
    assert pairs(found_in(parts, [parts[0], parts[3]])) == [(1, 3)]


def test_nothing_finds_nothing() -> None:
    assert pairs(found_in([], [some(20)])) == []
    assert pairs(found_in([some(20)], [])) == []
    assert pairs(found_in(["a b c"], ["", "a b c d e f g h i"])) == []


def test_more_than_there_is_room_for_is_found_too() -> None:
    parts = [some(20) for _ in range(40)]
    document = " ".join(parts)
    assert len(found_in(parts, [document] * 60).part) == 40 * 60


def plainly(parts: list[list[str]], document: list[str]) -> dict[int, float]:
    """The overlaps at every place where a run is shared, in plain Python."""
    frequency = Counter(word for part in parts for word in set(part))
    weight = {word: np.log1p(len(parts) / count) for word, count in frequency.items()}
    found: dict[int, float] = {}
    for number, part in enumerate(parts):
        for i in range(len(document) - 4):
            for j in range(len(part) - 4):
                if document[i : i + 5] == part[j : j + 5]:
                    margin = max(5, len(part) // 10)
                    stretch = Counter(document[max(0, i - j - margin) : i - j + len(part) + margin])
                    shared = sum(weight[word] * min(count, stretch[word]) for word, count in Counter(part).items())
                    overlap = shared / sum(weight[word] for word in part)
                    found[number] = max(found.get(number, 0.0), overlap)
    return found


@settings(max_examples=60)
@given(st.data())
def test_overlaps_are_those_of_a_plain_reading(data: st.DataObject) -> None:
    letters = st.sampled_from("abcdef")
    parts = data.draw(st.lists(st.lists(letters, min_size=8, max_size=14), min_size=1, max_size=3))
    document = data.draw(st.lists(letters, max_size=30))
    found = found_in([" ".join(part) for part in parts], [" ".join(document)])
    expected = plainly(parts, document)
    for part, overlap in zip(found.part.tolist(), found.overlap.tolist(), strict=True):
        # Places that are near each other aren't all looked at, so it may be a little less.
        assert needed_overlap(len(parts[part])) - 1e-9 <= overlap <= expected[part] + 1e-9
    for part, overlap in expected.items():
        if overlap >= 1 - 1e-9 and parts[part] == document[: len(parts[part])]:
            assert part in found.part
