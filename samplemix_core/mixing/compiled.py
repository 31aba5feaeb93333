"""numba's compiler, with the one setting that exact results allow."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile at first call, without fastmath: no reordered sums, no fused multiply-add. Releases the GIL."""
    return cast(Function, numba.njit(nogil=True)(function))
