"""An exponential and a logarithm that are the same to the last bit on every machine, for weights that are published."""

from fractions import Fraction
from math import factorial

import numpy as np
import numpy.typing as npt

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


_SQRT_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")
_ATANH = tuple(float(Fraction(2, 2 * k + 1)) for k in range(11, 0, -1))
"""2/23 ... 2/3: on |s| <= (sqrt(2) - 1) / (sqrt(2) + 1) the series of 2 atanh(s) cut there is within 2^-58 of it."""


def exact_log(x: Float64Array) -> Float64Array:
    """ln(x) for normal positive float64 x of any shape, within two units in the last place, as portable as exact_exp().

    Method: x = m 2^k with m from sqrt(1/2) to sqrt(2); ln(m) = 2 atanh((m - 1) / (m + 1)) by its series; k ln 2 in two parts.
    Raises ValueError for other x.
    """
    if x.size and not ((x >= np.finfo(np.float64).tiny) & (x <= np.finfo(np.float64).max)).all():
        raise ValueError("exact_log is defined on normal positive numbers")
    m, k = np.frexp(x)
    small = m < _SQRT_HALF
    m = np.where(small, 2.0 * m, m)
    k = np.where(small, k - 1, k).astype(np.float64)
    # m - 1 is exact; with f = m - 1, ln(1 + f) = f - (f^2 / 2 - s (f^2 / 2 + R)), as in fdlibm, loses nothing near 1.
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    series = np.full_like(z, _ATANH[0])
    for coefficient in _ATANH[1:]:
        series *= z
        series += coefficient
    half = 0.5 * (f * f)
    rest = s * (half + z * series)
    return np.asarray(k * _LN2_HIGH - ((half - (rest + k * _LN2_LOW)) - f))
