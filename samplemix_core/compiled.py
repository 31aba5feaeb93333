"""Numba's machine code for functions over arrays, kept on disk: compiling takes seconds, and each worker is a process.

Numba's own cache goes by the age of a function's file. It misses changes in other files that the function calls, raises errors if a
file is damaged or the disk is full, and mixes up two processes that write at once. Here a file is named after everything that
decides its content, begins with its own digest, and is written in one step.
"""

import contextlib
import hashlib
import pickle
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numba
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher
from numba.core.serialize import dumps

_DIGEST_BYTES = 32


def compiled(function: Callable[..., Any]) -> Any:
    """Compile at first call, without fastmath: no reordered sums, no fused multiply-add. Releases the GIL.

    The machine code is kept next to the source, or below the user's cache directory. A compiled function calls those of its own
    directory only, and uses no constants of others.
    """
    dispatcher = numba.njit(nogil=True)(function)
    keep(dispatcher)
    return dispatcher


def keep(function: Any) -> None:
    """Keep a compiled function's machine code on disk. Where nothing can be written, each process compiles it."""
    # With NUMBA_DISABLE_JIT it is the function itself.
    if isinstance(function, Dispatcher):
        # Numba finds no directory that it can write to.
        with contextlib.suppress(RuntimeError):
            function.__dict__["_cache"] = _Cache(function.py_func)


class _Cache(FunctionCache):  # type: ignore[misc] # numba has no types
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        sources = _sources(Path(function.__code__.co_filename).parent)
        self._cache_file = _Files(Path(self.cache_path), self._impl.filename_base, sources)

    def save_overload(self, sig: Any, data: Any) -> None:
        # Whatever can't be written is compiled again by the next process.
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


class _Files:
    """The files of one function: one for each signature and kind of processor."""

    def __init__(self, directory: Path, name: str, sources: str) -> None:
        self._directory, self._name, self._sources = directory, name, sources

    def _path(self, key: Any) -> Path:
        return self._directory / f"{self._name}.{self._sources}.{_short(repr(key).encode())}.nbc"

    def load(self, key: Any) -> Any:
        """Return what was saved; None if nothing was, or if it is damaged."""
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        # As trustworthy as the source: only its owner writes there.
        return pickle.loads(data) if hashlib.sha256(data).digest() == digest else None  # noqa: S301

    def save(self, key: Any, value: Any) -> None:
        """Save it, and remove what was made from other sources."""
        if " at 0x" in repr(key):
            return  # It takes a function: no other process has one at this address.
        data = dumps(value)
        written = self._directory / f"{self._name}.{uuid4().hex}.nbc"
        try:
            written.write_bytes(hashlib.sha256(data).digest() + data)
            written.replace(self._path(key))
        except OSError:
            written.unlink(missing_ok=True)
            raise
        # Another process may be writing one of these. It then keeps nothing, and the next one does.
        for path in self._directory.glob(f"{self._name}.*.nbc"):
            if not path.name.startswith(f"{self._name}.{self._sources}."):
                path.unlink(missing_ok=True)


@lru_cache
def _sources(directory: Path) -> str:
    """A digest of a directory's Python files, and of numba's version."""
    return _short(numba.__version__.encode(), *(path.read_bytes() for path in sorted(directory.glob("*.py"))))


def _short(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]
