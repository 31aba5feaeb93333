"""A mixture estimated from its roll-up, beside the one that is solved from its samples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from samplemix_core.config.constraints import ConstraintsConfig
from samplemix_core.errors import BudgetError, ConfigError
from samplemix_core.frozen import load_config
from samplemix_core.mixing.constraints import solve_groups
from samplemix_core.mixing.groups import most_copies
from samplemix_core.mixing.rollup import MixtureRollup
from samplemix_core.mixing.shard_samples import ShardSamples
from samplemix_core.mixing.solver import Solution
from samplemix_core.mixing.source import Source
from samplemix_core.mixing.what_if import Estimator
from samplemix_core.pipeline.solve import Wanted
from samplemix_core.policies.density_pruning import DensityPruning
from samplemix_core.policies.natural import Natural
from samplemix_core.policies.policy import POLICIES, Policy, Scale
from samplemix_core.policies.samplemix import SampleMix
from samplemix_core.policies.weborganizer import WebOrganizer

SAMPLES = 40_000
SCALE = Scale(0.0, 10.0)
DOMAINS = {1: "web", 2: "books", 3: "law", 4: "a little"}
NONE = ConstraintsConfig()


DIVERSITY = np.random.default_rng(4).random(50).astype(np.float32)


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
        diversity=np.clip(DIVERSITY[cluster] + rng.normal(0, 0.03, SAMPLES), 0, 1).astype(np.float32),
        labels={
            "language": np.where(rng.random(SAMPLES) < domain / 10, 1, 0).astype(np.int32),
            "content_type": np.minimum(rng.integers(0, 3 + domain % 2, SAMPLES), 2).astype(np.int32),
        },
    )


SOURCE = samples()


# No sample is in fr: those that are were left out.
NAMES = {"language": ["de", "en", "fr"], "content_type": ["code", "list", "prose"]}


def solved(
    policy: Policy, share: float, max_copies: int, constraints: ConstraintsConfig = NONE, labels: dict[str, list[str]] = NAMES
) -> tuple[Source, Solution]:
    source = Source(SAMPLES, DOMAINS, DIVERSITY, 42, labels=labels)
    source.add(SOURCE)
    budget = int(share * source.finish().total_tokens)
    wanted = Wanted(source, policy, SCALE, max_copies, constraints)
    room = most_copies(source.columns, source.quality, constraints, max_copies)
    weights, uniforms = wanted.weights(budget, room), source.uniform if policy.chance else np.zeros(SAMPLES)
    groups = wanted.groups(budget, room)
    return source, solve_groups(weights, source.tokens, uniforms, budget, max_copies, room=room, groups=groups)


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
    assert found.domains.names == tuple(source.domains)
    assert found.domains.source_tokens.tolist() == sums.source_tokens.tolist()
    # The mixture is one draw: a share's own standard deviation comes from the part of each sample's copies that is drawn.
    drawn = np.minimum(max_copies, solution.kappa * source.weight) % 1
    variance = np.bincount(source.domain, source.tokens.astype(np.float64) ** 2 * drawn * (1 - drawn))
    noise = np.sqrt(variance) / sums.mixture_tokens.sum()
    assert (np.abs(found.domains.shares - sums.mixture_tokens / sums.mixture_tokens.sum()) < 0.002 + 4 * noise).all()
    assert found.domains.tokens.sum() == pytest.approx(int(share * source.total_tokens))
    assert found.domains.samples.sum() == pytest.approx(np.count_nonzero(copies), rel=0.05)
    assert found.by_copies.sum() == pytest.approx(SAMPLES)
    assert found.by_copies @ np.arange(max_copies + 1) == pytest.approx(found.copies)
    assert found.copies == pytest.approx(copies.sum(), rel=0.05)
    np.testing.assert_allclose(found.by_copies, np.bincount(copies, minlength=max_copies + 1), atol=0.02 * SAMPLES)


def test_natural_gives_each_domain_its_own_share(estimator: Estimator) -> None:
    found = estimator.estimate(Natural(), SCALE, 1_000_000, 4)
    np.testing.assert_allclose(found.domains.shares, found.domains.source_tokens / found.domains.source_tokens.sum())


def test_a_budget_that_no_copies_meet_is_told(estimator: Estimator) -> None:
    total = estimator.source_tokens
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
    if policy.reads_closest:
        with pytest.raises(ConfigError, match="compares documents"):
            estimator.estimate(policy, SCALE, 1_000, max_copies)
        return
    try:
        source, solution = solved(policy, share, max_copies)
    except BudgetError:
        with pytest.raises(BudgetError):
            estimator.estimate(policy, SCALE, int(share * estimator.source_tokens), max_copies)
        return
    found = estimator.estimate(policy, SCALE, int(share * source.total_tokens), max_copies)
    sums = source.domain_sums(solution.copies)
    np.testing.assert_allclose(
        found.domains.shares, sums.mixture_tokens / sums.mixture_tokens.sum(), atol=0.03 if policy.draws else 0.02
    )
    assert found.domains.tokens.sum() == pytest.approx(int(share * source.total_tokens), rel=1e-6)
    assert found.domains.samples.sum() == pytest.approx(np.count_nonzero(solution.copies), rel=0.1)
    for column, groups in found.labels.items():
        mixed = mixed_tokens(source, solution, column, groups.names)
        # A small mixture has a few hundred documents, of which each is in its group by chance.
        np.testing.assert_allclose(groups.shares, mixed / mixed.sum(), atol=0.04)


def mixed_tokens(source: Source, solution: Solution, column: str, names: Sequence[str]) -> npt.NDArray[np.float64]:
    own = source.columns[column]
    found = np.bincount(own.codes, source.tokens * solution.copies.astype(np.float64), len(own.names)).astype(np.float64)
    return found[[list(own.names).index(name) for name in names]]


CONSTRAINED: dict[str, dict[str, Any]] = {
    "held": {"hold": ["language", "content_type"]},
    "shares": {"shares": {"language=en": {"least": 0.6}, "domain=law": {"most": 0.05}, "content_type=list": 0.4}},
    "caps": {"copies": {"domain=web": 1, "quality<3": 0, "content_type=code": 2}},
    "nobody": {"shares": {"language=fr": {"most": 0.1}}, "copies": {"language=fr": 1}, "hold": ["domain"]},
    "together": {"hold": ["language"], "shares": {"cluster=7": {"least": 0.05}}, "copies": {"quality<2": 0}},
}


CASES = [
    *(("samplemix", 0.2), ("samplemix", 1.0), ("topk", 0.3), ("temperature", 0.3)),
    *(("olmo3", 0.3), ("density_pruning", 0.3), ("quadmix", 0.5)),
]


@pytest.mark.parametrize("constraints", CONSTRAINED.values(), ids=CONSTRAINED)
@pytest.mark.parametrize(("name", "share"), CASES)
def test_constraints_hold_in_an_estimate_as_in_a_mixture(
    estimator: Estimator, constraints: dict[str, Any], name: str, share: float
) -> None:
    policy, asked = POLICIES[name].model_validate({}), load_config(ConstraintsConfig, constraints)
    try:
        source, solution = solved(policy, share, 4, asked)
    except BudgetError:
        with pytest.raises(BudgetError, match="can't be"):
            estimator.estimate(policy, SCALE, int(share * estimator.source_tokens), 4, asked)
        return
    found = estimator.estimate(policy, SCALE, int(share * source.total_tokens), 4, asked)
    assert found.domains.tokens.sum() == pytest.approx(int(share * source.total_tokens), rel=1e-6)
    for column, groups in {"domain": found.domains, **found.labels}.items():
        mixed = mixed_tokens(source, solution, column, groups.names)
        np.testing.assert_allclose(groups.shares, mixed / mixed.sum(), atol=0.02, err_msg=column)
        if column in asked.hold:
            np.testing.assert_allclose(groups.shares, groups.source_tokens / groups.source_tokens.sum(), rtol=1e-3)
    assert found.domains.samples.sum() == pytest.approx(np.count_nonzero(solution.copies), rel=0.1)


def test_a_least_number_of_documents_lowers_the_cap(estimator: Estimator) -> None:
    sharp, budget = SampleMix(tau=0.02), estimator.source_tokens // 5
    before = estimator.estimate(sharp, SCALE, budget, 8)
    wanted = int(1.3 * before.domains.samples.sum())
    found = estimator.estimate(sharp, SCALE, budget, 8, ConstraintsConfig(documents=wanted))
    assert found.domains.samples.sum() >= wanted
    assert found.by_copies[-1] == 0 < before.by_copies[-1]
    assert found.by_copies.size == before.by_copies.size
    with pytest.raises(BudgetError, match="distinct documents"):
        estimator.estimate(sharp, SCALE, budget, 8, ConstraintsConfig(documents=SAMPLES - 1))


def test_a_least_number_of_documents_does_not_lower_the_cap_below_the_budget(estimator: Estimator) -> None:
    sharp, budget = SampleMix(tau=0.02), int(2.5 * estimator.source_tokens)
    at_three, at_four = (estimator.estimate(sharp, SCALE, budget, cap).domains.samples.sum() for cap in (3, 4))
    found = estimator.estimate(sharp, SCALE, budget, 8, ConstraintsConfig(documents=int((at_three + at_four) / 2)))
    assert found.domains.samples.sum() == pytest.approx(at_three)
    with pytest.raises(BudgetError):
        estimator.estimate(sharp, SCALE, budget, 8, ConstraintsConfig(documents=SAMPLES * 2))


def test_a_version_that_is_older_than_labels_says_so() -> None:
    source, solution = solved(Natural(), 0.2, 4, labels={})
    older = Estimator(MixtureRollup.of(source, solution.copies, 0.0, 10.0).cells)
    assert older.estimate(Natural(), SCALE, 1_000_000, 4).labels == {}
    for policy, constraints in ((WebOrganizer(), NONE), (Natural(), ConstraintsConfig(hold=("content_type",)))):
        with pytest.raises(ConfigError, match="content_type would have to be told apart"):
            older.estimate(policy, SCALE, 1_000_000, 4, constraints)


def test_a_policy_that_reads_clusters_is_estimated_by_their_own_diversity() -> None:
    policy = DensityPruning()
    other = np.random.default_rng(8).permutation(DIVERSITY)
    source = Source(SAMPLES, DOMAINS, other, 42, labels=NAMES)
    source.add(SOURCE)
    budget = int(0.3 * source.finish().total_tokens)
    wanted = Wanted(source, policy, SCALE, 4, NONE)
    weights, groups = wanted.weights(budget, None), wanted.groups(budget, None)
    uniforms = source.uniform if policy.chance else np.zeros(SAMPLES)
    solution = solve_groups(weights, source.tokens, uniforms, budget, 4, room=None, groups=groups)
    cells = MixtureRollup.of(source, solution.copies, 0.0, 10.0).cells
    sums = source.domain_sums(solution.copies)
    real = sums.mixture_tokens / sums.mixture_tokens.sum()
    errors = [
        float(np.abs(Estimator(cells, (0.0, 1.0), own).estimate(policy, SCALE, budget, 4).domains.shares - real).max())
        for own in (dict(enumerate(other.tolist())), None)
    ]
    assert errors[0] < 0.02
    assert errors[0] < errors[1] / 2
