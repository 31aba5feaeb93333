import gzip
import hashlib
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samplemix_core import schemas
from samplemix_core.config.reader import ReaderConfig
from samplemix_core.corpus.reader import ShardReader
from samplemix_core.corpus.records import MAX_BATCH_RECORDS
from samplemix_core.corpus.streams import CHUNK_BYTES, zstd
from samplemix_core.errors import CorpusError, ShardRefusedError


def test_batches_have_the_schemas_of_the_contract() -> None:
    [batch] = ShardReader(io.BytesIO(b'{"text": "a"}\n[]\n'), "crawl/web/p.jsonl", ReaderConfig()).read()
    assert batch.documents.schema.equals(schemas.DOCUMENTS)
    assert batch.quarantine.schema.equals(schemas.QUARANTINE)
    assert batch.documents.to_pylist() == [{"row": 0, "doc_id": None, "domain": "web", "text": "a", "url": None, "license": None}]
    assert batch.quarantine.to_pylist() == [
        {"row": 1, "byte_offset": 14, "reason": "not_an_object", "detail": "the line is JSON, but not an object"}
    ]


def test_an_empty_file_is_a_shard_of_no_records() -> None:
    assert list(ShardReader(io.BytesIO(b""), "crawl/web/p.jsonl", ReaderConfig()).read()) == []
    assert list(ShardReader(io.BytesIO(gzip.compress(b"")), "crawl/web/p.jsonl.gz", ReaderConfig()).read()) == []


def test_an_unknown_suffix_is_refused_by_name() -> None:
    with pytest.raises(ShardRefusedError, match=r"crawl/web/p\.docx"):
        list(ShardReader(io.BytesIO(b"a,b"), "crawl/web/p.docx", ReaderConfig()).read())


def test_too_shallow_a_path_is_an_error_of_the_corpus() -> None:
    with pytest.raises(CorpusError):
        list(ShardReader(io.BytesIO(b""), "crawl/p.jsonl", ReaderConfig()).read())


def test_a_cut_archive_ends_in_an_error_even_after_batches() -> None:
    archive = gzip.compress(b'{"text": "a"}\n' * 200_000)
    batches = ShardReader(io.BytesIO(archive[:-1]), "crawl/web/p.jsonl.gz", ReaderConfig()).read()
    assert next(batches).documents.num_rows == MAX_BATCH_RECORDS
    with pytest.raises(ShardRefusedError, match=r"crawl/web/p\.jsonl\.gz"):
        list(batches)


class Counted(io.BytesIO):
    """A file that counts the bytes that are read of it."""

    n_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.n_bytes += len(data)
        return data


LINES = b"".join(b'{"text": "document %d, and %s"}\n' % (i, hashlib.sha512(b"%d" % i).hexdigest().encode()) for i in range(30_000))


@pytest.mark.parametrize(("path", "data"), [("c/web/p.jsonl", LINES), ("c/web/p.jsonl.gz", gzip.compress(LINES))])
def test_blocks_in_order_cost_one_pass_and_a_block_that_can_be_jumped_to_costs_its_own_bytes(path: str, data: bytes) -> None:
    stream = Counted(data)
    reader = ShardReader(stream, path, ReaderConfig())
    blocks = reader.plan(1000, 2**26)
    assert (len(blocks), stream.n_bytes) == (30, len(data))
    read = [batch.documents.num_rows for block in blocks[::2] for batch in reader.read(block)]
    assert read == ([128] * 7 + [104]) * 15
    # One pass more, but for chunks that were read ahead and dropped at a jump.
    assert stream.n_bytes <= 2 * len(data) + 15 * (0 if path.endswith(".gz") else CHUNK_BYTES)
    before = pa.concat_tables(batch.documents for batch in reader.read(blocks[1]))
    assert before["row"].to_pylist() == list(range(1000, 2000))


def test_the_same_documents_are_read_of_every_format() -> None:
    tables = []
    rows = [json.loads(line) for line in LINES.splitlines()[:500]]
    sinks = [io.BytesIO(), io.BytesIO()]
    for sink, group in zip(sinks, (500, 60), strict=True):
        pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=group)
    plain = b"".join(LINES.splitlines(keepends=True)[:500])
    archives = {".jsonl": plain, ".jsonl.gz": gzip.compress(plain), ".jsonl.zst": zstd.compress(plain)}
    streams = [(name, io.BytesIO(data)) for name, data in archives.items()] + [(".parquet", sink) for sink in sinks]
    for suffix, stream in streams:
        reader = ShardReader(stream, f"c/web/p{suffix}", ReaderConfig())
        tables.append(pa.concat_tables(batch.documents for block in reader.plan(37, 2**26) for batch in reader.read(block)))
    assert tables[0].num_rows == 500
    assert all(table.equals(tables[0]) for table in tables)


LONG = {
    "an array": json.dumps(ROWS_OF_LONG := [{"id": "a", "text": "one"}, {"id": "b", "text": "two"}], indent=2),
    "an array of lines": "[\n" + ",\n".join(map(json.dumps, ROWS_OF_LONG)) + "\n]\n",
    "an array that begins at once": "[" + ",\n".join(map(json.dumps, ROWS_OF_LONG)) + "]",
    "an object": "\ufeff\n" + json.dumps({"data": ROWS_OF_LONG}, indent=2),
}


@pytest.mark.parametrize("name", LONG)
def test_a_document_over_many_lines_is_no_file_of_records(name: str) -> None:
    with pytest.raises(ShardRefusedError, match="one JSON document over many lines"):
        ShardReader(io.BytesIO(LONG[name].encode()), "c/web/p.json", ReaderConfig()).plan(100, 2**20)


@pytest.mark.parametrize("first", [b'{"id": "a", "te', b"[1, 2]", b'["a"', b"", b" \n\n", b'{"text": "a"}'])
def test_a_bad_first_line_is_one_bad_line(first: bytes) -> None:
    rest = b'\n{"text": "fine"}\n' if first != b'["a"' else b""
    reader = ShardReader(io.BytesIO(first + rest), "c/web/p.json", ReaderConfig())
    documents = [
        text for block in reader.plan(100, 2**20) for batch in reader.read(block) for text in batch.documents["text"].to_pylist()
    ]
    assert documents[-1:] == (["fine"] if rest else [])
