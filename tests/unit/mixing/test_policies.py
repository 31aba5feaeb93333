import math

import numpy as np
import pytest

from samplemix_core.errors import ConfigError
from samplemix_core.mixing.policies import MIN_TAU, POLICIES, Columns, policy_parameters, policy_weights

PAPER = {"alpha": 0.8, "tau": 0.2, "q_low": 0.0, "q_high": 10.0}


def columns(quality: list[float], diversity: list[float]) -> Columns:
    return Columns(np.array(quality, dtype=np.float32), np.array(diversity, dtype=np.float32))


def test_samplemix_is_the_papers_formula() -> None:
    weights = policy_weights("samplemix", PAPER, columns([0, 5, 10], [0, 0.25, 1]))
    expected = [math.exp((0.8 * d + 0.2 * q) / 0.2) for q, d in [(0, 0), (0.5, 0.25), (1, 1)]]
    np.testing.assert_allclose(weights, expected, rtol=1e-15)
    assert weights.dtype == np.float64


def test_alpha_weighs_diversity_against_quality() -> None:
    better, rarer = columns([9, 1], [0.1, 0.9]), {"tau": 0.2, "q_low": 0.0, "q_high": 10.0}
    quality_only = policy_weights("samplemix", {**rarer, "alpha": 0.0}, better)
    diversity_only = policy_weights("samplemix", {**rarer, "alpha": 1.0}, better)
    assert quality_only[0] > quality_only[1]
    assert diversity_only[0] < diversity_only[1]


def test_scores_beyond_the_scorers_bounds_count_as_the_bounds() -> None:
    weights = policy_weights("samplemix", PAPER, columns([-3, 0, 10, 12], [0.5] * 4))
    assert weights[0] == weights[1]
    assert weights[2] == weights[3]


def test_a_samples_weight_does_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(3)
    whole = Columns(rng.uniform(0, 10, 101).astype(np.float32), rng.random(101).astype(np.float32))
    chunks = [Columns(whole.quality[i : i + 7], whole.diversity[i : i + 7]) for i in range(0, 101, 7)]
    in_chunks = np.concatenate([policy_weights("samplemix", PAPER, chunk) for chunk in chunks])
    assert in_chunks.tobytes() == policy_weights("samplemix", PAPER, whole).tobytes()


def test_the_smallest_temperature_gives_finite_weights() -> None:
    weights = policy_weights("samplemix", {**PAPER, "tau": MIN_TAU}, columns([0, 10], [0, 1]))
    assert np.isfinite(weights).all()
    assert weights[1] > weights[0]


def test_natural_weighs_every_sample_alike() -> None:
    assert policy_weights("natural", {}, columns([1, 9], [0, 1])).tolist() == [1.0, 1.0]


def test_every_policy_says_its_formula() -> None:
    for name, policy in POLICIES.items():
        assert policy.weights.__doc__ is not None, name
        assert policy.weights.__doc__.startswith("w = "), name


def test_parameters_of_a_policy_are_those_it_takes() -> None:
    assert policy_parameters("samplemix", {**PAPER, "other": 1.0}) == PAPER
    assert policy_parameters("natural", PAPER) == {}


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("sample-mix", PAPER, "no policy 'sample-mix'.*samplemix, natural"),
        ("samplemix", {"alpha": 0.8, "tau": 0.2}, "lacks q_low, q_high"),
        ("natural", {"alpha": 0.8}, "no parameter alpha.*none at all"),
        ("samplemix", {**PAPER, "alpha": 1.1}, r"alpha = 1.1 is not in 0\.\.1"),
        ("samplemix", {**PAPER, "tau": 0.001}, "tau = 0.001 is too small"),
        ("samplemix", {**PAPER, "tau": math.nan}, "tau = nan"),
        ("samplemix", {**PAPER, "q_high": 0.0}, r"0.0\.\.0.0 are empty"),
    ],
)
def test_refuses_bad_parameters(name: str, parameters: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        policy_weights(name, parameters, columns([5], [0.5]))


@pytest.mark.parametrize(
    ("quality", "diversity", "message"),
    [(math.nan, 0.5, "quality of sample 1 is nan"), (5, math.inf, "diversity of sample 1 is inf")],
)
def test_refuses_scores_that_are_no_numbers(quality: float, diversity: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        policy_weights("samplemix", PAPER, columns([5, quality], [0.5, diversity]))
