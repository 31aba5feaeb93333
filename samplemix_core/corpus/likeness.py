"""Guess what a file that can't be read is, for people who took it for their data."""

from samplemix_core.corpus.shards import COMPRESSIONS, FORMATS, JSON_LINES, format_of
from samplemix_core.corpus.streams import CODECS, codec_of, is_compressed

HEAD_BYTES = 512
_HEADS = (
    (b"version https://git-lfs.github.com/spec/", "a pointer of Git LFS: 'git lfs pull' fetches the file it stands for"),
    (b"/annex/objects/", "a pointer of git-annex: 'git annex get' fetches the file it stands for"),
    (b"<?xml", "XML, as an object store answers with an error"),
    (b"<error>", "XML, as an object store answers with an error"),
    (b"<!doctype html", "a page of HTML, as a server answers with an error"),
    (b"<html", "a page of HTML, as a server answers with an error"),
    (b"[", "one JSON array: JSON lines have one object a line, as \"jq -c '.[]'\" writes them"),
    (b"{\n", "JSON over many lines: JSON lines have one object a line, as 'jq -c .' writes them"),
    (b"ARROW1", "an Arrow file, which is not read: write it as Parquet"),
    (b"PK\x03\x04", "a zip archive, which is not read: unpack it"),
    (b"PARE", "an encrypted Parquet file: write it without encryption"),
    (b"ORC", "an ORC file, which is not read: write it as Parquet"),
    (b"\xff\xfe", "UTF-16, which is not read: write it as UTF-8"),
    (b"\xfe\xff", "UTF-16, which is not read: write it as UTF-8"),
)


_MAGIC = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd", ".bz2": b"BZh", ".xz": b"\xfd7zXZ\0", ".lz4": b"\x04\x22\x4d\x18"}


def looks_like(head: bytes, path: str) -> str | None:
    """Return what a file seems to be by its first HEAD_BYTES, if its name says otherwise and people mistake it for their data."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().replace(b"\r\n", b"\n")
    for suffix, sign in _MAGIC.items():
        if head.startswith(sign):
            name = COMPRESSIONS[suffix]
            return None if codec_of(path) is CODECS[name] else f"compressed with {name}: its name has to end in {suffix}"
    named = format_of(path)
    for other in FORMATS:
        if other.sign and head.startswith(other.sign):
            return None if other is named else f"{other.name}: its name has to end in {other.suffixes[0]}"
    kind = next((kind for sign, kind in _HEADS if start.startswith(sign) or start.lower().startswith(sign)), None)
    if kind is None and start.startswith(b"{") and b"\r" in start and b"\n" not in start:
        return "JSON lines that end in carriage returns alone: \"tr '\\r' '\\n'\" writes newlines in their place"
    if kind is None and start.startswith(b"{") and (is_compressed(path) or named is not JSON_LINES):
        return "JSON lines that are not compressed: its name has to end in .jsonl"
    return kind
