"""Real Airflow with its four processes: runs triggered as the UI triggers them, processes killed under them, runs cancelled."""

import json
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from samplemix_core.compute.fanout import connect
from samplemix_core.config.run import CorpusConfig, RunConfig
from samplemix_core.database import corpora
from samplemix_core.database.corpora import CrawlState, SnapshotObservation
from samplemix_core.demo.airflow_api import FINAL_STATES, AirflowApi
from samplemix_core.demo.demo import DAG_ID, SNAPSHOT
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ServiceError
from samplemix_core.local.home import Home
from samplemix_core.local.service import PROCESSES
from samplemix_core.local.stack import Stack
from samplemix_core.local.supervisor import stack_processes
from samplemix_core.objects import open_store
from samplemix_core.steps import UPKEEP
from tests.e2e.airflow.conftest import DEMO
from tests.e2e.conftest import DOCUMENTS, Command, Upload, settings_of, wait_for

LAND = "samplemix_land_crawl"


def test_it_is_up_once_and_lets_in_who_has_the_password(airflow: AirflowApi, stack: Stack) -> None:
    before = {row.process: (row.pid, row.state) for row in stack.status()}
    assert {state for _, state in before.values()} == {"running"}
    settings = stack.up()
    assert {row.process: (row.pid, row.state) for row in stack.status()} == before
    for password, answer in ((settings.airflow_password, 201), ("wrong", 401)):
        body = {"username": settings.airflow_user, "password": password}
        assert httpx.post(f"{settings.airflow_url}/auth/token", json=body, trust_env=False).status_code == answer


def test_no_secret_is_in_a_command_line(airflow: AirflowApi, platform: Deployment) -> None:
    commands = [" ".join(process.cmdline()) for process in stack_processes(Home(platform.home).read_state().stack)]
    assert len(commands) >= sum(map(len, PROCESSES.values()))
    secrets = json.loads((platform.home / "secrets.json").read_text()).values()
    assert not [command for command in commands if any(secret in command for secret in secrets)]


def kill(stack: Stack, process: str) -> int:
    """End a supervised process with SIGKILL; returns the process id it had."""
    (pid,) = (item.pid for item in stack.status() if item.process == process)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


def kill_worker(platform: Deployment) -> None:
    """End the Dask worker process (not its nanny) that is at work on a shard."""
    with connect(platform) as client:
        busy = wait_for(lambda: [name for name, keys in client.processing().items() if keys], 30, "busy worker")
        os.kill(client.run(os.getpid, workers=busy[:1])[busy[0]], signal.SIGKILL)


def patiently(ask: Callable[[], Any]) -> Callable[[], Any]:
    """What can't be asked just now is not known."""

    def try_to_ask() -> Any:
        try:
            return ask()
        except ServiceError:
            return None

    return try_to_ask


@pytest.fixture(scope="module")
def killed(
    airflow: AirflowApi,
    stack: Stack,
    platform: Deployment,
    upload: Upload,
    shards: dict[str, bytes],
    command: Command,
    unique: str,
) -> str:
    """A landing of the demo's documents in which one process after the other is killed; the id of its run."""
    name = f"killed-{unique}"
    uri = upload(shards)
    command("corpus", "add", name, uri, *settings_of(DEMO))
    open_store(uri, platform).put(f"{SNAPSHOT}/_SUCCESS", b"")
    kill(stack, "airflow-triggerer")

    def run_of_crawl() -> Any:
        (crawl,) = json.loads(command("corpus", "show", name, "--json").stdout)["crawls"]
        return crawl["run"]

    run_id = str(wait_for(run_of_crawl, 60, "run that took the crawl"))

    def is_at(*tasks: str) -> Callable[[], Any]:
        return patiently(lambda: any(task.task_id in tasks and task.state == "running" for task in airflow.tasks(LAND, run_id)))

    wait_for(is_at("score"), 60, "scoring task")
    kill_worker(platform)
    scheduler = kill(stack, "airflow-scheduler")
    kill(stack, "dask-scheduler")
    wait_for(is_at("fit_diversity", "assign", "measure_clusters", "mix"), 180, "task after scoring")
    kill(stack, "postgres")
    state = wait_for(patiently(lambda: (s := airflow.run_state(LAND, run_id)) in FINAL_STATES and s), 240, "end of the run")
    assert state == "success", [(task, airflow.log(LAND, run_id, task)[-5:]) for task in airflow.tasks(LAND, run_id)]
    (now,) = (item.pid for item in stack.status() if item.process == "airflow-scheduler")
    assert now not in (None, scheduler)
    command("corpus", "remove", name)
    return run_id


@pytest.mark.timeout(600)
def test_a_landing_in_which_every_process_is_killed_gives_the_same_bytes(
    airflow: AirflowApi, killed: str, first_run: dict[str, Any]
) -> None:
    told = airflow.xcom(LAND, killed, "report_changes")
    assert told["content_digest"] == first_run["content_digest"]
    assert told["snapshots"] == [SNAPSHOT]


def test_progress_is_in_the_task_log(airflow: AirflowApi, killed: str) -> None:
    (task,) = (task for task in airflow.tasks(LAND, killed) if (task.task_id, task.map_index) == ("score", 0))
    assert any(line.startswith("score: ") and " of " in line for line in airflow.log(LAND, killed, task))


def test_failing_a_run_cancels_its_work_on_the_cluster(
    airflow: AirflowApi,
    platform: Deployment,
    upload: Upload,
    shards: dict[str, bytes],
    small_corpus: dict[str, Any],
    command: Command,
    unique: str,
) -> None:
    run_id = f"cancelled-{unique}"
    many = {f"{SNAPSHOT}/copy-{i}/{path.replace('/', '-')}": data for i in range(12) for path, data in shards.items()}
    uri = upload(many)
    # Equal texts are embedded once, so the blocks have to be many to be open for long.
    conf = small_corpus | {"corpus_uri": uri, "mixture_name": run_id, "blocks": {"documents": 2}}
    with connect(platform) as client:
        airflow.trigger(DAG_ID, run_id, conf)

        def open_tasks() -> int:
            # A function of the test's own goes to the scheduler by value: it can't import this file.
            def count(dask_scheduler: Any) -> int:
                return sum(str(key).startswith("score_block") for key in dask_scheduler.tasks)

            return int(client.run_on_scheduler(count))

        wait_for(lambda: open_tasks() > 20, 120, "queue of blocks")
        airflow.fail_run(DAG_ID, run_id)
        wait_for(lambda: open_tasks() == 0, 30, "end of the cluster's work")
    assert airflow.run_state(DAG_ID, run_id) == "failed"
    assert run_id not in command("mixture", "list").stdout


def test_the_form_refuses_bad_values_with_the_reason(airflow: AirflowApi) -> None:
    with pytest.raises(ServiceError, match="alpha"):
        airflow.trigger(DAG_ID, "bad", {"corpus_uri": "s3://samplemix/nothing", "alpha": 7})


def test_a_run_that_can_t_go_on_says_why_and_is_not_tried_again(airflow: AirflowApi, unique: str) -> None:
    run_id = f"nothing-{unique}"
    airflow.trigger("samplemix_build_mixture", run_id, {"corpus_uri": "no-such-corpus"})
    state = "samplemix_build_mixture", run_id
    wait_for(lambda: airflow.run_state(*state) in FINAL_STATES, 60, "end of the run")
    (task,) = (task for task in airflow.tasks(*state) if task.state == "failed")
    assert (task.task_id, task.try_number) == ("configure", 1)
    log = "\n".join(airflow.log(*state, task))
    assert "There is no corpus 'no-such-corpus'" in log
    assert "Add it: samplemix corpus add no-such-corpus URI." in log
    assert f"samplemix_build_mixture failed in configure, run {run_id}: There is no corpus" in log


def test_a_dry_run_ends_with_an_estimate(
    airflow: AirflowApi, upload: Upload, shards: dict[str, bytes], small_corpus: dict[str, Any], unique: str
) -> None:
    run_id = f"dry-{unique}"
    airflow.trigger(DAG_ID, run_id, small_corpus | {"corpus_uri": upload(shards), "dry_run": True})
    wait_for(lambda: airflow.run_state(DAG_ID, run_id) in FINAL_STATES, 60, "end of the run")
    assert airflow.run_state(DAG_ID, run_id) == "success"
    states = {task.task_id: task.state for task in airflow.tasks(DAG_ID, run_id)}
    assert {name for name, state in states.items() if state == "success"} == {"configure", "register", "estimate"}
    assert {state for name, state in states.items() if name not in ("configure", "register", "estimate")} == {"skipped"}
    found = airflow.xcom(DAG_ID, run_id, "estimate")
    assert (found["shards"], found["shards_done"]) == (len(shards), 0)
    assert 0.8 * DOCUMENTS < found["documents_left"] < 1.25 * DOCUMENTS
    logs = [airflow.log_lines(DAG_ID, run_id, task) for task in airflow.tasks(DAG_ID, run_id) if task.state == "success"]
    assert [line for lines in logs for line in lines if line.get("level") not in (None, "debug", "info")] == []


@pytest.mark.timeout(600)
def test_a_version_waits_for_approval_where_that_is_asked_for(
    airflow: AirflowApi, corpus_uri: str, first_run: dict[str, Any], unique: str, command: Command, platform: Deployment
) -> None:
    dag_id, rejected = "samplemix_build_mixture", f"rejected-{unique}"
    approved = f"approved-{unique}"
    airflow.unpause(dag_id)
    for name in (approved, rejected):
        conf = DEMO | {"corpus_uri": corpus_uri, "mixture_name": name, "policy": "natural", "approval": True}
        airflow.trigger(dag_id, name, conf)

    def asked(name: str) -> Callable[[], Any]:
        return lambda: {task.task_id: task.state for task in airflow.tasks(dag_id, name)}["approve"] == "awaiting_input"

    def left(name: str) -> Callable[[], Any]:
        """Has the scheduler seen the asking process end? An answer before that makes it ask again (apache/airflow#72716)."""
        log = Home(platform.home).logs / "airflow-scheduler.log"
        return lambda: f"TaskInstance Finished: dag_id={dag_id}, task_id=approve, run_id={name}," in log.read_text()

    for name, answer in ((approved, "Approve"), (rejected, "Reject")):
        wait_for(asked(name), 120, "question")
        wait_for(left(name), 60, "end of the process that asked")
        assert name not in command("mixture", "list").stdout
        place = f"/api/v2/dags/{dag_id}/dagRuns/{name}/taskInstances/approve/-1/hitlDetails"
        question = airflow.request("GET", place)
        assert f"as the next version of {name}?" in question["subject"]
        assert "| Domain | Source | Draft | Change | Epochs | Documents |" in question["body"]
        assert "| Language |" in question["body"]
        assert "Mean quality" in question["body"]
        airflow.request("PATCH", place, json={"chosen_options": [answer], "params_input": {}})

    def ended(name: str) -> Callable[[], Any]:
        return lambda: airflow.run_state(dag_id, name) in FINAL_STATES

    for name, state in ((approved, "success"), (rejected, "skipped")):
        wait_for(ended(name), 60, f"end of the run {name}")
        states = {task.task_id: task.state for task in airflow.tasks(dag_id, name)}
        assert {states[task] for task in ("publish", "verify", "report_changes")} == {state}
        assert (name in command("mixture", "list").stdout) == (state == "success")
    (task,) = (task for task in airflow.tasks(dag_id, rejected) if task.task_id == "approve")
    assert "the draft was rejected by admin" in "\n".join(airflow.log(dag_id, rejected, task))
    # Asked again about the same draft, it waits again; nobody is shown the question about another one.
    clear = {"dry_run": False, "dag_run_id": rejected, "task_ids": ["approve"], "include_downstream": True, "only_failed": False}
    airflow.request("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", json=clear)
    wait_for(asked(rejected), 60, "question")
    airflow.fail_run(dag_id, rejected)


def test_the_upkeep_deletes_nothing_that_it_was_not_told_to_and_lets_lost_crawls_land(
    airflow: AirflowApi, unique: str, platform: Deployment
) -> None:
    run_id = f"upkeep-{unique}"
    with platform.transaction() as cursor:
        # A crawl of a corpus that is paused, taken by a run that Airflow does not know.
        config = CorpusConfig(name=run_id, run=RunConfig(corpus_uri="/nowhere"))
        corpora.add_corpus(cursor, config)
        corpora.pause_corpus(cursor, run_id, paused=True)
        observed = SnapshotObservation("crawl-a", "marker", datetime.now(UTC), 1, 1, None)
        corpora.note_observed(cursor, run_id, [observed], datetime.now(UTC), first_seen_state=CrawlState.TAKEN)
        cursor.execute("UPDATE crawl SET run = 'deleted', taken_at = now() WHERE corpus = %s", (run_id,))
    airflow.trigger("samplemix_maintenance", run_id, {})
    wait_for(lambda: airflow.run_state("samplemix_maintenance", run_id) in FINAL_STATES, 60, "end of the run")
    kept = {task.name: airflow.xcom("samplemix_maintenance", run_id, task.name) for task in UPKEEP}
    assert {task for task, item in kept.items() if item["done"]} == {"drafts", "corpora", "statistics"}
    with platform.transaction() as cursor:
        (crawl,) = corpora.crawls(cursor, run_id)
    assert (crawl.state, crawl.reason) == ("landed", "its run deleted is gone")


def test_the_pools_of_the_dags_are_there(airflow: AirflowApi) -> None:
    pools = {pool["name"]: pool["slots"] for pool in airflow.request("GET", "/api/v2/pools")["pools"]}
    assert pools.items() >= {"samplemix_gpu": 16, "samplemix_workers": 16, "samplemix_database": 4}.items()
