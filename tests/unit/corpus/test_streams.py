import bz2
import gzip
import io
import lzma
import tracemalloc
from collections.abc import Callable
from typing import BinaryIO, cast

import lz4.frame as lz4_frame
import pytest

from samplemix_core.corpus.likeness import looks_like
from samplemix_core.corpus.streams import open_decompressed, zstd
from samplemix_core.errors import ShardRefusedError

DATA = b"".join(b'{"text": "line %d of the shard"}\n' % i for i in range(20_000))


def gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def zst(data: bytes) -> bytes:
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


def lz4(data: bytes) -> bytes:
    return bytes(lz4_frame.compress(data, content_checksum=True))


CODECS = pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gz), (".gzip", gz), (".zst", zst), (".zstd", zst), (".bz2", bz2.compress), (".xz", lzma.compress), (".lz4", lz4)],
)


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
        with pytest.raises(ShardRefusedError, match=r"crawl/web/part.*bytes of it"):
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
@pytest.mark.parametrize("garbage", [b"\x1f", b"(", b"plain text after the archive"])
def test_trailing_garbage_is_refused(suffix: str, compress: Callable[[bytes], bytes], garbage: bytes) -> None:
    with pytest.raises(ShardRefusedError):
        drain(compress(DATA) + garbage, "s" + suffix)


@CODECS
def test_zeros_after_the_end_are_padding_where_the_format_has_it(suffix: str, compress: Callable[[bytes], bytes]) -> None:
    archive = compress(DATA) + bytes(2**21)
    if suffix in (".gz", ".gzip", ".xz", ".bz2"):
        assert drain(archive + compress(DATA), "s" + suffix) == DATA * 2
        assert drain(archive, "s" + suffix) == DATA
        with pytest.raises(ShardRefusedError):
            drain(b"\0" + archive, "s" + suffix)
    else:
        with pytest.raises(ShardRefusedError):
            drain(archive, "s" + suffix)


@CODECS
def test_what_swells_is_read_a_piece_at_a_time(suffix: str, compress: Callable[[bytes], bytes]) -> None:
    read = open_decompressed(io.BytesIO(compress(bytes(2**27))), "s" + suffix)
    tracemalloc.start()
    try:
        assert sum(len(data) for data in iter(lambda: read(2**16), b"")) == 2**27
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("log", [27, 28, 31])
def test_zstd_with_a_long_window_is_read(log: int) -> None:
    options: dict[int, int] = {
        zstd.CompressionParameter.window_log: log,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    compressor = zstd.ZstdCompressor(options=options)
    # In pieces, so that the header has no size, and the window is what it asks for.
    assert drain(compressor.compress(DATA) + compressor.flush(), "s.zst") == DATA


def test_what_parallel_zstd_writes_between_its_frames_is_passed_over() -> None:
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
    assert drain(skippable + zst(DATA) + skippable + zst(DATA) + skippable, "s.zst") == DATA * 2


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


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "'git lfs pull'"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Error>", "XML"),
        (b"\n<!DOCTYPE HTML>\n<html>", "HTML"),
        (b"[\n", "one JSON array"),
        (gz(DATA), "has to end in .gz"),
        (zst(DATA), "has to end in .zst"),
        (lz4(DATA), "has to end in .lz4"),
        (lzma.compress(DATA), "has to end in .xz"),
        (b"PAR1", "Parquet"),
        (b"PARE", "encrypted Parquet"),
        (b"ORC\n", "an ORC file"),
        ("\ufeff{}".encode("utf-16-le"), "UTF-16"),
        (b'{"text": "a"}\r{"text": "b"}\r', "carriage returns alone"),
    ],
)
def test_what_people_mistake_for_their_data_is_told_by_its_beginning(head: bytes, kind: str) -> None:
    assert kind in str(looks_like(head[:512], "c/web/p.jsonl"))


@pytest.mark.parametrize("path", ["p.jsonl.zst", "p.jsonl.GZIP", "p.parquet"])
def test_plain_lines_under_the_name_of_something_else_are_told(path: str) -> None:
    assert "has to end in .jsonl" in str(looks_like(b'{"text": "a"}\n', path))


@pytest.mark.parametrize(("head", "path"), [(DATA, "p.jsonl"), (gz(DATA), "p.jsonl.GZIP"), (zst(DATA), "p.zst"), (b"PAR1", "p.pq")])
def test_what_is_what_its_name_says_looks_like_nothing_else(head: bytes, path: str) -> None:
    assert looks_like(head[:512], path) is None
