"""The compiled pass measures what a plain Python reading of the definitions measures."""

import math
import re

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from samplemix_core.quality import characters as c
from samplemix_core.quality.characters import CONNECTIVES
from samplemix_core.quality.composite import FEATURES, measure

FOLD = {upper: upper + 32 for upper in range(65, 91)}


def kind_of(character: str) -> int:
    code = ord(character)
    return int(c.ASCII_CLASS[code]) if code < 128 else int(c.wide_class.py_func(code))


def split_words(text: str) -> list[str]:
    """Runs of letters and digits; 2 ideographs or 4 characters of another unspaced script make a word."""
    words: list[str] = []
    open_kind = None
    for character in text:
        kind = kind_of(character)
        if not c.LOWER <= kind <= c.UNSPACED:
            open_kind = None
            continue
        script = kind if kind in (c.IDEOGRAPH, c.UNSPACED) else c.LETTER
        full = {c.IDEOGRAPH: 2, c.UNSPACED: 4}.get(script, math.inf)
        if script != open_kind or len(words[-1]) == full:
            words.append("")
        words[-1] += character
        open_kind = script
    return words


def read_sentences(line: str) -> tuple[int, bool]:
    """Sentences that end in a line, and whether the line's last one has ended."""
    sentences = 0
    ended = waiting = cited = False
    for match in re.finditer(r"\d+|.", "".join(_symbol(ch) for ch in line) + " ", re.DOTALL):
        symbol = match[0][0]
        if symbol == " ":
            sentences += waiting
            waiting = False
        elif symbol == "S":
            waiting = waiting or not ended
            ended, cited = True, False
        elif symbol == "W":
            sentences += waiting or not ended
            ended, waiting, cited = True, False, False
        elif symbol == "[" and ended:
            cited = True
        elif symbol == "C" or (symbol == "0" and cited):
            pass
        else:
            ended = waiting = cited = False
    return sentences, ended


def _symbol(character: str) -> str:
    kind = kind_of(character)
    names = {c.SPACE: " ", c.STOP: "S", c.WIDE_STOP: "W", c.CLOSER: "C", c.DIGIT: "0"}
    return "[" if character == "[" else names.get(kind, "x")


def reference(text: str) -> dict[str, float]:
    kinds = [kind_of(ch) for ch in text]
    counts = [kinds.count(kind) for kind in range(14)]
    solid = max(1, len(text) - counts[c.SPACE] - counts[c.NEWLINE])
    letters = sum(counts[k] for k in (c.LOWER, c.UPPER, c.LETTER, c.IDEOGRAPH, c.UNSPACED))
    words = split_words(text)
    n = max(1, len(words))
    folded = [word.translate(FOLD) for word in words]
    unspaced = [kind_of(word[0]) in (c.IDEOGRAPH, c.UNSPACED) for word in words]
    distinct = sum(len(set(folded[i : i + 128])) for i in range(0, len(folded), 128))
    grams = [tuple(folded[i : i + 5]) for i in range(len(folded) - 4)]
    runs = [len(m[0]) for m in re.finditer(r"(.)\1*", text, re.DOTALL) if kind_of(m[1]) not in (c.SPACE, c.NEWLINE)]

    lines = [line for line in text.split("\n") if any(kind_of(ch) != c.SPACE for ch in line)]
    n_lines = max(1, len(lines))
    line_words = [tuple(word.translate(FOLD) for word in split_words(line)) for line in lines]
    spoken = [w for w in line_words if w]
    read = [read_sentences(line) for line in lines]
    sentences = sum(count for count, _ in read)
    indents = [line[: next(i for i, ch in enumerate(line) if kind_of(ch) != c.SPACE)] for line in lines]
    return {
        "characters": len(text),
        "words": len(words),
        "word_length": sum(map(len, words)) / n,
        "letter_share": letters / solid,
        "digit_share": counts[c.DIGIT] / solid,
        "symbol_share": (counts[c.SYMBOL] + counts[c.CONTROL]) / solid,
        "clause_mark_share": (counts[c.PUNCTUATION] + counts[c.CLOSER]) / solid,
        "code_mark_share": sum(text.count(chr(mark)) for mark in c.CODE_MARKS) / solid,
        "longest_run_share": max(runs, default=0) / solid,
        "upper_share": counts[c.UPPER] / max(1, letters),
        "unspaced_word_share": sum(unspaced) / n,
        "short_word_share": sum(len(w) <= 3 and not u for w, u in zip(words, unspaced, strict=True)) / n,
        "long_word_share": sum(len(w) >= 8 for w in words) / n,
        "capital_word_share": sum(kind_of(w[0]) == c.UPPER for w in words) / n,
        "shouted_word_share": sum(len(w) >= 3 and all(kind_of(ch) == c.UPPER for ch in w) for w in words) / n,
        "number_share": sum(kind_of(w[0]) == c.DIGIT for w in words) / n,
        "connective_share": sum(w in CONNECTIVES for w in folded) / n,
        "distinct_word_share": distinct / n,
        "repeated_gram_share": (len(grams) - len(set(grams))) / max(1, len(grams)),
        "lines": len(lines),
        "line_words": len(words) / n_lines,
        "short_line_share": sum(len(w) <= 5 for w in line_words) / n_lines,
        "finished_line_share": sum(ended for _, ended in read) / n_lines,
        "duplicate_line_share": (len(spoken) - len(set(spoken))) / n_lines,
        "indented_line_share": sum("\t" in lead or len(lead) >= 2 for lead in indents) / n_lines,
        "sentences": sentences,
        "sentence_words": len(words) / max(1, sentences),
        "exclamations": (text.count("!") + text.count("\uff01")) / n,
        "links": (text.count("://") + text.count("www.") + count_mentions(text)) / n,
        "tags": count_tags(text) / n,
    }


def count_mentions(text: str) -> int:
    return sum(kind_of(m[1]) in range(c.LOWER, c.UNSPACED + 1) for m in re.finditer(r"(.)(?=@[A-Za-z])", text, re.DOTALL))


def count_tags(text: str) -> int:
    opened = [text[m.start() - 1] if m.start() else " " for m in re.finditer(r"<[!A-Za-z]", text)]
    return text.count("</") + sum(not c.LOWER <= kind_of(before) <= c.UNSPACED for before in opened)


TOKENS = """
the The THE a because weil однако x 7 42 1st naïve Ärger ÉTÉ résumé_s 中文文字處理 日本語 ไทยภาษา ไ한국어 हिन्दी। עברית هل؟ ۴۲
\uff11\uff12 \uff21\uff22 . ! ? .) ." .[1] .[1a] .[12 .[ 。 。」 \uff01 … ... .。 。. , ; : ( ) [ ] { } <b> </b> <!-- v<int>
a@b.c a@中 @x http://x.y www.z.a wwww. :// ---- **** aaaa \\ # $x % € © 😀 \ue000
"""
_tokens = st.sampled_from([*TOKENS.split(), "\u00a0", "\u3000", "\x00", "\x07", "\x7f", "\r", "\t"])
_layout = st.sampled_from([" ", "", "\n", "\n\n", "\r\n", "  ", "\t", "\n  ", "\n\t", " \n"])
_prose = st.lists(st.tuples(_tokens, _layout).map("".join), max_size=60).map("".join)
_texts = st.one_of(_prose, st.text(max_size=80), st.text(alphabet=st.characters(max_codepoint=0x250), max_size=80))


@settings(deadline=None)
@given(st.lists(_texts, max_size=4))
def test_the_compiled_pass_agrees_with_the_definitions(texts: list[str]) -> None:
    measured = measure(pa.array(texts, pa.large_string()))
    assert measured.shape == (len(texts), len(FEATURES))
    for text, row in zip(texts, measured, strict=True):
        expected = reference(text)
        assert dict(zip(FEATURES, row.tolist(), strict=True)) == expected


@settings(deadline=None)
@given(st.lists(_texts, min_size=1, max_size=6), st.integers(0, 6), st.integers(0, 6))
def test_a_text_is_measured_alike_in_any_batch(texts: list[str], start: int, length: int) -> None:
    alone = np.concatenate([measure(pa.array([text], pa.large_string())) for text in texts])
    array = pa.array(texts, pa.large_string())
    np.testing.assert_array_equal(measure(array), alone)
    np.testing.assert_array_equal(measure(array.slice(start, length)), alone[start : start + length])
    np.testing.assert_array_equal(measure(pa.chunked_array([array.slice(0, start), array.slice(start)])), alone)
