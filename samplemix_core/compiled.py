"""Numba's machine code for functions over arrays, kept on disk: compiling takes seconds, and each worker is a process."""

import contextlib
import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import CellType, FunctionType
from typing import Any, TypeVar, cast

import numba
from numba.core.dispatcher import Dispatcher

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Callable[..., Any]) -> Any:
    """Compile at first call, without fastmath: no reordered sums, no fused multiply-add. Releases the GIL.

    Kept beside its source, or below the user's cache directory. A compiled function calls those of its own directory only.
    """
    dispatcher = numba.njit(nogil=True)(_with_sources(cast(FunctionType, function)))
    keep(dispatcher)
    return dispatcher


def keep(dispatcher: Dispatcher) -> None:
    """Keep a function's machine code on disk. Where nothing can be written, each process compiles it."""
    with contextlib.suppress(RuntimeError):
        dispatcher.enable_caching()


def _with_sources(function: FunctionType) -> FunctionType:
    """The same function, with an unused closure cell that changes with any source file of its directory.

    Numba looks up machine code by the age of the function's own file, its bytecode and its closure. It doesn't notice that a
    function it calls was changed in another file.
    """
    code = function.__code__
    cell = CellType(_sources(Path(code.co_filename).parent))
    with_cell = FunctionType(
        code.replace(co_freevars=(*code.co_freevars, "_sources")),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        (*(function.__closure__ or ()), cell),
    )
    with_cell.__dict__.update(function.__dict__)
    with_cell.__annotations__, with_cell.__doc__ = function.__annotations__, function.__doc__
    with_cell.__qualname__, with_cell.__module__ = function.__qualname__, function.__module__
    return with_cell


@lru_cache
def _sources(directory: Path) -> str:
    """A digest of a directory's Python files."""
    digest = hashlib.sha256()
    for path in sorted(directory.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
