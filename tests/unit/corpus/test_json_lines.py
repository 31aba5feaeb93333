import io
import json
import tracemalloc

import pytest

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.corpus.json_lines import record_parser, split_lines
from samplemix_core.corpus.reader import ShardReader
from samplemix_core.corpus.records import MAX_BATCH_RECORDS, Document, Reason, RejectedRecordError, host_of


def rows(data: bytes, config: ReaderConfig | None = None) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    batches = list(ShardReader(io.BytesIO(data), "crawl/web/p.jsonl", config or ReaderConfig()).read())
    return [r for b in batches for r in b.documents.to_pylist()], [r for b in batches for r in b.quarantine.to_pylist()]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "cut', Reason.INVALID_JSON),
        (b"not json", Reason.INVALID_JSON),
        (b'{"text": "a"} trailing', Reason.INVALID_JSON),
        (b'{"text": "a", "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", Reason.INVALID_JSON),
        (b'{"text": "caf\xe9"}', Reason.INVALID_UTF8),
        (b'{"text": "a", "id": "caf\xe9"}', Reason.INVALID_UTF8),
        (b'{"text": "a", "by": "caf\xe9"', Reason.INVALID_UTF8),
        (b"\xff\xfe{\x00", Reason.INVALID_UTF8),
        (b'{"text": "a\\ud800b"}', Reason.UNPAIRED_SURROGATE),
        (b'{"text": "a\\udc00 and so on"}', Reason.UNPAIRED_SURROGATE),
        (b'{"text": "a", "id": "\\ud800"}', Reason.UNPAIRED_SURROGATE),
        (b'{"text": NaN}', Reason.TEXT_NOT_STRING),
        (b'["text"]', Reason.NOT_AN_OBJECT),
        (b'"text"', Reason.NOT_AN_OBJECT),
        (b"{}", Reason.MISSING_TEXT),
        (b'{"text": null}', Reason.MISSING_TEXT),
        (b'{"text": 3.5}', Reason.TEXT_NOT_STRING),
        (b'{"text": " \\n"}', Reason.EMPTY_TEXT),
    ],
)
def test_a_bad_line_is_rejected_with_its_reason(line: bytes, reason: Reason) -> None:
    with pytest.raises(RejectedRecordError) as rejected:
        record_parser("web", ReaderConfig())(line)
    assert rejected.value.reason is reason


@pytest.mark.parametrize(
    "field",
    [
        '"score": NaN',
        '"score": [-Infinity, 1e999]',
        '"\\ud800": 1',
        '"said": "\\ud83d"',
        '"n": 123456789012345678901234567890',
        f'"n": {"9" * 5000}',
        '"s": "\ta"',
        '"caf\udce9": "\udcff"',
    ],
)
def test_what_stands_in_a_field_that_nobody_reads_costs_nothing(field: str) -> None:
    line = f'{{"text": "a", {field}, "id": 7}}'.encode(errors="surrogateescape")
    assert record_parser("web", ReaderConfig())(line) == Document("7", "web", "a")


def test_an_id_that_is_no_number_is_none() -> None:
    parse = record_parser("web", ReaderConfig())
    assert [parse(b'{"text": "a", "id": %b}' % value).doc_id for value in (b"NaN", b"1e999", b"1.5")] == [None, None, "1.5"]


def test_a_field_may_be_called_by_a_name_with_dots() -> None:
    parse = record_parser(None, ReaderConfig(text_field="doc.body.text", domain_field="meta.domain"))
    for record in (
        {"doc.body.text": "t"},
        {"doc": {"body.text": "t"}},
        {"doc.body": {"text": "t"}},
        {"doc": {"body": {"text": "t"}}},
    ):
        for domain in ({"meta.domain": "d"}, {"meta": {"domain": "d"}}):
            assert parse(json.dumps(record | domain).encode()) == Document(None, "d", "t")


def test_a_detail_never_quotes_the_text() -> None:
    secret = "a private sentence"
    _, quarantine = rows(b'{"text": "%b' % secret.encode() + b"\n" + json.dumps({"text": [secret]}).encode())
    assert [r["reason"] for r in quarantine] == ["invalid_json", "text_not_string"]
    assert all(secret not in str(r["detail"]) for r in quarantine)


def test_surrogate_pairs_and_escapes_are_decoded() -> None:
    assert record_parser("web", ReaderConfig())(b'{"text": "\\ud83d\\ude00\\u00e9\\n"}').text == "\U0001f600é\n"


def test_dotted_fields_reach_into_objects() -> None:
    config = ReaderConfig(text_field="doc.body", id_field="meta.key", domain_field="meta.source.domain")
    parse = record_parser(None, config)
    assert parse(b'{"doc": {"body": "t"}, "meta": {"key": 5, "source": {"domain": "d"}}}') == Document("5", "d", "t")
    with pytest.raises(RejectedRecordError) as rejected:
        parse(b'{"doc": {"body": "t"}, "meta": "flat"}')
    assert rejected.value.reason is Reason.MISSING_DOMAIN


def test_blank_lines_take_a_row_and_are_no_records() -> None:
    documents, quarantine = rows(b'\n{"text": "a"}\r\n  \r\n\n{"text": "b"}\n\n')
    assert [(r["row"], r["text"]) for r in documents] == [(1, "a"), (4, "b")]
    assert quarantine == []


def test_a_byte_order_mark_is_passed_over_at_the_start_and_where_files_were_put_together() -> None:
    documents, quarantine = rows(b'\xef\xbb\xbf{"text": "a"}\n\xef\xbb\xbf{"text": "b"}\n')
    assert ([r["text"] for r in documents], quarantine) == (["a", "b"], [])
    assert rows(b"\xef\xbb\xbf") == ([], [])


def test_a_line_of_the_limit_passes_and_one_byte_more_does_not() -> None:
    line = b'{"text": "abc"}'
    config = ReaderConfig(max_record_bytes=len(line))
    documents, quarantine = rows(line + b"\n" + line + b" \n" + line, config)
    assert [r["row"] for r in documents] == [0, 2]
    assert [(r["row"], r["byte_offset"], r["reason"]) for r in quarantine] == [(1, len(line) + 1, "record_too_long")]


def test_an_overlong_line_is_passed_over_in_bounded_memory() -> None:
    class Endless:
        """64 MiB of one line, made as it is read."""

        left = 64

        def read(self, size: int) -> bytes:
            self.left -= 1
            return b"x" * size if self.left > 0 else b'\n{"text": "a"}' if self.left == 0 else b""

    tracemalloc.start()
    lines = list(split_lines(Endless().read, 2**20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [(line.row, line.n_bytes, line.value) for line in lines] == [(0, 63 * 2**20, None), (1, 13, b'{"text": "a"}')]
    assert peak < 8 * 2**20


def test_batches_are_bounded_whether_records_are_good_or_bad() -> None:
    data = b'{"text": "a"}\n[]\n' * MAX_BATCH_RECORDS
    batches = list(ShardReader(io.BytesIO(data), "crawl/web/p.jsonl", ReaderConfig()).read())
    assert [b.documents.num_rows + b.quarantine.num_rows for b in batches] == [MAX_BATCH_RECORDS] * 2


def test_blank_lines_do_not_make_blocks() -> None:
    record = b'{"text": "a"}\n'
    data = b"\n" * 3_000_000 + record * 5 + b" \r\n" * 1_000_000 + record
    blocks = ShardReader(io.BytesIO(data), "crawl/web/a.jsonl", ReaderConfig()).plan(4, 2**22)
    assert [block.rows for block in blocks] == [3_000_004, 1_000_001 + 1]
    assert sum(block.n_bytes or 0 for block in blocks) == len(data)
    data = (b" " * 200 + b"\n") * 20_000 + record
    assert [block.rows for block in ShardReader(io.BytesIO(data), "crawl/web/a.jsonl", ReaderConfig()).plan(4, 2**26)] == [20_001]


class Counting(io.BytesIO):
    n_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.n_bytes += len(data)
        return data


def test_a_long_stretch_of_blank_lines_is_read_once() -> None:
    data = b'{"text": "a"}\n' + b"\n" * 2**21 + b'{"text": "b"}\n'
    stream = Counting(data)
    reader = ShardReader(stream, "crawl/web/a.jsonl", ReaderConfig())
    blocks = reader.plan(10, 2**16)
    assert len(blocks) == 33
    stream.n_bytes = 0
    texts = [text for block in blocks for batch in reader.read(block) for text in batch.documents["text"].to_pylist()]
    assert texts == ["a", "b"]
    assert stream.n_bytes <= 2 * len(data)


def test_urls_and_licences_are_kept_as_far_as_they_can_be() -> None:
    config = ReaderConfig(url_field="meta.url", license_field="rights")
    parse = record_parser("web", config)
    found = parse(b'{"text": "a", "meta": {"url": " https://example.org/x "}, "rights": ["MIT", "CC0-1.0", 5]}')
    assert (found.url, found.license) == ("https://example.org/x", "MIT, CC0-1.0")
    found = parse(b'{"text": "a", "meta": {"url": 7}, "rights": "\\u0000"}')
    assert (found.url, found.license) == (None, None)
    found = parse(b'{"text": "a", "meta": {"url": "https://a/\\ud83d", "x": NaN}, "rights": "%b"}' % (b"x" * 5_000))
    assert (found.url, found.license) == ("https://a/", "x" * 2_048)
    assert config.of_texts() == ReaderConfig()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Example.ORG/a?b=c", "example.org"),
        ("http://user:secret@www.example.org:8080/", "www.example.org"),
        ("example.org/a:b", "example.org"),
        ("https://example.org.", "example.org"),
        ("https://[2001:db8::1]:80/x", "[2001:db8::1]"),
        ("https://example.org#x@y", "example.org"),
        ("urn", "urn"),
        ("https:///nothing", None),
        ("//Example.org/x", "example.org"),
        ("example.org/?u=https://other.com/", "example.org"),
        ("https://m\u00fcnchen.de/", "xn--mnchen-3ya.de"),
    ],
)
def test_the_host_of_a_url(url: str, host: str | None) -> None:
    assert host_of(url) == host
