import gzip
import io

import pytest

from samplemix_core import schemas
from samplemix_core.config import ReaderConfig
from samplemix_core.corpus.shards import read_shard
from samplemix_core.errors import CorpusError, ShardRefusedError


def test_batches_have_the_schemas_of_the_contract() -> None:
    [batch] = read_shard(io.BytesIO(b'{"text": "a"}\n[]\n'), "crawl/web/p.jsonl", ReaderConfig())
    assert batch.documents.schema.equals(schemas.DOCUMENTS)
    assert batch.quarantine.schema.equals(schemas.QUARANTINE)
    assert batch.documents.to_pylist() == [{"row": 0, "doc_id": None, "domain": "web", "text": "a"}]
    assert batch.quarantine.to_pylist() == [
        {"row": 1, "byte_offset": 14, "reason": "not_an_object", "detail": "the line is JSON, but not an object"}
    ]


def test_an_empty_file_is_a_shard_of_no_records() -> None:
    assert list(read_shard(io.BytesIO(b""), "crawl/web/p.jsonl", ReaderConfig())) == []
    assert list(read_shard(io.BytesIO(gzip.compress(b"")), "crawl/web/p.jsonl.gz", ReaderConfig())) == []


def test_an_unknown_suffix_is_refused_by_name() -> None:
    with pytest.raises(ShardRefusedError, match=r"crawl/web/p\.csv"):
        list(read_shard(io.BytesIO(b"a,b"), "crawl/web/p.csv", ReaderConfig()))


def test_too_shallow_a_path_is_an_error_of_the_corpus() -> None:
    with pytest.raises(CorpusError):
        list(read_shard(io.BytesIO(b""), "crawl/p.jsonl", ReaderConfig()))


def test_a_cut_archive_ends_in_an_error_even_after_batches() -> None:
    archive = gzip.compress(b'{"text": "a"}\n' * 200_000)
    batches = read_shard(io.BytesIO(archive[:-1]), "crawl/web/p.jsonl.gz", ReaderConfig())
    assert next(batches).documents.num_rows == 2048
    with pytest.raises(ShardRefusedError, match=r"crawl/web/p\.jsonl\.gz"):
        list(batches)
