"""The upkeep: what it deletes, what it only counts, and that nothing which is referred to goes."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import boto3
import psycopg2
import pytest
from psycopg2 import sql

from samplemix_core.config.form import Upkeep
from samplemix_core.config.run import CorpusConfig, RunConfig
from samplemix_core.corpus.records import Block
from samplemix_core.database import clusters, corpora, registration, scores
from samplemix_core.database.changes import version_changes
from samplemix_core.database.connection import scalar, transaction
from samplemix_core.database.corpora import SnapshotObservation
from samplemix_core.database.ledger import save_plan, shard_states
from samplemix_core.database.query import end_long_reads, run_query
from samplemix_core.database.scope import Scope, ScoreVersion
from samplemix_core.database.upkeep import hold_file
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ServiceError
from samplemix_core.objects.interface import ObjectInfo
from samplemix_core.operations import maintenance
from samplemix_core.steps import UPKEEP
from tests.integration.conftest import LedgeredCorpus, assignment_of, commit_scores, save_model, scores_of
from tests.integration.test_database_changes import publish, scored

__all__ = ["scored"]

AT_ONCE, AT_ONCE_DRY = (Upkeep.model_construct(unused_days=0, dry_run=dry_run) for dry_run in (False, True))
"""Nobody can ask for this: people's scores may be needed the next day."""


@pytest.fixture
def settings(database: Deployment) -> Iterator[Deployment]:
    """The database, and a bucket of its own: the upkeep is about all that lies in one."""
    client = boto3.client(
        "s3",
        endpoint_url=database.s3_endpoint,
        aws_access_key_id=database.s3_access_key,
        aws_secret_access_key=database.s3_secret_key,
        region_name="us-east-1",
    )
    bucket = f"upkeep-{uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    yield replace(database, s3_bucket=bucket)
    client.close()


def test_files_that_no_score_refers_to_are_counted_and_deleted_if_that_is_wanted(
    settings: Deployment, ledgered: LedgeredCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = settings.state
    result = scores_of(["a b", "c"])
    with transaction(ledgered.url) as cursor:
        commit_scores(cursor, ledgered.shards[0], ledgered.version, result)
    kept = {result.embedding_key, "mixtures/web/v000001/manifest.json"}
    for key in (*kept, "clusters/old.safetensors", "embeddings/a.parquet", "embeddings/zz.parquet", "quality-training/cut-off"):
        store.put(key, b"12345")
    counted = maintenance.orphans(settings, Upkeep(delete_orphans=True))
    assert (counted.found, counted.done) == (0, True), "all are younger than a day"
    monkeypatch.setattr(maintenance, "ORPHAN_AGE", timedelta(seconds=-2))
    for wanted in (Upkeep(), Upkeep(delete_orphans=True, dry_run=True)):
        counted = maintenance.orphans(settings, wanted)
        assert (counted.found, counted.bytes, counted.done) == (4, 20, False)
        assert "left as they are" in str(counted)
    assert len(list(store.list())) == 6
    assert maintenance.orphans(settings, Upkeep(delete_orphans=True)).found == 4
    assert {info.key for info in store.list()} == kept


def test_a_file_that_is_written_again_is_no_orphan_any_more(
    settings: Deployment, ledgered: LedgeredCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a shard that came back: listed while it was old, and used again before it was its turn."""
    store = settings.state
    for key in ("embeddings/again.parquet", "embeddings/being-written.parquet", "embeddings/old.parquet"):
        store.put(key, b"12345")
    time.sleep(1.1)  # S3 tells times to the second.
    monkeypatch.setattr(maintenance, "ORPHAN_AGE", timedelta(seconds=1))

    def then_it_is_written(lying: Iterator[ObjectInfo], keys: Iterator[str]) -> Iterator[ObjectInfo]:
        found = list(not_in(lying, keys))
        store.put("embeddings/again.parquet", b"12345")
        yield from found

    not_in = maintenance._not_in
    monkeypatch.setattr(maintenance, "_not_in", then_it_is_written)
    with transaction(ledgered.url) as cursor:
        hold_file(cursor, "embeddings/being-written.parquet")
        assert maintenance.orphans(settings, Upkeep(delete_orphans=True)).found == 1
    assert {info.key for info in store.list()} == {"embeddings/again.parquet", "embeddings/being-written.parquet"}


def test_dropping_waits_for_no_reader_long_and_ends_one_that_reads_too_long(
    settings: Deployment, scored: LedgeredCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in (1, 2):
        publish(scored, version, {0: [1, 1, 0], 3: [1, 0, 0]}, 2, {"web": 10})
    monkeypatch.setattr(maintenance, "LOCK_SECONDS", 1)
    monkeypatch.setattr(maintenance, "LOCK_TRIES", 1)
    url = settings.require("reader_database_url")
    with closing(psycopg2.connect(url.replace("+psycopg2", ""))) as session:
        session.cursor().execute("SELECT count(*) FROM mixture_sample")
        with ThreadPoolExecutor() as threads:
            dropping = threads.submit(maintenance.versions, settings, Upkeep(keep_versions=1))
            # Behind the table that waits to be dropped, and answered all the same.
            assert run_query(url, "SELECT count(*) AS n FROM mixture_sample", timeout_seconds=30)
            with pytest.raises(ServiceError, match="gave up a transaction: canceling statement due to lock timeout"):
                dropping.result()
        monkeypatch.setattr(maintenance, "LOCK_TRIES", 3)
        monkeypatch.setattr(maintenance, "end_long_reads", lambda cursor: end_long_reads(cursor, 0.1))
        assert maintenance.versions(settings, Upkeep(keep_versions=1)).found == 1


def test_old_drafts_go_and_young_ones_stay(settings: Deployment) -> None:
    store = settings.state
    today = datetime.now(UTC).date()
    for day in (date(2020, 1, 1), today):
        store.put(f"drafts/{day}/key/draft.json", b"{}")
    assert maintenance.drafts(settings, Upkeep(dry_run=True)).found == 1
    assert len(list(store.list())) == 2
    assert maintenance.drafts(settings, Upkeep()).found == 1
    assert [info.key for info in store.list()] == [f"drafts/{today}/key/draft.json"]


def test_old_versions_lose_their_samples_and_what_they_changed_is_known_all_the_same(
    settings: Deployment, scored: LedgeredCorpus
) -> None:
    for version in (1, 2, 3):
        publish(scored, version, {0: [version, 1, 0], 3: [1, 0, 0]}, 2, {"web": 10 * version})
    assert maintenance.versions(settings, Upkeep()).found == 0, "unless somebody says how many to keep, all are"
    assert maintenance.versions(settings, Upkeep(keep_versions=2, dry_run=True)).found == 1
    kept = maintenance.versions(settings, Upkeep(keep_versions=2))
    assert (kept.found, kept.done) == (1, True)
    assert maintenance.versions(settings, Upkeep(keep_versions=2)).found == 0
    with transaction(scored.url) as cursor:
        cursor.execute(
            "SELECT version, count(shard_id) FROM mixture LEFT JOIN mixture_sample USING (mixture_id) GROUP BY 1 ORDER BY 1"
        )
        assert cursor.fetchall() == [(1, 0), (2, 3), (3, 3)]
        second = version_changes(cursor, "demo", 2)
        assert (second.more_copies, second.same_copies, second.entered) == (1, 2, 0)
        assert version_changes(cursor, "demo", 1).entered == 3


def rows(settings: Deployment, *tables: str) -> list[int]:
    """How many rows the tables hold."""
    with settings.transaction() as cursor:
        counts = []
        for table in tables:
            cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
            counts.append(scalar(cursor))
    return counts


SCORED = ("block_score", "shard_score", "quality_score", "sample", "shard_assignment", "diversity_score")


def test_scores_that_no_kept_version_was_made_with_go_when_they_have_been_at_rest(
    settings: Deployment, scored: LedgeredCorpus
) -> None:
    publish(scored, 1, {0: [1, 1, 0], 3: [1, 0, 0]}, 2, {"web": 10})
    old = rows(settings, *SCORED)
    url, texts = scored.url, scores_of(["g"])
    with transaction(url) as cursor:
        new = ScoreVersion(registration.ensure_encoder(cursor, "encoder-2", {}), scored.version.quality_model_id)
        lone = ScoreVersion(new.encoder_id, registration.ensure_quality_model(cursor, "quality-2", {}))
        for version in (new, lone):
            commit_scores(cursor, scored.shards[1], version, texts)
        model = save_model(cursor, scored, "sha-d", {"seed": 2}).cluster_model_id
        clusters.prepare_assignment(cursor, model, scored.snapshot_ids)
        clusters.commit_assignment(cursor, model, scored.shards[1], assignment_of(texts))
    before = rows(settings, *SCORED)
    assert before[0] == old[0] + 2
    for wanted in (Upkeep(), Upkeep(unused_days=1), AT_ONCE_DRY):
        assert maintenance.models(settings, wanted).found == (3 if wanted.unused_days == 0 else 0)
    assert rows(settings, *SCORED) == before
    kept = maintenance.models(settings, AT_ONCE)
    assert (kept.found, kept.done) == (3, True)
    assert maintenance.models(settings, AT_ONCE).found == 0
    after = rows(settings, *SCORED)
    assert (after[:3], after[4:]) == (old[:3], old[4:]), "what the kept version was made with is as it was"
    # What needs them again makes them again.
    with transaction(url) as cursor:
        commit_scores(cursor, scored.shards[1], lone, texts)
        clusters.prepare_assignment(cursor, model, scored.snapshot_ids)
    assert rows(settings, "block_score") == [old[0] + 1]


def test_a_removed_crawl_goes_when_no_kept_version_holds_it(settings: Deployment, scored: LedgeredCorpus) -> None:
    publish(scored, 1, {0: [1, 1, 0], 3: [1, 0, 0]}, 2, {"web": 10})
    with transaction(scored.url) as cursor:
        config = CorpusConfig(name="web", run=RunConfig(corpus_uri="s3://bucket/corpus", mixture_name="demo"))
        corpora.add_corpus(cursor, config)
        for snapshot in ("crawl-a", "crawl-b"):
            observed = SnapshotObservation(snapshot, "marker", datetime.now(UTC), 3, 300, None)
            corpora.note_observed(cursor, "web", [observed], datetime.now(UTC))
        corpora.note_removed(cursor, "web", ["crawl-b"])
    wanted = AT_ONCE
    assert maintenance.crawls(settings, wanted).found == 0, "the version holds both"
    with transaction(scored.url) as cursor:
        cursor.execute("DELETE FROM mixture_snapshot WHERE snapshot_id = %s", (scored.snapshot_ids[1],))
    assert maintenance.crawls(settings, Upkeep(unused_days=1)).found == 0
    assert maintenance.crawls(settings, AT_ONCE_DRY).found == 1
    kept = maintenance.crawls(settings, wanted)
    assert (kept.found, kept.done) == (1, True)
    with transaction(scored.url) as cursor:
        for table in ("sample", "quality_score"):
            cursor.execute(sql.SQL("SELECT DISTINCT snapshot_id FROM {}").format(sql.Identifier(table)))
            assert cursor.fetchall() == [(scored.snapshot_ids[0],)]
    assert maintenance.crawls(settings, wanted).found == 0


def test_a_corpus_of_which_nothing_could_be_read_goes_when_its_place_is_read_otherwise(settings: Deployment) -> None:
    def register(text_field: str) -> registration.Corpus:
        with settings.transaction() as cursor:
            found = registration.register_corpus(
                cursor, uri="/corpora/x", reader={"text_field": text_field}, tokenizer="t", tokenizer_id="t"
            )
            entries = [ObjectInfo("crawl-a/web/a.jsonl", 9, "e")]
            snapshot = registration.register_snapshot(cursor, found.corpus_id, "crawl-a", entries)
            version = ScoreVersion(
                registration.ensure_encoder(cursor, "encoder-x", {}), registration.ensure_quality_model(cursor, "quality-x", {})
            )
            (state,) = shard_states(cursor, Scope((snapshot.snapshot_id,), version, 2**31 - 1))
            save_plan(cursor, state.shard, [Block()])
            scores.refuse_shard(cursor, state.shard, version, "no record of it can be read")
            cursor.execute("UPDATE corpus SET registered_at = now() - interval '2 days' WHERE corpus_id = %s", (found.corpus_id,))
            cursor.execute("UPDATE shard SET registered_at = now() - interval '2 days'")
            return found

    def ids() -> list[int]:
        return [row["corpus_id"] for row in run_query(settings.database, "SELECT corpus_id FROM corpus ORDER BY 1")]

    wrong = register("body")
    assert maintenance.corpora(settings, Upkeep()).found == 0, "there is no other"
    right = register("text")
    assert maintenance.corpora(settings, Upkeep()).found == 0, "something happened to it within a day"
    with settings.transaction() as cursor:
        cursor.execute("UPDATE shard_score SET updated_at = now() - interval '2 days'")
    assert maintenance.corpora(settings, Upkeep(dry_run=True)).found == 1
    assert {wrong.corpus_id, right.corpus_id} <= set(ids())
    kept = maintenance.corpora(settings, Upkeep())
    assert (kept.found, kept.done) == (1, True)
    assert wrong.corpus_id not in ids()
    assert right.corpus_id in ids()
    assert maintenance.corpora(settings, Upkeep()).found == 0


def test_statistics_are_of_whole_tables_too(settings: Deployment, scored: LedgeredCorpus) -> None:
    assert maintenance.statistics(settings, Upkeep(dry_run=True)).done is False
    with transaction(scored.url) as cursor:
        cursor.execute("SELECT count(*) FROM pg_stats WHERE tablename = 'sample'")
        assert scalar(cursor) == 0
    assert maintenance.statistics(settings, Upkeep()).done
    with transaction(scored.url) as cursor:
        cursor.execute("SELECT count(*) FROM pg_stats WHERE tablename = 'sample'")
        assert scalar(cursor) > 0


def test_all_of_the_upkeep_is_done_in_order_and_a_dry_run_does_nothing(settings: Deployment, scored: LedgeredCorpus) -> None:
    before = rows(settings, *SCORED)
    found = list(maintenance.keep_up(settings, Upkeep(keep_versions=1, unused_days=1, delete_orphans=True, dry_run=True)))
    assert [kept.task for kept in found] == [task.name for task in UPKEEP]
    assert not any(kept.done for kept in found)
    assert rows(settings, *SCORED) == before
    (statistics,) = maintenance.keep_up(settings, Upkeep(), UPKEEP[-1:])
    assert (statistics.task, statistics.done) == ("statistics", True)
