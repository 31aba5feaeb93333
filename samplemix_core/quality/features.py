"""Measurable features of documents: one compiled pass (scan.py) over the UTF-8 bytes of an Arrow array.

No Python string is made, and a document's features depend on its text alone, not on its batch.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.quality.characters import ASCII_CLASS, IS_CODE_MARK, connective_table
from samplemix_core.quality.scan import scan

Floats = npt.NDArray[np.float64]


class Features(NamedTuple):
    """The features, in the order of the columns of `measure`. Shares are in [0, 1]; a share of nothing is 0.

    A word is a run of letters and digits; Han and kana count two characters to a word, Thai, Lao, Khmer and Burmese four. A
    line is what stands between newlines and holds a character that is not white space.
    """

    characters: float
    words: float
    word_length: float  # mean characters a word; small in scripts of ideographs
    letter_share: float  # of the characters that are not white space, as are the next five
    digit_share: float
    symbol_share: float  # neither letter, digit, sentence or clause mark nor bracket; control and private characters too
    clause_mark_share: float  # comma, colon, semicolon, dash, quotes, round brackets
    code_mark_share: float  # CODE_MARKS: brackets, operators, markup
    longest_run_share: float  # the longest run of one character that is not white space
    upper_share: float  # of the letters; 0 in scripts without case
    unspaced_word_share: float  # of scripts without spaces, of the words; the next four features say nothing of those
    short_word_share: float  # 1 to 3 characters, of the words: mostly function words
    long_word_share: float  # 8 and more characters, of the words
    capital_word_share: float  # beginning with a capital, of the words
    shouted_word_share: float  # 3 and more characters, all of them capitals, of the words
    number_share: float  # beginning with a digit, of the words
    connective_share: float  # of the words; CONNECTIVES of some European languages, 0 in others
    distinct_word_share: float  # of the words, mean over blocks of 128 words
    repeated_gram_share: float  # of the runs of 5 words; looks back over about the last 30,000
    lines: float
    line_words: float  # mean words a line
    short_line_share: float  # at most 5 words, of the lines
    finished_line_share: float  # ending with a sentence mark, of the lines
    duplicate_line_share: float  # equal in words to a line before, of the lines
    indented_line_share: float  # beginning with a tab or two spaces, of the lines
    sentences: float
    sentence_words: float  # mean words a sentence; all words if no sentence ends
    exclamations: float  # '!' for each word
    links: float  # '://', 'www.' and '@' between words, for each word
    tags: float  # '</', or '<' before a letter or '!' and not right after a word (as in vector<int>), for each word


FEATURES = Features._fields

_CONNECTIVE_TABLE = connective_table()


def measure(texts: pa.LargeStringArray | pa.StringArray | pa.ChunkedArray) -> Floats:
    """Features of each text, float64 (n, len(FEATURES)), all finite. Raises ValueError if a text is null."""
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    out = np.empty((len(texts), len(FEATURES)), dtype=np.float64)
    start = 0
    for chunk in chunks:
        if chunk.null_count:
            raise ValueError(f"{chunk.null_count} of {len(chunk)} texts are null; a document without text belongs in quarantine")
        _, offset_buffer, data_buffer = chunk.cast(pa.large_string()).buffers()
        offsets = np.frombuffer(offset_buffer, dtype=np.int64, count=len(chunk) + 1, offset=8 * chunk.offset)
        data = np.frombuffer(b"" if data_buffer is None else data_buffer, dtype=np.uint8)
        scan(data, offsets, _CONNECTIVE_TABLE, ASCII_CLASS, IS_CODE_MARK, out[start : start + len(chunk)])
        start += len(chunk)
    return out
