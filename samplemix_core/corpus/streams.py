"""Bytes of a shard: decompressed as they are read, and checked to be whole."""

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import lz4.frame

from samplemix_core.corpus.shards import COMPRESSIONS
from samplemix_core.errors import ShardRefusedError

if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd

CHUNK_BYTES = 2**20

_MOST_MEMORY = 2**31
"""Most memory that reading an archive may take, in bytes: zstd's longest window, of `zstd --long=31`."""


class _Decompressor(Protocol):
    """One member, frame or stream of an archive, with the interface of bz2, lzma, zstd and lz4."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes | None: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _GzipMember:
    """zlib's decompressor with the interface of the others."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._member.eof

    @property
    def needs_input(self) -> bool:
        return not (self._full or self._member.unconsumed_tail)

    @property
    def unused_data(self) -> bytes:
        return self._member.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        found = self._member.decompress(self._member.unconsumed_tail + data, max_length)
        self._full = len(found) == max_length
        return found


@dataclass(frozen=True)
class Codec:
    """A compression: its reader of one member of an archive, and whether zeros may follow the last, as on a tape."""

    name: str
    member: Callable[[], _Decompressor]
    padded: bool = False


CODECS = {
    codec.name: codec
    for codec in (
        Codec("gzip", _GzipMember, padded=True),
        Codec("zstd", lambda: zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: 31})),
        Codec("bzip2", bz2.BZ2Decompressor, padded=True),
        Codec("xz", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY), padded=True),
        Codec("lz4", lz4.frame.LZ4FrameDecompressor),
    )
}
_BROKEN = (OSError, EOFError, RuntimeError, ValueError, zlib.error, lzma.LZMAError, zstd.ZstdError)


class GuardedStream:
    """A caller's stream for Arrow: never closed by Arrow, and with its own failures told from those of the format.

    Arrow reports broken data as OSError, which a failing disk or connection raises too. Only broken data condemns the shard, so
    an error of the stream itself is kept in `failure`.
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


def codec_of(path: str) -> Codec | None:
    """How a file is compressed as a whole, by its path; None if it isn't."""
    return next((CODECS[name] for suffix, name in COMPRESSIONS.items() if path.lower().endswith(suffix)), None)


def is_compressed(path: str) -> bool:
    """Whether a path's suffix says that its bytes are compressed as a whole."""
    return path.lower().endswith(tuple(COMPRESSIONS))


def open_decompressed(stream: BinaryIO, path: str) -> Callable[[int], bytes]:
    """Return a function that reads up to a number of a shard's next bytes, decompressed by its path's suffix; b'' at the end.

    Every member of the archive is read. The function raises ShardRefusedError if the archive is cut short, fails its checksum or is
    followed by something else. An error of the stream itself passes unchanged.
    """
    codec = codec_of(path)
    return stream.read if codec is None else _Archive(stream, path, codec).read


class _Archive:
    """The bytes of all members of an archive, one after another."""

    def __init__(self, stream: BinaryIO, path: str, codec: Codec) -> None:
        self._stream, self._path, self._codec = stream, path, codec
        self._member: _Decompressor | None = None
        self._rest = b""
        self._members = self._n_bytes = 0

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes; b'' at the end."""
        while True:
            if self._member is None and not self._begin():
                return b""
            assert self._member is not None
            data = self._rest
            if not data and self._member.needs_input:
                data = self._stream.read(CHUNK_BYTES)
                if not data:
                    raise self._broken("it is cut short")
            self._rest = b""
            try:
                found = self._member.decompress(data, size)
            except _BROKEN as error:
                raise self._broken(str(error)) from error
            if self._member.eof:
                self._rest = self._member.unused_data or b""
                self._member = None
            if found:
                self._n_bytes += len(found)
                return found

    def _begin(self) -> bool:
        """Whether another member follows."""
        while True:
            self._rest = self._rest or self._stream.read(CHUNK_BYTES)
            if not self._rest or not self._members or not self._codec.padded:
                break
            self._rest = self._rest.lstrip(b"\0")
            if self._rest:
                break
        if not self._rest:
            if not self._members:
                raise self._broken("the file is empty")
            return False
        self._member = self._codec.member()
        self._members += 1
        return True

    def _broken(self, problem: str) -> ShardRefusedError:
        return ShardRefusedError(
            f"Shard {self._path!r} is not a whole {self._codec.name} archive: {problem} (after {self._n_bytes} bytes of it).",
            "No row of it is used; write or upload the file again, then run again.",
        )
