"""The compiled pass over a document's bytes that makes the counts its features are computed from.

It takes one character after another: its class (characters.py), whether a word, a sentence or a line ends here, and counts. The
scratch space is fixed, whatever a document's length, and marked with the document, so nothing carries over to the next.

COUNTS is what is counted in a document, STATE where the pass is in it: records that helpers, typed by numba, write into.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from samplemix_core.compiled import compiled
from samplemix_core.quality.characters import (
    ASCII_CLASS,
    CLOSER,
    DIGIT,
    FNV_OFFSET,
    FNV_PRIME,
    HASH_SHIFT,
    IDEOGRAPH,
    IS_CODE_MARK,
    LOWER,
    NEWLINE,
    SPACE,
    STOP,
    UNSPACED,
    UPPER,
    WIDE_STOP,
    is_ascii_letter,
    is_connective,
    seen_before,
    unspaced_word_ends,
    wide_character,
    wide_class,
)

GRAM_WORDS = 5
BLOCK_WORDS = 128
SHORT_LINE_WORDS = 5

COUNTS = np.dtype(
    [("kinds", np.int64, 14)]
    + [
        (name, np.int64)
        for name in (
            *("words", "word_characters", "short_words", "long_words", "capitals", "shouted", "numbers", "linking", "unspaced"),
            *("distinct", "grams", "repeated"),
            *("lines", "short_lines", "finished_lines", "duplicate_lines", "indented_lines"),
            *("sentences", "exclamations", "links", "tags", "code_marks", "longest_run"),
        )
    ]
)

_GRAM_SLOTS = 1 << 15
_LINE_SLOTS = 1 << 12
_BLOCK_SLOTS = 1 << 9

STATE = np.dtype(
    [
        # The word so far: characters, capitals, class of its first, hash of its bytes; and the four words before it.
        *[("length", np.int64), ("uppers", np.int64), ("first", np.int64), ("value", np.uint64)],
        *[(f"word{i}", np.uint64) for i in range(1, GRAM_WORDS)],
        # The block of words within which distinct ones are counted.
        *[("block", np.uint64), ("block_words", np.int64)],
        # The line so far.
        *[("line_value", np.uint64), ("line_words", np.int64), ("line_characters", np.int64), ("blanks", np.int64)],
        # Whether it is indented, ends with a sentence mark, has a sentence to be counted, and has a citation open.
        *[("indented", np.int64), ("finished", np.int64), ("pending", np.int64), ("cited", np.int64)],
        *[("run", np.int64), ("previous", np.int64)],  # how often the previous character was repeated, and which it is
        # What was seen: value and owner, two words a slot.
        *[("grams", np.uint64, 2 * _GRAM_SLOTS), ("lines", np.uint64, 2 * _LINE_SLOTS), ("words", np.uint64, 2 * _BLOCK_SLOTS)],
    ]
)

_ODD = tuple(np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93))


def count(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Return counts (COUNTS, (n,)) of n texts data[offsets[i] : offsets[i + 1]] of valid UTF-8.

    Compiled at the first call, in three to four seconds, unless an earlier process has done so.
    """
    counts = np.zeros(offsets.size - 1, dtype=COUNTS)
    scan(data, offsets, np.zeros(1, dtype=STATE), counts)
    return counts


@compiled
def scan(data, offsets, states, counts):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill counts, one document after another; a virtual newline ends each.

    The helpers are given records and numbers, never arrays: numba counts references to those at every call, which took longer than
    the pass itself. So the code that reads the text is all here.
    """
    state = states[0]
    for doc in range(offsets.size - 1):
        start, end = offsets[doc], offsets[doc + 1]
        owner = np.uint64(doc + 1)
        found = counts[doc]
        _begin_document(state)
        i = start
        while i <= end:
            begin = i
            code, kind = np.int64(10), np.int64(NEWLINE)
            if i < end:
                code = np.int64(data[i])
                if code < 0x80:
                    kind = np.int64(ASCII_CLASS[code])
                else:
                    code, size = wide_character(code, data[i + 1], data[min(i + 2, end - 1)], data[min(i + 3, end - 1)])
                    kind = np.int64(wide_class(code))
                    i += size - 1
            i += 1
            found.kinds[kind] += 1
            in_word = LOWER <= kind <= UNSPACED
            length = state.length
            if length and (not in_word or unspaced_word_ends(kind, state.first, length)):
                _end_word(state, found, owner)
            if in_word:
                is_number = kind == DIGIT
                _take_letter(code, kind, state, found)
                value, run, longest = state.value, state.run, found.longest_run
                if code >= 0x80:
                    for j in range(begin, i):
                        value = (value ^ np.uint64(data[j])) * FNV_PRIME
                else:
                    value = (value ^ np.uint64(code | (kind == UPPER) << 5)) * FNV_PRIME
                    # The rest of an ASCII word in a loop of its own: most bytes of most documents.
                    inner = i
                    uppers = digits = 0
                    while inner < end:
                        byte = np.int64(data[inner])
                        kind = np.int64(ASCII_CLASS[byte & 0x7F])
                        if byte >= 0x80 or kind < LOWER or kind > DIGIT:
                            break
                        capital = kind == UPPER
                        uppers += capital
                        digits += kind == DIGIT
                        value = (value ^ np.uint64(byte | capital << 5)) * FNV_PRIME
                        run = run + 1 if byte == code else 1
                        longest = max(longest, run)
                        code = byte
                        inner += 1
                    is_number = is_number and digits == inner - i
                    _take_ascii(inner - i, uppers, digits, state, found)
                    i = inner
                state.value, state.run, found.longest_run = value, run, longest
                _after_letters(is_number, state)
            elif kind in (SPACE, NEWLINE):
                _take_white(code, kind, state, found, owner)
            else:
                _take_mark(code, kind, state, found)
                if code < 0x80:
                    following = np.int64(data[i]) if i < end else -1
                    before = i - start
                    back2 = np.int64(data[i - 2]) if before >= 3 else -1
                    back3 = np.int64(data[i - 3]) if before >= 3 else -1
                    back4 = np.int64(data[i - 4]) if before >= 4 else -1
                    _take_code_mark(code, length, following, back2, back3, back4, found)
            state.previous = code
        found.kinds[NEWLINE] -= 1


@compiled
def _begin_document(state):  # type: ignore[no-untyped-def]  # pragma: no cover
    state.length = state.uppers = state.first = 0
    state.value = state.line_value = FNV_OFFSET
    state.block += np.uint64(1)
    state.block_words = 0
    state.line_words = state.line_characters = state.blanks = 0
    state.indented = state.finished = state.pending = state.cited = 0
    state.run = state.previous = 0


@compiled
def _end_word(state, found, owner):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Count the word that ends before this character."""
    length, first, value = state.length, state.first, state.value
    found.words += 1
    found.word_characters += length
    state.line_words += 1
    # Sums of truth values rather than branches, which no processor can predict here.
    found.short_words += (first < IDEOGRAPH) & (length <= 3)
    found.long_words += length >= 8
    found.unspaced += first >= IDEOGRAPH
    found.capitals += first == UPPER
    found.shouted += (state.uppers == length) & (length >= 3)
    found.numbers += first == DIGIT
    found.linking += is_connective(value)
    found.distinct += not seen_before(state.words, value, state.block)
    state.block_words += 1
    if state.block_words == BLOCK_WORDS:
        state.block_words = 0
        state.block += np.uint64(1)
    if found.words >= GRAM_WORDS:
        found.grams += 1
        gram = state.word1 * _ODD[0] + state.word2 * _ODD[1] + state.word3 * _ODD[2] + state.word4 * _ODD[3] + value
        found.repeated += seen_before(state.grams, gram, owner)
    state.word1, state.word2, state.word3, state.word4 = state.word2, state.word3, state.word4, value
    line_value = (state.line_value ^ value) * FNV_PRIME
    state.line_value = line_value ^ (line_value >> HASH_SHIFT)
    state.length = 0


@compiled
def _take_letter(code, kind, state, found):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Take a letter or digit, except for its hash."""
    if state.length == 0:
        state.value = FNV_OFFSET
        state.uppers = 0
        state.first = kind
    state.length += 1
    state.line_characters += 1
    state.uppers += kind == UPPER
    state.run = state.run + 1 if code == state.previous else 1
    found.longest_run = max(found.longest_run, state.run)


@compiled
def _take_ascii(characters, uppers, digits, state, found):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Take ASCII letters and digits that continue a word, except for their hash."""
    state.length += characters
    state.line_characters += characters
    state.uppers += uppers
    found.kinds[UPPER] += uppers
    found.kinds[DIGIT] += digits
    found.kinds[LOWER] += characters - uppers - digits


@compiled
def _after_letters(is_number, state):  # type: ignore[no-untyped-def]  # pragma: no cover
    """A citation may stand between a sentence's mark and its end: '.[12]'."""
    state.cited = state.cited and is_number
    state.finished = state.finished and state.cited
    state.pending = state.pending and state.cited


@compiled
def _take_white(code, kind, state, found, owner):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Take a space, or the newline that ends a line."""
    if state.pending:
        found.sentences += 1
        state.pending = 0
    state.run = 0
    if kind == SPACE:
        if state.line_characters == 0:
            state.blanks += 1
            if code == 9 or state.blanks == 2:
                state.indented = 1
        return
    if state.line_characters:
        found.lines += 1
        found.short_lines += state.line_words <= SHORT_LINE_WORDS
        found.finished_lines += state.finished
        found.indented_lines += state.indented
        if state.line_words and seen_before(state.lines, state.line_value, owner):
            found.duplicate_lines += 1
    state.line_value = FNV_OFFSET
    state.line_words = state.line_characters = state.blanks = 0
    state.indented = state.finished = state.cited = 0


@compiled
def _take_mark(code, kind, state, found):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Take a mark: one that ends a sentence, one that may follow its end, or another."""
    state.line_characters += 1
    state.run = state.run + 1 if code == state.previous else 1
    found.longest_run = max(found.longest_run, state.run)
    if kind == STOP:
        state.pending = state.pending or not state.finished
        state.finished = 1
        state.cited = 0
        found.exclamations += code == 33
    elif kind == WIDE_STOP:
        found.sentences += state.pending or not state.finished
        state.finished = 1
        state.pending = state.cited = 0
        found.exclamations += code == 0xFF01
    elif state.finished and code == 91:
        state.cited = 1
    elif kind != CLOSER:
        state.finished = state.pending = state.cited = 0


@compiled
def _take_code_mark(code, length, following, back2, back3, back4, found):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Count marks of code, tags and links; `length` is that of the word right before, bytes around are -1 where there are none."""
    if IS_CODE_MARK[code]:
        found.code_marks += 1
        if code == 60:
            found.tags += following == 47 or (length == 0 and (following == 33 or is_ascii_letter(following)))
        elif code == 64:
            found.links += length > 0 and is_ascii_letter(following)
        elif code == 47:
            found.links += back2 == 47 and back3 == 58
    elif code == 46:
        found.links += back2 == 119 and back3 == 119 and back4 == 119
