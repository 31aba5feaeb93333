"""The DAG files as Airflow reads them."""

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from samplemix_core.config.evaluation import BESIDE, EvaluationConfig, EvaluationForm
from samplemix_core.config.export import ExportConfig, ExportForm
from samplemix_core.config.form import QualityForm
from samplemix_core.config.quality import AnnotationConfig, TrainingConfig
from samplemix_core.config.run import RunConfig
from samplemix_core.errors import ConfigError
from samplemix_core.frozen import load_config
from samplemix_core.policies.policy import POLICIES
from samplemix_core.policies.registry import all_parameters
from samplemix_core.steps import BUILD_MIXTURE, FIT_DIVERSITY, LAND_CRAWL, SCORE_CRAWL, STEPS, Step

DAGS = Path(__file__).parents[2] / "dags"
INSPECT = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
before = set(sys.modules)
bag = DagBag(sys.argv[1])
imported = {name.split(".")[0] for name in set(sys.modules) - before}
from airflow.serialization.serialized_objects import DagSerialization
timetables = {dag_id: DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable for dag_id, dag in bag.dags.items()}
dags = {
    dag_id: {
        "tags": sorted(dag.tags),
        "doc": dag.doc_md or "",
        "lines": len(open(dag.fileloc).readlines()),
        "partitioned": timetables[dag_id].partitioned,
        "scheduled": timetables[dag_id].can_be_scheduled,
        "assets": sorted(asset.name for asset, _ in timetables[dag_id].asset_condition.iter_assets()),
        "params": {name: dag.params.get_param(name).schema | {"default": dag.params.get_param(name).value} for name in dag.params},
        "tasks": {
            task.task_id: {
                "owner": task.owner,
                "retries": task.retries,
                "timeout": bool(task.execution_timeout),
                "upstream": sorted(task.upstream_task_ids),
                "mapped": task.is_mapped,
                "inlets": sorted(asset.name for asset in task.inlets),
                "outlets": sorted(asset.name for asset in task.outlets),
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


def test_every_dag_file_is_a_page(parsed: dict[str, Any]) -> None:
    assert all(dag["lines"] <= 60 for dag in parsed["dags"].values())


def test_the_form_is_the_configuration_model_and_only_the_corpus_must_be_filled_in(parsed: dict[str, Any]) -> None:
    params = parsed["dags"]["samplemix_corpus_run"]["params"]
    assert params.keys() == {*RunConfig.model_fields, *all_parameters(), "dry_run"}
    assert params["alpha"] | {"default": None, "minimum": 0, "maximum": 1} == params["alpha"]
    assert params["policy"]["enum"] == [None, *POLICIES]
    assert params["snapshots"]["type"] == ["array", "null"]
    required = {name for name, schema in params.items() if "null" not in schema["type"]}
    assert required == {"corpus_uri", "dry_run"}, "a switch is on or off"
    for dag_id in ("samplemix_fit_diversity", "samplemix_build_mixture"):
        assert parsed["dags"][dag_id]["params"].items() <= params.items(), "a field is the same in every form"


def test_the_form_of_a_quality_model_wants_its_name_alone(parsed: dict[str, Any]) -> None:
    dag = parsed["dags"]["samplemix_train_quality"]
    params = dag["params"]
    assert params.keys() == QualityForm.model_fields.keys()
    assert {name for name, schema in params.items() if schema.get("minLength") and not schema["default"]} == {"name"}
    filled = {name: schema["default"] for name, schema in params.items()} | {"name": "mine", "annotators": ["team"]}
    form = QualityForm.model_validate(filled)
    assert form.annotation_config() is None
    assert form.training_config() == TrainingConfig(name="mine", annotators=("team",))
    for name, kind in (("annotation", AnnotationConfig), ("training", TrainingConfig)):
        own = kind.model_fields.keys() - params.keys()
        assert all(f"`{field}`" in params[name]["description_md"] for field in own)
    assert dag["tasks"]["train"]["upstream"] == ["annotate"]


def test_the_form_of_an_export_wants_a_mixture_and_a_place(parsed: dict[str, Any]) -> None:
    params = parsed["dags"]["samplemix_export_mixture"]["params"]
    assert params.keys() == {"mixture", "version", "uri", "dry_run", *ExportConfig.model_fields} - {"chunk_tokens"}
    filled = {name: schema["default"] for name, schema in params.items()} | {"mixture": "web", "uri": "s3://bucket/web"}
    assert load_config(ExportForm, filled).export == ExportConfig(format="parquet")
    for wrong in (
        {"mixture": ""},
        {"uri": ""},
        {"mixture": "file:///etc/m/v000001/manifest.json"},
        {"materialise": True, "format": "mds"},
    ):
        with pytest.raises(ConfigError):
            load_config(ExportForm, filled | wrong)


def test_the_form_of_an_evaluation_wants_a_mixture(parsed: dict[str, Any]) -> None:
    params = parsed["dags"]["samplemix_evaluate_mixture"]["params"]
    assert params.keys() == {"mixture", "version", "policies", "beside", *EvaluationConfig.model_fields}
    filled = {name: schema["default"] for name, schema in params.items()} | {"mixture": "web", "draws": 5}
    form = load_config(EvaluationForm, filled)
    assert (form.policies, form.evaluation) == (BESIDE, EvaluationConfig(draws=5))
    assert load_config(EvaluationForm, filled | {"policies": ["qurating"], "targets": ["news"]}).evaluation.targets == ("news",)
    for wrong in ({"mixture": ""}, {"policies": ["nobody"]}, {"targets": ["a", "a"]}, {"tokens": 9}):
        with pytest.raises(ConfigError):
            load_config(EvaluationForm, filled | wrong)


def test_what_a_quality_form_says_of_asking_and_training_is_checked() -> None:
    values: dict[str, Any] = {"name": "mine", "model": "judge", "corpus": "web", "finetune": True}
    form = QualityForm.model_validate(
        values | {"annotation": {"concurrency": 4}, "training": {"finetune": {"epochs": 2}, "embedding": {"max_seq_tokens": 64}}}
    )
    asking, training = form.annotation_config(), form.training_config("judge-1", "judge-1")
    assert asking is not None
    assert (asking.corpus, asking.model, asking.concurrency) == ("web", "judge", 4)
    assert (training.annotators, training.embedding.max_seq_tokens) == (("judge-1",), 64)
    assert training.finetune is not None
    assert training.finetune.epochs == 2
    for wrong in ({"annotation": {"concurency": 4}}, {"annotation": {"attempts": 0}}, {"corpus": ""}):
        with pytest.raises(ConfigError):
            QualityForm.model_validate(values | wrong).annotation_config()
    with pytest.raises(ConfigError, match="annotators"):
        QualityForm.model_validate({"name": "mine"}).training_config()


@pytest.mark.parametrize(
    ("dag_id", "steps"),
    [
        ("samplemix_corpus_run", STEPS),
        ("samplemix_score_crawl", SCORE_CRAWL),
        ("samplemix_land_crawl", LAND_CRAWL),
        ("samplemix_fit_diversity", FIT_DIVERSITY),
        ("samplemix_build_mixture", BUILD_MIXTURE),
    ],
)
def test_the_steps_are_tasks_in_order(parsed: dict[str, Any], dag_id: str, steps: tuple[Step, ...]) -> None:
    tasks = parsed["dags"][dag_id]["tasks"]
    assert {task_id for task_id, task in tasks.items() if task["mapped"]} == {step.name for step in steps if step.mapped}
    order = ["configure", *(step.name for step in steps)]
    if "publish" in order:
        order.insert(order.index("publish"), "approve")
    if dag_id == "samplemix_land_crawl":
        order.append("refit")
    extra = {"estimate"} if dag_id == "samplemix_corpus_run" else set()
    assert tasks.keys() == {*order, *extra}
    assert all(tasks[name]["upstream"] == ["configure", "register"] for name in extra)
    assert not any("estimate" in task["upstream"] for task in tasks.values())
    for earlier, later in pairwise(order):
        assert earlier in tasks[later]["upstream"]


def test_assets_are_a_chain(parsed: dict[str, Any]) -> None:
    def of(dag_id: str, kind: str) -> set[str]:
        return {asset for task in parsed["dags"][dag_id]["tasks"].values() for asset in task[kind]}

    assert of("samplemix_score_crawl", "outlets") == {"samplemix_scores"}
    assert of("samplemix_fit_diversity", "inlets") == {"samplemix_scores"}
    assert of("samplemix_fit_diversity", "outlets") == {"samplemix_clusters"}
    assert of("samplemix_build_mixture", "inlets") == {"samplemix_clusters"}
    assert of("samplemix_build_mixture", "outlets") == {"samplemix_clusters", "samplemix_mixtures"}
    for dag_id in ("samplemix_corpus_run", "samplemix_land_crawl"):
        assert of(dag_id, "outlets") == {"samplemix_scores", "samplemix_clusters", "samplemix_mixtures"}
    assert parsed["dags"]["samplemix_land_crawl"]["assets"] == ["samplemix_landings"]
    assert parsed["dags"]["samplemix_score_crawl"]["partitioned"]
    assert not parsed["dags"]["samplemix_score_crawl"]["scheduled"]
