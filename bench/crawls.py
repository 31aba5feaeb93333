"""The cost of using Airflow: a whole run, a crawl that lands, a cancel, a backfill over finished crawls.

    python -m bench.crawls [DIRECTORY]

Uses documents of this machine, or the files of a snapshot's directory for the whole run. It starts all services itself.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from samplemix_core.compute.fanout import connect
from samplemix_core.corpus.streams import zstd
from samplemix_core.database.migrate import migrate
from samplemix_core.demo.airflow_api import FINAL_STATES, AirflowApi
from samplemix_core.demo.corpus import collect
from samplemix_core.demo.demo import DAG_ID
from samplemix_core.deployment import Deployment
from samplemix_core.local.owner import Owner
from samplemix_core.local.stack import Stack
from samplemix_core.objects import open_store

WHOLE, LANDING, BASE = 6000, 2000, 800
"""Documents of the whole run, of the crawl that lands, and of the crawl that is there before it."""

SCORE, LAND = "samplemix_score_crawl", "samplemix_land_crawl"
LENIENT = {
    "min_cluster_size": 5,
    "umap_neighbors": 8,
    "gate_min_clusters": 1,
    "gate_max_largest_share": 1.0,
    "gate_max_noise_share": 1.0,
}
PATIENCE = 1800.0


@dataclass(frozen=True)
class Platform:
    """All services, the command `samplemix`, and Airflow's REST API."""

    settings: Deployment
    airflow: AirflowApi

    def upload(self, place: str, files: Mapping[str, bytes]) -> str:
        """Put files below a prefix; return its URI."""
        uri = f"{self.settings.state_root}/corpora/{place}"
        store = open_store(uri, self.settings)
        for path, data in files.items():
            store.put(path, data)
        return uri

    def command(self, *arguments: str) -> Any:
        """Run `samplemix ... --json` and return what it prints."""
        path = Path(sys.executable).with_name("samplemix")
        variables = os.environ | {"SAMPLEMIX_HOME": str(self.settings.home)}
        done = subprocess.run([path, *arguments, "--json"], env=variables, stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout)

    def run(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> float:
        """Trigger a run and wait for its success; return its seconds."""
        start = time.perf_counter()
        self.airflow.trigger(dag_id, run_id, conf)
        wait_for(lambda: self.airflow.run_state(dag_id, run_id) in FINAL_STATES)
        if (state := self.airflow.run_state(dag_id, run_id)) != "success":
            raise SystemExit(f"{dag_id} {run_id}: {state}")
        return time.perf_counter() - start

    def instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The tasks of a run, with their times."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        return list(self.airflow.request("GET", path, params={"limit": 100})["task_instances"])

    def held(self) -> int:
        """The number of calls that Dask's workers hold: running, waiting, or still running although they were cancelled."""

        def held(dask_worker: Any) -> int:
            return len(dask_worker.state.tasks)

        with connect(self.settings) as client:
            return sum(client.run(held).values())


def wait_for(condition: Callable[[], Any], every: float = 0.2) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"nothing within {PATIENCE:.0f} s")
        time.sleep(every)
    return found


def documents(directory: Path, count: int, snapshots: Mapping[str, int]) -> dict[str, bytes]:
    """Documents of this machine as shards, dealt out to snapshots by these weights: no two share a document."""
    collect(directory, "s", count)
    hands = [name for name, weight in snapshots.items() for _ in range(weight)]
    shards: dict[str, bytes] = {}
    for path in sorted(directory.glob("s/*/*.zst")):
        lines = zstd.decompress(path.read_bytes()).splitlines(keepends=True)
        for name in snapshots:
            mine = b"".join(line for i, line in enumerate(lines) if hands[i % len(hands)] == name)
            if mine:
                shards[f"{name}/{path.parent.name}/{path.name.removesuffix('.zst')}"] = mine
    return shards


def settings_of(values: Mapping[str, Any]) -> list[str]:
    return [word for name, value in values.items() for word in ("--set", f"diversity.{name}={json.dumps(value)}")]


def whole_run(platform: Platform, files: Mapping[str, bytes]) -> tuple[float, float]:
    """Seconds of a whole run of the same files by the command, and through Airflow."""
    uris = {way: platform.upload(f"whole-{way}", files) for way in ("cli", "airflow")}
    start = time.perf_counter()
    platform.command("run", uris["cli"], "--name", "whole-cli", *settings_of(LENIENT))
    by_command = time.perf_counter() - start
    conf = {"corpus_uri": uris["airflow"], "mixture_name": "whole-airflow", "diversity": LENIENT}
    by_airflow = platform.run(DAG_ID, "whole", conf)
    print(f"a whole run: {by_command:.1f} s by the command, {by_airflow:.1f} s through Airflow", flush=True)
    return by_command, by_airflow


def landing(platform: Platform, base: Mapping[str, bytes], landed: Mapping[str, bytes]) -> float:
    """Seconds from the marker of a crawl to its version, less those in which its tasks score."""
    uri = platform.upload("web", {**base, "2026-01/_SUCCESS": b""})
    platform.command("corpus", "add", "web", uri, *settings_of(LENIENT))
    platform.command("run", "web")
    platform.upload("web", landed)
    platform.upload("web", {"2026-02/_SUCCESS": b""})
    start, began = time.perf_counter(), datetime.now(UTC)

    def version() -> bool:
        return any(item["name"] == "web" and item["version"] == 2 for item in platform.command("mixture", "list"))

    wait_for(version)
    seconds = time.perf_counter() - start
    listed = platform.airflow.request("GET", f"/api/v2/dags/{LAND}/dagRuns", params={"limit": 100})["dag_runs"]
    runs = [run for run in listed if datetime.fromisoformat(run["queued_at"]) >= began]
    tasks = [task for run in runs for task in platform.instances(LAND, run["dag_run_id"]) if task["task_id"] == "score"]
    times = [[datetime.fromisoformat(task[name]) for task in tasks if task[name]] for name in ("start_date", "end_date")]
    scoring = (max(times[1]) - min(times[0])).total_seconds()
    print(f"a crawl that lands: {seconds:.1f} s from its marker to its version, {scoring:.1f} s of it scoring", flush=True)
    wait_for(lambda: all(platform.airflow.run_state(LAND, run["dag_run_id"]) in FINAL_STATES for run in runs))
    return seconds - scoring


def second_backfill(platform: Platform) -> float:
    """Seconds of a backfill over the two finished crawls of `landing`; ends the benchmark if a document was scored again."""
    blocks = "SELECT count(*) AS blocks, max(done_at)::text AS last FROM block_score"
    before = platform.command("sql", blocks)
    body = {
        "dag_id": SCORE,
        "from_date": "2026-01-01T00:00:00Z",
        "to_date": "2026-02-28T00:00:00Z",
        "reprocess_behavior": "completed",
    }
    start = time.perf_counter()
    platform.airflow.request("POST", "/api/v2/backfills", json=body)
    path = f"/api/v2/dags/{SCORE}/dagRuns"

    def ended() -> bool:
        states = [run["state"] for run in platform.airflow.request("GET", path)["dag_runs"]]
        if "failed" in states:
            raise SystemExit("a run of the backfill failed")
        return states == ["success"] * 2

    wait_for(ended)
    seconds = time.perf_counter() - start
    if platform.command("sql", blocks) != before:
        raise SystemExit("documents were scored again")
    print(f"a backfill over two crawls that are done: {seconds:.1f} s", flush=True)
    return seconds


def cancel(platform: Platform, files: Mapping[str, bytes]) -> float:
    """Seconds from marking a run as failed until no worker holds any of its calls, in the middle of blocks of 2,000 documents."""
    uri = platform.upload("cancelled", files)
    platform.airflow.trigger(DAG_ID, "cancelled", {"corpus_uri": uri, "mixture_name": "cancelled", "diversity": LENIENT})
    wait_for(
        lambda: any(task["task_id"] == "score" and task["state"] == "running" for task in platform.instances(DAG_ID, "cancelled"))
    )
    wait_for(platform.held)
    time.sleep(3)  # Workers hold a block from its submission on, but it has to be under way.
    start = time.perf_counter()
    platform.airflow.fail_run(DAG_ID, "cancelled")
    wait_for(lambda: platform.held() == 0, every=0.05)
    seconds = time.perf_counter() - start
    print(f"cancelled: {seconds:.1f} s until the cluster is idle", flush=True)
    return seconds


def measure(directory: Path, snapshot: Path | None) -> dict[str, float]:
    """Start everything, measure, and take it down."""
    if snapshot is None:
        whole = documents(directory / "whole", WHOLE, {"crawl": 1})
    else:
        whole = {f"crawl/{path.relative_to(snapshot)}": path.read_bytes() for path in sorted(snapshot.glob("*/*"))}
    web = documents(directory / "web", BASE + LANDING, {"2026-01": BASE // 400, "2026-02": LANDING // 400})
    base, landed = ({path: data for path, data in web.items() if path.startswith(name)} for name in ("2026-01", "2026-02"))
    stack = Stack(directory / "home", ports="free", owner=Owner.of(os.getpid()))
    try:
        settings = stack.up()
        migrate(settings.database)
        with AirflowApi(settings) as airflow:
            platform = Platform(settings, airflow)
            for dag_id in (DAG_ID, SCORE, LAND):
                wait_for(partial(airflow.has_dag, dag_id))
                airflow.unpause(dag_id)
            overhead = landing(platform, base, landed)
            again = second_backfill(platform)
            cancelled = cancel(platform, whole)
            by_command, by_airflow = whole_run(platform, whole)
    finally:
        stack.destroy()
    return {
        "airflow_over_cli": round(by_airflow / by_command, 2),
        "airflow_overhead_s": round(by_airflow - by_command, 1),
        "landing_overhead_s": round(overhead, 1),
        "cancel_s": round(cancelled, 1),
        "backfill_second_run_s": round(again, 1),
    }


def main() -> None:
    """Print a line for each, and the figures as one line of JSON."""
    snapshot = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(prefix="samplemix-bench-", ignore_cleanup_errors=True) as directory:
        print(json.dumps(measure(Path(directory), snapshot)))


if __name__ == "__main__":
    main()
