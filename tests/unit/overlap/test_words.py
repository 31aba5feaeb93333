"""Words and shingles against a plain reading by Python's own idea of characters."""

import unicodedata
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplemix_core.overlap.words import shingle_sets, shingles


def words_of(text: str) -> list[str]:
    """Words as the module's docstring tells them, character by character."""
    found, word = [], ""
    for character in text:
        letter = unicodedata.category(character)[0] in "LNM" and ord(character) < 0x30000
        name = unicodedata.name(character, "")
        alone = letter and name.startswith(("CJK", "HIRAGANA", "KATAKANA", "THAI", "KHMER", "LAO ", "MYANMAR"))
        if letter and not alone:
            word += character.lower() if len(character.lower()) == 1 else character
            continue
        if word:
            found.append(word)
        word = ""
        if alone:
            found.append(character)
    return [*found, word] if word else found


def grams_of(text: str) -> list[tuple[str, ...]]:
    words = words_of(text)
    if not words:
        return []
    return [tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))]


def large(texts: list[str]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


def numbered(texts: list[str]) -> list[list[int]]:
    hashes, begins = shingles(large(texts))
    return [hashes[first:end].tolist() for first, end in pairwise(begins)]


ALPHABET = "aB zé É\n-.,'_09ßЖж日本はกΩ\u0301\N{ROCKET}\U00020001\U000e0100"


@given(st.lists(st.text(ALPHABET, max_size=40), max_size=6))
def test_shingles_are_those_of_plain_words(texts: list[str]) -> None:
    found = numbered(texts)
    expected = [grams_of(text) for text in texts]
    assert [len(each) for each in found] == [len(each) for each in expected]
    # Equal shingles have equal hashes, and others have others.
    pairs = {
        (gram, number) for grams, numbers in zip(expected, found, strict=True) for gram, number in zip(grams, numbers, strict=True)
    }
    assert len(pairs) == len({gram for gram, _ in pairs}) == len({number for _, number in pairs})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello, World! It is a new day", "hello world -- it\nis  A new DAY"),
        ("Straße am Ä und Ö Éclair", "straße AM ä und ö, éclair"),
        ("ПРИВЕТ мир как твои дела", "Привет, мир! Как твои дела?"),
        ("東京は日本の首都です。", "東京は、日本の首都です"),
        ("\u201cQuoted\u201d \u2014 text\u2019s dashes here now", "'Quoted' - text's dashes here now"),
        ("one", " ONE."),
    ],
)
def test_case_punctuation_and_white_space_do_not_count(one: str, other: str) -> None:
    first, second = numbered([one, other])
    assert first == second != []


def test_scripts_without_spaces_have_words_of_one_character() -> None:
    (found,) = numbered(["東京は日本の首都です"])
    assert len(found) == 6
    assert len(numbered(["ภาษาไทยไม่เว้นวรรค"])[0]) > 10


def test_what_a_table_is_cut_from_does_not_matter() -> None:
    texts = ["a b c d e f", "x", "", "one two three four five six", "é"]
    whole = numbered(texts)
    hashes, begins = shingles(large(["left", *texts, "right"]).slice(1, 5))
    assert [hashes[first:end].tolist() for first, end in pairwise(begins)] == whole
    assert [part.size for part in shingles(large([]))] == [0, 1]
    assert [part.size for part in shingles(large(["", " "]))] == [0, 3]


def test_sets_are_sorted_and_without_repeats() -> None:
    hashes, begins = shingle_sets(large(["a a a a a a a a", "", "a b c d e f a b c d e f", "b"]))
    assert np.diff(begins).tolist() == [1, 0, 6, 1]
    for first, end in pairwise(begins):
        assert (np.diff(hashes[first:end].astype(object)) > 0).all()
