import math
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from samplemix_core.errors import ConfigError
from samplemix_core.policies.natural import Natural
from samplemix_core.policies.policy import POLICIES, Columns, Scale
from samplemix_core.policies.registry import policies_table, record, recorded
from samplemix_core.policies.samplemix import SampleMix

SCALE = Scale(0.0, 10.0)
PAPER = SampleMix().weigh(SCALE)
DOCS = Path(__file__).parents[3] / "docs"


def columns(quality: list[float], diversity: list[float]) -> Columns:
    return Columns(np.array(quality, dtype=np.float32), np.array(diversity, dtype=np.float32))


def test_samplemix_is_the_papers_formula() -> None:
    weights = PAPER(columns([0, 5, 10], [0, 0.25, 1]))
    expected = [math.exp((0.8 * d + 0.2 * q) / 0.2) for q, d in [(0, 0), (0.5, 0.25), (1, 1)]]
    np.testing.assert_allclose(weights, expected, rtol=1e-15)
    assert weights.dtype == np.float64


def test_alpha_weighs_diversity_against_quality() -> None:
    better = columns([9, 1], [0.1, 0.9])
    quality_only = SampleMix(alpha=0).weights(better, SCALE)
    diversity_only = SampleMix(alpha=1).weights(better, SCALE)
    assert quality_only[0] > quality_only[1]
    assert diversity_only[0] < diversity_only[1]


def test_scores_beyond_the_scorers_scale_count_as_its_ends() -> None:
    weights = PAPER(columns([-3, 0, 10, 12], [0.5] * 4))
    assert weights[0] == weights[1]
    assert weights[2] == weights[3]


@pytest.mark.parametrize("name", POLICIES)
def test_a_samples_weight_does_not_depend_on_the_others(name: str) -> None:
    rng = np.random.default_rng(3)
    whole = Columns(rng.uniform(0, 10, 101).astype(np.float32), rng.random(101).astype(np.float32))
    chunks = [Columns(whole.quality[i : i + 7], whole.diversity[i : i + 7]) for i in range(0, 101, 7)]
    weigh = POLICIES[name](name=name).weigh(SCALE)
    assert np.concatenate([weigh(chunk) for chunk in chunks]).tobytes() == weigh(whole).tobytes()


def test_the_smallest_temperature_gives_finite_weights() -> None:
    weights = SampleMix(tau=0.002).weights(columns([0, 10], [0, 1]), SCALE)
    assert np.isfinite(weights).all()
    assert weights[1] > weights[0]


def test_natural_weighs_every_sample_alike() -> None:
    assert Natural().weights(columns([1, 9], [0, 1]), SCALE).tolist() == [1.0, 1.0]


def test_every_policy_says_its_formula() -> None:
    for name, policy in POLICIES.items():
        assert policy.__doc__ is not None, name
        assert policy.__doc__.startswith("w = "), name


@pytest.mark.parametrize("values", [{"alpha": 1.1}, {"tau": 0.001}, {"tau": math.nan}, {"sharpness": 1}])
def test_refuses_bad_parameters(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        SampleMix.model_validate(values)


def test_refuses_a_scale_that_is_none() -> None:
    with pytest.raises(ConfigError, match="is not a range"):
        SampleMix().weigh(Scale(0.0, 0.0))
    Natural().weigh(Scale(0.0, 0.0))


@pytest.mark.parametrize(
    ("quality", "diversity", "message"),
    [(math.nan, 0.5, "quality of sample 1 is nan"), (5, math.inf, "diversity of sample 1 is inf")],
)
def test_refuses_scores_that_are_no_numbers(quality: float, diversity: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PAPER(columns([5, quality], [0.5, diversity]))


def test_a_manifests_record_is_all_that_weights_depend_on() -> None:
    own = SampleMix(alpha=0.3)
    assert record(own, Scale(1.0, 5.0)) == {"alpha": 0.3, "tau": 0.2, "q_low": 1.0, "q_high": 5.0}
    assert record(Natural(), SCALE) == {}
    samples = columns([1, 3, 9], [0, 0.5, 1])
    assert recorded("samplemix", record(own, Scale(1.0, 5.0)))(samples).tolist() == own.weights(samples, Scale(1.0, 5.0)).tolist()
    assert recorded("natural", {})(samples).tolist() == [1, 1, 1]
    with pytest.raises(ConfigError, match=r"no policy 'sample-mix'.*samplemix, natural"):
        recorded("sample-mix", {})
    with pytest.raises(ConfigError, match="'natural' has no parameter sharpness here"):
        recorded("natural", {"sharpness": 2})


def test_the_documentation_has_the_table_of_policies() -> None:
    command = "python -c 'from samplemix_core.policies.registry import policies_table; print(policies_table())'"
    assert policies_table() in (DOCS / "policies.md").read_text(), f"put it in again: {command}"
