"""The DAG over the real services, in one process by dag.test()."""

import io
import json
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from samplemix_core.deployment import Deployment
from tests.e2e.conftest import Command


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
    assert run["publish"]["content_digest"] == first_run["content_digest"]
    assert (run["publish"]["version"], run["publish"]["created"]) == (1, False)


def test_a_dag_exports_a_version_on_dask_workers(
    first_run: dict[str, Any], platform: Deployment, airflow_json: Callable[..., dict[str, Any]], first: str, command: Command
) -> None:
    place = f"{platform.state_root}/exported/{first}"
    conf = {"mixture": first, "version": 1, "uri": place, "format": "webdataset"}
    folder = Path(__file__).parents[2] / "dags"
    script = Path(__file__).with_name("run_dag.py")
    run = airflow_json(
        [sys.executable, str(script), str(folder), "samplemix_export_mixture", json.dumps(conf)], SAMPLEMIX_HOME=str(platform.home)
    )
    assert run["tasks"] == {"export[-1]": "success"}
    manifest, store = platform.mixtures.open(first, 1).manifest, platform.store(place)
    totals = {"samples": manifest.samples, "copies": manifest.copies, "tokens": manifest.realised_tokens}
    assert run["export"].items() >= {**totals, "created": True}.items()
    again = json.loads(command("mixture", "export", first, place, "--to", "webdataset", "--version", "1", "--json").stdout)
    assert again.items() >= {**totals, "created": False}.items()
    names: list[str] = []
    for info in store.list("train-"):
        with tarfile.open(fileobj=io.BytesIO(store.get(info.key)[0])) as tar:
            names += tar.getnames()
    assert len(names) == len(set(names)) == 2 * manifest.copies
    # Any of them says why it is there.
    with tarfile.open(fileobj=io.BytesIO(store.get(info.key)[0])) as tar:
        row = json.load(tar.extractfile(next(name for name in tar.getnames() if name.endswith(".json"))))  # type: ignore[arg-type]
    for document in (f"{row['shard']}:{row['row']}", row["sample_key"]):
        why = json.loads(command("mixture", "why", document, "--mixture", first, "--json").stdout)
        assert (why["became"], why["document"]["row"], why["document"]["shard"]) == ("taken", row["row"], row["shard"])
    assert "times kappa" in command("mixture", "why", row["sample_key"], "--mixture", f"{first}@1").stdout
    kinds = json.loads(command("mixture", "diff", f"{first}@1", f"{first}@1", "--json").stdout)
    for groups in (kinds["languages"], kinds["content_types"]):
        assert sum(group["after"]["tokens"] for group in groups) == manifest.realised_tokens
        assert all(group["before"] == group["after"] for group in groups)
