"""An exponential that is the same to the last bit on every machine, for weights that are published."""

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
