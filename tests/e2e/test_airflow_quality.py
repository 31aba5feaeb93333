"""A quality model from Airflow's form: a language model behind a connection labels a scored corpus, and a worker trains on that."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from samplemix_core.demo.airflow_api import AirflowApi
from tests.e2e.conftest import Command, finished, wait_for
from tests.llm_server import Served, serving

DAG = "samplemix_train_quality"
CONNECTION = "samplemix_llm"


@pytest.fixture(scope="module")
def language_model(airflow: AirflowApi) -> Iterator[Served]:
    wait_for(lambda: airflow.has_dag(DAG), 60, "DAG")
    with serving() as served:
        served.wanted_key = "the-key"
        body = {"connection_id": CONNECTION, "conn_type": "http", "host": served.url, "password": served.wanted_key}
        airflow.request("POST", "/api/v2/connections", json=body)
        yield served
        airflow.request("DELETE", f"/api/v2/connections/{CONNECTION}")


def test_labels_are_asked_for_and_a_model_is_trained_on_them(
    airflow: AirflowApi, command: Command, corpus_uri: str, first_run: dict[str, Any], first: str, language_model: Served
) -> None:
    form = {
        "name": first,
        "corpus": corpus_uri,
        "model": "judge",
        "documents": 120,
        "annotation": {"annotator": first, "concurrency": 4},
        "training": {"embedding": {"max_seq_tokens": 64}, "folds": 3, "baselines": False},
    }
    airflow.trigger(DAG, f"dry-{first}", {**form, "dry_run": True, "annotators": []})
    finished(airflow, DAG, f"dry-{first}")
    estimate = airflow.xcom(DAG, f"dry-{first}", "annotate")
    texts = estimate["documents"]
    assert 100 < texts <= 120, "a text that is there twice is asked about once"
    assert language_model.asked.total() == 0
    airflow.trigger(DAG, f"train-{first}", form)
    finished(airflow, DAG, f"train-{first}")
    asked = airflow.xcom(DAG, f"train-{first}", "annotate")
    assert (asked["judged"], asked["documents"], language_model.asked.total()) == (texts, texts, texts)
    trained = airflow.xcom(DAG, f"train-{first}", "train")
    assert (trained["name"], trained["labels"]) == (first, texts)
    assert trained["embedded"] == 0, "the corpus has the vectors of its own documents"
    (model,) = (each for each in json.loads(command("quality", "models", "--json").stdout) if each["model"] == first)
    assert (model["key"], model["labels"]) == (trained["key"][:12], texts)


def test_without_a_language_model_the_labels_that_are_there_are_learnt_from(
    airflow: AirflowApi, first: str, language_model: Served
) -> None:
    before = language_model.asked.total()
    training = {"embedding": {"max_seq_tokens": 64}, "folds": 3, "baselines": False, "features": False}
    airflow.trigger(DAG, f"again-{first}", {"name": f"{first}-2", "annotators": [first], "training": training})
    finished(airflow, DAG, f"again-{first}")
    states = {task.task_id: task.state for task in airflow.tasks(DAG, f"again-{first}")}
    assert states == {"annotate": "skipped", "train": "success"}
    assert language_model.asked.total() == before
