"""An audit tells a quality model that measures something from one that only knows sources, lengths, languages, or nothing."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from samplemix_core.config.run import AuditConfig, Limit
from samplemix_core.quality.audit import ModelAudit, Sampled, audit_models

N = 1200
RNG = np.random.default_rng(11)
DOMAIN = np.arange(N) % 4
LANGUAGE = (np.arange(N) // 4) % 3
TOKENS = RNG.integers(5, 5000, N)
GOOD = RNG.random(N)


def sampled(**quality: np.ndarray) -> Sampled:
    groups = {
        "domain": (["books", "code", "news", "web"], DOMAIN),
        "language": (["de", "en", "fr"], LANGUAGE),
        "snapshot": (["a"], np.zeros(N, dtype=np.int64)),
        "content_type": (["prose"], np.zeros(N, dtype=np.int64)),
    }
    return Sampled(groups, TOKENS, {name: np.asarray(values, dtype=np.float64) for name, values in quality.items()})


def audit(quality: np.ndarray, config: AuditConfig = AuditConfig()) -> ModelAudit:  # noqa: B008 it is frozen
    (found,) = audit_models(sampled(planted=quality), config)
    return found


def stops(found: ModelAudit) -> dict[str, str]:
    return {finding.measure: finding.grouping for finding in found.findings if finding.level == "stop"}


def test_a_model_that_tells_good_from_bad_is_fine() -> None:
    found = audit(GOOD)
    assert (found.verdict, found.findings) == ("fine", ())
    whole = found.groups[0]
    assert whole.documents == N
    assert [whole.mean, whole.spread] == pytest.approx([GOOD.mean(), GOOD.std()])
    assert whole.constant_share < 0.05
    assert whole.length_correlation == pytest.approx(spearmanr(GOOD, TOKENS).statistic)
    assert {(group.grouping, group.name) for group in found.groups} >= {("domain", "books"), ("language", "fr"), ("snapshot", "a")}


def test_one_that_only_knows_the_domain_is_caught() -> None:
    assert stops(audit(DOMAIN / 3)) == {"source_r2": "domain"}
    noisy = audit(np.clip(DOMAIN / 3 + RNG.normal(0, 0.03, N), 0, 1))
    assert stops(noisy) == {"source_r2": "domain"}
    source = noisy.sources[0]
    assert source.r2 > 0.95
    assert source.auc > 0.95
    half = audit(np.clip(DOMAIN / 6 + GOOD / 4, 0, 1))
    assert half.verdict == "warn"
    assert [finding.measure for finding in half.findings] == ["source_r2"]


def test_the_measures_of_a_source_are_those_of_the_books() -> None:
    quality = np.clip(DOMAIN / 9 + 0.6 * GOOD, 0, 1)
    source = audit(quality).sources[0]
    means = np.array([quality[i == DOMAIN].mean() for i in range(4)])[DOMAIN]
    r2 = 1 - ((quality - means) ** 2).sum() / ((quality - quality.mean()) ** 2).sum()
    assert source.r2 == pytest.approx(1 - (1 - r2) * (N - 1) / (N - 4))
    better = quality > np.median(quality)
    share = np.array([better[i == DOMAIN].mean() for i in range(4)])[DOMAIN]
    assert source.auc == pytest.approx(roc_auc_score(better, share))


def test_one_that_only_knows_the_language_or_the_length_is_caught() -> None:
    assert stops(audit(LANGUAGE / 2)) == {"source_r2": "language"}
    assert stops(audit(np.log(TOKENS) / 9)) == {"length_correlation": ""}
    assert stops(audit(1 - np.log(TOKENS) / 9)) == {"length_correlation": ""}, "also that short is good"


def test_one_that_is_constant_is_caught() -> None:
    found = audit(np.full(N, 0.7))
    assert stops(found) == {"spread": "", "constant_share": ""}
    assert found.groups[0].length_correlation is None
    mostly = audit(np.where(np.arange(N) % 40 == 0, GOOD, 0.7))
    assert stops(mostly) == {"constant_share": ""}
    one = audit(np.where(DOMAIN == 2, 0.5, GOOD))
    assert [(finding.level, finding.grouping, finding.name) for finding in one.findings] == [("warn", "domain", "news")]


def test_limits_decide_and_few_documents_decide_nothing() -> None:
    lenient = AuditConfig(source_r2=Limit(warn=0.9, stop=None))
    assert audit(DOMAIN / 3, lenient).verdict == "warn"
    assert audit(DOMAIN / 3, AuditConfig(source_r2=Limit(), constant_share=Limit())).verdict == "fine"
    few = audit(DOMAIN / 3, AuditConfig(least_documents=N + 1))
    assert (few.verdict, few.sources[0].r2) == ("fine", 1.0), "measured all the same"


def test_scorers_that_do_not_agree_are_told_if_that_is_wanted() -> None:
    other = 1 - GOOD
    config = AuditConfig(agreement=Limit(warn=0.5, stop=-0.5))
    one, two, three = audit_models(sampled(one=GOOD, two=other, three=GOOD**3), config)
    assert one.agreement == {"two": pytest.approx(-1), "three": pytest.approx(1)}
    assert [finding.level for finding in one.findings] == ["stop"]
    assert one.findings[0].value == pytest.approx(-1)
    assert len(two.findings) == 2
    assert [finding.limit for finding in three.findings] == [-0.5]


def test_extremes_are_the_highest_and_lowest_of_each_domain() -> None:
    found = audit(GOOD, AuditConfig(extremes=3))
    for number, domain in enumerate(["books", "code", "news", "web"]):
        own = np.sort(GOOD[number == DOMAIN])
        ends = {end: [item for item in found.extremes if (item.domain, item.end) == (domain, end)] for end in ("highest", "lowest")}
        assert [item.quality for item in ends["highest"]] == own[::-1][:3].tolist()
        assert [item.quality for item in ends["lowest"]] == own[:3].tolist()
        assert all(GOOD[item.document] == item.quality for items in ends.values() for item in items)


def test_small_groups_count_together_and_nothing_at_all_is_no_error() -> None:
    codes = np.arange(N) % 600
    rare = Sampled({"domain": ([str(i) for i in range(600)], codes)}, TOKENS, {"planted": codes / 600})
    (found,) = audit_models(rare, AuditConfig())
    assert (found.sources[0].groups, found.sources[0].r2) == (1, 0.0)
    empty = Sampled({"domain": ([], np.empty(0, dtype=np.int64))}, np.empty(0, dtype=np.int64), {"planted": np.empty(0)})
    (nothing,) = audit_models(empty, AuditConfig())
    assert (nothing.documents, nothing.verdict, nothing.extremes) == (0, "fine", ())
