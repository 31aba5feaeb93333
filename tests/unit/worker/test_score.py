"""A batch scored: facts, quality and vectors of each document, whatever stands beside it; and a shard's batches put into files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from samplemix_core import schemas
from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.corpus.records import ShardBatch
from samplemix_core.embedding.encoder import Encoder, load_encoder
from samplemix_core.embedding.vectors import from_table, read_embeddings, to_table
from samplemix_core.errors import ShardRefusedError
from samplemix_core.identity import content_hash
from samplemix_core.quality.kinds import content_types, languages
from samplemix_core.scorers.composite import Composite
from samplemix_core.scorers.scorer import quality_table
from samplemix_core.worker.score import read_batch, score_to_files

TEXTS = ["A lighthouse stands on the cliff, and nobody has lit it for years.", "naïve café ☃", "word " * 400, "A lighthouse."]
COMPOSITE = Composite("composite", "composite")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(EmbeddingConfig(precision="float32", device="cpu", max_seq_tokens=32))


def documents(*rows: int) -> pa.Table:
    ids = [None if row % 2 else f"doc-{row}" for row in rows]
    texts, urls = [TEXTS[row % len(TEXTS)] for row in rows], [f"https://Sub{row}.Example.org/a" for row in rows]
    return pa.table([rows, ids, ["web"] * len(rows), texts, urls, [None] * len(rows)], schema=schemas.DOCUMENTS)


def batch(*rows: int, rejected: tuple[int, ...] = ()) -> ShardBatch:
    reasons = [[*rejected], [0] * len(rejected), ["empty_text"] * len(rejected), ["blank"] * len(rejected)]
    return ShardBatch(documents(*rows), pa.table(reasons, schema=schemas.QUARANTINE), len(rows) + len(rejected))


def test_each_document_has_its_facts_its_quality_and_a_unit_vector(encoder: Encoder) -> None:
    scored = read_batch(documents(0, 1, 2, 7), encoder, encoder.tokenizer)
    samples = scored.samples.to_pydict()
    texts = [TEXTS[0], TEXTS[1], TEXTS[2], TEXTS[3]]
    assert scored.samples.schema == schemas.SAMPLES
    assert (samples["row"], samples["doc_id"]) == ([0, 1, 2, 7], ["doc-0", None, "doc-2", None])
    assert samples["n_bytes"] == [len(text.encode()) for text in texts]
    assert samples["content_hash"] == [content_hash(text) for text in texts]
    assert samples["content_type"] == content_types(pa.array(texts, pa.large_string()))
    assert samples["language"] == languages(texts)
    assert samples["host"] == ["sub0.example.org", "sub1.example.org", "sub2.example.org", "sub7.example.org"]
    # Of the whole text, though the encoder reads its head alone.
    assert samples["n_tokens"][2] == 400
    found = quality_table(scored.samples["row"], scored.documents.scores(COMPOSITE))
    assert found.schema == schemas.QUALITY
    quality = found.to_pydict()
    dimensions = np.sum([quality[name] for name in schemas.DIMENSIONS], axis=0)
    np.testing.assert_allclose(quality["quality"], dimensions, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(encoder.encode(scored.tokenized), axis=1), 1, atol=1e-6)


def test_the_same_documents_give_the_same_bytes(encoder: Encoder) -> None:
    first, second = (read_batch(documents(0, 1, 2, 3), encoder, encoder.tokenizer) for _ in range(2))
    assert first.samples.equals(second.samples)
    one, other = (found.documents.scores(COMPOSITE)["quality"] for found in (first, second))
    np.testing.assert_array_equal(one, other)
    assert first.tokenized.ids.tobytes() == second.tokenized.ids.tobytes()


def test_neighbours_change_no_fact_no_quality_and_no_vector(encoder: Encoder) -> None:
    together, alone = (
        read_batch(documents(0, 1, 2, 3), encoder, encoder.tokenizer),
        read_batch(documents(2), encoder, encoder.tokenizer),
    )
    assert together.samples.slice(2, 1).equals(alone.samples)
    assert together.documents.scores(COMPOSITE)["quality"][2] == alone.documents.scores(COMPOSITE)["quality"][0]
    np.testing.assert_array_equal(encoder.encode(together.tokenized)[2], encoder.encode(alone.tokenized)[0])


def test_a_shards_batches_are_in_its_files_in_order(encoder: Encoder, tmp_path: Path) -> None:
    batches = [batch(0, 1, rejected=(2,)), batch(rejected=(3, 4)), batch(5, 6)]
    files = score_to_files(batches, encoder, encoder.tokenizer, [COMPOSITE], tmp_path)
    assert (files.records, files.samples["row"].to_pylist(), files.quality[0]["row"].to_pylist()) == (7, [0, 1, 5, 6], [0, 1, 5, 6])
    with pa.memory_map(str(files.quarantine)) as mapped:
        assert pa.ipc.open_file(mapped).read_all()["row"].to_pylist() == [2, 3, 4]
    with files.embeddings.open("rb") as stream:
        parts = list(read_embeddings(stream, encoder.encoder_id))
    ((rows, vectors),) = parts
    assert rows.tolist() == [0, 1, 5, 6]
    expected = from_table(
        to_table(np.array([5, 6]), encoder.encode(read_batch(documents(5, 6), encoder, encoder.tokenizer).tokenized))
    )[1]
    np.testing.assert_array_equal(vectors[2:], expected)


def test_a_document_without_a_token_is_set_aside(encoder: Encoder, tmp_path: Path) -> None:
    texts = ["One.", "[", "\u200b", "Two."]
    table = pa.table([[4, 5, 6, 9], [None] * 4, ["web"] * 4, texts, [None] * 4, ["MIT"] * 4], schema=schemas.DOCUMENTS)
    read = read_batch(table, encoder, encoder.tokenizer)
    assert read.samples["row"].to_pylist() == [4, 5, 9]
    assert read.documents.as_strings == ["One.", "[", "Two."]
    rejected = batch(rejected=(2, 8)).quarantine
    files = score_to_files([ShardBatch(table, rejected, 6)], encoder, encoder.tokenizer, [COMPOSITE], tmp_path)
    assert (files.records, files.samples["row"].to_pylist(), files.quality[0].num_rows) == (6, [4, 5, 9], 3)
    with pa.memory_map(str(files.quarantine)) as mapped:
        quarantine = pa.ipc.open_file(mapped).read_all().to_pydict()
    assert (quarantine["row"], quarantine["reason"]) == ([2, 6, 8], ["empty_text", "no_text", "empty_text"])
    assert "all-MiniLM-L6-v2 finds no token in its 1 characters" in quarantine["detail"][1]


def test_a_shard_without_documents_has_empty_tables(encoder: Encoder, tmp_path: Path) -> None:
    files = score_to_files([batch(rejected=(0,))], encoder, encoder.tokenizer, [COMPOSITE], tmp_path)
    assert (files.records, files.samples.num_rows, files.quality[0].num_rows) == (1, 0, 0)
    assert (files.samples.schema, files.quality[0].schema) == (schemas.SAMPLES, schemas.QUALITY)


def test_a_broken_shard_ends_the_block_with_its_own_error(encoder: Encoder, tmp_path: Path) -> None:
    def breaks() -> Iterator[ShardBatch]:
        yield batch(0, 1)
        raise ShardRefusedError("a page is broken", "upload it again")

    with pytest.raises(ShardRefusedError, match="a page is broken"):
        score_to_files(breaks(), encoder, encoder.tokenizer, [COMPOSITE], tmp_path)
