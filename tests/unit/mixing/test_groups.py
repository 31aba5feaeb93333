"""Groups of samples: cells, limits of constraints and of policies on them, and caps on copies."""

from typing import Any

import numpy as np
import pytest

from samplemix_core.config.constraints import ConstraintsConfig
from samplemix_core.config.run import RunConfig
from samplemix_core.errors import BudgetError, ConfigError
from samplemix_core.frozen import load_config
from samplemix_core.mixing.groups import Column, grouped, most_copies
from samplemix_core.mixing.shard_samples import ShardSamples
from samplemix_core.mixing.source import Source
from samplemix_core.pipeline.solve import Solved, solve
from samplemix_core.policies.policy import Scale, Targets

SAMPLES = 6_000
LANGUAGES, TYPES = ["de", "en", "fr"], ["code", "prose"]
SCALE = Scale(0.0, 10.0)


def source() -> Source:
    """English prose of the web is best; every language, type and domain goes with every other."""
    rng = np.random.default_rng(8)
    language = rng.choice(3, SAMPLES, p=[0.2, 0.7, 0.1])
    kind = (rng.random(SAMPLES) < 0.8).astype(np.int32)
    domain = rng.choice(2, SAMPLES, p=[0.85, 0.15]) + 1
    quality = np.clip(rng.normal(4 + 1.5 * (language == 1) + kind + (domain == 1), 1.2), 0, 10)
    made = Source(
        SAMPLES,
        {1: "web", 2: "books"},
        np.linspace(0, 1, 8, dtype=np.float32),
        42,
        labels={"language": LANGUAGES, "content_type": TYPES},
    )
    made.add(
        ShardSamples(
            snapshot="s",
            path="s/a",
            row=np.arange(SAMPLES),
            domain=domain.astype(np.int32),
            n_tokens=rng.integers(20, 900, SAMPLES).astype(np.int32),
            quality=quality.astype(np.float32),
            cluster=rng.integers(0, 8, SAMPLES).astype(np.int32),
            distance=rng.random(SAMPLES).astype(np.float32),
            diversity=rng.random(SAMPLES).astype(np.float32),
            labels={"language": language.astype(np.int32), "content_type": kind},
        )
    )
    return made.finish()


def config(constraints: dict[str, Any], **others: Any) -> RunConfig:
    return load_config(RunConfig, {"corpus_uri": "s3://b/c", "constraints": constraints, **others})


def shares(made: Source, column: str, copies: np.ndarray | None = None) -> dict[str, float]:
    names, codes = made.columns[column]
    sums = np.bincount(codes, made.tokens * (1.0 if copies is None else copies.astype(float)), len(names))
    return dict(zip(names, (sums / sums.sum()).tolist(), strict=True))


def solved(constraints: dict[str, Any], share: float = 0.2, **others: Any) -> tuple[Source, Solved]:
    made = source()
    return made, solve(config(constraints, **others), made, SCALE, int(share * made.total_tokens))


DOCUMENT = 0.01
"""One document's share of the budget, and a little."""


def test_without_constraints_english_gains() -> None:
    made, found = solved({}, alpha=0.0)
    assert shares(made, "language", found.copies)["en"] > shares(made, "language")["en"] + 0.1
    assert found.solver.cells == ()


@pytest.mark.parametrize("share", [0.05, 0.2, 1.5])
def test_held_groups_keep_the_share_of_each_combination(share: float) -> None:
    made, found = solved({"hold": ["language", "content_type"]}, share)
    both = made.columns["language"].codes.astype(int) * 2 + made.columns["content_type"].codes
    natural, own = (np.bincount(both, made.tokens * times, 6) for times in (np.ones(SAMPLES), found.copies.astype(float)))
    np.testing.assert_allclose(own / own.sum(), natural / natural.sum(), atol=0.2 * DOCUMENT / share)
    assert {tuple(cell.of) for cell in found.solver.cells} == {("language", "content_type")}
    # Weights act inside.
    inside = np.flatnonzero(both == 3)
    assert np.average(made.quality[inside], weights=found.copies[inside]) > made.quality[inside].mean()


def test_shares_are_met_beside_held_groups_and_a_policys_targets() -> None:
    limits = {"language=de": {"least": 0.4, "most": 0.5}, "content_type = code": 0.3}
    made, found = solved({"hold": ["domain"], "shares": limits})
    assert shares(made, "language", found.copies)["de"] == pytest.approx(0.4, abs=DOCUMENT)
    assert shares(made, "content_type", found.copies)["code"] == pytest.approx(0.3, abs=DOCUMENT)
    assert shares(made, "domain", found.copies)["web"] == pytest.approx(shares(made, "domain")["web"], abs=DOCUMENT)
    made, found = solved({"shares": {"language=fr": 0.3}}, policy="fixed", shares={"web": 0.5, "books": 0.5})
    assert shares(made, "domain", found.copies)["web"] == pytest.approx(0.5, abs=DOCUMENT)
    assert shares(made, "language", found.copies)["fr"] == pytest.approx(0.3, abs=DOCUMENT)


def test_limits_that_conflict_are_named() -> None:
    with pytest.raises(BudgetError, match=r"60.00% to 100.00% for language=de .*; 50.00% to 100.00% for language=fr") as raised:
        solved({"shares": {"language=de": {"least": 0.6}, "language=fr": {"least": 0.5}, "domain=web": {"most": 0.9}}})
    assert "domain=web" not in raised.value.what
    assert "No budget meets them" in raised.value.remedy
    with pytest.raises(BudgetError, match=r"for domain=\w+ by the policy") as raised:
        solved({"hold": ["domain"]}, policy="fixed", shares={"web": 0.5, "books": 0.5})
    assert "held for domain=" in raised.value.what


def test_weborganizer_is_solved_by_domain_and_content_type() -> None:
    topics: dict[str, Any] = {"topics": {"web": 0.5, "books": 0.5}, "formats": {"prose": 0.6, "code": 0.4}}
    made, found = solved({"shares": {"language=de": 0.3}}, policy="weborganizer", **topics)
    assert shares(made, "domain", found.copies)["books"] == pytest.approx(0.5, abs=DOCUMENT)
    assert shares(made, "content_type", found.copies)["code"] == pytest.approx(0.4, abs=DOCUMENT)
    assert shares(made, "language", found.copies)["de"] == pytest.approx(0.3, abs=DOCUMENT)


def test_caps_hold_for_groups_and_bands_of_quality_and_the_lowest_counts() -> None:
    copies = {"domain=books": 2, "quality<4": 1, "quality>=9": 0, "language=fr": 3}
    made, found = solved({"copies": copies}, 1.2, max_copies=5)
    expected = np.full(SAMPLES, 5)
    expected[made.domain == made.domains.index("books")] = 2
    expected[made.quality < 4] = np.minimum(expected[made.quality < 4], 1)
    expected[made.quality >= 9] = 0
    french = made.columns["language"].codes == 2
    expected[french] = np.minimum(expected[french], 3)
    assert (found.copies <= expected).all()
    room = most_copies(made.columns, made.quality, ConstraintsConfig(copies=copies), 5)
    assert room is not None
    assert room.tolist() == expected.tolist()
    for number in range(0, SAMPLES, 97):
        facts = {
            "domain": made.domains[made.domain[number]],
            "language": LANGUAGES[made.columns["language"].codes[number]],
            "quality": float(made.quality[number]),
        }
        assert ConstraintsConfig(copies=copies).cap(facts, 5) == expected[number]
    assert (found.copies == expected).any()
    with pytest.raises(BudgetError, match="can't be met"):
        solved({"copies": {"domain=web": 0}}, 0.9)


def test_caps_hold_over_all_phases_and_shares_in_each() -> None:
    phases = [{"name": "broad", "share": 0.6, "policy": "natural"}, {"name": "clean", "share": 0.4, "tau": 0.05}]
    made, found = solved({"copies": {"quality<4": 1}, "shares": {"language=de": 0.3}}, 1.0, phases=phases)
    assert found.copies[made.quality < 4].max() == 1
    for copies in found.in_phases.values():
        assert shares(made, "language", copies)["de"] == pytest.approx(0.3, abs=DOCUMENT)
    for phase in found.phases:
        assert {cell.of["language"] for cell in phase.solver.cells} == set(LANGUAGES)


PHASES = {"name": "broad", "share": 0.6, "tau": 0.05}, {"name": "clean", "share": 0.4, "tau": 0.02}


@pytest.mark.parametrize("phases", [(), PHASES])
def test_a_least_number_of_documents_lowers_max_copies_as_far_as_it_takes(phases: tuple[Any, ...]) -> None:
    made, free = solved({}, 0.6, tau=0.03, max_copies=8, phases=phases)
    documents = int(np.count_nonzero(free.copies))
    made, found = solved({"documents": documents + 500}, 0.6, tau=0.03, max_copies=8, phases=phases)
    assert np.count_nonzero(found.copies) >= documents + 500
    assert found.copies.max() == found.solver.max_copies < 8
    _, more = solved({}, 0.6, tau=0.03, max_copies=found.solver.max_copies + 1, phases=phases)
    assert np.count_nonzero(more.copies) < documents + 500
    _, same = solved({}, 0.6, tau=0.03, max_copies=found.solver.max_copies, phases=phases)
    assert np.array_equal(same.copies, found.copies)
    with pytest.raises(BudgetError, match=r"would have [\d,]+ distinct documents with at most 1 copies of each, and not 6,000"):
        solved({"documents": SAMPLES}, 0.6)
    assert made.total_tokens


@pytest.mark.parametrize(
    ("constraints", "said"),
    [
        ({"shares": {"color=red": 0.1}}, "'color=red' is no group"),
        ({"shares": {"domain=": 0.1}}, "'domain=' is no group"),
        ({"shares": {"domain=web": 1.5}}, "shares"),
        ({"shares": {"domain=web": {"least": 0.5, "most": 0.2}}}, "the least share, 0.5, is more than the most, 0.2"),
        ({"copies": {"quality<high": 1}}, "is no band of quality"),
        ({"copies": {"domain=web": -1}}, "copies"),
        ({"hold": ["cluster"]}, "hold"),
        ({"documents": -1}, "documents"),
    ],
)
def test_constraints_that_make_no_sense_are_refused(constraints: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config(constraints)
    assert said in str(raised.value)


def test_a_name_that_no_sample_has_is_an_error_that_lists_the_names() -> None:
    for constraints in ({"shares": {"language=it": 0.1}}, {"copies": {"language=it": 1}}):
        with pytest.raises(ConfigError, match=r"No sample of the source has language=it.*The source has language de, en, fr"):
            solved(constraints)


def test_a_policys_targets_may_be_about_combinations_of_columns() -> None:
    rng = np.random.default_rng(1)
    columns = {
        "domain": Column(["a", "b"], rng.integers(0, 2, 500).astype(np.int16)),
        "content_type": Column(["code", "list", "prose"], rng.choice([0, 2], 500).astype(np.uint16)),
    }
    tokens = np.full(500, 10, dtype=np.int32)
    targets = Targets(("domain", "content_type"), np.array([[100.0, 0, 200], [300, 0, 400]]))
    found = grouped(columns, tokens, 1_000, ConstraintsConfig(), targets)
    assert found is not None
    assert [dict(cell) for cell in found.cells] == [
        {"domain": domain, "content_type": kind} for domain in "ab" for kind in ("code", "prose")
    ]
    assert [(limit.cells.tolist(), limit.least) for limit in found.limits] == [([0], 0.1), ([1], 0.2), ([2], 0.3), ([3], 0.4)]
    assert grouped(columns, tokens, 1_000, ConstraintsConfig(), None) is None
