"""Nothing is lost silently: every line that is not blank is a document or in the quarantine, at its place, however it is read."""

import gzip
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.corpus import json_lines, streams
from samplemix_core.corpus.reader import ShardReader
from samplemix_core.corpus.records import Block, Reason, ShardBatch, has_text
from samplemix_core.corpus.streams import zstd

LIMIT = 120

_texts = st.text(min_size=1, max_size=30)
_good = _texts.filter(lambda t: not t.isspace()).map(
    lambda t: json.dumps({"text": t, "id": 1, "meta": {"k": [1.5, None]}}).encode()
)
_unescaped = _texts.map(lambda t: json.dumps({"text": t}, ensure_ascii=False).encode())
_bad = st.one_of(
    st.sampled_from(
        [b"[]", b"{", b'{"text": 1}', b'{"text": ""}', b'{"text": "\\ud800"}', b'{"text": "\xff"}', b"x" * (LIMIT + 1)]
    ),
    st.binary(max_size=LIMIT + 10).map(lambda b: b.replace(b"\n", b"")),
)
_blank = st.sampled_from([b"", b"\r", b"  ", b"\t\r"])
_shards = st.tuples(
    st.booleans(),
    st.lists(st.tuples(st.one_of(_good, _unescaped, _bad, _blank), st.sampled_from([b"", b"\r"])).map(b"".join), max_size=20),
    st.booleans(),
).map(lambda parts: (b"\xef\xbb\xbf" if parts[0] else b"") + b"\n".join(parts[1]) + (b"\n" if parts[2] else b""))


class Trickle(io.RawIOBase):
    """A body that gives at most `step` bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data = io.BytesIO(data)
        self._step = step

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(self._step if size < 0 else min(size, self._step))


def compress(data: bytes, suffix: str, cut: int) -> bytes:
    """One archive of two members (or frames)."""
    if suffix == ".gz":
        return gzip.compress(data[:cut]) + gzip.compress(data[cut:])
    if suffix == ".zst":
        options: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
        return zstd.compress(data[:cut], options=options) + zstd.compress(data[cut:], options=options)
    return data


def merged(batches: Iterator[ShardBatch]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    documents: list[dict[str, Any]] = []
    quarantine: list[dict[str, Any]] = []
    for batch in batches:
        assert batch.records == batch.documents.num_rows + batch.quarantine.num_rows
        documents += batch.documents.to_pylist()
        quarantine += batch.quarantine.to_pylist()
    return documents, quarantine


@settings(deadline=None)
@given(_shards, st.integers(1, 40), st.integers(1, 40), st.sampled_from(["", ".gz", ".zst"]), st.integers(0, 200))
def test_every_line_is_accounted_for_however_it_is_read(data: bytes, step: int, chunk: int, suffix: str, cut: int) -> None:
    config = ReaderConfig(max_record_bytes=LIMIT)
    whole = merged(ShardReader(io.BytesIO(data), "crawl/web/p.jsonl", config).read())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "CHUNK_BYTES", chunk)
        patch.setattr(streams, "CHUNK_BYTES", chunk)
        pieces = merged(
            ShardReader(cast(BinaryIO, Trickle(compress(data, suffix, cut), step)), f"crawl/web/p.jsonl{suffix}", config).read()
        )
    assert pieces == whole

    documents, quarantine = whole
    lines = data.split(b"\n")
    expected = {
        row
        for row, line in enumerate(lines)
        if len(line) > LIMIT or (line.removeprefix(b"\xef\xbb\xbf") if row == 0 else line).strip(b" \t\r\n\v\f")
    }
    assert sorted([r["row"] for r in documents] + [r["row"] for r in quarantine]) == sorted(expected)
    for document in documents:
        line = lines[document["row"]].removeprefix(b"\xef\xbb\xbf")
        assert json.loads(line)["text"] == document["text"]
    for record in quarantine:
        line = lines[record["row"]]
        assert data[record["byte_offset"] :].startswith(line)
        assert data[: record["byte_offset"]].count(b"\n") == record["row"]
        assert (record["reason"] == Reason.RECORD_TOO_LONG) == (len(line) > LIMIT)


@settings(deadline=None)
@given(_shards)
def test_only_lines_that_python_reads_as_documents_are_documents(data: bytes) -> None:
    documents, _ = merged(ShardReader(io.BytesIO(data), "crawl/web/p.jsonl", ReaderConfig()).read())
    kept = {document["row"] for document in documents}
    for row, line in enumerate(data.split(b"\n")):
        assert (row in kept) == is_document(line.removeprefix(b"\xef\xbb\xbf"))


def is_document(line: bytes) -> bool:
    try:
        text = json.loads(line.decode(), strict=False)["text"]
        return bool(text.encode().decode().strip()) and has_text(text)
    except (ValueError, TypeError, KeyError, AttributeError):
        return False


def compressed_in(suffix: str, data: bytes, cut: int) -> tuple[BinaryIO, str]:
    return io.BytesIO(compress(data, suffix, cut)), f"crawl/web/p.jsonl{suffix}"


@settings(deadline=None)
@given(_shards, st.integers(1, 8), st.integers(1, 300), st.integers(1, 40), st.sampled_from(["", ".gz", ".zst"]), st.randoms())
def test_blocks_hold_what_the_shard_holds_in_whatever_order_they_are_read(
    data: bytes, documents: int, n_bytes: int, chunk: int, suffix: str, random: Random
) -> None:
    # What begins as a document of many lines is refused as a whole.
    assume(not re.match(rb"(\xef\xbb\xbf)?\s*(\[|\{\s*\n)", data))
    config = ReaderConfig(max_record_bytes=LIMIT)
    stream, path = compressed_in(suffix, data, len(data) // 2)
    whole = merged(ShardReader(stream, path, config).read())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "CHUNK_BYTES", chunk)
        reader = ShardReader(*compressed_in(suffix, data, len(data) // 2), config)
        blocks = reader.plan(documents, n_bytes)
        order = blocks[:]
        random.shuffle(order)
        parts = {block.block: merged(reader.read(block)) for block in order}
    assert merge(parts[block.block] for block in blocks) == whole
    assert [block.block for block in blocks] == list(range(len(blocks)))
    lines = data.split(b"\n") if data else []
    lines = lines[:-1] if lines and not lines[-1] else lines
    place = row = 0
    for block in blocks:
        assert (block.first_row, block.byte_offset) == (row, place)
        assert block.rows is not None
        assert block.n_bytes is not None
        held = lines[row : row + block.rows]
        assert sum(not is_blank(line) for line in held) <= documents
        assert block.n_bytes <= n_bytes or block.rows == 1
        assert data[place : place + block.n_bytes].removesuffix(b"\n") == b"\n".join(held)
        row, place = row + block.rows, place + block.n_bytes
    assert (row, place) == (len(lines), len(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "CHUNK_BYTES", 7)
        again = ShardReader(*compressed_in(suffix, data, len(data) // 2), config).plan(documents, n_bytes)
    assert again == blocks, "a plan does not depend on how much is read at once"


def is_blank(line: bytes) -> bool:
    return not line.strip()


def merge(parts: Iterable[tuple[list[dict[str, Any]], list[dict[str, Any]]]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    documents: list[dict[str, Any]] = []
    quarantine: list[dict[str, Any]] = []
    for some, others in parts:
        documents += some
        quarantine += others
    return documents, quarantine


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.text(max_size=8)), max_size=60),
    st.integers(1, 25),
    st.integers(1, 25),
    st.integers(1, 400),
    st.randoms(),
)
def test_blocks_of_parquet_are_slices_of_row_groups(
    texts: list[str | None], group: int, documents: int, n_bytes: int, random: Random
) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": pa.array(texts, pa.string()), "id": range(len(texts))}), sink, row_group_size=group)
    path = "crawl/web/p.parquet"
    reader = ShardReader(sink, path, ReaderConfig())
    whole = merged(reader.read())
    blocks = reader.plan(documents, n_bytes)
    order = blocks[:]
    random.shuffle(order)
    parts = {block.block: merged(reader.read(block)) for block in order}
    assert merge(parts[block.block] for block in blocks) == whole
    row = 0
    for block in blocks:
        assert block.first_row == row
        assert block.rows is not None
        assert block.rows <= documents
        assert row // group == max(row, row + block.rows - 1) // group
        row += block.rows
    assert row == len(texts)


_IDS: list[Callable[[int], Any]] = [
    *(str, lambda i: i, lambda i: [i, str(i)][i % 2], lambda i: None),
    *(lambda i: 2**70 + i, lambda i: i / 2, lambda i: i > 2),
]
_plain = st.builds(
    lambda texts, ids, extra: [
        json.dumps({"text": text, "id": ids(i), **extra}, ensure_ascii=i % 2 == 0).encode() for i, text in enumerate(texts)
    ],
    st.lists(_texts.filter(has_text), max_size=30),
    st.sampled_from(_IDS),
    st.sampled_from([{}, {"text.x": 1}, {"meta": {"text": "t"}, "n": None}, {"day": "2026-01-02"}]),
)
_lines = st.one_of(_plain.map(b"\n".join), _shards, st.tuples(_plain, _bad, _plain).map(lambda p: b"\n".join([*p[0], p[1], *p[2]])))


@settings(deadline=None)
@given(_lines, st.integers(1, 60), st.sampled_from(["", ".gz", ".zst"]), st.data())
def test_documents_that_are_picked_are_those_that_were_read(data: bytes, piece: int, suffix: str, choose: st.DataObject) -> None:
    """However many lines are read at once, and whether Arrow reads them or the parser of single ones."""
    config = ReaderConfig(max_record_bytes=LIMIT)
    documents, _ = merged(ShardReader(io.BytesIO(data), "crawl/web/p.jsonl", config).read())
    wanted = [document for document in documents if choose.draw(st.booleans())]
    if not wanted:
        return
    for size in (piece, json_lines._PICK_BYTES):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(json_lines, "_PICK_BYTES", size)
            stream, path = compressed_in(suffix, data, len(data) // 2)
            picked = ShardReader(stream, path, config).pick(np.array([document["row"] for document in wanted]))
            assert [row for batch in picked for row in batch.to_pylist()] == wanted


def test_lines_that_only_together_are_as_many_as_their_objects_are_read_one_by_one() -> None:
    data = b"""{"id":"0","text":"a one"} {"id":"X","text":"b wrong"}
{"id":"1","text":"good text"}
{"id":"2","text":"c","m":
{"x":1}}
"""
    documents, _ = merged(ShardReader(io.BytesIO(data), "crawl/web/p.jsonl", ReaderConfig()).read())
    [picked] = ShardReader(io.BytesIO(data), "crawl/web/p.jsonl", ReaderConfig()).pick(np.array([1]))
    nothing = {"url": None, "license": None}
    assert picked.to_pylist() == documents == [{"row": 1, "doc_id": "1", "domain": "web", "text": "good text", **nothing}]


_values = st.one_of(st.none(), st.text(max_size=8))


@settings(deadline=None)
@given(
    st.lists(_values, max_size=60),
    st.integers(1, 25),
    st.sampled_from([pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())]),
    st.sampled_from([lambda i: i, str, lambda i: None, lambda i: bytes([i % 7, i]), lambda i: f"a{i}".encode() + bytes(2)]),
    st.data(),
)
def test_documents_that_are_picked_from_parquet_are_those_that_were_read(
    texts: list[str | None], group: int, kind: pa.DataType, number: Any, choose: st.DataObject
) -> None:
    values = [None if text is None else text.encode() for text in texts] if kind == pa.binary() else texts
    sink = io.BytesIO()
    table = {"text": pa.array(values, kind), "id": pa.array([number(i) for i in range(len(texts))])}
    pq.write_table(pa.table(table), sink, row_group_size=group)
    reader = ShardReader(sink, "crawl/web/p.parquet", ReaderConfig())
    documents, _ = merged(ShardReader(sink, "crawl/web/p.parquet", ReaderConfig()).read())
    wanted = [document for document in documents if choose.draw(st.booleans())]
    starts = reader.starts()
    assert starts == (list(range(0, len(texts), group)) or [0])
    for start in starts:
        here = [document for document in wanted if start <= document["row"] < start + group]
        if here:
            picked = reader.pick(np.array([document["row"] for document in here]), Block(first_row=start, byte_offset=-1))
            assert [row for batch in picked for row in batch.to_pylist()] == here
