"""A quality model from Airflow's form: a language model behind a connection labels a scored corpus, and a worker trains on that."""

import json
from collections.abc import Iterator

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
    airflow: AirflowApi, command: Command, corpus_uri: str, unique: str, language_model: Served
) -> None:
    form = {
        "name": unique,
        "corpus": corpus_uri,
        "model": "judge",
        "documents": 120,
        "annotation": {"annotator": unique, "concurrency": 4},
        "training": {"folds": 3, "baselines": False},
    }
    airflow.trigger(DAG, f"dry-{unique}", {**form, "dry_run": True, "annotators": []})
    finished(airflow, DAG, f"dry-{unique}")
    estimate = airflow.xcom(DAG, f"dry-{unique}", "annotate")
    texts = estimate["documents"]
    assert 100 < texts <= 120, "a text that is there twice is asked about once"
    assert language_model.asked.total() == 0
    airflow.trigger(DAG, f"train-{unique}", form)
    finished(airflow, DAG, f"train-{unique}")
    asked = airflow.xcom(DAG, f"train-{unique}", "annotate")
    assert (asked["judged"], asked["documents"], language_model.asked.total()) == (texts, texts, texts)
    trained = airflow.xcom(DAG, f"train-{unique}", "train")
    assert (trained["name"], trained["labels"]) == (unique, texts)
    assert trained["embedded"] == 0, "the corpus has the vectors of its own documents"
    (model,) = (each for each in json.loads(command("quality", "models", "--json").stdout) if each["model"] == unique)
    assert (model["key"], model["labels"]) == (trained["key"][:12], texts)


def test_without_a_language_model_the_labels_that_are_there_are_learnt_from(
    airflow: AirflowApi, unique: str, language_model: Served
) -> None:
    before = language_model.asked.total()
    training = {"folds": 3, "baselines": False, "features": False}
    airflow.trigger(DAG, f"again-{unique}", {"name": f"{unique}-2", "annotators": [unique], "training": training})
    finished(airflow, DAG, f"again-{unique}")
    states = {task.task_id: task.state for task in airflow.tasks(DAG, f"again-{unique}")}
    assert states == {"annotate": "skipped", "train": "success"}
    assert language_model.asked.total() == before
