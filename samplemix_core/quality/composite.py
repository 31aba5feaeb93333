"""A first quality score from measurable features: a documented heuristic, not the paper's evaluator.

The paper trains an encoder on an LLM's judgement of the seven dimensions (rubric.py). Nothing here understands a text: each
dimension is a weighted mean of ramps over the features that can hint at it, times the share left by damage that spoils them all
(both in criteria.py). So the score tells well-formed, substantial text from spam, boilerplate, word lists and debris, and knows
nothing of truth or depth. The ramps were set by reasoning, then checked on labelled and unlabelled text; they are not fitted to any
label.

Its biases: it prefers text of a few hundred words to fragments; scripts without spaces are judged by fewer criteria than others,
those that apply to them; connectives are known for a dozen European languages only. Source code, LaTeX and markup ("formal" text)
have criteria of their own, so that they are not judged as bad prose.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.quality.characters import (
    CLOSER,
    CONNECTIVES,
    CONTROL,
    DIGIT,
    IDEOGRAPH,
    LETTER,
    LOWER,
    NEWLINE,
    PUNCTUATION,
    SPACE,
    SYMBOL,
    UNSPACED,
    UPPER,
)
from samplemix_core.quality.criteria import CRITERIA, DAMAGE, FORMAL_RAMP, TAGGED_RAMP, Profile, Ramp
from samplemix_core.quality.rubric import DEFAULT_RUBRIC
from samplemix_core.quality.scan import BLOCK_WORDS, COUNTS, GRAM_WORDS, SHORT_LINE_WORDS, count

Floats = npt.NDArray[np.float64]


VERSION = 1
"""Increase when code here or in scan.py changes what a text scores: the model's fingerprint covers the constants, not the code."""


class Features(NamedTuple):
    """The features of n documents, each float64 (n,), in the order of the columns of `measure`.

    Shares are in [0, 1]; a share of nothing is 0.

    A word is a run of letters and digits; Han and kana count two characters to a word, Thai, Lao, Khmer and Burmese four. A line is
    the text between newlines, if it has a character that is not white space.
    """

    characters: Floats
    words: Floats
    word_length: Floats  # mean characters per word; small in scripts of ideographs
    letter_share: Floats  # of the characters that are not white space, as are the next five
    digit_share: Floats
    symbol_share: Floats  # neither letter, digit, sentence or clause mark nor bracket; control and private characters too
    clause_mark_share: Floats  # comma, colon, semicolon, dash, quotes, round brackets
    code_mark_share: Floats  # CODE_MARKS: brackets, operators, markup
    longest_run_share: Floats  # the longest run of one character that is not white space
    upper_share: Floats  # of the letters; 0 in scripts without case
    unspaced_word_share: Floats  # words of scripts without spaces; the next four features say nothing about those
    short_word_share: Floats  # words of 1 to 3 characters: mostly function words
    long_word_share: Floats  # words of 8 or more characters
    capital_word_share: Floats  # words beginning with a capital
    shouted_word_share: Floats  # words of 3 or more characters, all of them capitals
    number_share: Floats  # words beginning with a digit
    connective_share: Floats  # words in CONNECTIVES, of some European languages; 0 in others
    distinct_word_share: Floats  # distinct words, mean over blocks of 128 words
    repeated_gram_share: Floats  # runs of 5 words that occurred before; looks back over about the last 30,000
    lines: Floats
    line_words: Floats  # mean words per line
    short_line_share: Floats  # lines of at most 5 words
    finished_line_share: Floats  # lines ending with a sentence mark
    duplicate_line_share: Floats  # lines equal in words to an earlier one
    indented_line_share: Floats  # lines beginning with a tab or two spaces
    sentences: Floats
    sentence_words: Floats  # mean words per sentence; all words if no sentence ends
    exclamations: Floats  # '!' per word
    links: Floats  # '://', 'www.' and '@' between words, per word
    tags: Floats  # '</', or '<' before a letter or '!' and not right after a word (as in vector<int>), per word


FEATURES = Features._fields


def measure(texts: pa.LargeStringArray | pa.StringArray | pa.ChunkedArray) -> Floats:
    """Features of each text, float64 (n, len(FEATURES)), all finite. Raises ValueError if a text is null.

    One compiled pass over the UTF-8 bytes of the Arrow array: no Python string is made, and a document's features depend on its
    text alone, not on its batch.
    """
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    parts = [np.empty((0, len(FEATURES)))]
    for chunk in chunks:
        if chunk.null_count:
            raise ValueError(f"{chunk.null_count} of {len(chunk)} texts are null; a document without text belongs in quarantine")
        _, offset_buffer, data_buffer = chunk.cast(pa.large_string()).buffers()
        offsets = np.frombuffer(offset_buffer, dtype=np.int64, count=len(chunk) + 1, offset=8 * chunk.offset)
        data = np.frombuffer(b"" if data_buffer is None else data_buffer, dtype=np.uint8)
        parts.append(np.column_stack(features_of(count(data, offsets))))
    return np.concatenate(parts)


def features_of(counts: npt.NDArray[Any]) -> Features:
    """Compute features from scan.count's counts of n documents, COUNTS (n,)."""

    def share(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> Floats:
        return np.asarray(part / np.maximum(1, whole), dtype=np.float64)

    of = {name: counts[name] for name in COUNTS.names or ()}
    kinds, words, lines = of["kinds"], of["words"], of["lines"]
    characters = kinds.sum(axis=1)
    letters = kinds[:, [LOWER, UPPER, LETTER, IDEOGRAPH, UNSPACED]].sum(axis=1)
    solid = characters - kinds[:, SPACE] - kinds[:, NEWLINE]
    return Features(
        characters=characters.astype(np.float64),
        words=words.astype(np.float64),
        word_length=share(of["word_characters"], words),
        letter_share=share(letters, solid),
        digit_share=share(kinds[:, DIGIT], solid),
        symbol_share=share(kinds[:, SYMBOL] + kinds[:, CONTROL], solid),
        clause_mark_share=share(kinds[:, PUNCTUATION] + kinds[:, CLOSER], solid),
        code_mark_share=share(of["code_marks"], solid),
        longest_run_share=share(of["longest_run"], solid),
        upper_share=share(kinds[:, UPPER], letters),
        unspaced_word_share=share(of["unspaced"], words),
        short_word_share=share(of["short_words"], words),
        long_word_share=share(of["long_words"], words),
        capital_word_share=share(of["capitals"], words),
        shouted_word_share=share(of["shouted"], words),
        number_share=share(of["numbers"], words),
        connective_share=share(of["linking"], words),
        distinct_word_share=share(of["distinct"], words),
        repeated_gram_share=share(of["repeated"], of["grams"]),
        lines=lines.astype(np.float64),
        line_words=share(words, lines),
        short_line_share=share(of["short_lines"], lines),
        finished_line_share=share(of["finished_lines"], lines),
        duplicate_line_share=share(of["duplicate_lines"], lines),
        indented_line_share=share(of["indented_lines"], lines),
        sentences=of["sentences"].astype(np.float64),
        sentence_words=share(words, of["sentences"]),
        exclamations=share(of["exclamations"], words),
        links=share(of["links"], words),
        tags=share(of["tags"], words),
    )


@dataclass(frozen=True)
class QualityScores:
    """Quality 0..10, float32 (n,), and the seven dimensions in rubric order and range, float32 (n, 7), whose sum it is."""

    quality: npt.NDArray[np.float32]
    dimensions: npt.NDArray[np.float32]


def score_quality(texts: pa.LargeStringArray | pa.ChunkedArray) -> QualityScores:
    """Score each text on its own; raise ValueError if one is null."""
    return score_features(measure(texts))


def score_features(features: Floats) -> QualityScores:
    """Scores of documents with these features, float64 (n, len(FEATURES))."""
    column = dict(zip(FEATURES, features.T, strict=True))
    formal = _ramp(column["code_mark_share"], FORMAL_RAMP) * _ramp(column["tags"], TAGGED_RAMP)
    share: dict[Profile, Floats] = {
        "all": np.ones_like(formal),
        "formal": formal,
        "prose": 1.0 - formal,
        "spaced": (1.0 - formal) * (1.0 - column["unspaced_word_share"]),
    }
    left = np.ones(len(features))
    for damage in DAMAGE:
        left *= 1.0 - share[damage.profile] * (1.0 - _ramp(column[damage.feature], damage.ramp))
    dimensions = np.empty((len(features), len(DEFAULT_RUBRIC.dimensions)), dtype=np.float64)
    for i, dimension in enumerate(DEFAULT_RUBRIC.dimensions):
        total = np.zeros(len(features))
        weight = np.zeros(len(features))
        for criterion in CRITERIA[dimension.name]:
            relevance = criterion.weight * share[criterion.profile]
            total += relevance * _ramp(column[criterion.feature], criterion.ramp)
            weight += relevance
        dimensions[:, i] = dimension.maximum * left * np.clip(total / weight, 0.0, 1.0)
    return QualityScores(dimensions.sum(axis=1).astype(np.float32), dimensions.astype(np.float32))


def feature_model() -> dict[str, Any]:
    """Everything that decides a text's features, except code."""
    return {
        "names": list(FEATURES),
        "gram_words": GRAM_WORDS,
        "block_words": BLOCK_WORDS,
        "short_line_words": SHORT_LINE_WORDS,
        "connectives": list(CONNECTIVES),
    }


def composite_model() -> dict[str, Any]:
    """Everything that decides a score, as a value with canonical JSON: its fingerprint is the quality model's id."""
    return {
        "kind": "composite",
        "version": VERSION,
        "rubric": {dimension.name: dimension.maximum for dimension in DEFAULT_RUBRIC.dimensions},
        "features": feature_model(),
        "formal": [FORMAL_RAMP, TAGGED_RAMP],
        "damage": DAMAGE,
        "criteria": CRITERIA,
    }


def _ramp(values: Floats, ramp: Ramp) -> Floats:
    """Piecewise-linear through the ramp's points, constant beyond its ends."""
    return np.interp(values, [x for x, _ in ramp], [y for _, y in ramp])
