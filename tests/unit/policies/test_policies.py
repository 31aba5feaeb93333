import json
import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.integrate import quad
from scipy.optimize import minimize

from samplemix_core.errors import BudgetError, ConfigError
from samplemix_core.mixing.solver import solve_copies
from samplemix_core.mixing.survey import SurveyPart, survey
from samplemix_core.policies.cluster_balanced import ClusterBalanced
from samplemix_core.policies.density_pruning import DensityPruning, documents_by_cluster
from samplemix_core.policies.fixed import Fixed
from samplemix_core.policies.natural import Natural
from samplemix_core.policies.olmo3 import Olmo3, copies_by_bucket
from samplemix_core.policies.policy import POLICIES, Columns, Policy, Ranks, Scale, Survey, Weigh
from samplemix_core.policies.quadmix import QuaDMix
from samplemix_core.policies.qurating import QuRating
from samplemix_core.policies.registry import policies_table, record, recorded, scale_of
from samplemix_core.policies.samplemix import SampleMix
from samplemix_core.policies.semdedup import SemDeDup
from samplemix_core.policies.temperature import Temperature
from samplemix_core.policies.topk import TopK
from samplemix_core.policies.unimax import UniMax
from samplemix_core.policies.weborganizer import WebOrganizer
from samplemix_core.policies.weights import Weights

SCALE = Scale(0.0, 10.0)
KINDS = "code", "list", "prose"
PAPER = SampleMix().weigh(SCALE)
DOCS = Path(__file__).parents[3] / "docs"


def columns(quality: list[float], diversity: list[float]) -> Columns:
    return Columns(np.array(quality, dtype=np.float32), np.array(diversity, dtype=np.float32))


OWN: dict[str, Any] = {"fixed": {"shares": {"web": 0.6, "books": 0.4}}}


def source(n: int, seed: int = 3) -> Columns:
    rng = np.random.default_rng(seed)
    return Columns(
        quality=rng.uniform(0, 10, n).astype(np.float32),
        diversity=rng.random(n).astype(np.float32),
        domain=rng.integers(0, 3, n).astype(np.int16),
        cluster=rng.integers(0, 5, n),
        distance=rng.integers(0, 10_000, n).astype(np.int16),
        uniform=rng.random(n),
        kind=rng.choice(3, n, p=[0.2, 0.1, 0.7]).astype(np.uint16),
        closest=np.where(rng.random(n) < 0.5, 0, rng.integers(9_000, 10_001, n)).astype(np.int16),
        tokens=rng.integers(0, 9_000, n).astype(np.int32),
    )


def part(whole: Columns, rows: slice) -> Columns:
    return Columns(**{name: values[rows] for name, values in vars(whole).items()})


def surveyed(whole: Columns, tokens: np.ndarray, budget: int, max_copies: int = 4) -> Survey:
    domains, diversity = ("books", "law", "web"), np.linspace(0, 1, 5).astype(np.float32)
    parts = [SurveyPart(whole, np.ones(tokens.size), tokens)]
    return survey(parts, domains, diversity, SCALE, budget, max_copies, (0.1, 0.6), KINDS)


def weighed(policy: Policy) -> Weigh:
    tokens = np.random.default_rng(4).integers(1, 900, 500)
    return policy.weigh(SCALE, surveyed(source(500), tokens, 50_000))


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
    whole, weigh = source(101), weighed(POLICIES[name].model_validate(OWN.get(name, {})))
    chunks = [part(whole, slice(i, i + 7)) for i in range(0, 101, 7)]
    assert np.concatenate([weigh(chunk) for chunk in chunks]).tobytes() == weigh(whole).tobytes()


def test_the_smallest_temperature_gives_finite_weights() -> None:
    weights = SampleMix(tau=0.002).weights(columns([0, 10], [0, 1]), SCALE)
    assert np.isfinite(weights).all()
    assert weights[1] > weights[0]


def test_natural_weighs_every_sample_alike() -> None:
    assert Natural().weights(columns([1, 9], [0, 1]), SCALE).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("eps", "most"), [(0, 10_000), (0.05, 9_500), (0.1, 9_000)])
def test_semdedup_leaves_out_what_is_closer_to_another_than_eps(eps: float, most: int) -> None:
    whole = replace(source(8), closest=np.array([0, 9_000, 9_001, 9_499, 9_500, 9_501, 9_999, 10_000], dtype=np.int16))
    assert whole.closest is not None
    weights = weighed(SemDeDup(semdedup_eps=eps))(whole)
    assert weights.tolist() == [float(value <= most) for value in whole.closest.tolist()]


def test_brevity_divides_by_a_power_of_the_tokens() -> None:
    whole = source(200)
    assert whole.tokens is not None
    plain, brief = (SampleMix(brevity=power).weights(whole, SCALE) for power in (0.0, 0.5))
    np.testing.assert_allclose(brief, plain / np.sqrt(np.maximum(whole.tokens, 1)), rtol=1e-14)
    with pytest.raises(ConfigError, match="weights depend on tokens"):
        SampleMix(brevity=0.5).weights(columns([1], [1]), SCALE)
    # At its default it is in no record: published manifests have none.
    assert record(SampleMix(), SCALE).keys() == {"alpha", "tau", "q_low", "q_high"}
    assert record(SampleMix(brevity=0.5), SCALE)["brevity"] == 0.5


def test_the_policies_that_comparisons_made_are_samplemix_by_ranks() -> None:
    whole, ranks = source(300), Ranks((0.0, 10.0), (0.0, 1.0))
    scale = SCALE._replace(quality_ranks=ranks, diversity_ranks=Ranks((0.0, 1.0), (0.0, 1.0)))
    for name, tau in (("samplemix_safe", 0.5), ("samplemix_calibrated", 0.27)):
        own = POLICIES[name].model_validate({})
        found = SampleMix(alpha=0.5, tau=tau, brevity=0.5).weights(whole, scale)
        assert own.weights(whole, scale).tolist() == found.tolist()
        assert record(own, SCALE).keys() >= {"alpha", "tau", "brevity"}


def test_every_policy_says_its_formula() -> None:
    for name, policy in POLICIES.items():
        assert policy.__doc__ is not None, name
        groups = "share of a (domain|topic and format)|(tokens|documents) of a (domain|cluster)"
        assert re.match(f"(w|order|{groups}) = ", policy.__doc__), name


def test_a_weight_that_depends_on_the_whole_source_needs_a_survey_of_it() -> None:
    for name, policy in POLICIES.items():
        if not policy.alone:
            with pytest.raises(ConfigError, match=f"'{name}', a weight depends on the whole source"):
                policy.model_validate(OWN.get(name, {})).weigh(SCALE)


def exact_ranks(whole: Columns, tokens: np.ndarray) -> np.ndarray:
    """Share of a domain's tokens in better documents, and half of a document's own: a double loop."""
    assert whole.domain is not None
    ranks = np.empty(tokens.size)
    for i in range(tokens.size):
        own = whole.domain == whole.domain[i]
        better = own & (whole.quality > whole.quality[i])
        ranks[i] = (tokens[better].sum() + tokens[i] / 2) / tokens[own].sum()
    return ranks


@pytest.mark.parametrize("seed", range(3))
def test_quadmix_is_the_papers_curve_over_percentiles_within_the_domain(seed: int) -> None:
    whole, tokens = source(400, seed), np.random.default_rng(seed).integers(1, 900, 400)
    policy = QuaDMix(steepness=30, omega=0.3, eta=0.7, epsilon=0.001)
    rank = exact_ranks(whole, tokens)
    expected = np.where(rank <= 0.3, (2 / (1 + np.exp(-30 * (0.3 - rank)))) ** 0.7, 0) + 0.001
    found = policy.weigh(SCALE, surveyed(whole, tokens, 50_000))(whole)
    # Documents that share a level have its rank.
    near = np.abs(rank - 0.3) < 0.01
    np.testing.assert_allclose(found[~near], expected[~near], rtol=0.02)
    # From the paper's appendix, by hand: lambda 1000, omega .1, eta 1: 2 well inside, 1 at omega.
    best = QuaDMix(steepness=1000, omega=0.1, eta=1, epsilon=0).weigh(SCALE, surveyed(whole, tokens, 50_000))(whole)
    assert set(np.round(best[np.abs(rank - 0.1) > 0.02], 6).tolist()) == {0.0, 2.0}


def test_a_survey_is_the_same_whatever_the_order_and_the_parts() -> None:
    whole, tokens = source(5000), np.random.default_rng(0).integers(1, 900, 5000)
    one = surveyed(whole, tokens, 50_000)
    rows = [slice(i, i + 7) for i in range(4998, -1, -7)]
    cut = [SurveyPart(part(whole, own), np.ones(tokens[own].size), tokens[own].astype(np.int32)) for own in rows]
    assert sum(item.tokens.size for item in cut) == 5000
    other = survey(cut, one.domains, one.cluster_diversity, SCALE, 50_000, 4, (0.1, 0.6), KINDS)
    assert (one.quality_mean, one.quality_spread) == (other.quality_mean, other.quality_spread)
    assert one.level_tokens.tobytes() == other.level_tokens.tobytes()
    assert one.quality_mean == pytest.approx(whole.quality.mean(), abs=1e-3)
    assert one.quality_spread == pytest.approx(whole.quality.std(), abs=1e-3)


def test_the_largest_and_the_smallest_number_of_a_sample_can_be_drawn() -> None:
    whole = replace(source(2), uniform=np.array([0.0, 1 - 2**-53]))
    weights = QuRating().weigh(SCALE, surveyed(whole, np.ones(2), 1))(whole)
    assert weights[1] > weights[0]


def test_qurating_is_gumbel_top_k_and_the_best_are_the_likeliest() -> None:
    n = 40_000
    whole, tokens = source(n), np.full(n, 10)
    found = QuRating(temperature=0.5).weigh(SCALE, surveyed(whole, tokens, 50_000))(whole)
    assert whole.uniform is not None
    q = whole.quality.astype(np.float64)
    key = (q - q.mean()) / q.std() / 0.5 - np.log(-np.log(whole.uniform + 2.0**-54))
    assert (np.argsort(-found)[: n // 10] == np.argsort(-key)[: n // 10]).mean() > 0.999
    assert found.min() >= 1.0
    assert found.max() < 1.25
    # Without replacement, p ~ exp(z / tau) while few are drawn.
    taken = np.zeros(n, dtype=np.bool_)
    taken[np.argsort(-found)[: n // 100]] = True
    expected = np.exp((q - q.mean()) / q.std() / 0.5)
    share = [expected[(q >= low) & (q < low + 2)].sum() / expected.sum() for low in (0, 2, 4, 6, 8)]
    have = [taken[(q >= low) & (q < low + 2)].mean() * 400 / (n // 100) for low in (0, 2, 4, 6, 8)]
    np.testing.assert_allclose(np.array(have) / sum(have), share, atol=0.05)


def water_filled(shares: np.ndarray, room: np.ndarray, budget: float) -> np.ndarray:
    """Pour the budget a drop at a time."""
    tokens, drop = np.zeros(shares.size), budget / 20_000
    for _ in range(20_000):
        open_ = shares * (tokens < room)
        if not open_.any():
            break
        tokens += drop * open_ / open_.sum()
    return tokens


@pytest.mark.parametrize("budget", [1_000, 20_000, 60_000])
def test_targets_of_domains_and_clusters_are_those_of_their_papers(budget: int) -> None:
    whole, tokens = source(500), np.random.default_rng(4).integers(1, 200, 500)
    assert whole.domain is not None
    assert whole.cluster is not None
    whole.domain[:] = np.random.default_rng(5).choice(3, 500, p=[0.1, 0.2, 0.7])
    known = surveyed(whole, tokens, budget)
    sums = np.bincount(whole.domain, tokens, 3)
    temperature = Temperature(temperature=3).targets(known)
    np.testing.assert_allclose(temperature.tokens, water_filled(sums ** (1 / 3), 4 * sums, budget), rtol=0.01)
    # UniMax, as its listing: sorted by size, each gets the least of what is left for each, and its epochs.
    left, expected = float(budget), np.zeros(3)
    for number, place in enumerate(np.argsort(sums)):
        expected[place] = min(left / (3 - number), 2 * sums[place])
        left -= expected[place]
    np.testing.assert_allclose(UniMax(epochs=2).targets(known).tokens, expected)
    own = np.bincount(whole.cluster, tokens, 5)
    balanced = ClusterBalanced().targets(known)
    np.testing.assert_allclose(balanced.tokens, water_filled(np.ones(5), 4 * own, budget), rtol=0.01)
    large = np.array([10**9, 10**7, 10**8])
    small = Temperature(temperature=0.1).targets(replace(known, domain_tokens=large, domain_room=4.0 * large, budget_tokens=10**9))
    assert small.tokens.sum() == pytest.approx(10**9)
    if budget > sums.sum():
        with pytest.raises(BudgetError, match=f"gives at most {int(sums.sum()):,} tokens"):
            UniMax(epochs=1).met_targets(known)
    fixed = Fixed(shares={"web": 0.6, "books": 0.4}).targets(known)
    assert fixed.tokens.tolist() == pytest.approx([0.4 * budget, 0, 0.6 * budget])
    with pytest.raises(ConfigError, match="no domain 'maths', which 'fixed' gives a share"):
        Fixed(shares={"web": 0.6, "maths": 0.4}).targets(known)
    with pytest.raises(ValidationError, match=r"the shares add up to 0.9"):
        Fixed(shares={"web": 0.5, "books": 0.4})


@pytest.mark.parametrize("budget", [0.3, 1.0, 2.4, 4.0])
def test_top_k_takes_the_best_and_starts_again_when_all_are_taken(budget: float) -> None:
    whole, tokens = source(700), np.random.default_rng(4).integers(1, 900, 700).astype(np.int32)
    weights = TopK().weigh(SCALE, surveyed(whole, tokens, 1))(whole)
    found = solve_copies(weights, tokens, np.zeros(700), int(budget * tokens.sum()), 4)
    left, expected = int(budget * tokens.sum()), np.zeros(700, dtype=int)
    order = np.argsort(-whole.quality, kind="stable")
    for place in np.tile(order, 4):
        if tokens[place] > left:
            break
        expected[place] += 1
        left -= tokens[place]
    assert found.copies.tolist() == expected.tolist()


def test_weights_of_the_users_own_are_taken_as_they_are() -> None:
    own = columns([0, 0.25, 3], [0, 0, 0])
    assert Weights().weigh(Scale(0, 3))(own).tolist() == [0, 0.25, 3]
    with pytest.raises(ConfigError, match="weight of sample 1 is -1"):
        Weights().weigh(Scale(0, 3))(columns([0, -1], [0, 0]))


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
    with pytest.raises(ConfigError, match=r"no policy 'sample-mix'.*samplemix"):
        recorded("sample-mix", {})
    with pytest.raises(ConfigError, match="'natural' has no parameter sharpness here"):
        recorded("natural", {"sharpness": 2})


def test_the_documentation_has_the_table_of_policies() -> None:
    command = "python -c 'from samplemix_core.policies.registry import policies_table; print(policies_table())'"
    assert policies_table() in (DOCS / "policies.md").read_text(), f"put it in again: {command}"


@pytest.mark.parametrize("seed", range(6))
def test_density_pruning_is_the_quadratic_programme(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clusters = int(rng.integers(2, 9))
    most = rng.integers(1, 400, clusters).astype(float)
    total = most.sum() * rng.uniform(0.05, 0.95)
    least = np.minimum(0.5 * total / clusters, most - 1)
    parts = np.exp(rng.normal(size=clusters))
    parts /= parts.sum()
    found = documents_by_cluster(float(total), parts, least, most)
    expected = minimize(
        lambda x: 0.5 * (x / total) @ (x / total) - parts @ x / total,
        np.clip(np.full(clusters, total / clusters), least, most),
        jac=lambda x: (x / total - parts) / total,
        bounds=list(zip(least, most, strict=True)),
        constraints={"type": "eq", "fun": lambda x: (x.sum() - total) / total, "jac": lambda x: np.full(clusters, 1 / total)},
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    assert found.sum() == pytest.approx(total)
    assert (found >= least - 1e-9).all()
    assert (found <= most + 1e-9).all()
    np.testing.assert_allclose(found, expected.x, atol=2e-3 * total)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.8, 1.0, 2.5, 4.0])
def test_density_pruning_meets_the_budget_and_keeps_what_is_far_from_its_centroid(share: float) -> None:
    whole, tokens = source(2_000), np.random.default_rng(4).integers(1, 200, 2_000)
    assert whole.cluster is not None
    assert whole.distance is not None
    whole.cluster[:] = np.random.default_rng(5).choice(5, 2_000, p=[0.05, 0.5, 0.2, 0.05, 0.2])
    known = surveyed(whole, tokens, int(share * tokens.sum()))
    policy = DensityPruning(density_tau=0.1)
    targets = policy.met_targets(known)
    assert targets is not None
    assert targets.tokens.sum() == pytest.approx(known.budget_tokens)
    own = np.bincount(whole.cluster, tokens, 5)
    kept = targets.tokens / own
    assert (kept <= 4 + 1e-9).all()
    if share < 1:
        # By hand: N P clipped; the cluster with the largest d has the largest part kept, or all of it.
        parts = np.exp(np.linspace(0.1, 0.6, 5) / 0.1)
        parts /= parts.sum()
        documents = targets.tokens / (own / np.bincount(whole.cluster))
        n = documents.sum()
        free = (documents > 0.5 * n / 5 + 1e-3) & (kept < 1 - 1e-6)
        np.testing.assert_allclose(np.ptp((documents - n * parts)[free]) if free.any() else 0.0, 0.0, atol=1e-3 * n)
        assert kept[4] == kept.max()
    weights = policy.weigh(SCALE, known)(whole)
    for cluster in range(5):
        inside = np.flatnonzero(whole.cluster == cluster)
        assert np.array_equal(np.argsort(weights[inside], kind="stable"), np.argsort(whole.distance[inside], kind="stable"))


@pytest.mark.parametrize(
    ("wanted", "kept", "most"), [(0.2, 0.6, 7), (1, 0.6, 7), (2, 0.6, 7), (3, 0.6, 7), (0.5, 1, 2), (0.3, 0.58, 4)]
)
def test_olmo3s_curve_is_the_largest_power_and_lambda_that_fit(wanted: float, kept: float, most: float) -> None:
    found = copies_by_bucket(wanted, kept, most)
    assert found is not None

    def curve(power: float, steep: float) -> tuple[np.ndarray, np.ndarray]:
        def f(x: float) -> float:
            return float(x**power * np.exp(steep * x))

        factor = wanted / quad(f, 0, kept)[0]
        edges = [kept - 0.05 * k for k in range(round(kept / 0.05 + 0.49))] + [0.0]
        widths = -np.diff(edges)
        return np.array([factor * quad(f, b, a)[0] for a, b in pairwise(edges)]) / widths, widths

    best: tuple[float, float] = (0.0, 0.0)
    for power in np.linspace(0.01, 2, 20):
        if curve(power, 0.0)[0][0] <= most:
            best = (float(power), 0.0)
    low, high = 0.0, 2.0
    if curve(best[0], 2.0)[0][0] > most:
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if curve(best[0], middle)[0][0] <= most else (low, middle)
        high = low
    expected, widths = curve(best[0], high)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert float(found @ widths) == pytest.approx(wanted)
    assert found[0] <= most * (1 + 1e-9)
    assert (np.diff(found) <= 1e-9).all()


def test_olmo3_by_hand() -> None:
    # A budget of a tenth: p = 2 and lambda = 2. int x^2 e^2x = e^2x (x^2 - x + 1/2) / 2, which is 0.1809 from 0 to .6.
    found = copies_by_bucket(0.1, 0.6, 7)
    assert found is not None
    whole = (np.exp(1.2) * 0.26 - 0.5) / 2
    first = (np.exp(1.2) * 0.26 - np.exp(1.1) * (0.55**2 - 0.55 + 0.5)) / 2
    assert found[0] == pytest.approx(0.1 * first / whole / 0.05)
    # All at the limit: .6 kept, 7 copies of each is 4.2 times the domain; more can't be had.
    flat = copies_by_bucket(4.2, 0.6, 7)
    assert flat is not None
    np.testing.assert_allclose(flat, 7.0)
    assert copies_by_bucket(4.21, 0.6, 7) is None


def test_olmo3_drops_the_worst_of_each_domain_and_raises_the_best() -> None:
    whole, tokens = source(5_000), np.full(5_000, 100)
    assert whole.domain is not None
    policy = Olmo3(shares={"web": 0.5, "books": 0.5})
    known = surveyed(whole, tokens, int(0.5 * tokens.sum()), 8)
    weights = policy.weigh(SCALE, known)(whole)
    for domain, share in ((0, 0.5), (2, 0.5), (1, 0.0)):
        inside = np.flatnonzero(whole.domain == domain)
        order = inside[np.argsort(-whole.quality[inside], kind="stable")]
        assert (np.diff(weights[order]) <= 0).all()
        if share:
            assert np.count_nonzero(weights[order]) == pytest.approx(0.6 * inside.size, abs=2)
            assert weights[order].sum() * 100 == pytest.approx(0.5 * known.budget_tokens, rel=0.02)
        else:
            assert not weights[order].any()
    alike = replace(whole, quality=np.full(5_000, 3.0, dtype=np.float32))
    assert (Olmo3(drop_worst=0.9).weigh(SCALE, surveyed(alike, tokens, 5_000, 8))(alike) > 0).all()
    with pytest.raises(BudgetError, match="would need 2 copies of all that it keeps of domain 'books', and may give 1"):
        Olmo3(drop_worst=0.5).weigh(SCALE, surveyed(whole, tokens, int(tokens.sum()), 1))


@pytest.mark.parametrize("weighted", [False, True])
def test_ranks_are_the_share_below_and_half_of_what_is_equal(weighted: bool) -> None:
    rng = np.random.default_rng(11)
    values = np.round(rng.gamma(2, 1, 3_000), 1 if weighted else 6).astype(np.float32)
    documents = rng.integers(1, 9, values.size) if weighted else None
    ranks = Ranks.over(values, documents)
    counts = np.ones(values.size, dtype=int) if documents is None else documents
    for value, place in zip(ranks.values, ranks.places, strict=True):
        below, equal = counts[values < value].sum(), counts[values == value].sum()
        assert place == pytest.approx((below + equal / 2) / counts.sum(), abs=1e-12)
    assert len(ranks.values) <= 101
    assert list(ranks.values) == sorted(set(ranks.values))
    below = [counts[values < value].sum() + counts[values == value].sum() / 2 for value in values[:200]]
    everywhere = np.array(below) / counts.sum()
    np.testing.assert_allclose(ranks.of(values[:200].astype(np.float64)), everywhere, atol=0.02)
    shuffled = rng.permutation(values.size)
    assert Ranks.over(values[shuffled], None if documents is None else documents[shuffled]) == ranks
    assert Ranks.over(np.full(5, 2.0, dtype=np.float32)) == Ranks((2.0,), (0.5,))


def test_a_manifest_records_ranks_and_its_weights_can_be_computed_from_it() -> None:
    whole = source(300)
    scale = Scale(0.0, 10.0, Ranks.over(whole.quality), Ranks.over(whole.diversity))
    own = SampleMix(alpha=0.4)
    kept = json.loads(json.dumps(record(own, scale)))
    assert kept.keys() == {"alpha", "tau", "q_low", "q_high", "q_ranks", "d_ranks"}
    assert scale_of(kept) == scale
    assert recorded("samplemix", kept)(whole).tolist() == own.weights(whole, scale).tolist()
    order = np.argsort(whole.quality)
    assert (np.diff(SampleMix(alpha=0.0).weights(whole, scale)[order]) >= 0).all()
    # By ranks, a tenth of the documents lies in each tenth.
    counts = np.histogram(whole.unit_quality(scale), bins=10, range=(0, 1))[0]
    assert counts.max() - counts.min() <= 6
    assert record(Natural(), scale) == {}
    assert scale_of({"q_low": 1.0, "q_high": 5.0}) == Scale(1.0, 5.0)


@pytest.mark.parametrize("topic", ["domain", "cluster"])
def test_weborganizer_caps_products_of_shares_once(topic: str) -> None:
    whole, tokens = source(3_000), np.random.default_rng(4).integers(1, 200, 3_000)
    known = surveyed(whole, tokens, int(0.1 * tokens.sum()), 50)
    topics = {"web": 0.7, "books": 0.3} if topic == "domain" else {"0": 0.9, "3": 0.1}
    policy = WebOrganizer.model_validate({"topic": topic, "topics": topics, "formats": {"list": 0.9, "prose": 0.1}})
    targets = policy.targets(known)
    assert targets.by == (topic, "content_type")
    own = whole.domain if topic == "domain" else whole.cluster
    names = known.domains if topic == "domain" else tuple("01234")
    assert own is not None
    assert whole.kind is not None
    capped = {}
    for i, name in enumerate(names):
        for j, kind in enumerate(KINDS):
            natural = tokens[(own == i) & (whole.kind == j)].sum() / tokens.sum()
            capped[i, j] = min(topics.get(name, 0) * {"list": 0.9, "prose": 0.1}.get(kind, 0), natural / 0.15)
    total = sum(capped.values())
    for (i, j), share in capped.items():
        assert targets.tokens[i, j] == pytest.approx(share / total * known.budget_tokens)
    plain = WebOrganizer.model_validate({"topic": topic}).met_targets(known)
    assert plain is not None
    assert plain.tokens.sum() == pytest.approx(known.budget_tokens)
    with pytest.raises(ConfigError, match="The source has no content type 'poem'"):
        WebOrganizer(formats={"poem": 1.0}).targets(known)
    with pytest.raises(BudgetError, match="gives at most"):
        WebOrganizer(formats={"list": 1.0}).met_targets(surveyed(whole, tokens, int(tokens.sum()), 4))


def test_quarters_of_documents_count_in_the_spread_of_quality() -> None:
    quality = np.linspace(2, 8, 101).astype(np.float32)

    def looked_at(times: int) -> Columns:
        nothing = np.zeros(101 * times, dtype=np.int64)
        return Columns(np.tile(quality, times), np.tile(quality, times), domain=nothing, cluster=nothing)

    whole, quarters = looked_at(1), looked_at(4)
    one, cut = (
        survey([SurveyPart(own, np.full(size, share), np.ones(size))], ("web",), np.ones(1, dtype=np.float32), SCALE, 50, 4, (0, 1))
        for own, size, share in ((whole, 101, 1.0), (quarters, 404, 0.25))
    )
    assert cut.quality_mean == pytest.approx(one.quality_mean)
    assert cut.quality_spread == pytest.approx(one.quality_spread) == pytest.approx(float(quality.std()), rel=1e-3)
