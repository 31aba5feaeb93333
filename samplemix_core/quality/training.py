"""Training heads on labels: settings are chosen, and heads judged on unseen documents, next to simpler methods.

Every document is judged by heads that were fitted without its group (cross-fitting over folds of groups, dealt within each source);
all choices are made within the fitted part. The heads that are kept are fitted on all documents.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy
from sklearn.metrics import roc_auc_score

from samplemix_core.quality.baselines import LEVEL, LabelledInputs, assign_folds, baseline_predictions
from samplemix_core.quality.measures import Measured, measure_gain, measure_levels, measure_with_intervals, resampling_weights
from samplemix_core.quality.ordinal import (
    Floats,
    HeadSettings,
    Levels,
    OrdinalHeads,
    expected_score,
    fit_heads,
    level_of_the_paper,
    predicted_level,
)

PENALTIES = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
VECTOR_WEIGHTS = (0.5, 1.0, 2.0)
CURVE = (0.1, 0.2, 0.4, 0.7, 1.0)
"""Parts of the labels for the learning curve."""

MOST_SOURCES = 12
LEAST_OF_A_SOURCE = 20
MOST_TO_CROSS = 20_000
"""Most documents for which every fold in turn is judged. With more, one fold is enough to measure, and training takes minutes."""

ORDINAL = "ordinal"
PAPERS_RULE = "paper's rule"


@dataclass(frozen=True)
class SourceReport:
    """A source's documents: mean label, mean expected score, and the error of heads that saw others of the source, or none."""

    source: str
    documents: int
    mean_label: float
    mean_expected: float
    mae: float
    mae_unseen: float | None


@dataclass(frozen=True)
class ScoreReport:
    """How one score is predicted: measures by method, with intervals, and how much better than each other method the kept one is.

    confusion[i][j]: documents of level i that were predicted as j. calibration: for documents whose expected score rounds to the
    same level, how many there are, their mean expected score and their mean label. auc: of the expected score, if there are two
    levels.
    """

    score: str
    maximum: int
    methods: dict[str, dict[str, Measured]]
    gains: dict[str, dict[str, Measured]]
    confusion: list[list[int]]
    calibration: list[tuple[int, float, float]]
    auc: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingReport:
    """How training went. curve: number of documents learnt from -> measures of the last score, overall quality.

    method: the kept one, among the methods of each score. tuning: documents seen -> held-out loss, for an encoder.
    """

    method: str
    documents: int
    judged: int
    groups: int
    folds: int
    settings: HeadSettings | None
    scores: tuple[ScoreReport, ...]
    sources: tuple[SourceReport, ...]
    curve: tuple[tuple[int, dict[str, float]], ...]
    tuning: tuple[tuple[int, float], ...] = ()


def heads_loss(heads: OrdinalHeads, data: LabelledInputs) -> float:
    """Mean binary cross-entropy over documents, and over the tasks of each score, then over scores."""
    losses = []
    for name, probabilities in heads.probabilities(data.inputs).items():
        target = data.levels[name][:, None] > np.arange(data.maxima[name])
        p = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
        losses.append(-(xlogy(target, p) + xlogy(1 - target, 1 - p)).mean())
    return float(np.mean(losses))


def choose_settings(data: LabelledInputs, seed: int) -> HeadSettings:
    """Return the settings with the least loss on held-out groups: over two folds, or one for over MOST_TO_CROSS documents."""
    fold = assign_folds(data, 4, seed)
    has_both = data.inputs.features.shape[1] > 0 and data.inputs.vectors.shape[1] > 0
    weights = VECTOR_WEIGHTS if has_both else (1.0,)
    total = dict.fromkeys(product(weights, PENALTIES), 0.0)
    for held in (0, 1) if len(data.inputs) <= MOST_TO_CROSS else (0,):
        fitted, rest = data.take(np.flatnonzero(fold != held)), data.take(np.flatnonzero(fold == held))
        for weight in weights:
            start: Floats | None = None
            for penalty in PENALTIES:
                heads, start = fit_heads(fitted.inputs, fitted.levels, fitted.maxima, HeadSettings(penalty, weight), start)
                total[weight, penalty] += heads_loss(heads, rest)
    weight, penalty = min(total, key=lambda key: total[key])
    return HeadSettings(penalty, weight)


def train_heads(
    data: LabelledInputs, *, folds: int, seed: int, baselines: bool, on_progress: Callable[[int, int, str], None] = lambda *_: None
) -> tuple[OrdinalHeads, TrainingReport]:
    """Fit heads on all documents, and report how good heads made this way are.

    `on_progress` is called with the steps done, the number of steps, and the next step.
    """
    fold = assign_folds(data, folds, seed)
    judged = range(folds) if len(data.inputs) <= MOST_TO_CROSS else range(1)
    steps = len(judged) + 3
    predictions: dict[str, dict[str, Floats]] = {name: {} for name in data.levels}
    rows = np.flatnonzero(np.isin(fold, judged))
    for held in judged:
        on_progress(held, steps, f"fold {held + 1} of {len(judged)}")
        fitted, rest = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        for method, found in _methods(data.take(fitted), data.take(rest), seed, baselines=baselines).items():
            for name, values in found.items():
                predictions[name].setdefault(method, np.full(len(data.inputs), np.nan))[rest] = values
    on_progress(len(judged), steps, "heads on all labels")
    settings = choose_settings(data, seed)
    heads, _ = fit_heads(data.inputs, data.levels, data.maxima, settings)
    weights = resampling_weights(data.groups[rows], seed)
    scores = tuple(
        _score_report(name, data.maxima[name], data.levels[name][rows], _at(found, rows), weights, ORDINAL)
        for name, found in predictions.items()
    )
    overall = list(data.maxima)[-1]
    on_progress(len(judged) + 1, steps, "sources left out")
    sources = _source_reports(data, rows, overall, predictions[overall][ORDINAL], settings)
    on_progress(len(judged) + 2, steps, "learning curve")
    curve = _learning_curve(data, fold, overall, settings, seed)
    on_progress(steps, steps, "done")
    report = TrainingReport(
        method=ORDINAL,
        documents=len(data.inputs),
        judged=rows.size,
        groups=int(np.unique(data.groups).size),
        folds=len(judged),
        settings=settings,
        scores=scores,
        sources=sources,
        curve=curve,
    )
    return heads, report


def _methods(fitted: LabelledInputs, rest: LabelledInputs, seed: int, *, baselines: bool) -> dict[str, dict[str, Floats]]:
    """Return, by method and score, predictions for the rest: expected scores; for methods with levels of their own, those too."""
    heads, _ = fit_heads(fitted.inputs, fitted.levels, fitted.maxima, choose_settings(fitted, seed))
    found: dict[str, dict[str, Floats]] = {}
    for name, probabilities in heads.probabilities(rest.inputs).items():
        found.setdefault(ORDINAL, {})[name] = expected_score(probabilities).astype(np.float64)
        found.setdefault(ORDINAL + LEVEL, {})[name] = predicted_level(probabilities).astype(np.float64)
        found.setdefault(PAPERS_RULE, {})[name] = level_of_the_paper(probabilities).astype(np.float64)
    for name, levels in fitted.levels.items():
        for method, values in baseline_predictions(fitted, rest, levels, seed, models=baselines).items():
            found.setdefault(method, {})[name] = values
    return found


def _at(found: Mapping[str, Floats], rows: npt.NDArray[np.int64]) -> dict[str, Floats]:
    return {method: values[rows] for method, values in found.items()}


def _score_report(name: str, maximum: int, truth: Levels, found: Mapping[str, Floats], weights: Floats, main: str) -> ScoreReport:
    expected = {method: values for method, values in found.items() if not method.endswith(LEVEL)}
    levels = {
        method: np.clip(np.rint(found.get(method + LEVEL, values)), 0, maximum).astype(np.int64)
        for method, values in expected.items()
    }
    rounded = np.rint(expected[main])
    confusion = np.zeros((maximum + 1, maximum + 1), dtype=np.int64)
    np.add.at(confusion, (truth, levels[main]), 1)
    return ScoreReport(
        score=name,
        maximum=maximum,
        methods={method: measure_with_intervals(truth, values, weights) for method, values in levels.items()},
        gains={method: measure_gain(truth, levels[main], values, weights) for method, values in levels.items() if method != main},
        confusion=confusion.tolist(),
        calibration=[
            (int(near.sum()), float(expected[main][near].mean()), float(truth[near].mean()))
            for level in np.unique(rounded)
            for near in [rounded == level]
        ],
        auc={method: float(roc_auc_score(truth, values)) for method, values in expected.items()}
        if maximum == 1 and 0 < truth.sum() < truth.size
        else {},
    )


def _source_reports(
    data: LabelledInputs, rows: npt.NDArray[np.int64], overall: str, expected: Floats, settings: HeadSettings | None
) -> tuple[SourceReport, ...]:
    """Report on the largest sources; with several, and settings, heads are also fitted without each source and judged on it."""
    counts = np.bincount(data.sources[rows], minlength=len(data.source_names))
    reports = []
    for source in np.argsort(-counts, kind="stable")[:MOST_SOURCES].tolist():
        own = rows[data.sources[rows] == source]
        if own.size < LEAST_OF_A_SOURCE:
            break
        truth = data.levels[overall][own]
        others = np.flatnonzero(data.sources != source)
        unseen = None
        if settings and others.size >= LEAST_OF_A_SOURCE:
            fitted = data.take(others)
            heads, _ = fit_heads(fitted.inputs, {overall: fitted.levels[overall]}, {overall: data.maxima[overall]}, settings)
            guess = expected_score(heads.probabilities(data.inputs.take(own))[overall])
            unseen = float(np.abs(guess - truth).mean())
        reports.append(
            SourceReport(
                source=data.source_names[source],
                documents=own.size,
                mean_label=float(truth.mean()),
                mean_expected=float(expected[own].mean()),
                mae=float(np.abs(expected[own] - truth).mean()),
                mae_unseen=unseen,
            )
        )
    return tuple(reports)


TUNED = "fine-tuned"


def judge_tuned(
    data: LabelledInputs,
    test: npt.NDArray[np.int64],
    probabilities: Mapping[str, npt.NDArray[np.float32]],
    tuning: Sequence[tuple[int, float]],
    *,
    seed: int,
    baselines: bool,
) -> TrainingReport:
    """Report how good a fine-tuned encoder is on the documents `test`, given its probabilities of their levels.

    It is compared with methods that learnt from all other documents: ordinal heads on the encoder's vectors before tuning, and
    simpler ones.
    """
    others = np.setdiff1d(np.arange(len(data.inputs)), test)
    fitted, rest = data.take(others), data.take(test)
    found = _methods(fitted, rest, seed, baselines=baselines)
    found[TUNED] = {name: expected_score(values).astype(np.float64) for name, values in probabilities.items()}
    found[TUNED + LEVEL] = {name: predicted_level(values).astype(np.float64) for name, values in probabilities.items()}
    found[PAPERS_RULE] = {name: level_of_the_paper(values).astype(np.float64) for name, values in probabilities.items()}
    weights = resampling_weights(rest.groups, seed)
    overall = list(data.maxima)[-1]
    everywhere = np.full(len(data.inputs), np.nan)
    everywhere[test] = found[TUNED][overall]
    return TrainingReport(
        method=TUNED,
        documents=len(data.inputs),
        judged=test.size,
        groups=int(np.unique(data.groups).size),
        folds=1,
        settings=None,
        scores=tuple(
            _score_report(
                name, maximum, rest.levels[name], {method: values[name] for method, values in found.items()}, weights, TUNED
            )
            for name, maximum in data.maxima.items()
        ),
        sources=_source_reports(data, test, overall, everywhere, None),
        curve=(),
        tuning=tuple(tuning),
    )


def _learning_curve(
    data: LabelledInputs, fold: npt.NDArray[np.int64], overall: str, settings: HeadSettings, seed: int
) -> tuple[tuple[int, dict[str, float]], ...]:
    """Return measures on the first fold for heads fitted on ever more of the other folds' groups."""
    rest = data.take(np.flatnonzero(fold == 0))
    learnable = np.flatnonzero(fold != 0)
    groups = np.random.default_rng(seed).permutation(np.unique(data.groups[learnable]))
    maxima = {overall: data.maxima[overall]}
    curve = []
    for part in CURVE:
        chosen = learnable[np.isin(data.groups[learnable], groups[: max(1, round(part * groups.size))])]
        heads, _ = fit_heads(data.inputs.take(chosen), {overall: data.levels[overall][chosen]}, maxima, settings)
        level = predicted_level(heads.probabilities(rest.inputs)[overall])
        curve.append((int(chosen.size), measure_levels(rest.levels[overall], level)))
    return tuple(curve)
