"""Scores stay in their ranges whatever the text, and depend on the text alone."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from samplemix_core.quality.composite import FEATURES, score_features, score_quality
from samplemix_core.quality.rubric import DEFAULT_RUBRIC

_features = st.lists(st.one_of(st.floats(0, 1), st.floats(0, 1e9)), min_size=len(FEATURES), max_size=len(FEATURES))


def assert_in_range(quality: np.ndarray, dimensions: np.ndarray) -> None:
    maxima = np.array([dimension.maximum for dimension in DEFAULT_RUBRIC.dimensions], dtype=np.float32)
    assert quality.dtype == dimensions.dtype == np.float32
    assert np.isfinite(dimensions).all()
    assert (dimensions >= 0).all()
    assert (dimensions <= maxima).all()
    assert ((quality >= 0) & (quality <= DEFAULT_RUBRIC.maximum)).all()
    np.testing.assert_allclose(quality, dimensions.sum(axis=1, dtype=np.float64), atol=1e-5)


@settings(deadline=None)
@given(st.lists(st.text(max_size=200), max_size=5))
def test_every_text_scores_within_the_rubric(texts: list[str]) -> None:
    scores = score_quality(pa.array(texts, pa.large_string()))
    assert scores.quality.shape == (len(texts),)
    assert scores.dimensions.shape == (len(texts), len(DEFAULT_RUBRIC.dimensions))
    assert_in_range(scores.quality, scores.dimensions)


@settings(deadline=None)
@given(st.lists(_features, min_size=1, max_size=5))
def test_any_features_score_within_the_rubric_whatever_their_neighbours(rows: list[list[float]]) -> None:
    features = np.array(rows)
    features[:, FEATURES.index("unspaced_word_share")] = np.clip(features[:, FEATURES.index("unspaced_word_share")], 0, 1)
    together = score_features(features)
    assert_in_range(together.quality, together.dimensions)
    for i in range(len(features)):
        np.testing.assert_array_equal(score_features(features[i : i + 1]).dimensions[0], together.dimensions[i])
