"""What a quality model really measures: whether it tells good from bad, or merely sources, languages, lengths, or nothing.

Computed on a sample of documents, with quality normalised to 0..1 by the model's range. Pure: arrays in, values out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from samplemix_core.config.run import AuditConfig, Limit

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

NEAR = 0.01
"""Scores within this part of the range are near each other."""

LEAST_OF_A_GROUP = 20
"""Fewest documents for which a group's measures mean anything; smaller groups are merged."""

_NAMED = 5

WHOLE = ""
"""The grouping of all documents together."""

GROUPINGS = {"domain": "source", "snapshot": "crawl", "language": "language", "content_type": "content type"}
"""What documents are grouped by -> what people call it."""


@dataclass(frozen=True, eq=False)
class Sampled:
    """n sampled documents. `groups`: for each of GROUPINGS, the names, and each document's as a number (n,).

    `quality`: by quality model, 0 to 1 in its range (n,). `tokens`: the documents' lengths (n,).
    """

    groups: Mapping[str, tuple[Sequence[str], Codes]]
    tokens: npt.NDArray[np.int64]
    quality: Mapping[str, Floats]

    def __len__(self) -> int:
        return self.tokens.size


@dataclass(frozen=True)
class GroupAudit:
    """A model's scores for a group of documents. `constant_share`: the largest share of them with scores within NEAR of each other.

    length_correlation: between the ranks of quality and of length; None if either is constant.
    """

    grouping: str
    name: str
    documents: int
    mean: float
    spread: float
    lowest_tenth: float
    median: float
    highest_tenth: float
    constant_share: float
    length_correlation: float | None


@dataclass(frozen=True)
class SourceAudit:
    """How well a grouping alone predicts quality: R2, adjusted for the number of groups; and AUC for predicting the better half."""

    grouping: str
    groups: int
    r2: float
    auc: float


class Verdict(StrEnum):
    """What follows for a run, the worst first. A Limit has a value for each but the last."""

    STOP = "stop"
    WARN = "warn"
    FINE = "fine"


@dataclass(frozen=True)
class Finding:
    """A measure that is beyond the limit for `level`; `said` explains it."""

    measure: str
    grouping: str
    name: str
    value: float
    limit: float
    level: Verdict
    said: str


@dataclass(frozen=True)
class Extreme:
    """A document with one of a domain's highest or lowest qualities; `document` is its place in the sample."""

    domain: str
    end: str
    document: int
    quality: float


@dataclass(frozen=True)
class ModelAudit:
    """The audit of a quality model. `groups` begins with all documents; `agreement`: by other model, the correlation of ranks."""

    model: str
    documents: int
    groups: tuple[GroupAudit, ...]
    sources: tuple[SourceAudit, ...]
    agreement: Mapping[str, float | None]
    extremes: tuple[Extreme, ...]
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings."""
        levels = {finding.level for finding in self.findings}
        return next((level for level in Verdict if level in levels), Verdict.FINE)


def audit_models(sampled: Sampled, config: AuditConfig) -> list[ModelAudit]:
    """Audit each of the quality models that scored the documents, in their order."""
    ranks = {model: rankdata(quality) for model, quality in sampled.quality.items()}
    lengths = rankdata(sampled.tokens)
    return [_audit(model, sampled, ranks, lengths, config) for model in sampled.quality]


def _audit(model: str, sampled: Sampled, ranks: Mapping[str, Floats], lengths: Floats, config: AuditConfig) -> ModelAudit:
    quality = sampled.quality[model]
    everything = np.arange(len(sampled))
    groups = [_group(WHOLE, "", quality, sampled.tokens, everything)]
    sources = []
    for grouping, (names, codes) in sampled.groups.items():
        counts = np.bincount(codes, minlength=len(names))
        for number in np.flatnonzero(counts >= LEAST_OF_A_GROUP).tolist():
            groups.append(_group(grouping, names[number], quality, sampled.tokens, np.flatnonzero(codes == number)))
        sources.append(_predicted(grouping, quality, ranks[model], _merged(codes, counts)))
    agreement = {other: correlation(ranks[model], found) for other, found in ranks.items() if other != model}
    found = ModelAudit(
        model=model,
        documents=len(sampled),
        groups=tuple(groups),
        sources=tuple(sources),
        agreement=agreement,
        extremes=tuple(_extremes(sampled, quality, config.extremes)),
        findings=(),
    )
    findings = tuple(_findings(found, config)) if len(sampled) >= config.least_documents else ()
    return replace(found, findings=findings)


def _group(grouping: str, name: str, quality: Floats, tokens: npt.NDArray[np.int64], rows: Codes) -> GroupAudit:
    own = np.sort(quality[rows])
    low, median, high = np.quantile(own, (0.1, 0.5, 0.9)) if own.size else (0.0, 0.0, 0.0)
    near = np.searchsorted(own, own + NEAR, side="right") - np.arange(own.size)
    return GroupAudit(
        grouping=grouping,
        name=name,
        documents=int(own.size),
        mean=float(own.mean()) if own.size else 0.0,
        spread=float(own.std()) if own.size else 0.0,
        lowest_tenth=float(low),
        median=float(median),
        highest_tenth=float(high),
        constant_share=float(near.max() / own.size) if own.size else 0.0,
        length_correlation=correlation(rankdata(quality[rows]), rankdata(tokens[rows])),
    )


def correlation(one: Floats, other: Floats) -> float | None:
    """Return Pearson's correlation; None if either is constant."""
    if one.size < 2:
        return None
    one, other = one - one.mean(), other - other.mean()
    scale = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / scale if scale > 1e-12 else None


def _merged(codes: Codes, counts: npt.NDArray[np.int64]) -> Codes:
    """Return each document's group as a number (n,), with small groups merged into one."""
    numbers = np.cumsum(counts >= LEAST_OF_A_GROUP)
    return np.asarray(np.where(counts >= LEAST_OF_A_GROUP, numbers, 0)[codes], dtype=np.int64)


def _predicted(grouping: str, quality: Floats, ranks: Floats, codes: Codes) -> SourceAudit:
    if not codes.size:
        return SourceAudit(grouping, groups=0, r2=0.0, auc=0.5)
    counts = np.bincount(codes)
    n, groups = codes.size, int((counts > 0).sum())
    means = np.bincount(codes, quality, minlength=counts.size) / np.maximum(counts, 1)
    total, within = float(((quality - quality.mean()) ** 2).sum()), float(((quality - means[codes]) ** 2).sum())
    r2 = 0.0
    if total > 1e-12 * n and n > groups:
        r2 = max(0.0, 1 - (within / (n - groups)) / (total / (n - 1)))
    better = ranks > (n + 1) / 2
    share = np.bincount(codes, better, minlength=counts.size) / np.maximum(counts, 1)
    return SourceAudit(grouping, groups, r2, _auc(share[codes], better))


def _auc(scores: Floats, truth: npt.NDArray[np.bool_]) -> float:
    """Return how often a true document has the higher score, with ties as half; 0.5 if all are true or none is."""
    positive, negative = int(truth.sum()), int((~truth).sum())
    if not positive or not negative:
        return 0.5
    return float((rankdata(scores)[truth].sum() - positive * (positive + 1) / 2) / (positive * negative))


def _extremes(sampled: Sampled, quality: Floats, count: int) -> Iterator[Extreme]:
    names, codes = sampled.groups["domain"]
    order = np.lexsort((np.arange(quality.size), quality))
    for number in np.unique(codes).tolist():
        own = order[codes[order] == number]
        for end, rows in (("highest", own[::-1][:count]), ("lowest", own[:count])):
            yield from (Extreme(names[number], end, int(row), float(quality[row])) for row in rows)


def _findings(found: ModelAudit, config: AuditConfig) -> Iterator[Finding]:
    whole = found.groups[0]
    yield from _beyond("spread", whole, -whole.spread, config.spread, "its scores hardly differ: it tells nothing apart")
    what = f"{whole.constant_share:.0%} of its scores are nearly the same"
    constant = list(_beyond("constant_share", whole, whole.constant_share, config.constant_share, what))
    yield from constant
    for grouping in ("domain", "language") if not constant else ():
        alike = sorted((group for group in found.groups if group.grouping == grouping), key=lambda group: -group.constant_share)
        most = config.constant_share.warn
        names = [group.name for group in alike if most is not None and group.constant_share > most]
        if names and most is not None:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            what = f"most of its scores are nearly the same within {', '.join(names[:_NAMED])}{more}"
            yield Finding("constant_share", grouping, names[0], alike[0].constant_share, most, Verdict.WARN, what)
    for source in found.sources:
        kind = GROUPINGS.get(source.grouping, source.grouping)
        what = f"the {kind} alone predicts {source.r2:.0%} of its variance, and the better half with an AUC of {source.auc:.2f}"
        place = replace(whole, grouping=source.grouping)
        yield from _beyond("source_r2", place, source.r2, config.source_r2, f"{what}: it may have learnt to recognise the {kind}")
    if whole.length_correlation is not None:
        what = f"its ranks correlate with length by {whole.length_correlation:.2f}: it may only measure length"
        yield from _beyond("length_correlation", whole, abs(whole.length_correlation), config.length_correlation, what)
    for other, value in found.agreement.items():
        if value is not None:
            what = f"its ranks agree with those of {other} by {value:.2f} only"
            yield from _beyond("agreement", whole, -value, config.agreement, what)


def _beyond(measure: str, group: GroupAudit, value: float, limit: Limit, said: str) -> Iterator[Finding]:
    """Yield a finding if a value is beyond a limit; values that should be high are given as negative."""
    sign = -1.0 if measure in ("spread", "agreement") else 1.0
    for level in (Verdict.STOP, Verdict.WARN):
        most = getattr(limit, level)
        if most is not None and value > sign * most:
            yield Finding(measure, group.grouping, group.name, sign * value, most, level, said)
            return
