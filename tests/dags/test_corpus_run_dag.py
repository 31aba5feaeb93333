"""The DAG files as Airflow reads them."""

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from samplemix_core.config import RunConfig
from samplemix_core.pipeline.steps import STEPS

DAGS = Path(__file__).parents[2] / "dags"
INSPECT = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
before = set(sys.modules)
bag = DagBag(sys.argv[1])
imported = {name.split(".")[0] for name in set(sys.modules) - before}
dags = {
    dag_id: {
        "tags": sorted(dag.tags),
        "doc": dag.doc_md or "",
        "params": {name: dag.params.get_param(name).schema | {"default": dag.params.get_param(name).value} for name in dag.params},
        "tasks": {
            task.task_id: {
                "owner": task.owner,
                "retries": task.retries,
                "timeout": bool(task.execution_timeout),
                "upstream": sorted(task.upstream_task_ids),
                "mapped": task.is_mapped,
            }
            for task in dag.tasks
        },
    }
    for dag_id, dag in bag.dags.items()
}
print(json.dumps({"errors": bag.import_errors, "imported": sorted(imported), "dags": dags}))
"""


@pytest.fixture(scope="module")
def parsed(airflow_json: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return airflow_json([sys.executable, "-c", INSPECT, str(DAGS)])


def test_every_dag_file_is_imported(parsed: dict[str, Any]) -> None:
    assert parsed["errors"] == {}
    assert parsed["dags"].keys() == {path.stem for path in DAGS.glob("*.py")}


def test_parsing_imports_nothing_heavy(parsed: dict[str, Any]) -> None:
    heavy = {"numpy", "pyarrow", "torch", "dask", "distributed", "boto3", "numba", "umap", "hdbscan", "sklearn"}
    assert not heavy & set(parsed["imported"])


def test_every_dag_is_documented_and_every_task_can_be_retried(parsed: dict[str, Any]) -> None:
    for dag_id, dag in parsed["dags"].items():
        assert "samplemix" in dag["tags"], dag_id
        for task_id, task in dag["tasks"].items():
            assert task_id in dag["doc"], f"{dag_id}.{task_id} is not documented"
            assert task["retries"] >= 1, task_id
            assert task["timeout"], task_id
            assert task["owner"] == "samplemix", task_id


def test_the_form_is_the_configuration_model(parsed: dict[str, Any]) -> None:
    params = parsed["dags"]["samplemix_corpus_run"]["params"]
    assert params.keys() == RunConfig.model_fields.keys()
    assert params["alpha"] | {"default": 0.8, "minimum": 0, "maximum": 1} == params["alpha"]
    assert params["policy"]["enum"] == ["samplemix", "natural"]
    assert params["snapshots"]["type"] == "array"


def test_the_steps_are_tasks_in_order(parsed: dict[str, Any]) -> None:
    tasks = parsed["dags"]["samplemix_corpus_run"]["tasks"]
    assert {task_id for task_id, task in tasks.items() if task["mapped"]} == {"score", "assign"}
    order = [step.name for step in STEPS]
    assert tasks.keys() == set(order)
    for earlier, later in pairwise(order):
        assert earlier in tasks[later]["upstream"]
