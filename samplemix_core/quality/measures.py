"""How well predicted levels, or two annotators, agree: the measures of the paper, and their confidence intervals."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Levels = npt.NDArray[np.int64]

RESAMPLES = 1000
INTERVAL = (0.025, 0.975)

MEASURES = ("acc", "mae", "mse", "cacc", "kappa")
"""Share that is equal; mean absolute and mean squared difference; share that differs by 1 at most; quadratic weighted kappa."""

LESS_IS_BETTER = frozenset({"mae", "mse"})


@dataclass(frozen=True)
class Measured:
    """A value, and its 95 % interval by resampling."""

    value: float
    low: float
    high: float


def measure_levels(truth: Levels, predicted: npt.NDArray[np.float64] | Levels) -> dict[str, float]:
    """MEASURES of predictions (n,) against true levels (n,)."""
    return {name: float(values[0]) for name, values in _weighted(truth, predicted, np.ones((1, truth.size))).items()}


def weighted_kappa(one: Levels, other: Levels) -> float:
    """Return Cohen's kappa with quadratic weights: 1 for full agreement, 0 for chance; 1 if both always give the same level."""
    return measure_levels(one, other)["kappa"]


def resampling_weights(groups: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.float64]:
    """How often each document is in each of RESAMPLES resamples of whole groups: (RESAMPLES, n)."""
    names, index = np.unique(groups, return_inverse=True)
    draws = np.random.default_rng(seed).multinomial(names.size, np.full(names.size, 1 / names.size), size=RESAMPLES)
    return np.asarray(draws[:, index], dtype=np.float64)


def measure_with_intervals(truth: Levels, predicted: Levels, weights: npt.NDArray[np.float64]) -> dict[str, Measured]:
    """MEASURES, each with its interval over resamples (resampling_weights)."""
    whole = measure_levels(truth, predicted)
    spread = {name: np.quantile(values, INTERVAL) for name, values in _weighted(truth, predicted, weights).items()}
    return {name: Measured(whole[name], float(spread[name][0]), float(spread[name][1])) for name in MEASURES}


def measure_gain(truth: Levels, predicted: Levels, baseline: Levels, weights: npt.NDArray[np.float64]) -> dict[str, Measured]:
    """Return by how much a prediction beats a baseline in each of MEASURES (above 0 is better), over the same resamples."""
    own, other = _weighted(truth, predicted, weights), _weighted(truth, baseline, weights)
    whole, base = measure_levels(truth, predicted), measure_levels(truth, baseline)
    found = {}
    for name in MEASURES:
        sign = -1.0 if name in LESS_IS_BETTER else 1.0
        low, high = np.quantile(sign * (own[name] - other[name]), INTERVAL)
        found[name] = Measured(sign * (whole[name] - base[name]), float(low), float(high))
    return found


def _weighted(
    truth: Levels, predicted: npt.NDArray[np.float64] | Levels, weights: npt.NDArray[np.float64]
) -> dict[str, npt.NDArray[np.float64]]:
    """MEASURES for each row of weights (r, n), each (r,)."""
    difference = np.abs(predicted - truth)
    total = np.maximum(weights.sum(axis=1), 1e-12)
    squares = weights @ (difference.astype(np.float64) ** 2) / total
    means = [weights @ values / total for values in (truth, predicted)]
    spreads = [
        weights @ (values.astype(np.float64) ** 2) / total - mean**2 for values, mean in zip((truth, predicted), means, strict=True)
    ]
    # Expected squared difference of independent ratings with these marginals.
    by_chance = spreads[0] + spreads[1] + (means[0] - means[1]) ** 2
    agreement = np.divide(squares, by_chance, out=np.zeros_like(squares), where=by_chance > 1e-12)
    return {
        "acc": weights @ (difference == 0).astype(np.float64) / total,
        "mae": weights @ difference.astype(np.float64) / total,
        "mse": squares,
        "cacc": weights @ (difference <= 1).astype(np.float64) / total,
        "kappa": 1 - agreement,
    }
