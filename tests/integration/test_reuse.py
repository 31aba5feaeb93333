"""Texts that a corpus has embedded are found by their hashes, with their vectors as they lie, and only where these are whole."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from samplemix_core.corpus.records import Block
from samplemix_core.database import ledger, registration
from samplemix_core.database.check import Artifact
from samplemix_core.database.connection import transaction
from samplemix_core.database.embeddings import EmbeddingFile
from samplemix_core.database.scores import commit_block
from samplemix_core.embedding.vectors import EmbeddingWriter, raw_vectors, to_table
from samplemix_core.errors import ObjectStoreError
from samplemix_core.identity import content_hash
from samplemix_core.objects.directory import FileStore
from samplemix_core.objects.interface import ObjectInfo
from samplemix_core.operations import check
from samplemix_core.worker import reuse
from samplemix_core.worker.artifacts import download_embeddings, load_cluster_model
from samplemix_core.worker.reuse import EarlierVectors
from tests.integration.conftest import LedgeredCorpus, scores_of
from tests.integration.test_database_ledger import part_of

TEXTS = ["one", "two two", "three", "four four", "five"]


def test_vectors_are_found_by_the_hash_of_their_text(ledgered: LedgeredCorpus, tmp_path: Path) -> None:
    store, shard = FileStore(tmp_path), ledgered.shards[0]
    vectors = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    result = scores_of(TEXTS, bad_rows=(1,))
    rows = result.samples["row"].to_numpy()
    stored = raw_vectors(to_table(rows, vectors))[1]
    blocks = [Block(0, 0, 3, 0, 10), Block(1, 3, 3, 10, 10)]
    files = {}
    with transaction(ledgered.url) as cursor:
        ledger.save_plan(cursor, shard, blocks)
        for block in blocks:
            part = part_of(result, block)
            own = np.isin(rows, part.samples["row"].to_numpy())
            sink = io.BytesIO()
            with EmbeddingWriter(sink, 4, "encoder-1") as writer:
                writer.write(rows[own], vectors[own])
            key = f"embeddings/{block.block}"
            files[key] = sink.getvalue()
            store.put(key, files[key])
            sha256 = hashlib.sha256(files[key]).hexdigest()
            commit_block(cursor, shard, ledgered.version, block, replace(part, embedding_key=key, embedding_sha256=sha256))
        other = registration.register_corpus(
            cursor, uri="s3://bucket/other", reader={}, tokenizer="a tokenizer", tokenizer_id="tok"
        )
        recounted = registration.register_corpus(
            cursor, uri="s3://bucket/corpus", reader={"text_field": "text"}, tokenizer="another", tokenizer_id="another"
        )
        entry = ObjectInfo("crawl-a/x.jsonl", 1, "etag")
        elsewhere = registration.register_snapshot(cursor, other.corpus_id, "crawl-a", [entry]).snapshot_id
        again = registration.register_snapshot(cursor, recounted.corpus_id, "crawl-a", [entry]).snapshot_id

    earlier = EarlierVectors(ledgered.url, store, ledgered.shards[4], ledgered.version.encoder_id, 1)
    hashes = [content_hash(text) for text in ("new", "five", "one", "two two", "newer", "one")]
    found, read = earlier.find(hashes)
    assert found.tolist() == [1, 2, 3, 5]
    np.testing.assert_array_equal(read, stored[[4, 0, 1, 0]])

    # What is held costs nothing; what is not is fetched where enough is wanted of it.
    assert replace(earlier, store=FileStore(tmp_path / "none"), least_to_fetch=9).find(hashes)[0].tolist() == [1, 2, 3, 5]
    reuse._held.clear()
    assert replace(earlier, least_to_fetch=3).find(hashes)[0].tolist() == [2, 3, 5]
    assert replace(earlier, encoder_id=earlier.encoder_id + 1).find(hashes)[0].size == 0
    assert replace(earlier, shard=replace(shard, snapshot_id=elsewhere)).find(hashes)[0].size == 0
    assert replace(earlier, shard=replace(shard, snapshot_id=again)).find(hashes)[0].tolist() == [1, 2, 3, 5]
    assert earlier.find([content_hash("new")])[0].size == 0


class BadBlocks(FileStore):
    """A store that can't deliver what is called lost."""

    def open(self, key: str, version: ObjectInfo | None = None) -> BinaryIO:
        if key.endswith("lost"):
            raise ObjectStoreError(f"{key}: 500.", "Ask again.")
        return super().open(key, version)


def test_a_file_that_is_gone_or_damaged_gives_nothing(ledgered: LedgeredCorpus, tmp_path: Path) -> None:
    store, shard = BadBlocks(tmp_path), ledgered.shards[0]
    keys = {"gone": "embeddings/gone", "damaged": "embeddings/damaged", "lost": "embeddings/lost"}
    for name in ("damaged", "lost"):
        store.put(keys[name], b"not what it was")
    with transaction(ledgered.url) as cursor:
        for (name, key), other in zip(keys.items(), ledgered.shards, strict=False):
            ledger.save_plan(cursor, other, [Block()])
            scores = replace(scores_of([name]), embedding_key=key, embedding_sha256=hashlib.sha256(name.encode()).hexdigest())
            commit_block(cursor, other, ledgered.version, Block(), scores)
    earlier = EarlierVectors(ledgered.url, store, shard, ledgered.version.encoder_id, 1)
    found, vectors = earlier.find([content_hash(name) for name in keys])
    assert (found.size, vectors.size) == (0, 0)
    files = [Artifact(name, key, hashlib.sha256(name.encode()).hexdigest()) for name, key in keys.items()]
    told = {label: (said, is_lost) for label, said, is_lost in check._file_problems(store, files, deep=True)}
    assert told["gone"] == ("embeddings/gone is gone", True)
    assert told["damaged"][0].startswith("embeddings/damaged is damaged")
    assert told["damaged"][1], "it can only be made again"
    assert told["lost"] == ("embeddings/lost can't be read: embeddings/lost: 500. Ask again.", False)
    file = EmbeddingFile(keys["lost"], "0" * 64, 1)
    with pytest.raises(ObjectStoreError, match=r"An embedding file can't be read: .*500.*'samplemix check --deep'"):
        download_embeddings(store, file, tmp_path / "copy")
    with pytest.raises(ObjectStoreError, match=r"A cluster model can't be read: .*refit"):
        load_cluster_model(store, keys["lost"], "0" * 64)
