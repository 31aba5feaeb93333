import unicodedata

import pytest

from samplemix_core.quality import characters as c

ALPHABETS = [
    "Latin-1 äöüßéñ",
    "Œœšž",
    "αβγΔΩ",
    "абвЖЩ",
    "אבג",
    "ابت",
    "कखग",
    "กขค",
    "한국어",
    "中文",
    "かなカナ",
    "\uff21\uff22\uff43",
]


@pytest.mark.parametrize("sample", ALPHABETS)
def test_letters_of_common_alphabets_are_letters(sample: str) -> None:
    for character in sample:
        if unicodedata.category(character).startswith("L") and ord(character) > 127:
            assert c.LOWER <= c.wide_class(ord(character)) <= c.UNSPACED, character
            assert c.wide_class(ord(character)) != c.DIGIT


@pytest.mark.parametrize("character", "ÀÉÖΔΩЖЩ\uff21")
def test_capitals_with_case_are_capitals(character: str) -> None:
    assert c.wide_class(ord(character)) == c.UPPER


@pytest.mark.parametrize(
    ("characters", "kind"),
    [
        ("\u00a0\u2003\u3000\u200b", c.SPACE),
        ("。\uff01\uff1f।؟", c.WIDE_STOP),
        ("…", c.STOP),
        ("”\u2019»」", c.CLOSER),
        ("“«、\uff0c—", c.PUNCTUATION),
        ("€©\u00d7→█😀\ufffd\ue000", c.SYMBOL),
        ("٣４", c.DIGIT),
        ("中の", c.IDEOGRAPH),
        ("ไခ", c.UNSPACED),
    ],
)
def test_marks_are_what_they_are(characters: str, kind: int) -> None:
    for character in characters:
        assert c.wide_class(ord(character)) == kind, character


def test_every_code_point_has_a_class() -> None:
    for code in range(0x80, 0x110000, 7):
        assert 0 <= c.wide_class(code) < 14


def test_ascii_is_complete() -> None:
    for code in range(128):
        character = chr(code)
        kind = c.ASCII_CLASS[code]
        assert (kind == c.CONTROL) == (
            (unicodedata.category(character) == "Cc" and not character.isspace()) or code in range(28, 32)
        )
        assert (kind in (c.LOWER, c.UPPER)) == character.isalpha()
        assert (kind == c.DIGIT) == character.isdigit()
