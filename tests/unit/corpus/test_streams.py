import gzip
import io
from collections.abc import Callable
from typing import BinaryIO, cast

import pytest
import zstandard

from samplemix_core.corpus.streams import open_decompressed
from samplemix_core.errors import ShardRefusedError

DATA = b"".join(b'{"text": "line %d of the shard"}\n' % i for i in range(20_000))


def gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


CODECS = pytest.mark.parametrize(("suffix", "compress"), [(".gz", gz), (".zst", zst)])


def drain(archive: bytes, path: str, size: int = 2**16) -> bytes:
    read = open_decompressed(io.BytesIO(archive), path)
    return b"".join(iter(lambda: read(size), b""))


@CODECS
def test_every_member_or_frame_is_read(suffix: str, compress: Callable[[bytes], bytes]) -> None:
    archive = compress(DATA) + compress(b"") + compress(DATA[:100])
    assert drain(archive, "s" + suffix) == drain(archive, "s" + suffix.upper(), 77) == DATA + DATA[:100]


@CODECS
def test_a_cut_anywhere_is_refused(suffix: str, compress: Callable[[bytes], bytes]) -> None:
    archive = compress(DATA[:3000])
    for length in range(len(archive)):
        with pytest.raises(ShardRefusedError, match=r"crawl/web/part.*decompressed bytes"):
            drain(archive[:length], "crawl/web/part" + suffix)


@CODECS
def test_a_flipped_bit_never_passes_unseen(suffix: str, compress: Callable[[bytes], bytes]) -> None:
    archive = compress(DATA[:3000])
    for position in range(len(archive)):
        broken = archive[:position] + bytes([archive[position] ^ 16]) + archive[position + 1 :]
        try:
            read = drain(broken, "s" + suffix)
        except ShardRefusedError:
            continue
        assert read == DATA[:3000], position  # a bit that carries no data, such as one of gzip's mtime


@CODECS
@pytest.mark.parametrize("garbage", [b"\0", b"\x1f", b"(", b"plain text after the archive"])
def test_trailing_garbage_is_refused(suffix: str, compress: Callable[[bytes], bytes], garbage: bytes) -> None:
    with pytest.raises(ShardRefusedError):
        drain(compress(DATA) + garbage, "s" + suffix)


@CODECS
def test_the_error_says_how_far_it_came(suffix: str, compress: Callable[[bytes], bytes]) -> None:
    archive = compress(DATA) + compress(DATA)[:50]
    with pytest.raises(ShardRefusedError) as refused:
        drain(archive, "s" + suffix, 1000)
    reached = int(str(refused.value).split("(after ")[1].split()[0])
    assert len(DATA) - 1000 <= reached <= len(DATA) + 1000
    assert refused.value.remedy


class Broken(io.RawIOBase):
    """A connection that fails after a few bytes."""

    def __init__(self, first: bytes) -> None:
        self.first = first

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        first, self.first = self.first, b""
        if first:
            return first
        raise ConnectionResetError("peer went away")


@pytest.mark.parametrize("path", ["s.jsonl", "s.jsonl.gz", "s.jsonl.zst"])
def test_a_failing_stream_is_not_taken_for_a_broken_archive(path: str) -> None:
    first = {"gz": gz(DATA)[:99], "zst": zst(DATA)[:99]}.get(path.rsplit(".", 1)[1], DATA[:99])
    read = open_decompressed(cast(BinaryIO, Broken(first)), path)
    with pytest.raises(ConnectionResetError, match="peer went away"):
        list(iter(lambda: read(2**20), b""))


@CODECS
def test_the_stream_stays_open(suffix: str, compress: Callable[[bytes], bytes]) -> None:
    stream = io.BytesIO(compress(DATA))
    read = open_decompressed(stream, "s" + suffix)
    read(10)
    del read
    assert not stream.closed
