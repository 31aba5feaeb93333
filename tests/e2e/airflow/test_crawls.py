"""Crawls in the real Airflow: backfilled as partitions, and mixed into new versions as they land, with nobody asking."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from samplemix_core.demo.airflow_api import FINAL_STATES, AirflowApi
from samplemix_core.demo.demo import SNAPSHOT
from samplemix_core.deployment import Deployment
from samplemix_core.objects import open_store
from samplemix_core.objects.interface import ObjectStore
from tests.e2e.conftest import Command, Upload, finished, runs_of, settings_of, wait_for

SCORE, LAND, BUILD = "samplemix_score_crawl", "samplemix_land_crawl", "samplemix_build_mixture"


def parts(shards: dict[str, bytes], names: list[str]) -> dict[str, bytes]:
    """The documents of the demo dealt out to snapshots of these names, file by file."""
    dealt = {}
    for i, (path, data) in enumerate(sorted(shards.items())):
        dealt[names[i % len(names)] + path.removeprefix(SNAPSHOT)] = data
    return dealt


@dataclass(frozen=True)
class Corpus:
    """A corpus with a name whose crawls 2026-01-a and 2026-01-b were there before, and whose 2026-02-c and -d have not landed."""

    name: str
    store: ObjectStore
    later: dict[str, bytes]

    def land(self, snapshot: str) -> None:
        """Upload a crawl as people do: its files, then the marker."""
        for path, data in self.later.items():
            if path.startswith(f"{snapshot}/"):
                self.store.put(path, data)
        self.store.put(f"{snapshot}/_SUCCESS", b"")


@pytest.fixture(scope="module")
def corpus(
    airflow: AirflowApi,
    command: Command,
    upload: Upload,
    platform: Deployment,
    shards: dict[str, bytes],
    small_corpus: dict[str, Any],
) -> Iterator[Corpus]:
    name = f"web-{uuid4().hex[:8]}"
    dealt = parts(shards, ["2026-01-a", "2026-01-b", "2026-02-c", "2026-02-d"])
    before = {path: data for path, data in dealt.items() if path.startswith("2026-01")}
    uri = upload(before | {"2026-01-a/_SUCCESS": b"", "2026-01-b/_SUCCESS": b""})
    command("corpus", "add", name, uri, *settings_of(small_corpus))
    yield Corpus(name, open_store(uri, platform), {path: data for path, data in dealt.items() if path not in before})
    command("corpus", "remove", name)


JANUARY = {"from_date": "2026-01-01T00:00:00Z", "to_date": "2026-01-31T00:00:00Z"}


def versions(command: Command, mixture: str) -> list[dict[str, Any]]:
    found = json.loads(command("mixture", "list", "--json").stdout)
    return [row for row in found if row["name"] == mixture]


@pytest.fixture(scope="module")
def backfilled(airflow: AirflowApi, corpus: Corpus) -> list[dict[str, Any]]:
    """The two runs of a backfill over January."""
    body = {"dag_id": SCORE, **JANUARY}
    planned = airflow.request("POST", "/api/v2/backfills/dry_run", json=body)["backfills"]
    keys = [f"{corpus.name}/2026-01-a", f"{corpus.name}/2026-01-b"]
    assert [run["partition_key"] for run in planned if run["partition_key"].startswith(corpus.name)] == keys
    start_backfill(airflow, body)
    runs = runs_of(airflow, SCORE, corpus.name)
    assert [run["partition_key"] for run in runs] == keys
    for run in runs:
        assert run["partition_key"].replace("/", ".") in run["dag_run_id"]
        finished(airflow, SCORE, run["dag_run_id"])
    return runs


def start_backfill(airflow: AirflowApi, body: dict[str, Any]) -> None:
    """Start a backfill, when that before it has ended, and say so: Airflow looks every half minute."""
    known = {"dag_id": SCORE}
    wait_for(
        lambda: all(item["completed_at"] for item in airflow.request("GET", "/api/v2/backfills", params=known)["backfills"]),
        90,
        "end of the backfill before",
    )
    airflow.request("POST", "/api/v2/backfills", json=body)


def test_a_backfill_scores_each_crawl_in_its_range(airflow: AirflowApi, backfilled: list[dict[str, Any]]) -> None:
    documents = sum(airflow.xcom(SCORE, run["dag_run_id"], "check_loss")["documents"] for run in backfilled)
    assert documents > 40


def test_a_backfill_can_be_made_in_a_shell(corpus: Corpus, backfilled: list[dict[str, Any]], program: Command) -> None:
    dates = ("--from-date", JANUARY["from_date"], "--to-date", JANUARY["to_date"])
    create = ("airflow", "backfill", "create", "--dag-id", SCORE, *dates, "--dry-run")
    said = program(*create, "--reprocess-behavior", "completed").stdout
    assert all(f"{corpus.name}/2026-01-{crawl}" in said for crawl in "ab"), said


def test_the_scores_of_a_crawl_are_an_asset_event_of_its_partition(
    airflow: AirflowApi, corpus: Corpus, backfilled: list[dict[str, Any]]
) -> None:
    events = airflow.request("GET", "/api/v2/assets/events", params={"limit": 100, "order_by": "-timestamp"})["asset_events"]
    for run in backfilled:
        (event,) = [event for event in events if event["source_run_id"] == run["dag_run_id"]]
        assert (event["partition_key"], event["extra"]["corpus"]) == (run["partition_key"], corpus.name)
        assert event["extra"]["documents"] > 10


def test_crawls_that_land_become_versions_by_themselves(
    airflow: AirflowApi, corpus: Corpus, platform: Deployment, backfilled: list[dict[str, Any]], command: Command
) -> None:
    first = f"first-{corpus.name}"
    airflow.trigger(BUILD, first, {"corpus_uri": corpus.name})
    finished(airflow, BUILD, first)
    assert len(versions(command, corpus.name)) == 1
    started = datetime.now(UTC)
    corpus.land("2026-02-c")
    corpus.land("2026-02-d")

    def last() -> Any:
        lineage = json.loads(command("mixture", "show", corpus.name, "--json").stdout)["lineage"]
        return [snapshot["name"] for snapshot in lineage["snapshots"]] == ["2026-01-a", "2026-01-b", "2026-02-c", "2026-02-d"]

    wait_for(last, 180, "version with both crawls")
    wait_for(lambda: all(run["state"] in FINAL_STATES for run in landings(airflow, started)), 60, "end of the landings")
    assert {run["state"] for run in landings(airflow, started)} == {"success"}
    with platform.transaction() as cursor:
        cursor.execute("SELECT version, parent_version FROM mixture WHERE name = %s ORDER BY version", (corpus.name,))
        rows = cursor.fetchall()
        assert rows == [(version, version - 1 or None) for version in range(1, len(rows) + 1)]
        cursor.execute("SELECT count(DISTINCT cluster_model_id) FROM mixture WHERE name = %s", (corpus.name,))
        assert cursor.fetchall() == [(1,)], "one fit"
        cursor.execute(
            "SELECT max(attempts) FROM shard_score JOIN shard USING (shard_id) JOIN snapshot USING (snapshot_id)"
            " WHERE name LIKE '2026-02-%%' AND corpus_id = (SELECT corpus_id FROM mixture WHERE name = %s LIMIT 1)",
            (corpus.name,),
        )
        assert cursor.fetchall() == [(1,)], "each scored once"

    told = [
        event["extra"]
        for event in airflow.request("GET", "/api/v2/assets/events", params={"limit": 100, "order_by": "-timestamp"})[
            "asset_events"
        ]
        if event["source_dag_id"] == LAND and event["extra"].get("name") == corpus.name
    ]
    assert {extra["version"] for extra in told} == {row["version"] for row in versions(command, corpus.name)[1:]}
    new = {crawl["snapshot"]: crawl for extra in told for crawl in extra["changes"]["crawls"]}
    assert new.keys() == {"2026-02-c", "2026-02-d"}
    assert all(0 < crawl["kept"] <= crawl["documents"] for crawl in new.values())
    changes = json.loads(command("mixture", "changes", corpus.name, "--json").stdout)
    assert changes in [extra["changes"] for extra in told]


def landings(airflow: AirflowApi, since: datetime) -> list[dict[str, Any]]:
    params: dict[str, Any] = {"run_after_gte": (since - timedelta(seconds=1)).isoformat(), "limit": 100}
    found: list[dict[str, Any]] = airflow.request("GET", f"/api/v2/dags/{LAND}/dagRuns", params=params)["dag_runs"]
    return found


def test_a_second_backfill_scores_nothing_twice(airflow: AirflowApi, corpus: Corpus, backfilled: list[dict[str, Any]]) -> None:
    body = {"dag_id": SCORE, **JANUARY}
    assert not [
        run
        for run in airflow.request("POST", "/api/v2/backfills/dry_run", json=body)["backfills"]
        if run["partition_key"].startswith(corpus.name)
    ]
    start_backfill(airflow, body | {"reprocess_behavior": "completed"})
    again = runs_of(airflow, SCORE, corpus.name)[2:]
    assert [run["partition_key"] for run in again] == [run["partition_key"] for run in backfilled]
    for run in again:
        finished(airflow, SCORE, run["dag_run_id"])
        scored = [
            airflow.log(SCORE, run["dag_run_id"], task)
            for task in airflow.tasks(SCORE, run["dag_run_id"])
            if task.task_id == "score"
        ]
        assert all(any("shards are done already" in line for line in log) for log in scored)
