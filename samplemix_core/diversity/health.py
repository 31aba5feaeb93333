"""How good clusters are: the gates that a model must pass, and what it takes several fits to find out.

Light, for steps that only ask the gates: libraries are imported where they are used.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from samplemix_core.config.run import DiversityConfig
from samplemix_core.diversity.cluster_model import INHERITED, Assignment, ClusterModel, Kinds
from samplemix_core.diversity.fit import fit_clusters
from samplemix_core.diversity.geometry import rank_correlation
from samplemix_core.diversity.modes import Prepared, clusters_wanted, lower_min_samples
from samplemix_core.errors import DiversityHealthError

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class HealthReport:
    """A fit's figures. largest_share counts documents by nearest centroid, noise_share by the fit itself."""

    mode: str
    documents: int
    clusters: int
    largest_share: float
    noise_share: float


def reports_of(model: ClusterModel) -> list[HealthReport]:
    """The figures of each fit, whatever they are; first those of the one that names clusters."""
    return [HealthReport(fit.mode, int(fit.labels.size), fit.n_clusters, fit.largest_share, fit.noise_share) for fit in model.fits]


def check_health(model: ClusterModel, config: DiversityConfig) -> HealthReport:
    """The first fit's figures, if all fits pass the gates.

    Raises DiversityHealthError naming each gate that failed, its figure, and which setting to move.
    """
    reports = reports_of(model)
    problems, advice = failing(reports, config)
    if problems:
        raise DiversityHealthError(
            f"The clusters of a sample of {reports[0].documents} documents are degenerate: {'; '.join(problems)}.",
            f"In the run's diversity settings: {'; '.join(advice)}. If this corpus is like that, relax the gate, or mix by policy"
            " natural, which needs no clusters.",
        )
    return reports[0]


def failing(reports: Sequence[HealthReport], config: DiversityConfig) -> tuple[list[str], list[str]]:
    """What gates fits of a model fail, the first of each mode, and which setting to move for each."""
    problems, advice = dict[tuple[str, str], str](), dict[str, None]()
    for report in reports:
        for gate, problem, move in _failing(report, config):
            problems.setdefault((report.mode, gate), problem if len(reports) == 1 else f"{report.mode}: {problem}")
            advice[move] = None
    return list(problems.values()), list(advice)


def _failing(report: HealthReport, config: DiversityConfig) -> Iterator[tuple[str, str, str]]:
    """Yield each gate that a fit fails, with what is wrong, and which setting to move."""
    mode = config.modes[0] if report.mode == INHERITED else report.mode
    neighbours = f"lower umap_neighbors ({config.umap_neighbors})"
    more = f"raise clusters ({clusters_wanted(config, report.documents)})"
    samples = lower_min_samples(config)
    if report.clusters < config.gate_min_clusters:
        sizes = f"lower min_cluster_size ({config.min_cluster_size}) or min_cluster_share ({config.min_cluster_share:g})"
        yield (
            "clusters",
            f"{report.clusters} clusters, fewer than gate_min_clusters = {config.gate_min_clusters}",
            "for more clusters "
            + {"hdbscan": sizes, "plscan": samples, "kmeans": more, "evoc": f"{more}, or leave evoc out of modes"}[mode],
        )
    if report.largest_share > config.gate_max_largest_share:
        split = "set selection to 'leaf'" if mode == "hdbscan" and config.selection == "eom" else neighbours
        yield (
            "largest",
            f"the largest cluster has {report.largest_share:.1%} of the documents,"
            f" more than gate_max_largest_share = {config.gate_max_largest_share:.1%}",
            f"to split a large cluster {split if mode in ('hdbscan', 'plscan') else more}",
        )
    if report.noise_share > config.gate_max_noise_share:
        less = "set selection to 'eom'" if mode == "hdbscan" and config.selection == "leaf" else samples
        yield (
            "noise",
            f"{report.noise_share:.1%} noise, more than gate_max_noise_share = {config.gate_max_noise_share:.1%}",
            f"for less noise {less if mode in ('hdbscan', 'plscan') else f'leave {mode} out of modes'}",
        )


class Stability(NamedTuple):
    """How far another model of the same documents agrees.

    diversity: Spearman's correlation of documents' d. clusters: adjusted Rand index of the clusters that are named.
    """

    diversity: float
    clusters: float


@dataclass(frozen=True)
class Trial:
    """What another value of one setting does, to one fit of each mode and view.

    setting: the change in words. clusters, largest_share, noise_share: of the mode whose number of clusters changes most.
    agreement: Spearman's correlation of d with that of the settings as they are. cliff: what jumped, in words; empty if nothing.
    """

    setting: str
    clusters: int
    largest_share: float
    noise_share: float
    agreement: float
    cliff: str


@dataclass(frozen=True)
class Factor:
    """How d goes with something that it should not be a mere stand-in for: Spearman's correlation over documents.

    For languages and content types: the share of the variance of d's rank that they explain.
    """

    name: str
    correlation: float


@dataclass(frozen=True)
class Health:
    """All figures of some settings on a sample.

    agreement: mean correlation of the places that two of the model's fits give. seconds: of processor time, to fit.
    seed: against a model of another seed. fifth: against one of a fifth of the documents. against_kmeans: correlation of d with
    that of one fit by k-means. dbcv: density-based validity of HDBSCAN's first fit (Moulavi et al. 2014), -1 to 1; None without.
    failed: what could not be fitted, and why; its figures are None.
    """

    report: HealthReport
    fits: int
    agreement: float
    seconds: float
    seed: Stability | None
    fifth: Stability | None
    against_kmeans: float | None
    dbcv: float | None
    factors: tuple[Factor, ...]
    trials: tuple[Trial, ...]
    failed: tuple[str, ...] = ()

    @property
    def advice(self) -> list[str]:
        """What to look at, in words; nothing if all is well."""
        said = list(self.failed)
        if self.seed is not None and self.seed.diversity < LEAST_SEED:
            said.append(
                f"another seed gives another d (rank correlation {self.seed.diversity:.2f}, under {LEAST_SEED}): raise fits, or"
                " name more modes"
            )
        if self.fifth is not None and self.fifth.diversity < LEAST_FIFTH:
            said.append(
                f"a fifth of the sample gives another d (rank correlation {self.fifth.diversity:.2f}, under {LEAST_FIFTH}): raise"
                " sample_size"
            )
        if self.dbcv is not None and self.dbcv < 0:
            said.append(f"clusters are hardly denser than what is between them (DBCV {self.dbcv:.2f}): raise umap_neighbors")
        said += [f"a cliff: {trial.setting}: {trial.cliff}" for trial in self.trials if trial.cliff]
        return said


LEAST_SEED, LEAST_FIFTH = 0.9, 0.8
"""Rank correlations of d under which a measurement gives advice."""

_MOST_TIMES, _MOST_NOISE, _LEAST_AGREEMENT = 3.0, 0.25, 0.75
"""A cliff: so many times more or fewer clusters, so much more noise, or so little agreement, when one setting changes by half."""


def variants(config: DiversityConfig) -> Iterator[dict[str, Any]]:
    """Yield changes that a neighbour might have made, of one setting each: numbers halved and doubled.

    Whichever of min_cluster_size and min_cluster_share decides depends on the sample, so they change together.
    """
    modes = set(config.modes)
    umap = modes & {"hdbscan", "plscan"}
    numbers: dict[str, int] = {}
    if umap:
        numbers |= {name: getattr(config, name) for name in ("pca_components", "umap_components", "umap_neighbors", "umap_epochs")}
    if "hdbscan" in modes:
        yield {"selection": "leaf" if config.selection == "eom" else "eom"}
        yield from _smallest_clusters(config)
    if umap and config.min_samples is not None:
        numbers["min_samples"] = config.min_samples
    if modes & {"evoc", "kmeans"}:
        numbers["clusters"] = config.clusters or math.isqrt(config.sample_size)
    for name, value in numbers.items():
        least = 10 if name == "umap_epochs" else 1 if name == "min_samples" else 2
        for changed in sorted({max(least, round(value * factor)) for factor in _HALF_AND_TWICE} - {value}):
            yield {name: changed}
    yield {"separation_neighbours": None if config.separation_neighbours else 20}
    yield {"evenness": 0.0 if config.evenness else 0.7}
    yield {"views": ("centred",) if "plain" in config.views else ("plain",)}


_HALF_AND_TWICE = 0.5, 2.0


def _smallest_clusters(config: DiversityConfig) -> Iterator[dict[str, Any]]:
    for factor in _HALF_AND_TWICE:
        size, share = max(2, round(config.min_cluster_size * factor)), config.min_cluster_share * factor
        yield {"min_cluster_size": size, "min_cluster_share": share}


def _changed(config: DiversityConfig, change: Mapping[str, Any]) -> DiversityConfig | None:
    """Return settings with a change, or None if they aren't allowed together."""
    try:
        return DiversityConfig.model_validate({**config.model_dump(), **change})
    except ValidationError:
        return None


@dataclass(frozen=True)
class Attempt:
    """Settings to fit a sample by, with one more than their seed or so, on all of it or a share.

    name: what it is for, and for trials what is changed.
    """

    name: str
    config: DiversityConfig
    more_seed: int = 0
    share: float = 1.0
    wants_dbcv: bool = False


@dataclass(frozen=True, eq=False)
class Attempted:
    """What came of an attempt, over all n documents of the sample: d, float32 (n,), and clusters, int32 (n,).

    error: why there are no clusters; all else is then empty.
    """

    reports: tuple[HealthReport, ...]
    fits: int
    diversity: npt.NDArray[np.float32]
    cluster: npt.NDArray[np.int32]
    agreement: float = 1.0
    dbcv: float | None = None
    factors: tuple[Factor, ...] = ()
    seconds: float = 0.0
    error: str = ""

    @property
    def report(self) -> HealthReport:
        """Figures of the fit that names clusters."""
        return self.reports[0]


_MOST_PAIRED = 3_000

AS_THEY_ARE, SEED, FIFTH, KMEANS, SINGLE = "as they are", "another seed", "a fifth of the sample", "k-means", "one fit of each"


def attempts(config: DiversityConfig, *, sensitivity: bool = True) -> list[Attempt]:
    """What is to be fitted, for `health`: all of it on one sample, in any order, anywhere."""
    alone = {"modes": ("kmeans",), "views": ("plain",), "fits": 1}
    wanted = [
        Attempt(AS_THEY_ARE, config, wants_dbcv=True),
        Attempt(SEED, config, more_seed=1),
        Attempt(FIFTH, config, more_seed=2, share=0.2),
        Attempt(KMEANS, config.model_copy(update=alone)),
    ]
    if sensitivity:
        single = config.model_copy(update={"fits": 1})
        wanted.append(Attempt(SINGLE, single))
        wanted += [Attempt(_said(change), other) for change in variants(config) if (other := _changed(single, change)) is not None]
    return wanted


@dataclass(frozen=True)
class FitHealth:
    """What a fit shows of itself on its sample: figures of each fit, how far they agree, and what d goes with."""

    reports: tuple[HealthReport, ...]
    agreement: float
    factors: tuple[Factor, ...]

    @classmethod
    def of(
        cls, model: ClusterModel, vectors: Vectors, assigned: Assignment, lengths: npt.NDArray[np.integer], kinds: Kinds
    ) -> "FitHealth":
        """Look at unit vectors (n, dim) of documents with these lengths (n,), languages and content types, as they are assigned."""
        views = zip(model.fits, model.views_of(vectors), strict=True)
        places = [fit.places[fit.nearest(view)[0]] for fit, view in views if fit.mode != INHERITED]
        factors = _factors(model, assigned.diversity, assigned.cluster, lengths, kinds)
        return cls(tuple(reports_of(model)), _mean_correlation(places), tuple(factors))


def attempt(wanted: Attempt, vectors: Vectors, lengths: npt.NDArray[np.integer], kinds: Kinds) -> Attempted:
    """Fit unit vectors (n, dim) of documents with these lengths (n,), languages and content types."""
    started = time.process_time()
    config, seed = wanted.config, wanted.config.seed + wanted.more_seed
    rows = np.arange(len(vectors))
    if wanted.share < 1:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[: max(1, round(wanted.share * rows.size))])
    own = kinds._replace(language=kinds.language[rows], content_type=kinds.content_type[rows])
    try:
        model = fit_clusters(vectors[rows], config, seed, "", own)
    except DiversityHealthError as error:
        nothing = HealthReport(config.modes[0], len(rows), 0, 0.0, 1.0)
        return Attempted((nothing,), 0, np.zeros(len(vectors), np.float32), np.zeros(len(vectors), np.int32), error=error.what)
    seconds = time.process_time() - started
    found = model.assign(vectors, kinds)
    own_health = FitHealth.of(model, vectors, found, lengths, kinds)
    return Attempted(
        reports=own_health.reports,
        fits=len(model.fits),
        diversity=found.diversity,
        cluster=found.cluster,
        agreement=own_health.agreement,
        dbcv=_dbcv(model, vectors, config) if wanted.wants_dbcv else None,
        factors=own_health.factors,
        seconds=seconds,
    )


def health(found: Sequence[tuple[Attempt, Attempted]]) -> Health:
    """Put together what `attempts` came to; raise DiversityHealthError if there are no clusters at all."""
    named = {wanted.name: outcome for wanted, outcome in found if wanted.name in (AS_THEY_ARE, SEED, FIFTH, KMEANS, SINGLE)}
    whole = named[AS_THEY_ARE]
    if whole.error:
        raise DiversityHealthError(whole.error, "Measure more documents, or other settings.")
    trials: tuple[Trial, ...] = ()
    if SINGLE in named and not named[SINGLE].error:
        single = named[SINGLE]
        trials = tuple(_trial(wanted, outcome, single) for wanted, outcome in found if wanted.name not in named)
    return Health(
        report=whole.report,
        fits=whole.fits,
        agreement=whole.agreement,
        seconds=whole.seconds,
        seed=_stability(whole, named[SEED]),
        fifth=_stability(whole, named[FIFTH]),
        against_kmeans=None if named[KMEANS].error else stability(whole, named[KMEANS]).diversity,
        dbcv=whole.dbcv,
        factors=whole.factors,
        trials=trials,
        failed=tuple(f"{name} could not be fitted: {outcome.error}" for name, outcome in named.items() if outcome.error),
    )


def _stability(one: Attempted, other: Attempted) -> Stability | None:
    return None if other.error else stability(one, other)


def stability(one: Attempted, other: Attempted) -> Stability:
    """How far two models of the same documents agree."""
    from sklearn.metrics import adjusted_rand_score

    return Stability(rank_correlation(one.diversity, other.diversity), float(adjusted_rand_score(one.cluster, other.cluster)))


def _trial(wanted: Attempt, outcome: Attempted, before: Attempted) -> Trial:
    if outcome.error:
        return Trial(wanted.name, 0, 0.0, 1.0, 0.0, outcome.error)
    agreement = stability(before, outcome).diversity
    cliffs = []
    usual = {report.mode: report for report in reversed(before.reports)}
    changes = [(report, usual[report.mode]) for report in outcome.reports]
    # Of several modes, the one that changes most.
    report, was = max(changes, key=lambda pair: abs(math.log(max(pair[0].clusters, 1) / max(pair[1].clusters, 1))))
    if not 1 / _MOST_TIMES <= report.clusters / max(was.clusters, 1) <= _MOST_TIMES:
        cliffs.append(f"{report.clusters} clusters of {report.mode} instead of {was.clusters}")
    noisier, was_noisy = max(changes, key=lambda pair: pair[0].noise_share - pair[1].noise_share)
    if noisier.noise_share - was_noisy.noise_share > _MOST_NOISE:
        cliffs.append(f"noise of {noisier.mode} {noisier.noise_share:.0%} instead of {was_noisy.noise_share:.0%}")
    if agreement < _LEAST_AGREEMENT and not wanted.name.startswith("evenness"):
        cliffs.append(f"d agrees at {agreement:.2f} only")
    return Trial(wanted.name, report.clusters, report.largest_share, report.noise_share, agreement, ", ".join(cliffs))


def _said(change: Mapping[str, Any]) -> str:
    """A change of settings in words."""
    return ", ".join(f"{name} = {_value(value)}" for name, value in change.items())


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else "all" if value is None else str(value)


def _dbcv(model: ClusterModel, vectors: Vectors, config: DiversityConfig) -> float | None:
    from hdbscan.validity import validity_index

    fit = next((fit for fit in model.fits if fit.mode == "hdbscan"), None)
    if fit is None or fit.n_clusters < 2:
        return None
    view = next(view for other, view in zip(model.fits, model.views_of(vectors), strict=True) if other is fit)
    reduced = Prepared(view, config).reduced(fit.seed).astype(np.float64)
    # It holds all pairs of the largest cluster.
    some = np.random.default_rng(0).permutation(len(reduced))[:_MOST_PAIRED]
    labels = fit.labels[some].astype(np.intp)
    alone = np.bincount(labels[labels >= 0], minlength=fit.n_clusters) < 2
    labels[(labels >= 0) & alone[labels]] = -1
    if np.unique(labels[labels >= 0]).size < 2:
        return None
    with np.errstate(all="ignore"):
        # Texts that are the same have no distance to divide by.
        found = float(validity_index(reduced[some], np.unique(labels, return_inverse=True)[1] - int((labels < 0).any())))
    return found if np.isfinite(found) else None


def _factors(
    model: ClusterModel,
    diversity: npt.NDArray[np.float32],
    cluster: npt.NDArray[np.int32],
    lengths: npt.NDArray[np.integer],
    kinds: Kinds,
) -> Iterator[Factor]:
    """Correlations with the first fit's factors and with length, and what languages and content types explain."""
    for name in ("compactness", "separation"):
        yield Factor(name, rank_correlation(diversity, getattr(model.first, name)[cluster]))
    yield Factor("length", rank_correlation(diversity, lengths))
    from scipy.stats import rankdata

    # Of many documents with the same d, each has their mean rank: the order of the sample says nothing.
    ranks = rankdata(diversity)
    for name, codes in (("language", kinds.language), ("content_type", kinds.content_type)):
        counts = np.bincount(codes)
        means = np.bincount(codes, ranks) / np.maximum(counts, 1)
        spread = float(np.var(ranks))
        yield Factor(name, float(np.var(means[codes])) / spread if spread > 0 else 0.0)


def _mean_correlation(places: Sequence[npt.NDArray[np.float64]]) -> float:
    """Mean of Spearman's correlations of all pairs; 1 of one alone."""
    pairs = [rank_correlation(one, other) for i, one in enumerate(places) for other in places[:i]]
    return float(np.mean(pairs)) if pairs else 1.0


_GRID: tuple[dict[str, Any], ...] = (
    {},
    {"modes": ("hdbscan", "kmeans")},
    {"modes": ("evoc", "kmeans")},
    {"modes": ("hdbscan",)},
    {"modes": ("kmeans",)},
    {"views": ("plain", "centred"), "fits": 2},
    {"selection": "leaf"},
    {"umap_neighbors": 30},
    {"measure": "balanced"},
    {"measure": "hierarchical"},
    {"measure": "density"},
    {"near_discount": 0.5},
    {"clusters": 70},
    {"clusters": 280},
)


_OF_MODES = {
    "selection": {"hdbscan"},
    "min_cluster_size": {"hdbscan"},
    "min_cluster_share": {"hdbscan"},
    "umap_neighbors": {"hdbscan", "plscan"},
    "clusters": {"evoc", "kmeans"},
}
"""Settings that matter to some modes only."""


def grid(config: DiversityConfig) -> list[dict[str, Any]]:
    """A small grid of settings to try: as they are, and others that are known to matter. None twice."""
    found, known = list[dict[str, Any]](), list[DiversityConfig]()
    for change in (*_GRID, *_smallest_clusters(config)):
        settings = _changed(config, change)
        of = set().union(*(_OF_MODES.get(name, set(config.modes)) for name in change))
        if settings is not None and settings not in known and (not change or of & set(config.modes)):
            found.append(change)
            known.append(settings)
    return found


@dataclass(frozen=True)
class Tuned:
    """One point of a grid: the settings that differ from the configured ones, and its figures.

    failed: which gate it fails, or why it has no clusters; empty if it passes.
    """

    settings: dict[str, Any]
    report: HealthReport
    seed: float
    fifth: float
    agreement: float
    seconds: float
    failed: str

    @property
    def name(self) -> str:
        """The settings in words."""
        return _said(self.settings) or AS_THEY_ARE


def tuned(change: dict[str, Any], config: DiversityConfig, found: dict[str, Attempted]) -> Tuned:
    """Put together what the attempts of one point (AS_THEY_ARE, SEED, FIFTH) came to."""
    whole = found[AS_THEY_ARE]
    failed = whole.error or "; ".join(failing(whole.reports, config)[0])
    failed = failed or next((f"{name}: {found[name].error}" for name in (SEED, FIFTH) if found[name].error), "")
    if any(outcome.error for outcome in found.values()):
        return Tuned(change, whole.report, 0.0, 0.0, 0.0, whole.seconds, failed)
    seed, fifth = (stability(whole, found[name]).diversity for name in (SEED, FIFTH))
    return Tuned(change, whole.report, seed, fifth, whole.agreement, whole.seconds, failed)


def best_first(points: Sequence[Tuned]) -> list[Tuned]:
    """Points that pass the gates before others, the steadiest first, whatever they cost."""
    return sorted(points, key=lambda point: (bool(point.failed), -(point.seed + point.fifth)))
