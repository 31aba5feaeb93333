"""Words that link clauses into an argument, and how the compiled pass finds them: by hash, in a table.

Of English, German, French, Spanish, Italian, Dutch, the Scandinavian languages, Portuguese, Polish, Turkish and Russian; a document
in another language has none.
"""

import numpy as np
import numpy.typing as npt

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
    """64-bit FNV-1a of a word's UTF-8 bytes, ASCII capitals folded: what the compiled pass knows a word by."""
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
