"""The demo: a real corpus from this machine becomes a published mixture, through Airflow's REST API, as a user would do it."""

import hashlib
import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from samplemix_core.demo.airflow_api import FINAL_STATES, AirflowApi, TaskState
from samplemix_core.demo.corpus import collect
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ServiceError
from samplemix_core.local.stack import start_services
from samplemix_core.logs import visible
from samplemix_core.progress import Progress, Report, draw_bars, read_line
from samplemix_core.reading.versions import open_version
from samplemix_core.report.picture import draw_mixture
from samplemix_core.report.record import load_record
from samplemix_core.report.text import output, print_mixture, tell

DAG_ID = "samplemix_corpus_run"
SNAPSHOT = "demo-1"
MIXTURE = "demo"
DAG_SECONDS = 120
RUN_SECONDS = 3600
POLL_SECONDS = 1.0
PROGRESS_SECONDS = 10.0
SMALL_DOCUMENTS = 1000
SMALL_DIVERSITY = {
    "min_cluster_size": 5,
    "umap_neighbors": 8,
    "gate_min_clusters": 2,
    "gate_max_largest_share": 1.0,
    "gate_max_noise_share": 1.0,
}
"""The health gates are meant for corpora: a few hundred documents have few clusters."""

QUERIES = (
    "SELECT domain, count(*) AS documents, round(avg(quality)::numeric, 2) AS quality, round(avg(diversity)::numeric, 3) AS "
    "diversity FROM sample_scores GROUP BY domain ORDER BY quality DESC",
    "SELECT shard, row, copies, quality, diversity, n_tokens FROM mixture_samples WHERE mixture = 'demo' "
    "ORDER BY copies DESC, weight DESC LIMIT 10",
    "SELECT cluster, count(*) AS documents, count(DISTINCT domain) AS domains, min(diversity) AS diversity FROM sample_scores "
    "GROUP BY cluster ORDER BY documents DESC LIMIT 10",
)


@dataclass(frozen=True)
class DemoCorpus:
    """The collected corpus, on S3."""

    uri: str
    documents: int
    domains: dict[str, int]


def run_demo(home: Path, documents: int, console: Console) -> None:
    """Run the whole demo and print its results; raise a SampleMixError on any failure.

    The last line on standard output is `manifest: <uri>`.
    """
    started = time.monotonic()

    def say(line: str) -> None:
        console.print(
            Text(f"{time.monotonic() - started:6.1f} s", style="dim").append(f"  {visible(line)}", "not dim"), soft_wrap=True
        )

    deployment = start_services(home, None, say)
    corpus = upload_demo_corpus(deployment, home / "demo-corpus", documents)
    listing = ", ".join(f"{name} {count:,}" for name, count in corpus.domains.items())
    say(f"corpus of {corpus.documents:,} documents from this machine at {corpus.uri}: {listing}")
    with AirflowApi(deployment) as airflow:
        manifest_uri = _run_dag(airflow, corpus, say, console)
    version = open_version(deployment, manifest_uri)
    picture = home / "demo-mixture.png"
    draw_mixture(picture, load_record(deployment, version.manifest))
    print_mixture(output(), version.manifest)
    tell(f"picture: {picture}")
    tell(f"Airflow: {deployment.airflow_url}  user {deployment.airflow_user}, password in {home / 'airflow' / 'passwords.json'}")
    command = os.path.relpath(Path(sys.executable).with_name("samplemix"))
    tell("Three queries to try:")
    for query in QUERIES:
        tell(f'  {command} sql "{query}"')
    tell(f"Everything stays up; '{command} down' stops it. {time.monotonic() - started:.0f} s.")
    tell(f"manifest: {version.uri}")


def upload_demo_corpus(deployment: Deployment, directory: Path, documents: int) -> DemoCorpus:
    """Collect documents from this machine and put them on S3, below a prefix named after their content.

    A corpus never changes: if the machine's files do, they make a new corpus.
    """
    domains = collect(directory, SNAPSHOT, documents)
    shards = {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.glob(f"{SNAPSHOT}/*/*.jsonl.zst"))}
    digest = hashlib.sha256()
    for name, data in shards.items():
        digest.update(f"{name} {hashlib.sha256(data).hexdigest()}\n".encode())
    uri = f"{deployment.state_root}/corpora/demo-{digest.hexdigest()[:12]}"
    store = deployment.store(uri)
    present = {item.key for item in store.list()}
    for name, data in shards.items():
        if name not in present:
            store.put(name, data)
    return DemoCorpus(uri, sum(domains.values()), domains)


def _run_dag(airflow: AirflowApi, corpus: DemoCorpus, say: Callable[[str], None], console: Console) -> str:
    """Trigger the DAG as the UI does, show its tasks as they go, and return the published manifest's URI."""
    _wait_for_dag(airflow)
    airflow.unpause(DAG_ID)
    run_id = f"demo__{datetime.now(UTC):%Y%m%dT%H%M%S}"
    conf: dict[str, Any] = {"corpus_uri": corpus.uri, "snapshots": [SNAPSHOT], "mixture_name": MIXTURE}
    if corpus.documents < SMALL_DOCUMENTS:
        conf["diversity"] = SMALL_DIVERSITY
        say(f"fewer than {SMALL_DOCUMENTS:,} documents: clusters may be small and few, which the gates of diversity would refuse")
    airflow.trigger(DAG_ID, run_id, conf)
    say(f"triggered {DAG_ID}: {airflow.url}/dags/{DAG_ID}/runs/{run_id}")
    try:
        with draw_bars(console) if console.is_terminal else nullcontext() as draw:
            state = _watch(airflow, run_id, say, draw)
    except KeyboardInterrupt:
        airflow.fail_run(DAG_ID, run_id)
        say("interrupted: the run is marked as failed, which cancels its work")
        raise
    if state != "success":
        raise _failure(airflow, run_id)
    return str(airflow.xcom(DAG_ID, run_id, "publish")["manifest_uri"])


def _watch(airflow: AirflowApi, run_id: str, say: Callable[[str], None], draw: Report | None) -> str:
    """Show a run's tasks as they go, and the progress of those that take long, as bars or as a line every ten seconds.

    Returns the run's final state.
    """
    shown: dict[tuple[str, int], str] = {}
    deadline, asked = time.monotonic() + RUN_SECONDS, time.monotonic()
    while True:
        state, tasks = airflow.run_state(DAG_ID, run_id), airflow.tasks(DAG_ID, run_id)
        for task in tasks:
            if shown.get((task.task_id, task.map_index)) != task.state and task.state not in ("none", "scheduled", "queued"):
                shown[task.task_id, task.map_index] = task.state
                if draw is None:
                    say(f"{_label(task)}: {task.state}")
                else:
                    done, known = task.state in ("success", "skipped"), task.state != "running"
                    draw(Progress(_label(task), int(done), int(known), message=task.state))
        if state in FINAL_STATES:
            return state
        if time.monotonic() > deadline:
            raise ServiceError(f"The run {run_id} is not done after {RUN_SECONDS} s.", f"Look at it in Airflow: {airflow.url}.")
        if draw is not None or time.monotonic() - asked >= PROGRESS_SECONDS:
            asked = time.monotonic()
            for task in (task for task in tasks if task.state == "running"):
                found = [line for line in airflow.log(DAG_ID, run_id, task) if line.startswith(f"{task.task_id}: ")]
                progress = read_line(found[-1]) if found else None
                if progress is not None and draw is not None:
                    draw(replace(progress, step=_label(task)))
                elif found:
                    say(f"{_label(task)}: {found[-1].partition(': ')[2]}")
        time.sleep(POLL_SECONDS)


def _label(task: TaskState) -> str:
    return task.task_id if task.map_index < 0 else f"{task.task_id} [{task.map_index}]"


def _failure(airflow: AirflowApi, run_id: str) -> ServiceError:
    failed = [task for task in airflow.tasks(DAG_ID, run_id) if task.state == "failed"]
    log = airflow.log(DAG_ID, run_id, failed[0]) if failed else []
    tail = "\n".join(line for line in log if line and not line.startswith("::"))[-2000:]
    return ServiceError(
        f"The run {run_id} failed in {', '.join(map(_label, failed)) or 'no task'}:\n{tail}\n",
        f"See the task's log in Airflow at {airflow.url}, then run the demo again: finished work is kept.",
    )


def _wait_for_dag(airflow: AirflowApi) -> None:
    wait = retry(
        retry=retry_if_result(lambda found: not found),
        wait=wait_fixed(POLL_SECONDS),
        stop=stop_after_delay(DAG_SECONDS),
        retry_error_callback=lambda state: False,
    )
    if not wait(airflow.has_dag)(DAG_ID):
        errors = "\n".join(airflow.import_errors())[-2000:] or "it reports no import error"
        raise ServiceError(
            f"Airflow has not found the DAG {DAG_ID} within {DAG_SECONDS} s: {errors}.",
            "Look at 'samplemix logs airflow-dag-processor'.",
        )
