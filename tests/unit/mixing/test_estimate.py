"""A mixture estimated from its roll-up, beside the one that is solved from its samples."""

import numpy as np
import pytest

from samplemix_core.errors import BudgetError, ConfigError
from samplemix_core.mixing.constraints import solve_groups
from samplemix_core.mixing.rollup import MixtureRollup
from samplemix_core.mixing.shard_samples import ShardSamples
from samplemix_core.mixing.solver import Solution
from samplemix_core.mixing.source import Source
from samplemix_core.mixing.what_if import Estimator
from samplemix_core.pipeline.solve import Wanted
from samplemix_core.policies.natural import Natural
from samplemix_core.policies.policy import POLICIES, Policy, Scale
from samplemix_core.policies.samplemix import SampleMix

SAMPLES = 40_000
SCALE = Scale(0.0, 10.0)
DOMAINS = {1: "web", 2: "books", 3: "law", 4: "a little"}


def samples() -> ShardSamples:
    """Better documents are longer, domains differ in quality and in clusters: what an estimate from sums could get wrong."""
    rng = np.random.default_rng(3)
    domain = rng.choice(4, SAMPLES, p=[0.7, 0.2, 0.095, 0.005]) + 1
    quality = np.clip(rng.normal(2.5 + domain, 1.5), 0, 10)
    tokens = np.exp(rng.normal(4.5 + quality / 5, 0.7))
    cluster = (rng.beta(1 + domain, 3, SAMPLES) * 50).astype(np.int32)
    return ShardSamples(
        snapshot="s",
        path="s/a",
        row=np.arange(SAMPLES),
        domain=domain.astype(np.int32),
        n_tokens=tokens.astype(np.int32) + 1,
        quality=quality.astype(np.float32),
        cluster=cluster,
        distance=rng.random(SAMPLES).astype(np.float32),
    )


SOURCE = samples()
DIVERSITY = np.random.default_rng(4).random(50).astype(np.float32)


def solved(policy: Policy, share: float, max_copies: int) -> tuple[Source, Solution]:
    source = Source(SAMPLES, DOMAINS, DIVERSITY, 42)
    source.add(SOURCE)
    budget = int(share * source.finish().total_tokens)
    wanted = Wanted(source, policy, SCALE, max_copies)
    weights, uniforms = wanted.weights(budget), source.uniform if policy.chance else np.zeros(SAMPLES)
    return source, solve_groups(weights, source.tokens, uniforms, budget, max_copies, groups=wanted.groups(budget))


@pytest.fixture(scope="module")
def estimator() -> Estimator:
    source, solution = solved(Natural(), 0.2, 4)
    return Estimator(MixtureRollup.of(source, solution.copies, 0.0, 10.0).cells)


@pytest.mark.parametrize(
    ("share", "max_copies"), [(share, copies) for share in (0.05, 0.2, 1.0, 3.0) for copies in (1, 4, 8) if share <= copies]
)
@pytest.mark.parametrize(("alpha", "tau"), [(0.8, 0.2), (0.0, 0.2), (1.0, 0.05), (0.0, 0.02), (0.5, 5.0)])
def test_shares_and_distinct_samples_are_those_of_the_solved_mixture(
    estimator: Estimator, alpha: float, tau: float, share: float, max_copies: int
) -> None:
    policy = SampleMix(alpha=alpha, tau=tau)
    source, solution = solved(policy, share, max_copies)
    copies = solution.copies
    sums = source.domain_sums(copies)
    found = estimator.estimate(policy, SCALE, int(share * source.total_tokens), max_copies)
    assert found.domains == tuple(source.domains)
    assert found.source_tokens.tolist() == sums.source_tokens.tolist()
    # The mixture is one draw: a share's own standard deviation comes from the part of each sample's copies that is drawn.
    drawn = np.minimum(max_copies, solution.kappa * source.weight) % 1
    variance = np.bincount(source.domain, source.tokens.astype(np.float64) ** 2 * drawn * (1 - drawn))
    noise = np.sqrt(variance) / sums.mixture_tokens.sum()
    assert (np.abs(found.shares - sums.mixture_tokens / sums.mixture_tokens.sum()) < 0.002 + 4 * noise).all()
    assert found.tokens.sum() == pytest.approx(int(share * source.total_tokens))
    assert found.samples.sum() == pytest.approx(np.count_nonzero(copies), rel=0.05)
    assert found.by_copies.sum() == pytest.approx(SAMPLES)
    assert found.by_copies @ np.arange(max_copies + 1) == pytest.approx(found.copies.sum())
    assert found.copies.sum() == pytest.approx(copies.sum(), rel=0.05)
    np.testing.assert_allclose(found.by_copies, np.bincount(copies, minlength=max_copies + 1), atol=0.02 * SAMPLES)


def test_natural_gives_each_domain_its_own_share(estimator: Estimator) -> None:
    found = estimator.estimate(Natural(), SCALE, 1_000_000, 4)
    np.testing.assert_allclose(found.shares, found.source_tokens / found.source_tokens.sum())


def test_a_budget_that_no_copies_meet_is_told(estimator: Estimator) -> None:
    total = int(estimator.source_tokens.sum())
    assert estimator.estimate(Natural(), SCALE, 2 * total, 2).by_copies.tolist() == pytest.approx([0, 0, SAMPLES])
    for budget in (0, 2 * total + 1):
        with pytest.raises(BudgetError, match=f"at most {2 * total:,}"):
            estimator.estimate(Natural(), SCALE, budget, 2)


@pytest.mark.parametrize(("share", "max_copies"), [(0.05, 4), (0.2, 4), (1.0, 4), (2.5, 4), (0.6, 1)])
@pytest.mark.parametrize("name", [name for name, kind in POLICIES.items() if not kind.alone])
def test_policies_that_look_at_the_whole_source_are_estimated_too(
    estimator: Estimator, name: str, share: float, max_copies: int
) -> None:
    shares = {"web": 0.5, "books": 0.3, "law": 0.195, "a little": 0.005}
    policy = POLICIES[name].model_validate({"shares": shares} if name == "fixed" else {})
    if policy.labels or policy.reads_closest:
        with pytest.raises(ConfigError, match="needs content_type" if policy.labels else "compares documents"):
            estimator.estimate(policy, SCALE, 1_000, max_copies)
        return
    try:
        source, solution = solved(policy, share, max_copies)
    except BudgetError:
        with pytest.raises(BudgetError):
            estimator.estimate(policy, SCALE, int(share * estimator.source_tokens.sum()), max_copies)
        return
    found = estimator.estimate(policy, SCALE, int(share * source.total_tokens), max_copies)
    sums = source.domain_sums(solution.copies)
    np.testing.assert_allclose(found.shares, sums.mixture_tokens / sums.mixture_tokens.sum(), atol=0.03 if policy.draws else 0.02)
    assert found.tokens.sum() == pytest.approx(int(share * source.total_tokens), rel=1e-6)
    assert found.samples.sum() == pytest.approx(np.count_nonzero(solution.copies), rel=0.1)
