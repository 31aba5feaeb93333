"""The DAG over the real services, in one process by dag.test()."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from samplemix_core.deployment import Deployment


def test_the_dag_publishes_what_the_command_line_does(
    first_run: dict[str, Any],
    corpus_uri: str,
    platform: Deployment,
    airflow_json: Callable[..., dict[str, Any]],
    small_corpus: dict[str, Any],
    first: str,
) -> None:
    conf = small_corpus | {"corpus_uri": corpus_uri, "mixture_name": first}
    folder = Path(__file__).parents[2] / "dags"
    script = Path(__file__).with_name("run_dag.py")
    command = [sys.executable, str(script), str(folder), "samplemix_corpus_run", json.dumps(conf)]
    run = airflow_json(command, SAMPLEMIX_HOME=str(platform.home))
    assert run["state"] == "success"
    assert {name: state for name, state in run["tasks"].items() if state != "success"} == {"estimate[-1]": "skipped"}
    assert run["tasks"].keys() >= {"score[0]", "score[1]", "assign[0]", "assign[1]"}
    assert run["published"]["content_digest"] == first_run["content_digest"]
    assert (run["published"]["version"], run["published"]["created"]) == (1, False)
