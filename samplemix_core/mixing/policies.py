"""Policies: pure functions from what is known of samples to their weights, each with its formula and its source.

A weight is proportional to the copies a sample should get; its scale is free, the solver finds it. A policy is registered
in POLICIES under the name that configurations and manifests use. Its keyword parameters are part of a mixture's manifest.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from samplemix_core.errors import ConfigError
from samplemix_core.mixing.exponential import exact_exp

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

MIN_TAU = 0.0015
"""Below this, exp(1 / tau) leaves the range that exact_exp and the solver work in."""


@dataclass(frozen=True)
class Columns:
    """What policies may look at, one entry a sample: quality on its scorer's scale, diversity in 0..1."""

    quality: Float32Array
    diversity: Float32Array


def samplemix(columns: Columns, *, alpha: float, tau: float, q_low: float, q_high: float) -> Float64Array:
    """w = exp(p / tau) with p = alpha * d + (1 - alpha) * q (Xi et al. 2025, arXiv 2503.01506).

    q is quality scaled from [q_low, q_high] to [0, 1]. The bounds belong to the version of the scorer, not to the samples
    at hand, so that a new crawl moves no old weight; what lies outside them counts as the bound. d is diversity, scaled
    by the cluster model in the same way. The paper's alpha is 0.8, its tau 0.2.
    """
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha = {alpha!r} is not in 0..1.", "0 weighs quality only, 1 diversity only; the paper takes 0.8.")
    if not tau >= MIN_TAU:
        raise ConfigError(f"tau = {tau!r} is too small.", f"Choose a temperature of at least {MIN_TAU}; the paper takes 0.2.")
    if not q_low < q_high:
        raise ConfigError(f"Quality bounds {q_low!r}..{q_high!r} are empty.", "The upper bound must exceed the lower one.")
    quality = (_finite("quality", columns.quality) - q_low) / (q_high - q_low)
    diversity = _finite("diversity", columns.diversity)
    p = alpha * np.clip(diversity, 0.0, 1.0) + (1 - alpha) * np.clip(quality, 0.0, 1.0)
    return exact_exp(p / tau)


def natural(columns: Columns) -> Float64Array:
    """w = 1: every sample once, or uniformly thinned or repeated to the budget. The baseline."""
    return np.ones(columns.quality.size)


POLICIES: dict[str, Callable[..., Float64Array]] = {"samplemix": samplemix, "natural": natural}


def policy_parameters(name: str, values: Mapping[str, float]) -> dict[str, float]:
    """Those of `values` that the policy takes, for its manifest; ConfigError for an unknown policy or a missing parameter."""
    wanted = list(inspect.signature(_policy(name)).parameters)[1:]
    missing = [parameter for parameter in wanted if parameter not in values]
    if missing:
        raise ConfigError(f"Policy {name!r} lacks {', '.join(missing)}.", f"Give it all of: {', '.join(wanted)}.")
    return {parameter: values[parameter] for parameter in wanted}


def policy_weights(name: str, parameters: Mapping[str, float], columns: Columns) -> Float64Array:
    """Weights (n,) of a registered policy, with exactly the parameters it takes.

    The two policies here look at one sample at a time, so they may be called shard by shard. Raises ConfigError for an
    unknown policy, for parameters that are not the policy's, and for values that are not finite or out of range.
    """
    wanted = policy_parameters(name, parameters)
    unknown = sorted(set(parameters) - set(wanted))
    if unknown:
        raise ConfigError(
            f"Policy {name!r} has no parameter {', '.join(unknown)}.", f"It takes: {', '.join(wanted) or 'none at all'}."
        )
    return _policy(name)(columns, **wanted)


def _policy(name: str) -> Callable[..., Float64Array]:
    if name not in POLICIES:
        raise ConfigError(f"There is no policy {name!r}.", f"Choose one of: {', '.join(POLICIES)}.")
    return POLICIES[name]


def _finite(column: str, values: Float32Array) -> Float64Array:
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise ConfigError(
            f"The {column} of sample {bad[0]} is {float(values[bad[0]])!r}, which is not a number to weigh by.",
            "Score its shard again: a score must be finite.",
        )
    return values.astype(np.float64)
