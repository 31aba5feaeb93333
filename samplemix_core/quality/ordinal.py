"""Ordinal heads: scores by a rubric, from a document's vector and, if wanted, its measured features.

For a score of K levels there are K - 1 binary tasks, "the score is greater than i", each a linear logit. The loss is their mean
binary cross-entropy. Source: Niu et al. 2016, as Xi et al. 2025 (arXiv 2503.01506) use it on an encoder's pooled output.

The predicted level is the number of tasks that hold, which is the median of the predicted distribution. The paper counts leading
tasks whose probabilities multiply to more than a half, which errs downwards if a document is between two levels. Quality is the
expected score, sum(sigmoid(logits)), because by levels alone most documents would tie. Features go in through piecewise-linear
functions between their quantiles, so that a share of 0 and a share of 1 can both be bad.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save
from scipy.optimize import minimize
from scipy.special import expit

from samplemix_core.errors import ModelError

Floats = npt.NDArray[np.float64]
Levels = npt.NDArray[np.int64]

KNOTS = 6
"""Points of a feature's piecewise-linear function: this many quantiles, or fewer if some are equal."""

MOST_ITERATIONS = 300
_TOLERANCE = 1e-5
_LEAST_SPREAD = 1e-6


@dataclass(frozen=True)
class HeadSettings:
    """How heads are fitted: strength of the penalty on weights, and how much the vector counts compared with the features."""

    penalty: float = 1e-3
    vector_weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of heads for n documents: unit vectors, float (n, dim), and features, float64 (n, F); F may be 0."""

    vectors: npt.NDArray[Any]
    features: Floats

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: npt.NDArray[np.int64]) -> "Inputs":
        """The inputs of some documents."""
        return Inputs(self.vectors[rows], self.features[rows])


@dataclass(frozen=True, eq=False)
class OrdinalHeads:
    """Heads of several scores over the same inputs. `maxima`: score -> its highest level, in order; each has that many logits.

    Weights for vectors are float32 (dim, L), and for the features' functions float32 (sum of knots, L); bias is float32 (L,).
    """

    maxima: Mapping[str, int]
    vector_weights: npt.NDArray[np.float32]
    feature_weights: npt.NDArray[np.float32]
    knots: tuple[Floats, ...]
    bias: npt.NDArray[np.float32]

    def probabilities(self, inputs: Inputs) -> dict[str, npt.NDArray[np.float32]]:
        """Return, by score, the probability that it is greater than each level i, float32 (n, maximum)."""
        # In double precision, so that the number of documents judged at once doesn't change a bit of the results.
        logits = inputs.vectors.astype(np.float64) @ self.vector_weights + self.bias
        if self.knots:
            logits += functions_of(inputs.features, self.knots) @ self.feature_weights
        found = expit(logits).astype(np.float32)
        ends = list(accumulate(self.maxima.values()))
        return {name: found[:, end - maximum : end] for (name, maximum), end in zip(self.maxima.items(), ends, strict=True)}

    def to_bytes(self) -> bytes:
        """Return the heads as safetensors, without the names of the scores."""
        counts = np.array([points.size for points in self.knots], dtype=np.int64)
        tensors = {
            "vector_weights": self.vector_weights,
            "feature_weights": self.feature_weights,
            "bias": self.bias,
            "knots": np.concatenate([np.empty(0), *self.knots]),
            "knot_counts": counts,
            "maxima": np.array(list(self.maxima.values()), dtype=np.int64),
        }
        return save(tensors)

    @classmethod
    def from_bytes(cls, data: bytes, scores: tuple[str, ...]) -> Self:
        """Heads of these scores; raise ModelError if the bytes hold none."""
        try:
            tensors = load(data)
            knots = np.split(tensors["knots"], np.cumsum(tensors["knot_counts"])[:-1]) if tensors["knot_counts"].size else []
            return cls(
                dict(zip(scores, tensors["maxima"].tolist(), strict=True)),
                tensors["vector_weights"],
                tensors["feature_weights"],
                tuple(knots),
                tensors["bias"],
            )
        except (SafetensorError, KeyError, ValueError) as error:
            raise ModelError(f"These bytes hold no ordinal heads: {error}.", "Train the model again.") from error


def predicted_level(probabilities: npt.NDArray[np.float32]) -> Levels:
    """The median level (n,) from probabilities (n, K - 1): how many tasks hold."""
    return np.asarray((probabilities > 0.5).sum(axis=1), dtype=np.int64)


def level_of_the_paper(probabilities: npt.NDArray[np.float32]) -> Levels:
    """The paper's prediction (n,) from probabilities (n, K - 1): sum(cumprod(probabilities) > 0.5)."""
    return np.asarray((np.cumprod(probabilities, axis=1) > 0.5).sum(axis=1), dtype=np.int64)


def expected_score(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The expected score (n,) from probabilities (n, K - 1), 0 to K - 1."""
    return np.asarray(probabilities.sum(axis=1), dtype=np.float32)


def functions_of(features: Floats, knots: tuple[Floats, ...]) -> Floats:
    """Return the features' functions (n, sum of knots): a value counts for the knots around it, by nearness, or for an end knot."""
    columns = [
        np.interp(feature, points, indicator)
        for feature, points in zip(features.T, knots, strict=True)
        for indicator in np.eye(points.size)
    ]
    return np.column_stack(columns) if columns else np.empty((len(features), 0))


def fit_heads(
    inputs: Inputs, levels: Mapping[str, Levels], maxima: Mapping[str, int], settings: HeadSettings, start: Floats | None = None
) -> tuple[OrdinalHeads, Floats]:
    """Fit heads for the scores in `levels` (each (n,), 0 to its maximum); also returns the fit's parameters, to start another from.

    The problem is convex, so the start changes only how long it takes. Columns are centred and scaled by their spread in these
    documents; vectors and features weigh the same, apart from settings.vector_weight.
    """
    features = inputs.features
    knots = tuple(np.unique(np.quantile(feature, np.linspace(0, 1, KNOTS))) for feature in features.T)
    functions = functions_of(features, knots)
    blocks = [(inputs.vectors.astype(np.float64), settings.vector_weight), (functions, 1.0)]
    centres = [block.mean(axis=0) for block, _ in blocks]
    scales = [weight / (np.maximum(block.std(axis=0), _LEAST_SPREAD) * np.sqrt(max(1, block.shape[1]))) for block, weight in blocks]
    columns = np.hstack([(block - centre) * scale for (block, _), centre, scale in zip(blocks, centres, scales, strict=True)])
    targets = np.column_stack([levels[name][:, None] > np.arange(maximum) for name, maximum in maxima.items()]).astype(np.float64)
    # The mean is over a score's own tasks: every score counts the same, whatever its number of levels.
    weight = np.concatenate([np.full(maximum, 1.0 / maximum) for maximum in maxima.values()])
    parameters = _minimise(columns, targets, weight, settings.penalty, start)
    weights, bias = parameters[:-1] * np.concatenate(scales)[:, None], parameters[-1]
    split = inputs.vectors.shape[1]
    heads = OrdinalHeads(
        maxima=dict(maxima),
        vector_weights=weights[:split].astype(np.float32),
        feature_weights=weights[split:].astype(np.float32),
        knots=knots,
        bias=(bias - np.concatenate(centres) @ weights).astype(np.float32),
    )
    return heads, parameters


def _minimise(columns: Floats, targets: Floats, weight: Floats, penalty: float, start: Floats | None) -> Floats:
    """Return weights and, in the last row, biases (width + 1, L) that minimise mean loss plus penalty / 2 times squared weights."""
    n, width = columns.shape
    shape = (width + 1, targets.shape[1])

    def loss(flat: Floats) -> tuple[float, Floats]:
        parameters = flat.reshape(shape)
        logits = columns @ parameters[:-1] + parameters[-1]
        value = (np.logaddexp(0, logits) - targets * logits).sum(axis=0) @ weight / n
        error = (expit(logits) - targets) * (weight / n)
        gradient = np.empty(shape)
        gradient[:-1] = columns.T @ error + penalty * weight * parameters[:-1]
        gradient[-1] = error.sum(axis=0)
        return value + penalty / 2 * ((parameters[:-1] ** 2).sum(axis=0) @ weight), gradient.ravel()

    if start is None:
        start = np.zeros(shape)
        share = (targets.sum(axis=0) + 0.5) / (n + 1)
        start[-1] = np.log(share / (1 - share))
    options = {"maxiter": MOST_ITERATIONS, "gtol": _TOLERANCE, "ftol": 1e-9}
    return np.asarray(minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options=options).x.reshape(shape))
