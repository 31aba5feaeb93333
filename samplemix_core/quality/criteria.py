"""The constants of the composite score, in one place, each with its reason.

Where two numbers stand for "usual" and "too much", they come from the spread of well-edited and of junk web text.
"""

from typing import Literal, NamedTuple

Profile = Literal["all", "prose", "spaced", "formal"]
Ramp = tuple[tuple[float, float], ...]

FORMAL_RAMP: Ramp = ((0.06, 0.0), (0.12, 1.0))
"""Share of code marks -> how far a document is formal text rather than prose. Web prose has about 1 %, source code 13 %."""

TAGGED_RAMP: Ramp = ((0.01, 1.0), (0.05, 0.0))
"""Tags per word -> how far code marks are a program's rather than leftover HTML, which is judged as prose with debris."""


class Criterion(NamedTuple):
    """One hint at a dimension: a piecewise-linear ramp from a feature to [0, 1], and its weight among the dimension's hints.

    The profile says in which documents it counts: all, prose, prose in scripts with spaces between words, or formal text.
    """

    profile: Profile
    feature: str
    ramp: Ramp
    weight: float


class Damage(NamedTuple):
    """A flaw that spoils every dimension at once: the ramp gives the share of each score that is left."""

    profile: Profile
    feature: str
    ramp: Ramp


# Length stands for substance, with diminishing returns: a sentence or two can't inform much, and past 400 words more is only more.
_LENGTH: Ramp = ((10, 0), (50, 0.4), (150, 0.75), (400, 1))
# A phrase or two recurs in any long text; boilerplate and generated text repeat a tenth and more of their word runs.
_REPEATS: Ramp = ((0.03, 1), (0.12, 0.5), (0.35, 0))
# Edited prose has a tenth of its lines short (headings); menus, footers and tables have most of them short.
_SHORT_LINES: Ramp = ((0.1, 1), (0.4, 0.5), (0.9, 0))
# Sentences of 10 to 28 words read well; above 50 they are lists without punctuation, below 4 labels.
_SENTENCES: Ramp = ((3, 0), (10, 1), (28, 1), (50, 0.3), (100, 0))
# Capitals: 3 % in prose; a fifth means headlines or shouting.
_CAPITALS: Ramp = ((0.06, 1), (0.15, 0.3), (0.3, 0))
# Symbols in prose are debris of layout, encoding or markup.
_SYMBOLS: Ramp = ((0.01, 1), (0.08, 0))
# Function words, being short, make up a third of running text in alphabets, and little of a word list.
_FUNCTION_WORDS: Ramp = ((0.1, 0), (0.28, 1), (0.6, 1), (0.75, 0))
# Distinct words in 128: two thirds in prose, less in lists of templates and in code.
_DISTINCT_PROSE: Ramp = ((0.4, 0), (0.75, 1))
_DISTINCT_FORMAL: Ramp = ((0.15, 0), (0.45, 1))
# A program or proof of a few lines is a fragment.
_FORMAL_LENGTH: Ramp = ((10, 0), (40, 0.4), (120, 0.75), (400, 1))

CRITERIA: dict[str, tuple[Criterion, ...]] = {
    "clarity": (
        Criterion("prose", "sentence_words", _SENTENCES, 3),
        Criterion("prose", "upper_share", _CAPITALS, 2),
        Criterion("prose", "symbol_share", _SYMBOLS, 2),
        Criterion("spaced", "short_word_share", _FUNCTION_WORDS, 2),
        Criterion(
            "formal", "line_words", ((1, 0), (3, 1), (14, 1), (60, 0)), 2
        ),  # one statement a line; minified code has hundreds
        Criterion("formal", "longest_run_share", ((0.02, 1), (0.2, 0)), 1),  # rulers and padding
    ),
    "completeness": (
        Criterion("prose", "words", _LENGTH, 3),
        Criterion("formal", "words", _FORMAL_LENGTH, 3),
        Criterion("all", "repeated_gram_share", _REPEATS, 2),
        Criterion("prose", "short_line_share", _SHORT_LINES, 2),
        Criterion("prose", "finished_line_share", ((0, 0), (0.3, 0.6), (0.7, 1)), 2),  # paragraphs end with a sentence mark
    ),
    "structure": (
        Criterion("all", "duplicate_line_share", ((0.02, 1), (0.25, 0)), 2),  # the same line over and over is a template
        Criterion("prose", "short_line_share", _SHORT_LINES, 2),
        Criterion("prose", "clause_mark_share", ((0, 0), (0.01, 1), (0.04, 1), (0.1, 0)), 2),  # commas, but not a list of them
        Criterion("prose", "tags", ((0, 1), (0.03, 0)), 1),  # markup that was not removed
        Criterion("spaced", "capital_word_share", ((0.25, 1), (0.55, 0)), 1),  # Title Case Throughout; German has 0.25
        Criterion("formal", "indented_line_share", ((0, 0.4), (0.3, 1)), 2),  # indentation is structure
    ),
    "credibility": (
        Criterion("prose", "exclamations", ((0.002, 1), (0.03, 0)), 3),  # advertising exclaims; in code it is an operator
        Criterion("spaced", "shouted_word_share", ((0.02, 1), (0.12, 0)), 2),  # spam shouts; acronyms are rarer
        Criterion("all", "links", ((0.003, 1), (0.04, 0)), 2),  # link lists, calls to action
        Criterion("prose", "symbol_share", _SYMBOLS, 1),
        Criterion("all", "repeated_gram_share", _REPEATS, 1),
        Criterion("formal", "longest_run_share", ((0.02, 1), (0.2, 0)), 1),
    ),
    "significance": (
        Criterion("prose", "words", _LENGTH, 3),
        Criterion("formal", "words", _FORMAL_LENGTH, 3),
        Criterion("prose", "finished_line_share", ((0, 0), (0.3, 0.6), (0.7, 1)), 1),
        Criterion("prose", "distinct_word_share", _DISTINCT_PROSE, 1),
        Criterion("formal", "distinct_word_share", _DISTINCT_FORMAL, 1),
    ),
    "knowledge": (
        Criterion("prose", "words", _LENGTH, 2),
        Criterion("formal", "words", _FORMAL_LENGTH, 2),
        Criterion("spaced", "long_word_share", ((0.04, 0), (0.28, 1), (0.45, 1), (0.7, 0)), 3),  # terms are long words
        Criterion("prose", "number_share", ((0, 0.2), (0.02, 1), (0.06, 1), (0.2, 0)), 1),  # dates and figures, not a table
        Criterion("prose", "distinct_word_share", _DISTINCT_PROSE, 1),
        Criterion("formal", "distinct_word_share", _DISTINCT_FORMAL, 2),
        Criterion("formal", "letter_share", ((0.4, 0), (0.7, 1)), 1),  # names and comments, not tables of numbers
    ),
    "reasoning": (
        Criterion("prose", "sentence_words", ((5, 0), (16, 1), (35, 1), (60, 0.2), (100, 0)), 2),  # arguments take clauses
        Criterion("prose", "sentences", ((0, 0), (4, 0.5), (15, 1)), 2),  # and more than one sentence
        Criterion(
            "spaced", "connective_share", ((0, 0), (0.015, 1)), 2
        ),  # European languages only: others lose up to a quarter here
        Criterion("spaced", "short_word_share", _FUNCTION_WORDS, 1),
        Criterion("formal", "connective_share", ((0, 0.3), (0.02, 1)), 1),  # if, while, then, since: branches and proofs
        Criterion("formal", "words", _FORMAL_LENGTH, 2),
    ),
}
"""Dimension -> its criteria."""

DAMAGE: tuple[Damage, ...] = (
    Damage("all", "tags", ((0.01, 1), (0.08, 0.5))),
    Damage("prose", "exclamations", ((0.004, 1), (0.03, 0.5))),
    Damage("all", "links", ((0.006, 1), (0.05, 0.6))),
    Damage("all", "repeated_gram_share", ((0.08, 1), (0.5, 0.4))),
    Damage("all", "duplicate_line_share", ((0.1, 1), (0.5, 0.5))),
    Damage("all", "longest_run_share", ((0.05, 1), (0.3, 0.3))),
    Damage("prose", "symbol_share", ((0.04, 1), (0.2, 0.5))),
    Damage("prose", "letter_share", ((0.4, 0.3), (0.75, 1))),
    Damage("prose", "upper_share", ((0.12, 1), (0.35, 0.5))),
    Damage("prose", "short_line_share", ((0.5, 1), (1, 0.6))),
    Damage("prose", "sentence_words", ((50, 1), (150, 0.5))),
    Damage("spaced", "short_word_share", ((0.03, 0.4), (0.2, 1))),
    Damage("spaced", "shouted_word_share", ((0.08, 1), (0.22, 0.6))),
)
"""Spam and debris don't become significant by being long. These ramps begin beyond the range of well-edited text of any kind."""
