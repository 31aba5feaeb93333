"""Measures against scikit-learn's, and intervals that hold what they should."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, mean_absolute_error, mean_squared_error

from samplemix_core.quality.measures import (
    RESAMPLES,
    measure_gain,
    measure_levels,
    measure_with_intervals,
    resampling_weights,
    weighted_kappa,
)


@pytest.mark.parametrize("seed", range(5))
def test_measures_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 6, 300)
    predicted = np.clip(truth + rng.integers(-2, 3, 300), 0, 5)
    found = measure_levels(truth, predicted)
    assert found["acc"] == pytest.approx(accuracy_score(truth, predicted))
    assert found["mae"] == pytest.approx(mean_absolute_error(truth, predicted))
    assert found["mse"] == pytest.approx(mean_squared_error(truth, predicted))
    assert found["cacc"] == pytest.approx((np.abs(truth - predicted) <= 1).mean())
    assert found["kappa"] == pytest.approx(cohen_kappa_score(truth, predicted, weights="quadratic"))


def test_kappa_of_one_level_alone() -> None:
    ones = np.ones(10, dtype=np.int64)
    assert weighted_kappa(ones, ones) == 1
    assert weighted_kappa(ones, ones + 1) == 0


def test_whole_groups_are_resampled() -> None:
    groups = np.repeat(np.arange(20), 5)
    weights = resampling_weights(groups, 0)
    assert weights.shape == (RESAMPLES, 100)
    np.testing.assert_array_equal(weights.reshape(RESAMPLES, 20, 5).std(axis=2), 0)
    np.testing.assert_array_equal(weights.sum(axis=1), 100)


def test_an_interval_holds_the_value_and_is_wider_where_groups_are_few() -> None:
    rng = np.random.default_rng(1)
    truth = np.repeat(rng.integers(0, 6, 40), 10)
    predicted = np.clip(truth + np.repeat(rng.integers(-2, 3, 40), 10), 0, 5)
    alone = measure_with_intervals(truth, predicted, resampling_weights(np.arange(400), 0))
    grouped = measure_with_intervals(truth, predicted, resampling_weights(np.repeat(np.arange(40), 10), 0))
    for name, measured in alone.items():
        assert measured.low <= measured.value <= measured.high
        assert grouped[name].high - grouped[name].low > measured.high - measured.low


def test_a_gain_is_above_zero_where_the_prediction_is_better() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 6, 500)
    near, far = (np.clip(truth + rng.integers(-spread, spread + 1, 500), 0, 5) for spread in (1, 3))
    weights = resampling_weights(np.arange(500), 0)
    assert all(gain.low > 0 for gain in measure_gain(truth, near, far, weights).values())
    assert all(gain.high < 0 for gain in measure_gain(truth, far, near, weights).values())
    assert all(gain.value == gain.low == gain.high == 0 for gain in measure_gain(truth, near, near, weights).values())
