"""A first quality score from measurable features: a documented heuristic, not the paper's evaluator.

The paper trains an encoder on an LLM's judgement of the seven dimensions (rubric.py). Nothing here understands a text: each
dimension is a weighted mean of ramps over the features that can hint at it, times what is left by damage that spoils them
all (criteria.py). So the score tells well-formed, substantial text from spam, boilerplate, word lists and debris, and knows
nothing of truth or depth. The ramps were set by reason, then checked on labelled and unlabelled text; they are not fitted to
any label.

Where it leans: it prefers text of some hundred words to fragments; scripts without spaces are judged by the criteria that
apply to them, fewer than others; connectives are known for a dozen European languages only. Source code, LaTeX and markup
("formal" text) have criteria of their own, so that they are not judged as bad prose.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.quality.characters import CONNECTIVES
from samplemix_core.quality.criteria import CRITERIA, DAMAGE, FORMAL_RAMP, RUBRIC, TAGGED_RAMP, Profile, Ramp
from samplemix_core.quality.features import FEATURES, Floats, measure
from samplemix_core.quality.scan import BLOCK_WORDS, GRAM_WORDS, SHORT_LINE_WORDS

VERSION = 1
"""Raise when code here or in features.py changes what a text scores: the constants are in the model's fingerprint, code is not."""


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
    dimensions = np.empty((len(features), len(RUBRIC)), dtype=np.float64)
    for i, dimension in enumerate(RUBRIC):
        total = np.zeros(len(features))
        weight = np.zeros(len(features))
        for criterion in CRITERIA[dimension.name]:
            relevance = criterion.weight * share[criterion.profile]
            total += relevance * _ramp(column[criterion.feature], criterion.ramp)
            weight += relevance
        dimensions[:, i] = dimension.maximum * left * np.clip(total / weight, 0.0, 1.0)
    return QualityScores(dimensions.sum(axis=1).astype(np.float32), dimensions.astype(np.float32))


def composite_model() -> dict[str, Any]:
    """Everything that decides a score, as a value with canonical JSON: its fingerprint is the quality model's id."""
    return {
        "kind": "composite",
        "version": VERSION,
        "rubric": {dimension.name: dimension.maximum for dimension in RUBRIC},
        "features": {
            "names": list(FEATURES),
            "gram_words": GRAM_WORDS,
            "block_words": BLOCK_WORDS,
            "short_line_words": SHORT_LINE_WORDS,
            "connectives": list(CONNECTIVES),
        },
        "formal": [FORMAL_RAMP, TAGGED_RAMP],
        "damage": DAMAGE,
        "criteria": CRITERIA,
    }


def _ramp(values: Floats, ramp: Ramp) -> Floats:
    """Piecewise-linear through the ramp's points, constant beyond its ends."""
    return np.interp(values, [x for x, _ in ramp], [y for _, y in ramp])
