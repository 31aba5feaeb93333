from typing import Any

import pytest

from samplemix_core.errors import CorpusError
from samplemix_core.settings import Settings
from samplemix_core.store import ledger, scores
from samplemix_core.store.object_store import ObjectInfo
from samplemix_core.store.postgres import transaction

CORPUS: dict[str, Any] = {"uri": "s3://bucket/corpus", "reader": {"text_field": "text"}, "tokenizer_id": "tok"}


def test_a_corpus_is_its_location_reader_and_tokenizer(database: Settings) -> None:
    with transaction(database.require("database_url")) as cursor:
        first = ledger.register_corpus(cursor, **CORPUS)
        assert ledger.register_corpus(cursor, **CORPUS) == first
        for change in ({"uri": "s3://bucket/other"}, {"reader": {}}, {"tokenizer_id": "other"}):
            other = ledger.register_corpus(cursor, **CORPUS | change)
            assert (other.corpus_id, other.corpus_key) != (first.corpus_id, first.corpus_key)


def test_models_are_entered_once(database: Settings) -> None:
    with transaction(database.require("database_url")) as cursor:
        assert ledger.ensure_encoder(cursor, "e1", {"a": 1}) == ledger.ensure_encoder(cursor, "e1", {"a": 1})
        assert ledger.ensure_encoder(cursor, "e1", {"a": 1}) != ledger.ensure_encoder(cursor, "e2", {"a": 2})
        assert ledger.ensure_quality_model(cursor, "q1", {}) == ledger.ensure_quality_model(cursor, "q1", {})


def test_registering_again_adds_only_what_is_new(ledgered: Any) -> None:
    entries = [ObjectInfo(shard.path, shard.size_bytes, shard.etag) for shard in ledgered.shards if shard.snapshot == "crawl-a"]
    new = ObjectInfo("crawl-a/new.jsonl", 5, "etag-new")
    with transaction(ledgered.url) as cursor:
        for _ in range(2):
            assert ledger.register_snapshot(cursor, ledgered.corpus_id, "crawl-a", [*entries, new]) == ledgered.snapshots[0]
        states = ledger.shard_states(cursor, ledgered.snapshots[:1], ledgered.version)
    assert [state.shard.path for state in states if state.shard not in ledgered.shards] == ["crawl-a/new.jsonl"]
    assert {state.shard for state in states} >= {shard for shard in ledgered.shards if shard.snapshot == "crawl-a"}


def test_changed_and_vanished_shards_are_named(ledgered: Any) -> None:
    changed = [ObjectInfo("crawl-a/a.jsonl", 100, "another"), ObjectInfo("crawl-a/B.jsonl", 101, "etag-B.jsonl")]
    with (
        transaction(ledgered.url) as cursor,
        pytest.raises(CorpusError, match=r"1 vanished: crawl-a/ä.jsonl; 2 changed: crawl-a/B.jsonl, crawl-a/a.jsonl"),
    ):
        ledger.register_snapshot(cursor, ledgered.corpus_id, "crawl-a", changed)


def test_shards_come_in_byte_order_of_snapshot_and_path(ledgered: Any) -> None:
    names = ("B.jsonl", "a.jsonl", "ä.jsonl")
    assert [shard.path for shard in ledgered.shards] == [
        f"{snapshot}/{name}" for snapshot in ("crawl-a", "crawl-b") for name in names
    ]
    assert list(ledgered.snapshots) == [ledgered.shards[0].snapshot_id, ledgered.shards[3].snapshot_id]


def test_what_is_pending(ledgered: Any, scores_of: Any) -> None:
    done, refused, poison, failed, begun, fresh = ledgered.shards
    with transaction(ledgered.url) as cursor:
        for shard in ledgered.shards[:-1]:
            assert ledger.begin_shard(cursor, shard, ledgered.version) == 1
        assert ledger.begin_shard(cursor, begun, ledgered.version) == 2
        scores.commit_shard(cursor, done, ledgered.version, scores_of(["one", "two"]))
        scores.refuse_shard(cursor, refused, ledgered.version, "truncated")
        scores.poison_shard(cursor, poison, ledgered.version, "killed 4 workers")
        scores.fail_shard(cursor, failed, ledgered.version, "timeout")
        states = {state.shard: state for state in ledger.shard_states(cursor, ledgered.snapshots, ledgered.version)}
        assert ledger.pending_shards(cursor, ledgered.snapshots, ledgered.version) == [failed, begun, fresh]
        again = ledger.pending_shards(cursor, ledgered.snapshots, ledgered.version, retry_refused=True)
        other = ledger.ScoreVersion(ledgered.version.encoder_id, ledger.ensure_quality_model(cursor, "quality-2", {}))
        assert len(ledger.pending_shards(cursor, ledgered.snapshots, other)) == 6
    assert again == [refused, poison, failed, begun, fresh]
    assert [states[shard].state for shard in ledgered.shards] == ["done", "refused", "poison", "failed", "pending", "pending"]
    assert [states[shard].attempts for shard in ledgered.shards] == [1, 1, 1, 1, 2, 0]
    assert states[refused].error == "truncated"
    assert (states[done].documents, states[done].scored, states[done].tokens) == (2, 2, 2)


def test_beginning_a_done_shard_keeps_it_done(ledgered: Any, scores_of: Any) -> None:
    shard = ledgered.shards[0]
    with transaction(ledgered.url) as cursor:
        scores.commit_shard(cursor, shard, ledgered.version, scores_of(["one"]))
        ledger.begin_shard(cursor, shard, ledgered.version)
        assert ledger.shard_states(cursor, ledgered.snapshots, ledgered.version)[0].state == "done"


def test_quarantine_is_listed_with_place_and_reason(ledgered: Any, scores_of: Any) -> None:
    first, second, *_ = ledgered.shards
    with transaction(ledgered.url) as cursor:
        scores.refuse_shard(cursor, second, ledgered.version, "truncated")
        scores.commit_shard(cursor, first, ledgered.version, scores_of(["one"], bad_rows=(1, 0)[::-1]))
        listed = ledger.list_quarantine(cursor, "s3://bucket/corpus")
        assert ledger.list_quarantine(cursor) == listed
        assert ledger.list_quarantine(cursor, "s3://bucket/other") == []
    assert [(item["shard"], item["row"], item["byte_offset"], item["reason"]) for item in listed] == [
        (first.path, 0, 0, "bad_json"),
        (first.path, 1, 100, "bad_json"),
        (second.path, -1, -1, "shard_refused"),
    ]
    assert listed[2]["detail"] == "truncated"
    assert listed[0]["snapshot"] == "crawl-a"
