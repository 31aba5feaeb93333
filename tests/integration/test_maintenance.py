"""The upkeep: what it deletes, what it only counts, and that nothing which is referred to goes."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import boto3
import pytest

from samplemix_core.database.changes import version_changes
from samplemix_core.database.connection import scalar, transaction
from samplemix_core.objects import open_store
from samplemix_core.pipeline import maintenance
from samplemix_core.pipeline.maintenance import Upkeep
from samplemix_core.settings import Settings
from tests.integration.conftest import LedgeredCorpus, commit_scores, scores_of
from tests.integration.test_database_changes import publish, scored

__all__ = ["scored"]


@pytest.fixture
def settings(database: Settings) -> Iterator[Settings]:
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
    settings: Settings, ledgered: LedgeredCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(settings.state_root, settings)
    result = scores_of(["a b", "c"])
    with transaction(ledgered.url) as cursor:
        commit_scores(cursor, ledgered.shards[0], ledgered.version, result)
    kept = {result.embedding_key, "mixtures/web/v000001/manifest.json"}
    for key in (*kept, "clusters/old.safetensors", "embeddings/a.parquet", "embeddings/zz.parquet"):
        store.put(key, b"12345")
    counted = maintenance.orphans(settings, Upkeep(delete_orphans=True))
    assert (counted.found, counted.done) == (0, True), "all are younger than a day"
    monkeypatch.setattr(maintenance, "ORPHAN_AGE", timedelta(seconds=-2))
    for wanted in (Upkeep(), Upkeep(delete_orphans=True, dry_run=True)):
        counted = maintenance.orphans(settings, wanted)
        assert (counted.found, counted.bytes, counted.done) == (3, 15, False)
        assert "left as they are" in str(counted)
    assert len(list(store.list())) == 5
    assert maintenance.orphans(settings, Upkeep(delete_orphans=True)).found == 3
    assert {info.key for info in store.list()} == kept


def test_old_drafts_go_and_young_ones_stay(settings: Settings) -> None:
    store = open_store(settings.state_root, settings)
    today = datetime.now(UTC).date()
    for day in (date(2020, 1, 1), today):
        store.put(f"drafts/{day}/key/draft.json", b"{}")
    assert maintenance.drafts(settings, Upkeep(dry_run=True)).found == 1
    assert len(list(store.list())) == 2
    assert maintenance.drafts(settings, Upkeep()).found == 1
    assert [info.key for info in store.list()] == [f"drafts/{today}/key/draft.json"]


def test_old_versions_lose_their_samples_and_what_they_changed_is_known_all_the_same(
    settings: Settings, scored: LedgeredCorpus
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


def test_statistics_are_of_whole_tables_too(settings: Settings, scored: LedgeredCorpus) -> None:
    assert maintenance.statistics(settings, Upkeep(dry_run=True)).done is False
    with transaction(scored.url) as cursor:
        cursor.execute("SELECT count(*) FROM pg_stats WHERE tablename = 'sample'")
        assert scalar(cursor) == 0
    assert maintenance.statistics(settings, Upkeep()).done
    with transaction(scored.url) as cursor:
        cursor.execute("SELECT count(*) FROM pg_stats WHERE tablename = 'sample'")
        assert scalar(cursor) > 0
