"""Bytes of a shard: decompressed as they are read, and checked to be whole."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa

from samplemix_core.errors import ShardRefusedError

CHUNK_BYTES = 2**20

_CODECS = {".gz": "gzip", ".zst": "zstd"}


class GuardedStream:
    """A caller's stream as Arrow sees it: never closed by Arrow, and a failure of its own told from one of the format.

    Arrow reports broken data as OSError, the class a failing disk or connection raises too. Only the first kind condemns the
    shard, so what the stream itself raised is kept in `failure`.
    """

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.n_bytes = 0
        self.failure: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        """Read as the stream does, and count the bytes."""
        with self._remembering():
            data = self._stream.read(size)
        self.n_bytes += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move as the stream does."""
        with self._remembering():
            return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Say where the stream is."""
        with self._remembering():
            return self._stream.tell()

    def close(self) -> None:
        """Leave the stream to its owner."""

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.failure = error
            raise


def is_compressed(path: str) -> bool:
    """Whether a path's suffix says that its bytes are compressed as a whole."""
    return path.lower().endswith(tuple(_CODECS))


def open_decompressed(stream: BinaryIO, path: str) -> Callable[[int], bytes]:
    """A function that reads the next bytes of a shard, decompressed by its path's suffix; b'' at the end.

    Every gzip member and every zstd frame is read. The function raises ShardRefusedError where the archive is cut short,
    fails its checksum or is followed by something else; an error of the stream itself passes unchanged.
    """
    codec = next((name for suffix, name in _CODECS.items() if path.lower().endswith(suffix)), None)
    if codec is None:
        return stream.read
    source = GuardedStream(stream)
    decompressed = pa.CompressedInputStream(pa.PythonFile(source, mode="r"), codec)
    n_bytes = 0

    def read(size: int) -> bytes:
        nonlocal n_bytes
        try:
            data: bytes = decompressed.read(size)
        except (OSError, pa.ArrowException) as error:
            if source.failure is not None:
                raise source.failure from None
            raise _broken(path, codec, n_bytes, str(error)) from error
        n_bytes += len(data)
        if source.n_bytes == 0:
            raise _broken(path, codec, 0, "the file is empty")
        return data

    return read


def _broken(path: str, codec: str, n_bytes: int, problem: str) -> ShardRefusedError:
    return ShardRefusedError(
        f"Shard {path!r} is not a whole {codec} archive: {problem} (after {n_bytes} decompressed bytes).",
        "No row of it is used; write or upload the file again, then run again.",
    )
