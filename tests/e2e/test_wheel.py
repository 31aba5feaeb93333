"""The wheel in environments of their own: all of it in an empty directory without the checkout, and the light base."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from samplemix_core.deployment import Deployment
from samplemix_core.local.owner import OWNER_VARIABLE, Owner, take_over

REPOSITORY = Path(__file__).parents[2]
SHIPPED = ("samplemix_core", "dags", "plugins", "sql", "pyproject.toml", "README.md", "LICENSE")
LIGHT = {"backports.zstd", "boto3", "lz4", "msgspec", "numpy", "pyarrow", "pydantic", "rich", "typer"}
READ = """
import json, sys
from samplemix_core import open_mixture

mixture = open_mixture(sys.argv[1], cache_directory=sys.argv[2])
documents = list(mixture.documents())
heavy = {"airflow", "dask", "torch", "sqlalchemy", "psycopg2", "numba", "matplotlib"} & set(sys.modules)
tokens = sum(document.n_tokens for document in documents)
texts = len({document.text for document in documents})
print(json.dumps({"copies": len(documents), "tokens": tokens, "texts": texts, "heavy": sorted(heavy)}))
"""


SHIPPED_FILES = """
import json, os
from samplemix_core.settings import shipped_directory

os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(shipped_directory("plugins"))
from airflow.dag_processing.dagbag import DagBag
from fastapi.testclient import TestClient
from samplemix_core.pages.app import make_app

bag = DagBag(shipped_directory("dags"))
with TestClient(make_app(lambda: None)) as client:
    answers = {page: client.get(page) for page in ("/", "/static/bokeh.min.js")}
pages = {page: [answer.status_code, said in answer.text] for (page, answer), said in zip(answers.items(), ("Mixtures", "Bokeh"))}
print(json.dumps({"errors": bag.import_errors, "dags": list(bag.dags), "pages": pages}))
"""


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel in it."""

    python: Path

    def run(
        self, *arguments: str, cwd: Path, check: bool = True, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment as somebody who has nothing else; what it starts ends with this session."""
        bare = {"PATH": os.defpath, "HOME": str(cwd), "HF_HUB_OFFLINE": "1", OWNER_VARIABLE: os.environ[OWNER_VARIABLE]}
        program = self.python.with_name(arguments[0])
        done = subprocess.run(
            [program, *arguments[1:]],
            cwd=cwd,
            env=bare | dict(environ or {}),
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done


Install = Callable[..., Installed]


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Make an environment and install the wheel, which is built from a copy of the sources, with pip's options."""
    source, wheels = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for name in SHIPPED:
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(source)], check=True)
    (wheel,) = wheels.glob("samplemix-*.whl")
    shutil.rmtree(source)

    def make(*options: str) -> Installed:
        place = tmp_path_factory.mktemp("environment")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
        python = place / "bin" / "python"
        subprocess.run([*pip, "--python", str(python), "install", *options, str(wheel)], check=True)
        return Installed(python)

    return make


@pytest.fixture(scope="module")
def light(install: Install) -> Installed:
    return install("--constraint", str(REPOSITORY / "requirements.lock"))


@pytest.fixture(scope="module")
def full(install: Install) -> Installed:
    """The wheel over this environment's packages, which are not installed again."""
    installed = install("--no-deps")
    paths = subprocess.run(
        [installed.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    (Path(paths.stdout.strip()) / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return installed


@pytest.fixture(scope="module")
def alone(full: Installed, tmp_path_factory: pytest.TempPathFactory, owner: Owner) -> Iterator[Path]:
    """An empty directory in which the wheel started Postgres and made its tables."""
    empty = tmp_path_factory.mktemp("empty")
    take_over(owner, empty / ".samplemix")
    full.run("samplemix", "up", "postgres", cwd=empty)
    try:
        yield empty
    finally:
        full.run("samplemix", "down", "--delete", cwd=empty)


def test_the_wheel_needs_nothing_of_the_checkout(alone: Path, full: Installed) -> None:
    where = full.run("python", "-c", "import samplemix_core; print(samplemix_core.__file__)", cwd=alone).stdout
    assert Path(where.strip()).is_relative_to(full.python.parents[1])
    rows = full.run("samplemix", "sql", "--query", "mixtures", "--json", cwd=alone).stdout
    assert json.loads(rows) == []


def test_the_dags_and_the_pages_come_with_the_wheel(alone: Path, full: Installed) -> None:
    environ = {
        "AIRFLOW_HOME": str(alone / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }
    found = json.loads(full.run("python", "-c", SHIPPED_FILES, cwd=alone, environ=environ).stdout.splitlines()[-1])
    assert found["errors"] == {}
    assert set(found["dags"]) == {path.stem for path in (REPOSITORY / "dags").glob("*.py")}
    assert found["pages"] == {"/": [200, True], "/static/bokeh.min.js": [200, True]}


def test_the_light_base_lists_shows_verifies_reads_and_exports_what_was_published(
    first_run: dict[str, Any], platform: Deployment, light: Installed, tmp_path: Path
) -> None:
    name, manifest = first_run["name"], first_run["manifest_uri"]
    environ = {"SAMPLEMIX_HOME": str(platform.home)}
    versions = json.loads(light.run("samplemix", "mixture", "list", "--json", cwd=tmp_path, environ=environ).stdout)
    (listed,) = (version for version in versions if version["manifest"] == manifest)
    shown = json.loads(light.run("samplemix", "mixture", "show", manifest, "--json", cwd=tmp_path, environ=environ).stdout)
    assert shown["content_digest"] == listed["content_digest"]
    assert "share after" in light.run("samplemix", "mixture", "show", name, cwd=tmp_path, environ=environ).stdout
    verified = json.loads(
        light.run("samplemix", "mixture", "verify", name, "--corpus", "--json", cwd=tmp_path, environ=environ).stdout
    )
    assert (verified["ok"], verified["rows"]) == (True, listed["samples"])
    read = json.loads(light.run("python", "-c", READ, manifest, str(tmp_path / "cache"), cwd=tmp_path, environ=environ).stdout)
    facts = {"copies": listed["copies"], "tokens": listed["realised_tokens"], "texts": listed["samples"], "heavy": []}
    assert read == facts
    step = light.run("samplemix", "trace", name, "--step", "3", "--batch-size", "4", "--json", cwd=tmp_path, environ=environ).stdout
    assert [row["position"] for row in json.loads(step)] == [12, 13, 14, 15]
    to = ["samplemix", "mixture", "export", name, str(tmp_path / "mds"), "--to", "mds", "--workers", "1", "--json"]
    made = json.loads(light.run(*to, cwd=tmp_path, environ=environ).stdout)
    assert (made["copies"], made["created"]) == (listed["copies"], True)


@pytest.mark.parametrize(("command", "extra"), [(["up"], "local"), (["sql", "SELECT 1"], "platform"), (["migrate"], "platform")])
def test_the_light_base_names_the_extra_that_brings_more(light: Installed, tmp_path: Path, command: list[str], extra: str) -> None:
    url = "postgresql://nobody@127.0.0.1:1/nowhere"
    done = light.run(
        "samplemix",
        *command,
        cwd=tmp_path,
        check=False,
        environ={"SAMPLEMIX_DATABASE_URL": url, "SAMPLEMIX_READER_DATABASE_URL": url},
    )
    assert done.returncode == 1
    assert f"pip install 'samplemix[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_light_base_is_light(light: Installed, tmp_path: Path) -> None:
    code = "import importlib.metadata as m, json; print(json.dumps([r for r in m.requires('samplemix') if 'extra' not in r]))"
    needed = json.loads(light.run("python", "-c", code, cwd=tmp_path).stdout)
    assert {re.split("[>;]", item)[0] for item in needed} == LIGHT
