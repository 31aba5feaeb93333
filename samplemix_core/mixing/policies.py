"""Policies: pure functions from what is known of samples to their weights, each with its formula and its source.

A weight is proportional to the copies a sample should get; its scale is free, the solver finds it. A policy is registered
in POLICIES under the name that configurations and manifests use. Its keyword parameters are part of a mixture's manifest.
Weights are published, so their exponential is one that is the same to the last bit on every machine.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import factorial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from samplemix_core.errors import ConfigError

Float64Array = npt.NDArray[np.float64]

MAX_ARGUMENT = 700.0
"""Largest |x| of exact_exp: inside it neither the result nor any step leaves the normal floats."""

_LN2_HIGH = float.fromhex("0x1.62e42feep-1")
"""ln 2 cut to 32 bits, so that k * _LN2_HIGH is exact for every |k| < 2^21."""

_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
"""ln 2 - _LN2_HIGH, rounded."""

_INVERSE_LN2 = float.fromhex("0x1.71547652b82fep+0")

_TAYLOR = tuple(float(Fraction(1, factorial(k))) for k in range(13, 1, -1))
"""1/13! ... 1/2!: on |r| <= ln(2)/2 the series cut there is within 2^-57 of exp(r)."""


def exact_exp(x: Float64Array) -> Float64Array:
    """exp(x) for float64 x of any shape with |x| <= MAX_ARGUMENT, within 1.5 units in the last place.

    Weights are published, and published bytes must not depend on the machine. numpy's and libm's exponentials do: they
    pick a kernel by processor (AVX-512, AVX2, none) and library version, and kernels differ in the last bit. This one
    uses only operations that IEEE 754 defines to the bit (+, -, *, round to integer, scale by a power of two), each a
    separate numpy call, so that no compiler can contract two into a fused one.

    Method: x = k ln 2 + r with |r| <= ln(2)/2, ln 2 in two parts (Cody and Waite, Software Manual for the Elementary
    Functions, 1980, ch. 6); exp(r) by its Taylor series; the result scaled by 2^k. Raises ValueError outside the range.
    """
    if x.size and not (np.abs(x) <= MAX_ARGUMENT).all():
        raise ValueError(f"exact_exp is defined on |x| <= {MAX_ARGUMENT:g}, got {x[~(np.abs(x) <= MAX_ARGUMENT)].flat[0]!r}")
    k = np.rint(x * _INVERSE_LN2)
    high = x - k * _LN2_HIGH
    low = k * _LN2_LOW
    r = high - low
    series = np.full_like(r, _TAYLOR[0])
    for coefficient in _TAYLOR[1:]:
        series *= r
        series += coefficient
    # The rounding error of r is up to a quarter of the last place of the result: it is added back with the small terms.
    tail = series * (r * r) + ((high - r) - low)
    return np.asarray(np.ldexp(1.0 + (r + tail), k.astype(np.int32)))


Float32Array = npt.NDArray[np.float32]

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


class Policy(NamedTuple):
    """A registered policy: its function, and whether it looks at diversity, without which a corpus needs no healthy clusters."""

    weights: Callable[..., Float64Array]
    reads_diversity: bool = True


POLICIES = {"samplemix": Policy(samplemix), "natural": Policy(natural, reads_diversity=False)}


def policy_parameters(name: str, values: Mapping[str, float]) -> dict[str, float]:
    """Those of `values` that the policy takes, for its manifest; raise ConfigError for an unknown policy or a missing parameter."""
    wanted = list(inspect.signature(policy_of(name).weights).parameters)[1:]
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
    return policy_of(name).weights(columns, **wanted)


def policy_of(name: str) -> Policy:
    """The policy of that name; raise ConfigError if there is none."""
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
