"""The compiled pass over a document's bytes that measures its features.

One character after another, in one loop: its class (characters.py), whether a word, a sentence or a line ends here, and counts.
The scratch space is fixed, whatever a document's length, and marked with the document, so nothing of one reaches the next.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from samplemix_core.quality.characters import (
    CLOSER,
    CONTROL,
    DIGIT,
    FNV_OFFSET,
    FNV_PRIME,
    HASH_SHIFT,
    IDEOGRAPH,
    LETTER,
    LOWER,
    N_SLOTS,
    NEWLINE,
    PUNCTUATION,
    SPACE,
    STOP,
    SYMBOL,
    UNSPACED,
    UPPER,
    WIDE_STOP,
    wide_class,
)

GRAM_WORDS = 5
BLOCK_WORDS = 128
SHORT_LINE_WORDS = 5

_GRAM_SLOTS = 1 << 15
_LINE_SLOTS = 1 << 12
_BLOCK_SLOTS = 1 << 9
_MAX_PROBES = 16
_UNSPACED_WORD = tuple({IDEOGRAPH: 2, UNSPACED: 4}.get(kind, 0) for kind in range(UNSPACED + 1))
_ODD = tuple(np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93))


@njit(nogil=True)  # type: ignore[untyped-decorator]
def _seen(table: npt.NDArray[np.uint64], value: np.uint64, owner: np.uint64) -> bool:  # pragma: no cover
    """Whether `owner` put this value before; if not, it has now. Where the table is full nearby, an older value is forgotten."""
    mask = np.uint64(table.shape[0] - 1)
    slot = (value ^ (value >> HASH_SHIFT)) & mask
    probes = 0
    while table[slot, 1] == owner and table[slot, 0] != value and probes < _MAX_PROBES:
        slot = (slot + np.uint64(1)) & mask
        probes += 1
    seen = (table[slot, 1] == owner) & (table[slot, 0] == value)
    table[slot, 0] = value
    table[slot, 1] = owner
    return seen  # type: ignore[no-any-return]


@njit(nogil=True)  # type: ignore[untyped-decorator]
def _is_ascii_letter(byte: int) -> bool:  # pragma: no cover
    return 97 <= byte | 32 <= 122


@njit(nogil=True)
def scan(data, offsets, connectives, ascii_class, is_code_mark, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill `out`, float64 (n, len(FEATURES)), from texts data[offsets[i] : offsets[i + 1]] of valid UTF-8.

    `connectives` is connectives.connective_table(), the other tables are those of characters.py. Compiled at the first call: two to
    three seconds a process. Not cached on disk, where read-only site-packages and processes starting together make that fragile.
    """
    seen_grams = np.zeros((_GRAM_SLOTS, 2), dtype=np.uint64)
    seen_lines = np.zeros((_LINE_SLOTS, 2), dtype=np.uint64)
    seen_words = np.zeros((_BLOCK_SLOTS, 2), dtype=np.uint64)
    kinds = np.zeros(14, dtype=np.int64)
    w0 = w1 = w2 = w3 = w4 = np.uint64(0)
    block = np.uint64(0)
    code: Any
    kind: Any

    for doc in range(offsets.size - 1):
        i = offsets[doc]
        end = offsets[doc + 1]
        owner = np.uint64(doc + 1)
        kinds[:] = 0
        code_marks = longest_run = run = 0
        words = word_characters = short_words = long_words = capitals = shouted = numbers = linking = unspaced = 0
        distinct = grams = repeated = block_words = 0
        lines = short_lines = finished_lines = duplicate_lines = indented_lines = 0
        sentences = exclamations = links = tags = 0
        length = uppers = 0
        first = 0
        value = FNV_OFFSET
        line_value = FNV_OFFSET
        line_words = 0
        line_characters = blanks = 0
        indented = finished = pending = cited = False
        previous = 0
        block += np.uint64(1)

        while i <= end:
            # One character; a virtual newline ends the document.
            begin = i
            if i == end:
                code = 10
                kind = NEWLINE
                i += 1
            else:
                code = np.int64(data[i])
                if code < 0x80:
                    kind = np.int64(ascii_class[code])
                    i += 1
                else:
                    if code < 0xE0:
                        code = (code & 0x1F) << 6 | (np.int64(data[i + 1]) & 0x3F)
                        i += 2
                    elif code < 0xF0:
                        code = (code & 0x0F) << 12 | (np.int64(data[i + 1]) & 0x3F) << 6 | (np.int64(data[i + 2]) & 0x3F)
                        i += 3
                    else:
                        code = (
                            (code & 0x07) << 18
                            | (np.int64(data[i + 1]) & 0x3F) << 12
                            | (np.int64(data[i + 2]) & 0x3F) << 6
                            | (np.int64(data[i + 3]) & 0x3F)
                        )
                        i += 4
                    kind = wide_class(code)
            kinds[kind] += 1
            in_word = LOWER <= kind <= UNSPACED

            # A word ends before this character.
            length_before = length
            unspaced_boundary = (kind >= IDEOGRAPH or first >= IDEOGRAPH) and (kind != first or length == _UNSPACED_WORD[first])
            if length and (not in_word or unspaced_boundary):
                words += 1
                word_characters += length
                line_words += 1
                # Sums of truth values rather than branches, which no processor can predict here.
                short_words += (first < IDEOGRAPH) & (length <= 3)
                long_words += length >= 8
                unspaced += first >= IDEOGRAPH
                capitals += first == UPPER
                shouted += (uppers == length) & (length >= 3)
                numbers += first == DIGIT
                slot = (value ^ (value >> HASH_SHIFT)) & np.uint64(N_SLOTS - 1)
                while connectives[slot]:
                    if connectives[slot] == value:
                        linking += 1
                        break
                    slot = (slot + np.uint64(1)) & np.uint64(N_SLOTS - 1)
                distinct += not _seen(seen_words, value, block)
                block_words += 1
                if block_words == BLOCK_WORDS:
                    block_words = 0
                    block += np.uint64(1)
                w0, w1, w2, w3, w4 = w1, w2, w3, w4, value
                if words >= GRAM_WORDS:
                    grams += 1
                    repeated += _seen(seen_grams, w0 * _ODD[0] + w1 * _ODD[1] + w2 * _ODD[2] + w3 * _ODD[3] + w4, owner)
                line_value = (line_value ^ value) * FNV_PRIME
                line_value ^= line_value >> HASH_SHIFT
                length = 0

            if in_word:
                if length == 0:
                    value = FNV_OFFSET
                    uppers = 0
                    first = kind
                length += 1
                line_characters += 1
                is_number = kind == DIGIT
                run = run + 1 if code == previous else 1
                longest_run = max(longest_run, run)
                if code >= 0x80:
                    uppers += kind == UPPER
                    for j in range(begin, i):
                        value = (value ^ np.uint64(data[j])) * FNV_PRIME
                else:
                    # The rest of an ASCII word in a loop of its own: most bytes of most documents.
                    capital = kind == UPPER
                    value = (value ^ np.uint64(code | capital << 5)) * FNV_PRIME
                    uppers += capital
                    extra_uppers = extra_digits = 0
                    inner = i
                    while inner < end:
                        byte = np.int64(data[inner])
                        if byte >= 0x80:
                            break
                        kind = np.int64(ascii_class[byte])
                        if kind < LOWER or kind > DIGIT:
                            break
                        capital = kind == UPPER
                        extra_uppers += capital
                        extra_digits += kind == DIGIT
                        value = (value ^ np.uint64(byte | capital << 5)) * FNV_PRIME
                        run = run + 1 if byte == code else 1
                        longest_run = max(longest_run, run)
                        code = byte
                        inner += 1
                    is_number = is_number and extra_digits == inner - i
                    length += inner - i
                    line_characters += inner - i
                    uppers += extra_uppers
                    kinds[UPPER] += extra_uppers
                    kinds[DIGIT] += extra_digits
                    kinds[LOWER] += inner - i - extra_uppers - extra_digits
                    i = inner
                # A citation may stand between a sentence's mark and its end: '.[12]'.
                cited = cited and is_number
                finished = finished and cited
                pending = pending and cited
            elif kind in (SPACE, NEWLINE):
                if pending:
                    sentences += 1
                    pending = False
                run = 0
                if kind == SPACE:
                    if line_characters == 0:
                        blanks += 1
                        if code == 9 or blanks == 2:
                            indented = True
                else:
                    if line_characters:
                        lines += 1
                        if line_words <= SHORT_LINE_WORDS:
                            short_lines += 1
                        if finished:
                            finished_lines += 1
                        if indented:
                            indented_lines += 1
                        if line_words and _seen(seen_lines, line_value, owner):
                            duplicate_lines += 1
                    line_value = FNV_OFFSET
                    line_words = 0
                    line_characters = blanks = 0
                    indented = finished = cited = False
            else:
                line_characters += 1
                run = run + 1 if code == previous else 1
                longest_run = max(longest_run, run)
                if kind == STOP:
                    pending = pending or not finished
                    finished = True
                    cited = False
                    if code == 33:
                        exclamations += 1
                elif kind == WIDE_STOP:
                    sentences += pending or not finished
                    finished = True
                    pending = cited = False
                    if code == 0xFF01:
                        exclamations += 1
                elif finished and code == 91:
                    cited = True
                elif kind != CLOSER:
                    finished = pending = cited = False
                if code < 0x80 and is_code_mark[code]:
                    code_marks += 1
                    if code == 60:
                        opens_tag = i < end and (
                            data[i] == 47 or (length_before == 0 and (data[i] == 33 or _is_ascii_letter(data[i])))
                        )
                        tags += opens_tag
                    elif code == 64:
                        links += i < end and length_before > 0 and _is_ascii_letter(data[i])
                    elif code == 47:
                        links += i - offsets[doc] >= 3 and data[i - 2] == 47 and data[i - 3] == 58
                elif code == 46 and i - offsets[doc] >= 4 and previous == 119 and data[i - 3] == 119 and data[i - 4] == 119:
                    links += 1
            previous = code

        kinds[NEWLINE] -= 1
        letters = kinds[LOWER] + kinds[UPPER] + kinds[LETTER] + kinds[IDEOGRAPH] + kinds[UNSPACED]
        characters = kinds.sum()
        solid = max(1, characters - kinds[SPACE] - kinds[NEWLINE])
        each_word = max(1, words)
        each_line = max(1, lines)
        row = out[doc]
        row[0] = characters
        row[1] = words
        row[2] = word_characters / each_word
        row[3] = letters / solid
        row[4] = kinds[DIGIT] / solid
        row[5] = (kinds[SYMBOL] + kinds[CONTROL]) / solid
        row[6] = (kinds[PUNCTUATION] + kinds[CLOSER]) / solid
        row[7] = code_marks / solid
        row[8] = longest_run / solid
        row[9] = kinds[UPPER] / max(1, letters)
        row[10] = unspaced / each_word
        row[11] = short_words / each_word
        row[12] = long_words / each_word
        row[13] = capitals / each_word
        row[14] = shouted / each_word
        row[15] = numbers / each_word
        row[16] = linking / each_word
        row[17] = distinct / each_word
        row[18] = repeated / max(1, grams)
        row[19] = lines
        row[20] = words / each_line
        row[21] = short_lines / each_line
        row[22] = finished_lines / each_line
        row[23] = duplicate_lines / each_line
        row[24] = indented_lines / each_line
        row[25] = sentences
        row[26] = words / max(1, sentences)
        row[27] = exclamations / each_word
        row[28] = links / each_word
        row[29] = tags / each_word
