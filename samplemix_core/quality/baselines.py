"""Labelled documents, dealt into folds, and what methods simpler than ordinal heads predict for unseen ones."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from samplemix_core.quality.ordinal import Floats, Inputs, Levels

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""C of plain classification: the smaller, the stronger the penalty."""

LEVEL = " level"
"""Appended to a method's name for its levels, if they aren't the rounded scores."""


@dataclass(frozen=True, eq=False)
class LabelledInputs:
    """n labelled documents: inputs, levels of each score (n,), and source and group of each document as numbers (n,)."""

    inputs: Inputs
    levels: Mapping[str, Levels]
    maxima: Mapping[str, int]
    sources: npt.NDArray[np.int64]
    source_names: tuple[str, ...]
    groups: npt.NDArray[np.int64]

    def take(self, rows: npt.NDArray[np.int64]) -> "LabelledInputs":
        """Return the documents at these rows."""
        levels = {name: values[rows] for name, values in self.levels.items()}
        return LabelledInputs(self.inputs.take(rows), levels, self.maxima, self.sources[rows], self.source_names, self.groups[rows])


def assign_folds(data: LabelledInputs, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Return each document's fold (n,): groups in the order of a hash, dealt within each source, so every fold gets its share."""
    groups, first, index = np.unique(data.groups, return_index=True, return_inverse=True)
    drawn = np.array([int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()[:7]) for group in groups.tolist()])
    source = data.sources[first]
    order = np.lexsort((drawn, source))
    dealt = np.empty(groups.size, dtype=np.int64)
    # One deal through all sources, so that many small ones don't all begin with the first fold.
    dealt[order] = np.arange(groups.size) % folds
    return np.asarray(dealt[index])


def baseline_predictions(
    fitted: LabelledInputs, rest: LabelledInputs, levels: Levels, seed: int, *, models: bool
) -> dict[str, Floats]:
    """Return what simpler methods predict: the commonest level, the source's mean, and models that ignore levels or their order."""
    counts = np.bincount(levels)
    n = len(rest.inputs)
    found = {"majority": np.full(n, float(counts.argmax()))}
    if len(fitted.source_names) > 1:
        size = len(fitted.source_names)
        number = np.bincount(fitted.sources, minlength=size)
        mean = (np.bincount(fitted.sources, levels, minlength=size) + levels.mean()) / (number + 1)
        found["source"] = mean[rest.sources]
    if not models:
        return found
    columns, others = (np.hstack([item.inputs.vectors, item.inputs.features]) for item in (fitted, rest))
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 11))).fit(columns, levels)
    boosted = HistGradientBoostingRegressor(
        max_iter=150, learning_rate=0.06, max_leaf_nodes=12, max_features=0.3, random_state=seed
    )
    found |= {"ridge": ridge.predict(others), "boosting": boosted.fit(columns, levels).predict(others)}
    found |= _classified(fitted, columns, others, levels, seed)
    return {name: np.asarray(values, dtype=np.float64) for name, values in found.items()}


def _classified(fitted: LabelledInputs, columns: Floats, others: Floats, levels: Levels, seed: int) -> dict[str, Floats]:
    """Predict by plain classification: the likeliest class, and the expected one, with a penalty chosen on held-out groups."""
    if np.unique(levels).size == 1:
        return dict.fromkeys(("classification", "classification" + LEVEL), np.full(len(others), float(levels[0])))
    fold = assign_folds(fitted, 4, seed)
    inner, held = fold != 0, fold == 0

    def classifier(strength: float, rows: npt.NDArray[np.bool_]) -> Any:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300, tol=1e-3))
        return model.fit(columns[rows], levels[rows])

    def held_out(strength: float) -> float:
        return float((classifier(strength, inner).predict(columns[held]) == levels[held]).mean())

    # If the inner part has only one level, there is nothing to choose by.
    best = max(STRENGTHS, key=held_out) if np.unique(levels[inner]).size > 1 else STRENGTHS[0]
    model = classifier(best, np.ones(len(columns), dtype=np.bool_))
    probabilities = model.predict_proba(others)
    return {
        "classification": probabilities @ model.classes_,
        "classification" + LEVEL: model.classes_[probabilities.argmax(axis=1)],
    }
