"""What the compiled pass knows about characters and words: classes of characters, and connectives by hash.

A table for ASCII, ranges for the rest: what a quality feature needs to know, not a full Unicode database. Where a range is coarse,
an unlisted character counts as a letter. Connectives are of English, German, French, Spanish, Italian, Dutch, the Scandinavian
languages, Portuguese, Polish, Turkish and Russian; a document in another language has none. Compiled functions are typed by numba
and not by mypy.
"""

import numpy as np
import numpy.typing as npt

from samplemix_core.compiled import compiled

CONTROL, SPACE, NEWLINE, LOWER, UPPER, DIGIT, LETTER, IDEOGRAPH, UNSPACED, STOP, WIDE_STOP, CLOSER, PUNCTUATION, SYMBOL = range(14)
"""LETTER: a letter whose case is unknown or does not exist. IDEOGRAPH: Han and kana; UNSPACED: Thai, Lao, Khmer, Burmese: two kinds
of script without spaces. STOP ends a sentence if white space follows, WIDE_STOP wherever it stands. CLOSER may follow a stop."""

CODE_MARKS = b"{}[]()<>;=+*/\\|&^~`$#@%_"


def _ascii_table() -> np.ndarray:
    table = np.full(128, CONTROL, dtype=np.uint8)
    classes = {
        b" \t\r\f\v": SPACE,
        b"\n": NEWLINE,
        bytes(range(ord("a"), ord("z") + 1)): LOWER,
        bytes(range(ord("A"), ord("Z") + 1)): UPPER,
        b"0123456789": DIGIT,
        b".!?": STOP,
        b"\"')]}": CLOSER,
        b",:;(-": PUNCTUATION,
        b"{[<>=+*/\\|&^~`$#@%_": SYMBOL,
    }
    for characters, kind in classes.items():
        table[list(characters)] = kind
    return table


ASCII_CLASS = _ascii_table()
IS_CODE_MARK = np.isin(np.arange(128), list(CODE_MARKS))


@compiled
def wide_class(code: int) -> int:  # pragma: no cover - compiled
    """Class of a code point outside ASCII."""
    if code < 0xC0:
        if code < 0xA0:
            return CONTROL
        if code in (0xA0, 0xAD):
            return SPACE
        if code == 0xBB:
            return CLOSER
        return LETTER if code in (0xAA, 0xB5, 0xBA) else PUNCTUATION if code in (0xA1, 0xAB, 0xB7, 0xBF) else SYMBOL
    if code < 0x0600:
        if code <= 0xDE or 0x0391 <= code <= 0x03AB or 0x0400 <= code <= 0x042F:
            return SYMBOL if code == 0xD7 else UPPER
        return SYMBOL if code == 0xF7 else WIDE_STOP if code == 0x0589 else LETTER
    if code < 0x2000:
        if 0x0E00 <= code <= 0x0EFF or 0x1000 <= code <= 0x109F or 0x1780 <= code <= 0x17FF:
            return UNSPACED
        if code in (0x061F, 0x06D4, 0x0964, 0x0965, 0x1362):
            return WIDE_STOP
        if 0x0660 <= code <= 0x0669 or 0x06F0 <= code <= 0x06F9 or 0x0966 <= code <= 0x096F:
            return DIGIT
        return PUNCTUATION if code in (0x060C, 0x061B) else LETTER
    if code < 0x2C00:
        if code <= 0x200F or code in (0x2028, 0x2029, 0x202F, 0x205F, 0x2060):
            return SPACE
        if code in (0x2019, 0x201D):
            return CLOSER
        return STOP if code == 0x2026 else PUNCTUATION if code <= 0x206F else SYMBOL
    if code < 0x3040:
        if 0x2E80 <= code < 0x3000 or 0x3005 <= code <= 0x3007:
            return IDEOGRAPH
        if code < 0x2E80:
            return LETTER if code < 0x2E00 else PUNCTUATION
        if code == 0x3000:
            return SPACE
        return WIDE_STOP if code == 0x3002 else CLOSER if code in (0x300D, 0x300F) else PUNCTUATION
    if code < 0xA000:
        return IDEOGRAPH
    if code < 0xFF00:
        if 0xE000 <= code <= 0xF8FF:
            return SYMBOL
        return IDEOGRAPH if 0xF900 <= code <= 0xFAFF else SYMBOL if 0xFE00 <= code <= 0xFE0F else LETTER
    if code < 0x10000:
        if code in (0xFF01, 0xFF0E, 0xFF1F, 0xFF61):
            return WIDE_STOP
        if 0xFF10 <= code <= 0xFF19:
            return DIGIT
        if 0xFF21 <= code <= 0xFF3A:
            return UPPER
        if 0xFF41 <= code <= 0xFF5A:
            return LETTER
        return IDEOGRAPH if 0xFF66 <= code <= 0xFF9D else PUNCTUATION if code < 0xFFE0 else SYMBOL
    if code < 0x1F000:
        return LETTER
    return SYMBOL if code < 0x20000 else IDEOGRAPH if code < 0x40000 else SYMBOL


_WORDS = """
because therefore however although since thus hence whereas unless whether moreover furthermore consequently nevertheless
instead while though if then suppose given implies
weil deshalb jedoch obwohl daher wenn dass während
parce donc cependant car quoique lorsque puisque
porque aunque entonces embargo pues mientras
perché quindi tuttavia sebbene mentre
omdat daarom echter hoewel
därför eftersom dock fordi derfor derimod
portanto embora contudo enquanto
ponieważ jednak dlatego choć
çünkü ancak
потому поэтому однако хотя если
"""
CONNECTIVES = tuple(_WORDS.split())

FNV_OFFSET = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)
HASH_SHIFT = np.uint64(29)
N_SLOTS = 1 << 10


def word_hash(word: str) -> int:
    """Return the 64-bit FNV-1a hash of a word's UTF-8 bytes, ASCII capitals folded, by which the compiled pass knows a word."""
    value = int(FNV_OFFSET)
    for byte in word.encode().lower():
        value = ((value ^ byte) * int(FNV_PRIME)) % 2**64
    return value


def connective_table() -> npt.NDArray[np.uint64]:
    """Hashes of the connectives by open addressing from slot (hash ^ hash >> HASH_SHIFT) % N_SLOTS; 0 is an empty slot."""
    table = np.zeros(N_SLOTS, dtype=np.uint64)
    for word in CONNECTIVES:
        value = word_hash(word)
        slot = (value ^ (value >> int(HASH_SHIFT))) % N_SLOTS
        while table[slot]:
            slot = (slot + 1) % N_SLOTS
        table[slot] = value
    return table


_TABLE = connective_table()


@compiled
def is_connective(value):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Whether a word's hash is that of a connective."""
    slot = (value ^ (value >> HASH_SHIFT)) & np.uint64(N_SLOTS - 1)
    while _TABLE[slot]:
        if _TABLE[slot] == value:
            return True
        slot = (slot + np.uint64(1)) & np.uint64(N_SLOTS - 1)
    return False


@compiled
def wide_character(first, second, third, fourth):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Code point of a character outside ASCII, from its first byte and the three that follow, and how many bytes it has."""
    if first < 0xE0:
        return (first & 0x1F) << 6 | (np.int64(second) & 0x3F), 2
    if first < 0xF0:
        return (first & 0x0F) << 12 | (np.int64(second) & 0x3F) << 6 | (np.int64(third) & 0x3F), 3
    code = (first & 0x07) << 18 | (np.int64(second) & 0x3F) << 12 | (np.int64(third) & 0x3F) << 6 | (np.int64(fourth) & 0x3F)
    return code, 4


@compiled
def is_ascii_letter(byte):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Whether a byte is one of A-Z and a-z."""
    return 97 <= byte | 32 <= 122


_UNSPACED_WORD = tuple({IDEOGRAPH: 2, UNSPACED: 4}.get(kind, 0) for kind in range(UNSPACED + 1))
_MAX_PROBES = 16


@compiled
def unspaced_word_ends(kind, first, length):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Whether a word ends before a character of this class, where either is of a script without spaces."""
    return (kind >= IDEOGRAPH or first >= IDEOGRAPH) and (kind != first or length == _UNSPACED_WORD[first])


@compiled
def seen_before(table, value, owner):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Whether `owner` put this value before; if not, it is put now. If the table is full nearby, an older value is forgotten."""
    mask = np.uint64(table.shape[0] // 2 - 1)
    slot = (value ^ (value >> HASH_SHIFT)) & mask
    probes = 0
    while table[2 * slot + 1] == owner and table[2 * slot] != value and probes < _MAX_PROBES:
        slot = (slot + np.uint64(1)) & mask
        probes += 1
    seen = (table[2 * slot + 1] == owner) & (table[2 * slot] == value)
    table[2 * slot] = value
    table[2 * slot + 1] = owner
    return seen
