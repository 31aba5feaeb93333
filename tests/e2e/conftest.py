"""A corpus of real documents, the command as users call it, and the objects it makes."""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pyarrow.fs
import pytest

from samplemix_core.cli import main as cli
from samplemix_core.demo.airflow_api import FINAL_STATES, AirflowApi
from samplemix_core.demo.corpus import collect
from samplemix_core.deployment import Deployment
from samplemix_core.objects import open_store
from samplemix_core.settings import ENVIRONMENT

DOCUMENTS = 160


Command = Callable[..., subprocess.CompletedProcess[str]]
"""Call `samplemix` with these arguments and variables; its exit code is checked unless told otherwise (check=False)."""

Run = Callable[..., dict[str, Any]]
"""`samplemix run --json` of a corpus's URI, options and variables; returns the summary it prints."""

Upload = Callable[[dict[str, bytes]], str]
"""Put shards below a fresh prefix; returns the corpus URI."""


@pytest.fixture(scope="session")
def command(platform: Deployment) -> Command:
    """The command in this process."""

    def call(*arguments: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        out, err, code = io.StringIO(), io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name in ENVIRONMENT.values():
                patch.delenv(name, raising=False)
            for name, value in {"SAMPLEMIX_HOME": str(platform.home), **variables}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["samplemix", *arguments])
            try:
                cli.main()
            except SystemExit as ended:
                code = int(ended.code or 0)
        assert not check or code == 0, f"{arguments} exited {code}:\n{out.getvalue()}\n{err.getvalue()}"
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())

    return call


PATIENCE = 3
"""How much slower than where these tests were written a machine may be: whoever waits longer loses nothing but time."""


@pytest.fixture(scope="session")
def program(platform: Deployment) -> Command:
    """The command as users start it, a process of its own: several may run at once."""
    environment = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT.values()}
    environment |= {"SAMPLEMIX_HOME": str(platform.home), "HF_HUB_OFFLINE": "1"}

    def call(*arguments: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        path = Path(sys.executable).with_name("samplemix")
        done = subprocess.run(
            [path, *arguments], env=environment | variables, capture_output=True, text=True, timeout=PATIENCE * 180, check=False
        )
        assert not check or done.returncode == 0, f"{arguments} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    return call


@pytest.fixture(scope="session")
def small_corpus() -> dict[str, Any]:
    """Settings under which a few hundred documents pass the gates, which are meant for corpora, and are encoded in seconds."""
    return {
        "embedding": {"max_seq_tokens": 64},
        "diversity": {"gate_min_clusters": 1, "gate_max_largest_share": 1.0, "min_cluster_size": 5, "umap_neighbors": 8},
    }


@pytest.fixture(scope="session")
def small_config(small_corpus: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file for --config."""
    config = tmp_path_factory.mktemp("config") / "small.json"
    config.write_text(json.dumps(small_corpus))
    return config


def runs(call: Command, config: Path) -> Run:
    def run(uri: str, *options: str, **variables: str) -> dict[str, Any]:
        done = call("run", uri, "--config", str(config), "--json", *options, **variables)
        return cast(dict[str, Any], json.loads(done.stdout))

    return run


@pytest.fixture(scope="session")
def run_command(command: Command, small_config: Path) -> Run:
    """A run in this process."""
    return runs(command, small_config)


@pytest.fixture(scope="session")
def run_program(program: Command, small_config: Path) -> Run:
    """A run as users start it, a process of its own."""
    return runs(program, small_config)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A snapshot `s1` of real documents from this machine: path -> content."""
    directory = tmp_path_factory.mktemp("corpus")
    collect(directory, "s1", DOCUMENTS)
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*.zst"))}


@pytest.fixture(scope="session")
def upload(platform: Deployment) -> Upload:

    def put(content: dict[str, bytes]) -> str:
        uri = f"{platform.state_root}/corpora/test-{uuid4().hex[:12]}"
        store = open_store(uri, platform)
        for path, data in content.items():
            store.put(path, data)
        return uri

    return put


@pytest.fixture(scope="session")
def corpus_uri(upload: Upload, shards: dict[str, bytes]) -> str:
    """The snapshot `s1` on S3."""
    return upload(shards)


@pytest.fixture(scope="session")
def first() -> str:
    """Name of the first mixture, new in every session: services may be kept from one to the next."""
    return f"first-{uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def first_run(run_program: Run, corpus_uri: str, first: str) -> dict[str, Any]:
    """The first mixture of the corpus."""
    return run_program(corpus_uri, "--name", first)


@pytest.fixture(scope="session")
def s3(platform: Deployment) -> pyarrow.fs.S3FileSystem:
    """Plain pyarrow's view of the object store."""
    return pyarrow.fs.S3FileSystem(
        access_key=platform.s3_access_key,
        secret_key=platform.s3_secret_key,
        endpoint_override=str(platform.s3_endpoint),
        region="us-east-1",
    )


ASKED_EVERY_SECONDS = 0.25
"""Whoever asks without a pause takes the processor from what is waited for."""


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + PATIENCE * seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"no {what} within {PATIENCE * seconds} s"
        time.sleep(ASKED_EVERY_SECONDS)
    return value


def settings_of(values: dict[str, Any]) -> list[str]:
    """Settings within settings as options of the command line."""
    pairs = [f"{group}.{key}={json.dumps(value)}" for group, inner in values.items() for key, value in inner.items()]
    return [word for pair in pairs for word in ("--set", pair)]


def runs_of(airflow: AirflowApi, dag_id: str, corpus: str) -> list[dict[str, Any]]:
    found = airflow.request("GET", f"/api/v2/dags/{dag_id}/dagRuns", params={"limit": 100, "order_by": "id"})["dag_runs"]
    return [run for run in found if (run["partition_key"] or "").startswith(f"{corpus}/")]


def finished(airflow: AirflowApi, dag_id: str, run_id: str, seconds: float = 120) -> None:
    state = wait_for(lambda: (s := airflow.run_state(dag_id, run_id)) in FINAL_STATES and s, seconds, f"end of {run_id}")
    failed = [task for task in airflow.tasks(dag_id, run_id) if task.state not in ("success", "skipped")]
    assert state == "success", [(task, airflow.log(dag_id, run_id, task)[-8:]) for task in failed]
