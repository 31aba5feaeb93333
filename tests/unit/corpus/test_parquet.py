import io
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.corpus.reader import ShardReader
from samplemix_core.corpus.records import MAX_BATCH_BYTES
from samplemix_core.errors import ShardRefusedError

STRINGS = (
    *(pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())),
    *(pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.binary())),
)

PATH = "crawl/web/part-0.parquet"


def encode(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def rows(data: bytes, config: ReaderConfig | None = None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    batches = list(ShardReader(io.BytesIO(data), PATH, config or ReaderConfig()).read())
    return [r for b in batches for r in b.documents.to_pylist()], [r for b in batches for r in b.quarantine.to_pylist()]


def test_rows_are_numbered_across_row_groups_and_batches() -> None:
    n = 5000
    table = pa.table({"text": [f"text {i}" if i % 7 else None for i in range(n)], "id": list(range(n))})
    documents, quarantine = rows(encode(table, row_group_size=700))
    assert [(r["row"], r["doc_id"], r["domain"], r["text"]) for r in documents] == [
        (i, str(i), "web", f"text {i}") for i in range(n) if i % 7
    ]
    assert [(r["row"], r["byte_offset"], r["reason"]) for r in quarantine] == [(i, -1, "missing_text") for i in range(0, n, 7)]


@pytest.mark.parametrize("kind", STRINGS)
def test_every_string_type_is_read(kind: pa.DataType) -> None:
    text = pa.array(["Grüße", None, " "]).cast(kind)
    documents, quarantine = rows(encode(pa.table({"text": text})))
    assert [(r["row"], r["text"], r["doc_id"]) for r in documents] == [(0, "Grüße", None)]
    assert [r["reason"] for r in quarantine] == ["missing_text", "empty_text"]


@pytest.mark.parametrize(
    ("ids", "read"),
    [
        (pa.array([Decimal(7), None], pa.decimal128(38, 0)), ["7", None]),
        (pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)), ["1.50", None]),
        (pa.array([UUID(int=7).bytes, None], pa.uuid()), [str(UUID(int=7)), None]),
        (pa.array([b"a-7", b"\xff\x00"], pa.binary()), ["a-7", "ff00"]),
        (pa.array([b"\xff\x00", None], pa.binary(2)), ["ff00", None]),
        (pa.array([b"id1\0\0", b"\0\0\0\0\x01"], pa.binary(5)), ["id1", "0000000001"]),
        (pa.array([b"\0\0\0\0\0\0\0\x01", b"7"], pa.binary()), ["0000000000000001", "7"]),
        (pa.array([0, 2**62], pa.timestamp("us")), ["1970-01-01 00:00:00.000000", str(2**62)]),
        (pa.array([datetime(2024, 1, 2, 3), None], pa.timestamp("us")), ["2024-01-02 03:00:00.000000", None]),
        (pa.array([1, None], pa.timestamp("ns", tz="UTC")), ["1970-01-01 00:00:00.000000001Z", None]),
        (pa.array([0, None], pa.timestamp("ms", tz="Mars/Olympus")), ["1970-01-01 00:00:00.000Z", None]),
        (pa.array([date(2024, 1, 2), None]), ["2024-01-02", None]),
        (pa.array([7, None], pa.duration("us")), ["7", None]),
        (pa.array([2**64 - 1, None], pa.uint64()), [str(2**64 - 1), None]),
        (pa.array([1.0, float("nan")]), ["1.0", None]),
        (pa.array([7, None]).dictionary_encode(), ["7", None]),
        (pa.array([True, None]), [None, None]),
        (pa.array([["a"], None]), [None, None]),
    ],
)
def test_ids_of_any_type_that_names_something_are_kept(ids: pa.Array, read: list[str | None]) -> None:
    documents, _ = rows(encode(pa.table({"text": ["x", "y"], "id": ids})))
    assert [r["doc_id"] for r in documents] == read


def test_a_long_id_costs_its_own_row_only() -> None:
    ids = pa.array([b"\xff" * 5000 if i == 50 else bytes([i, 255]) for i in range(100)], pa.binary())
    documents, quarantine = rows(encode(pa.table({"text": ["x"] * 100, "id": ids})))
    assert len(documents) == 99
    assert [(r["row"], r["reason"]) for r in quarantine] == [(50, "id_too_long")]


def test_a_file_that_has_fewer_rows_than_it_says_is_refused() -> None:
    data = bytearray(encode(pa.table({"text": ["x", "y"] * 50, "id": ["a", "b"] * 50})))
    footer = pq.read_metadata(io.BytesIO(data))
    # The Thrift of the footer says 100, as a zigzag varint, for the file, its row group and each column.
    place = data.index(b"\xc8\x01", len(data) - 8 - footer.serialized_size)
    data[place] = 0xC6
    with pytest.raises(ShardRefusedError, match="is not a whole Parquet file"):
        rows(bytes(data))


def test_a_field_is_found_by_dots_wherever_they_are() -> None:
    struct = pa.array([{"x.y": {"text": "t"}}])
    documents, _ = rows(encode(pa.table({"m": struct})), ReaderConfig(text_field="m.x.y.text"))
    assert [r["text"] for r in documents] == ["t"]


def test_columns_that_are_called_by_a_name_with_dots_are_read() -> None:
    config = ReaderConfig(domain_field="meta.domain", text_field="doc.text")
    documents, _ = rows(encode(pa.table({"doc.text": ["x"], "meta.domain": ["d"], "meta": [{"domain": "e"}]})), config)
    assert [(r["text"], r["domain"]) for r in documents] == [("x", "d")]


def test_a_column_of_nulls_has_rows_without_text() -> None:
    _, quarantine = rows(encode(pa.table({"id": ["a", "b"], "text": pa.nulls(2)})))
    assert [r["reason"] for r in quarantine] == ["missing_text", "missing_text"]


def test_invalid_utf8_costs_its_own_row_only() -> None:
    binary = pa.array([b"good", b"caf\xe9", b"fine"], pa.large_binary())
    text = pa.LargeStringArray.from_buffers(3, *binary.buffers()[1:])
    documents, quarantine = rows(encode(pa.table({"text": text})))
    assert [r["row"] for r in documents] == [0, 2]
    assert [(r["row"], r["reason"]) for r in quarantine] == [(1, "invalid_utf8")]


def test_dotted_fields_reach_into_structs() -> None:
    meta = pa.array([{"domain": "a", "key": 1}, {"domain": None, "key": 2}, None])
    config = ReaderConfig(domain_field="meta.domain", id_field="meta.key")
    documents, quarantine = rows(encode(pa.table({"text": ["x", "y", "z"], "meta": meta})), config)
    assert [(r["row"], r["domain"], r["doc_id"]) for r in documents] == [(0, "a", "1")]
    assert [(r["row"], r["reason"]) for r in quarantine] == [(1, "missing_domain"), (2, "missing_domain")]


def test_a_text_over_the_limit_is_quarantined() -> None:
    documents, quarantine = rows(encode(pa.table({"text": ["abc", "abcd"]})), ReaderConfig(max_record_bytes=3))
    assert [r["row"] for r in documents] == [0]
    assert [(r["row"], r["reason"]) for r in quarantine] == [(1, "record_too_long")]


@pytest.mark.parametrize(
    ("table", "field", "problem"),
    [
        (pa.table({"body": ["x"]}), "text", "'text' is missing; its columns are body"),
        (pa.table({"text": [1]}), "text", "'text' has type int64"),
        (pa.table({"text": [["x"]]}), "text.item", "'text.item' is missing"),
        (pa.table({"text": [{"a": "x"}]}), "text.b", "'text.b' is missing"),
        (pa.table([pa.array(["x"]), pa.array(["y"])], names=["text", "text"]), "text", "'text' is there 2 times"),
    ],
)
def test_a_file_without_the_text_column_is_refused(table: pa.Table, field: str, problem: str) -> None:
    with pytest.raises(ShardRefusedError, match=problem) as refused:
        rows(encode(table), ReaderConfig(text_field=field))
    assert PATH in refused.value.what


def test_a_file_without_the_domain_column_is_refused() -> None:
    with pytest.raises(ShardRefusedError, match="'domain' is missing"):
        rows(encode(pa.table({"text": ["x"]})), ReaderConfig(domain_field="domain"))


def test_broken_files_are_refused() -> None:
    whole = encode(pa.table({"text": [f"text {i}" for i in range(3000)]}), write_page_checksum=True, use_dictionary=False)
    flipped = bytearray(whole)
    flipped[1000] ^= 0xFF
    for broken in (b"", whole[:-1], whole[: len(whole) // 2], b"PAR1" + whole[:100], bytes(flipped)):
        with pytest.raises(ShardRefusedError, match="not a whole Parquet file"):
            rows(broken)


def test_the_stream_stays_open() -> None:
    stream = io.BytesIO(encode(pa.table({"text": ["x"]})))
    assert len(list(ShardReader(stream, PATH, ReaderConfig()).read())) == 1
    assert not stream.closed


def long_in_few_bytes(n: int, **options: Any) -> bytes:
    """A megabyte of text, n times over, in a file of a few kilobytes."""
    table = pa.table({"text": pa.array(["word " * 200_000] * n, pa.large_string()), "id": [f"id-{i}" for i in range(n)]})
    data = encode(table, compression="zstd", write_batch_size=1, **options)
    assert len(data) < 100_000
    return data


@pytest.mark.parametrize(
    "options",
    [{}, {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}}, {"use_dictionary": False}],
    ids=["dictionary", "deltas", "plain"],
)
def test_a_small_file_that_spells_out_to_much_comes_in_small_batches(options: dict[str, Any]) -> None:
    data = long_in_few_bytes(400, **options)
    pool = pa.default_memory_pool()
    before, most, ids, texts = pool.bytes_allocated(), 0, [], 0
    for batch in ShardReader(io.BytesIO(data), PATH, ReaderConfig()).read():
        most = max(most, pool.bytes_allocated() - before)
        assert batch.documents.nbytes <= MAX_BATCH_BYTES + 2**20
        ids += batch.documents["doc_id"].to_pylist()
        texts += len(batch.documents)
    assert ids == [f"id-{i}" for i in range(400)]
    assert texts == 400
    # The batch, and the piece of the column that it was made of; spelled out at once it would be 400 MB.
    assert most < 4 * MAX_BATCH_BYTES


def test_texts_over_the_limit_are_not_even_spelled_out() -> None:
    n = 50
    table = pa.table({"text": pa.array(["x" * 1_000_000, "fine"] * n).dictionary_encode(), "id": range(2 * n)})
    pool = pa.default_memory_pool()
    data = encode(table)
    before = pool.bytes_allocated()
    config = ReaderConfig(max_record_bytes=1000)
    for batch in ShardReader(io.BytesIO(data), PATH, config).read():
        assert batch.records == 2 * n
        assert pool.bytes_allocated() - before < 10_000_000
    documents, quarantine = rows(data, config)
    assert [r["row"] for r in documents] == list(range(1, 2 * n, 2))
    assert {(r["reason"], r["detail"]) for r in quarantine} == {("record_too_long", "the text has 1000000 bytes, more than 1000")}


def test_an_id_or_a_domain_over_the_limit_is_quarantined_too() -> None:
    table = pa.table({"text": ["a", "b", "c"], "id": ["1" * 50, "2", "3"], "domain": ["web", "w" * 50, "web"]})
    documents, quarantine = rows(encode(table), ReaderConfig(max_record_bytes=10, domain_field="domain"))
    assert [r["row"] for r in documents] == [2]
    assert [r["detail"] for r in quarantine] == ["the id has 50 bytes, more than 10", "the domain has 50 bytes, more than 10"]


def test_urls_and_licences_of_text_bytes_dictionaries_and_lists_are_kept() -> None:
    texts = ["a", "b", "c"]
    urls: list[pa.Array] = [
        pa.array(["https://a.org/1", None, "https://b.org/2"]),
        pa.array([b"https://a.org/1", b"\xff", b"https://b.org/2"]),
        pa.array(["https://a.org/1", None, "https://b.org/2"]).dictionary_encode(),
    ]
    config = ReaderConfig(url_field="meta.url", license_field="rights")
    for column in urls:
        meta = pa.StructArray.from_arrays([column], ["url"])
        table = pa.table({"text": texts, "meta": meta, "rights": pa.array([["MIT", "CC0-1.0"], [], None])})
        found, refused = rows(encode(table), config)
        assert [row["url"] for row in found] == ["https://a.org/1", None, "https://b.org/2"]
        assert [row["license"] for row in found] == ["MIT, CC0-1.0", None, None]
        assert refused == []
    broken = pa.array([b"https://a.org/1", b"https://a.org/\xff/b", None]).view(pa.string())
    lists = pa.array([["MIT", "CC0-1.0"], [], None], pa.large_list(pa.string()))
    table = pa.table({"text": texts, "meta": pa.StructArray.from_arrays([broken], ["url"]), "rights": lists})
    found, refused = rows(encode(table), config)
    assert ([row["url"] for row in found], refused) == (["https://a.org/1", None, None], [])
    assert [row["license"] for row in found] == ["MIT, CC0-1.0", None, None]
    numbers = pa.table({"text": texts, "meta": pa.array([1, 2, 3]), "rights": pa.array([1, 2, 3])})
    assert [(row["url"], row["license"]) for row in rows(encode(numbers), config)[0]] == [(None, None)] * 3
