"""What pages and the API show: answers of ready queries, asked with a read-only role, and estimates from roll-ups."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from samplemix_core.config.constraints import ConstraintsConfig
from samplemix_core.database.connection import transaction
from samplemix_core.database.evaluations import load_comparison
from samplemix_core.database.mixtures import cluster_diversity, diversity_bounds, mixture_profile, mixture_scale
from samplemix_core.database.query import PAGE_SECONDS, Answer, ask, ready_queries, stream_query
from samplemix_core.database.rollups import load_cells
from samplemix_core.errors import BudgetError, ConfigError, CorpusError, ManifestError, QueryError
from samplemix_core.evaluation.comparison import Comparison
from samplemix_core.frozen import FrozenModel, load_config, split_unknown
from samplemix_core.manifest.format import unmet_share
from samplemix_core.mixing.what_if import EstimatedGroups, EstimatedMixture, Estimator
from samplemix_core.pages.charts import MixtureCharts, mixture_charts
from samplemix_core.policies.policy import Policy, Scale, Slider
from samplemix_core.policies.registry import WithPolicy, gathered, without_brought
from samplemix_core.report.record import DIVERSITY_BINS, QUALITY_BINS


def ask_by_name(reader_url: str, name: str, values: dict[str, str]) -> Answer:
    """Like ask(), for a query and parameters named by a caller; raise QueryError if there is no such query."""
    if name not in ready_queries():
        raise QueryError(f"There is no query {name[:100]!r}.", f"There are {', '.join(ready_queries())}.")
    return ask(reader_url, name, **values)


def corpus_uri(reader_url: str, corpus_id: int) -> str:
    """Where a corpus lies; raise CorpusError if there is none with that number."""
    for row in ask(reader_url, "corpora"):
        if row["corpus_id"] == corpus_id:
            return str(row["uri"])
    raise CorpusError(f"There is no corpus {corpus_id}.", "See the list of corpora.")


def home(reader_url: str) -> dict[str, Answer]:
    """All mixtures and corpora."""
    return {"mixtures": ask(reader_url, "mixtures"), "corpora": ask(reader_url, "corpora")}


def corpus(reader_url: str, uri: str) -> dict[str, Answer]:
    """A corpus: its crawls and their drift, mixtures, quality and clusters, what was set aside or not read, shards in trouble."""
    names = {
        "crawls": "crawls",
        "quality": "quality_by_domain",
        "noise": "noise_by_domain",
        "quarantine": "quarantine_by_reason",
        "trouble": "shards_in_trouble",
        "unread": "unread_files",
        "drift": "drift",
        "models": "cluster_models",
        "health": "cluster_health",
        "heirs": "cluster_heirs",
    }
    mixtures = [row for row in ask(reader_url, "mixtures") if row["corpus"] == uri]
    return {"mixtures": mixtures, **{key: ask(reader_url, name, corpus=uri) for key, name in names.items()}}


def audits(reader_url: str, uri: str) -> dict[str, Answer]:
    """What quality models were found to measure on a corpus, and their scores by group."""
    return {"audits": ask(reader_url, "quality_audits", corpus=uri), "groups": ask(reader_url, "quality_audit_groups", corpus=uri)}


def mixture(reader_url: str, name: str, version: int | None = None) -> dict[str, Any]:
    """A version of a mixture, the latest if none is given: its figures, and what it did to domains, crawls and samples."""
    (found,) = ask(reader_url, "mixture_version", mixture=name, version=version)
    names = {
        "domains": "domain_shift",
        "funnel": "funnel",
        "left_out": "left_out",
        "crawls": "crawl_brought",
        "copies": "copies_histogram",
        "repeated": "most_repeated",
        "cutoff": "near_cutoff",
        "phases": "mixture_phases",
    }
    answers = {key: ask(reader_url, query, mixture=name, version=found["version"]) for key, query in names.items()}
    unmet = unmet_share(found["budget_tokens"], found["realised_tokens"])
    return {"mixture": found, "unmet_share": unmet, **answers, "versions": ask(reader_url, "mixture_versions", mixture=name)}


class DocumentMap(FrozenModel):
    """Documents of a version's source on a map, column by column, and the words of the clusters that they are in."""

    columns: dict[str, list[Any]]
    clusters: dict[str, str]


_MAPPED = (
    *("x", "y", "snapshot", "shard", "row", "domain", "language", "content_type", "n_tokens", "quality", "diversity", "cluster"),
    *("is_noise", "copies", "beginning"),
)


def document_map(reader_url: str, name: str, version: int) -> DocumentMap:
    """A version's map of documents; no documents if there is no map yet."""
    query = ready_queries()["document_map"]
    # Too many rows for ask().
    rows = stream_query(
        reader_url, query.sql, query.filled({"mixture": name, "version": str(version)}), timeout_seconds=PAGE_SECONDS
    )
    columns: dict[str, list[Any]] = {column: [] for column in _MAPPED}
    clusters = dict[str, str]()
    for row in rows:
        for column in _MAPPED:
            value = row[column]
            columns[column].append(round(float(value), 4) if isinstance(value, float) else value)
        clusters.setdefault(row["cluster"] or "", ", ".join(row["terms"] or ()))
    return DocumentMap(columns=columns, clusters=clusters)


def alike(reader_url: str, name: str, version: int) -> dict[str, Any]:
    """The near-duplicates that a version left out: `kept`, for which documents most of them, and how many in each domain.

    `asked` says whether any were to be left out.
    """
    (found,) = ask(reader_url, "mixture_version", mixture=name, version=version)
    left_out = ask(reader_url, "left_out", mixture=name, version=version)
    return {
        "kept": ask(reader_url, "near_duplicates", mixture=name, version=version),
        "by_domain": [row for row in left_out if row["rule"] == "near_duplicates"],
        "asked": bool((found["config"].get("near_duplicates") or {}).get("drop")),
    }


def contamination(reader_url: str, name: str, version: int) -> dict[str, Any]:
    """The benchmarks that a version keeps out, the documents that hold something of them, and how many in each domain."""
    kept_out = {row["key"] for row in ask(reader_url, "kept_out", mixture=name, version=version)}
    left_out = ask(reader_url, "left_out", mixture=name, version=version)
    return {
        "benchmarks": [row for row in ask(reader_url, "benchmarks") if row["key"] in kept_out],
        "found": ask(reader_url, "contamination", mixture=name, version=version),
        "by_domain": [row for row in left_out if row["rule"].startswith("contaminated.")],
    }


def comparison(reader_url: str, number: int) -> dict[str, Any]:
    """A comparison of mixtures: its report `found`, and tables of places on the frontier, losses by group, contents and shares."""
    with transaction(reader_url) as cursor:
        row = load_comparison(cursor, number)
    found = Comparison.model_validate(row.pop("report"))
    shown = ("name", "policy", "realised_tokens", "epochs", "documents", "copies", "tokens", "held_tokens", "seconds")
    by_column = {}
    for column in found.contenders[0].multipliers:
        names = dict.fromkeys(name for each in found.contenders for name in each.multipliers[column])
        by_column[column] = [
            {column: name, **{each.name: each.multipliers[column].get(name, 0.0) for each in found.contenders}} for name in names
        ]
    return {
        **{"number": number, "found": found, **row, "title": _title(row)},
        "places": [
            {
                **{"mixture": each.name, "index": index, "on_the_frontier": each in found.frontier},
                **{"like_the_source": each.like_source.mean, "error": each.like_source.error},
                **{"elsewhere": each.elsewhere.mean, "its_error": each.elsewhere.error, "settings": "settings"},
            }
            for index, each in enumerate(found.contenders)
            if each.like_source is not None and each.elsewhere is not None
        ],
        "policies": {each.name: each.policy for each in found.contenders},
        "quick": {each.name: each.gains for each in found.contenders},
        "groups": list(zip(*(each.groups for each in found.contenders), strict=True)),
        "held": [{name: getattr(each, name) for name in shown} for each in found.contenders],
        "multipliers": by_column,
        "targets": [target.model_dump() for target in found.targets],
    }


def _title(row: Mapping[str, Any]) -> str:
    return f"{row['mixture']} version {row['version']}" if row["version"] is not None else f"a draft of {row['mixture']}"


def choices(reader_url: str, name: str, version: int) -> dict[str, list[str]]:
    """What samples of a version can be filtered by."""
    domains = ask(reader_url, "domain_shift", mixture=name, version=version)
    (found,) = ask(reader_url, "mixture_version", mixture=name, version=version)
    return {"domain": [row["domain"] for row in domains], "snapshot": list(found["snapshots"] or ())}


def charts(reader_url: str, version: dict[str, Any], copies: Answer) -> MixtureCharts | None:
    """The charts of a version, given as a row of mixture_version; None if it has no roll-up."""
    with transaction(reader_url) as cursor:
        cells = mixture_profile(
            cursor, version["mixture"], version["version"], quality_bins=QUALITY_BINS, diversity_bins=DIVERSITY_BINS
        )
    return mixture_charts(cells, copies, (version["quality_low"], version["quality_high"]))


def diff(reader_url: str, name: str, older: int | None, newer: int | None) -> dict[str, Any]:
    """Two versions of a mixture side by side, from their roll-ups; the last two, if none are named."""
    versions = ask(reader_url, "mixture_versions", mixture=name)
    numbers = [row["version"] for row in versions]
    if not numbers:
        raise ManifestError(f"There is no mixture {name[:100]!r}.", "See the list of mixtures.")
    newer = newer or numbers[0]
    older = older or next((number for number in numbers if number < newer), newer)
    names = {"domains": "domain_changes", "clusters": "cluster_changes", "bands": "band_changes"}
    answers = {key: ask(reader_url, query, mixture=name, older=older, newer=newer) for key, query in names.items()}
    return {"name": name, "older": older, "newer": newer, "versions": versions, **answers}


class Settings(WithPolicy):
    """Settings of a mixture that can be tried out."""

    budget_percent: float = Field(20.0, gt=0, description="Of the source's tokens")
    max_copies: int = Field(4, ge=1, le=1000)
    constraints: ConstraintsConfig = ConstraintsConfig()


class Figures(FrozenModel):
    """A mixture's totals. `epochs` is the mean number of copies of a sample that is in it."""

    tokens: float
    samples: float
    copies: float
    epochs: float


class EstimatedShare(FrozenModel):
    """A group under other settings; `weight` is its share against the source's, `epochs` its tokens against the source's."""

    source_share: float
    published_share: float
    share: float
    weight: float
    samples: float
    epochs: float


class EstimatedDomain(EstimatedShare):
    """A domain under other settings."""

    domain: str


class EstimatedLabel(EstimatedShare):
    """A language or a content type under other settings."""

    name: str


class WhatIf(FrozenModel):
    """A mixture under other settings, next to the published one.

    `labels` are languages and content types, none for a version that is older than these. `error` is the largest error of an
    estimated domain's share at the published settings; None if these can't be estimated.
    """

    settings: Settings
    total: Figures
    published: Figures
    domains: tuple[EstimatedDomain, ...]
    labels: dict[str, tuple[EstimatedLabel, ...]]
    by_copies: tuple[float, ...]
    error: float | None


def published_settings(version: dict[str, Any], source_tokens: int) -> Settings:
    """The settings that a version was made with, as far as they can be tried out."""
    own = {name: value for name, value in version["config"].items() if name in ("policy", "max_copies", "constraints")}
    own["budget_percent"] = round(100 * version["budget_tokens"] / source_tokens, 4)
    known, _ = split_unknown(Settings, own)
    return load_config(Settings, known, f"configuration of {version['mixture']} version {version['version']}")


class SlidingParameter(NamedTuple):
    """A policy's parameter with a slider on the page, and its value."""

    name: str
    title: str
    slider: Slider
    value: float


def sliders(kind: type[Policy], own: Policy) -> tuple[str, list[SlidingParameter]]:
    """Return a policy's name, and its parameters with sliders: at the version's values if that is its policy, else at defaults."""
    found = []
    for name, field in kind.model_fields.items():
        for slider in (item for item in field.metadata if isinstance(item, Slider)):
            value = getattr(own, name) if type(own) is kind else field.default
            found.append(
                SlidingParameter(name, field.title or name, slider, value if isinstance(value, int | float) else slider.low)
            )
    return kind.model_fields["name"].default, found


def _changed(own: Settings, changes: Mapping[str, Any]) -> Settings:
    values = gathered(changes, Settings.model_fields)
    policy = values.get("policy")
    if isinstance(policy, dict) and policy.get("name", own.policy.name) == own.policy.name:
        values["policy"] = {"name": own.policy.name, **own.policy.parameters(), **policy}
    base = own.model_dump()
    if isinstance(policy, dict) and policy.get("name", own.policy.name) != own.policy.name:
        base = without_brought(base)
    return load_config(Settings, {**base, **values}, "mixture")


def without_sliders(own: Policy) -> dict[str, Any]:
    """A policy's parameters that no slider moves: with the sliders' they make it whole."""
    moved = {item.name for item in sliders(type(own), own)[1]}
    return {name: value for name, value in own.parameters().items() if name not in moved}


def what_if(reader_url: str, name: str, version: int | None, changes: Mapping[str, Any]) -> WhatIf:
    """A version under its own settings with these changes. Parameters of its policy stay unless another policy is named.

    Raises BudgetError if no copies meet the budget and the constraints, ConfigError for an unknown policy or a version with phases,
    ManifestError for a version without a roll-up.
    """
    estimator, scale, found, own = _to_estimate(reader_url, name, version)
    wanted = _changed(own, changes) if changes else own
    estimated = _estimate(estimator, scale, own.policy, wanted)
    return WhatIf(
        settings=wanted,
        total=_figures(estimated.domains.tokens.sum(), estimated.domains.samples.sum(), estimated.copies),
        published=_figures(found["realised_tokens"], found["samples"], found["copies"]),
        domains=tuple(EstimatedDomain(domain=name, **shares) for name, shares in _shares(estimated.domains)),
        labels={
            label: tuple(EstimatedLabel(name=name, **shares) for name, shares in _shares(groups))
            for label, groups in estimated.labels.items()
        },
        by_copies=tuple(estimated.by_copies.tolist()),
        error=_error(estimator, scale, own),
    )


class WhatIfForm(NamedTuple):
    """What the page needs to ask: the settings to begin with, the error at these (see WhatIf), and the labels it shows."""

    settings: Settings
    error: float | None
    labels: list[str]


def what_if_form(reader_url: str, name: str, version: int) -> WhatIfForm:
    """The form of a version's page. Raises as what_if does, but not if its own settings can't be estimated."""
    estimator, scale, _, own = _to_estimate(reader_url, name, version)
    return WhatIfForm(own, _error(estimator, scale, own), estimator.labels)


def _to_estimate(reader_url: str, name: str, version: int | None) -> tuple[Estimator, Scale, dict[str, Any], Settings]:
    (found,) = ask(reader_url, "mixture_version", mixture=name, version=version)
    if found["config"].get("phases"):
        raise ConfigError(
            f"{name} version {found['version']} has phases, and only a mixture without them can be estimated.",
            "Look at a version without phases, or mix with other phases and compare the two.",
        )
    estimator, scale = _estimator(reader_url, found["mixture_id"])
    return estimator, scale, found, published_settings(found, estimator.source_tokens)


def _error(estimator: Estimator, scale: Scale, own: Settings) -> float | None:
    """The largest error of a domain's share at the published settings."""
    try:
        again = _estimate(estimator, scale, own.policy, own).domains
    except (BudgetError, ConfigError):
        return None
    return float(np.abs(again.shares - again.published_tokens / max(1, again.published_tokens.sum())).max())


def _shares(groups: EstimatedGroups) -> list[tuple[str, dict[str, float]]]:
    """The fields of EstimatedShare by name, the largest group of the source first."""
    source = groups.source_tokens / groups.source_tokens.sum()
    columns = {
        "source_share": source,
        "published_share": groups.published_tokens / max(1, groups.published_tokens.sum()),
        "share": groups.shares,
        "weight": np.divide(groups.shares, source, out=np.zeros(source.size), where=source > 0),
        "samples": groups.samples,
        "epochs": groups.tokens / np.maximum(groups.source_tokens, 1),
    }
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    found = [(name, dict(zip(columns, row, strict=True))) for name, row in zip(groups.names, rows, strict=True)]
    return sorted(found, key=lambda item: -item[1]["source_share"])


def _estimate(estimator: Estimator, scale: Scale, own: Policy, wanted: Settings) -> EstimatedMixture:
    """Estimate a mixture; `own` is the version's policy, and the scale is as that has it."""
    budget = round(wanted.budget_percent / 100 * estimator.source_tokens)
    by_ranks = wanted.policy.brings.get("normalise") == "ranks"
    if by_ranks and scale.quality_ranks is None:
        scale = estimator.ranked(scale)
    elif not by_ranks and own.brings.get("normalise") == "ranks":
        scale = scale._replace(quality_ranks=None, diversity_ranks=None)
    return estimator.estimate(wanted.policy, scale, budget, wanted.max_copies, wanted.constraints)


def _figures(tokens: float, samples: float, copies: float) -> Figures:
    return Figures(tokens=tokens, samples=samples, copies=copies, epochs=copies / max(samples, 1.0))


@lru_cache(maxsize=4)
def _estimator(reader_url: str, mixture_id: int) -> tuple[Estimator, Scale]:
    """A published version never changes, so its cells are read once."""
    with transaction(reader_url) as cursor:
        cells = load_cells(cursor, mixture_id)
        bounds, scale = diversity_bounds(cursor, mixture_id), mixture_scale(cursor, mixture_id)
        of_clusters = cluster_diversity(cursor, mixture_id)
    if not cells.num_rows:
        raise ManifestError(
            "This version was recorded before roll-ups were kept, and its source has changed since: it can't be estimated from.",
            "Mix again: a new version has its roll-up.",
        )
    return Estimator(cells, bounds, of_clusters), scale
