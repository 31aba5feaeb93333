"""Airflow's REST API, for triggering, watching and ending runs."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from samplemix_core.errors import ServiceError
from samplemix_core.settings import Settings

FINAL_STATES = frozenset({"success", "failed"})
_TRIES = 3


@dataclass(frozen=True)
class TaskState:
    """One task instance of a DAG run; map_index is -1 if the task is not mapped."""

    task_id: str
    map_index: int
    state: str
    try_number: int


class AirflowApi:
    """A client signed in as the user of the settings; raises ServiceError if Airflow refuses or does not answer."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.require("airflow_url").rstrip("/")
        self._login = {"username": settings.require("airflow_user"), "password": settings.require("airflow_password")}
        self._client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        self._sign_in()

    def __enter__(self) -> "AirflowApi":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def _sign_in(self) -> None:
        token = self.request("POST", "/auth/token", json=self._login)["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def request(self, method: str, path: str, **arguments: Any) -> Any:
        """Call the REST API, with httpx's arguments; return the answer's JSON."""
        try:
            response = self._client.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise ServiceError(f"Airflow at {self.url} does not answer: {error!r}.", "Look at 'samplemix status'.") from error
        if response.is_error:
            raise ServiceError(
                f"Airflow at {self.url} refused {method} {path}: {response.status_code} {response.text[:500]}.",
                "See the answer above; 'samplemix logs airflow-api-server' has more.",
            )
        return response.json() if response.content else None

    def has_dag(self, dag_id: str) -> bool:
        """Whether Airflow has parsed this DAG."""
        dags = self.request("GET", "/api/v2/dags", params={"dag_id_pattern": dag_id, "limit": 100})["dags"]
        return any(dag["dag_id"] == dag_id for dag in dags)

    def import_errors(self) -> list[str]:
        """What Airflow could not import, if anything."""
        return [item["stack_trace"] for item in self.request("GET", "/api/v2/importErrors")["import_errors"]]

    def unpause(self, dag_id: str) -> None:
        """Let runs of this DAG start."""
        self.request("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> None:
        """Start a run with this configuration, checked by Airflow against the DAG's params."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf)}
        self.request("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)

    def run_state(self, dag_id: str, run_id: str) -> str:
        """State of a run: queued, running, success or failed."""
        return str(self.request("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def fail_run(self, dag_id: str, run_id: str) -> None:
        """Mark a run as failed, as the button in the UI does: its running tasks are killed.

        Airflow's scheduler changes the same rows: if its database aborts this change because of that, it is tried again.
        """
        for left in reversed(range(_TRIES)):
            try:
                self.request("PATCH", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}", json={"state": "failed"})
            except ServiceError as error:
                if not left or "Database error" not in str(error):
                    raise
                time.sleep(1)
            else:
                return

    def tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        """The run's task instances, each mapped one separately."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        found: list[TaskState] = []
        while True:
            page = self.request("GET", path, params={"limit": 100, "offset": len(found)})
            found += [
                TaskState(item["task_id"], item["map_index"], item["state"] or "none", item["try_number"])
                for item in page["task_instances"]
            ]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """What a task returned."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.request("GET", path, params={"deserialize": True})["value"]

    def log(self, dag_id: str, run_id: str, task: TaskState) -> list[str]:
        """The lines a task instance logged in its last try, with what it raised."""
        return [text for line in self.log_lines(dag_id, run_id, task) for text in _log_texts(line)]

    def log_lines(self, dag_id: str, run_id: str, task: TaskState) -> list[dict[str, Any]]:
        """The same lines as Airflow keeps them: each with its text as `event` and, if the task wrote it, its `level`."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task.task_id}/logs/{max(task.try_number, 1)}"
        content = self.request("GET", path, params={"map_index": task.map_index, "full_content": True})["content"]
        return [line if isinstance(line, dict) else {"event": line} for line in content]


def _log_texts(line: dict[str, Any]) -> list[str]:
    """The texts of a line of a task's log; Airflow keeps a line's error separate from its text."""
    raised = [f"{error['exc_type']}: {error['exc_value']}" for error in (line.get("error_detail") or ())[:1]]
    return [str(line.get("event", "")), *raised]
