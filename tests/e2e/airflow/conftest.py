"""The real Airflow, on a platform of its own: the demo's mixture, and a browser window."""

import os
import shutil
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from samplemix_core.demo.airflow_api import AirflowApi
from samplemix_core.demo.corpus import collect
from samplemix_core.demo.demo import DAG_ID, MIXTURE, SMALL_DIVERSITY, SNAPSHOT
from samplemix_core.deployment import Deployment
from samplemix_core.local.home import Home
from samplemix_core.local.service import PROCESSES
from samplemix_core.local.stack import Stack
from samplemix_core.local.supervisor import stack_processes
from samplemix_core.reading.versions import open_version
from tests.e2e.conftest import DOCUMENTS, Command, wait_for

DEMO = {"diversity": SMALL_DIVERSITY}
"""The settings of the demo's run: another run with them makes the same bytes, and scores none of its corpus again."""


@pytest.fixture(scope="session")
def dask_workers() -> str:
    """One, for memory: the tests beside these have two."""
    return "1"


@pytest.fixture(scope="session")
def airflow(stack: Stack, platform: Deployment) -> Iterator[AirflowApi]:
    with AirflowApi(stack.up()) as api:
        wait_for(lambda: api.has_dag(DAG_ID), 90, f"DAG; import errors: {api.import_errors()}")
        api.unpause(DAG_ID)
        yield api
    before = {row.process: row.pid for row in stack.status() if row.name != "airflow"}
    stack.down({"airflow"})
    assert {row.process for row in stack.status() if row.pid is None} == set(PROCESSES["airflow"])
    assert {row.process: row.pid for row in stack.status() if row.name != "airflow"} == before
    left = [process.cmdline() for process in stack_processes(Home(platform.home).read_state().stack)]
    assert not [command for command in left if "airflow" in command]


@pytest.fixture(scope="session")
def unique() -> str:
    """What names are made of, new in every session: services may be kept from one to the next."""
    return uuid4().hex[:8]


@pytest.fixture(scope="session")
def first() -> str:
    """Name of the demo's mixture."""
    return MIXTURE


@pytest.fixture(scope="session")
def first_run(airflow: AirflowApi, program: Command, platform: Deployment) -> dict[str, Any]:
    """The mixture that the demo makes of this machine's documents, through Airflow."""
    manifest_uri = program("demo", "--documents", str(DOCUMENTS)).stdout.rpartition("manifest: ")[2].strip()
    manifest = open_version(platform, manifest_uri).manifest
    return {"manifest_uri": manifest_uri, "content_digest": manifest.content_digest, "corpus_uri": manifest.corpus_root}


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The demo's documents: path -> content."""
    directory = tmp_path_factory.mktemp("corpus")
    collect(directory, SNAPSHOT, DOCUMENTS)
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*.zst"))}


@pytest.fixture(scope="session")
def corpus_uri(first_run: dict[str, Any]) -> str:
    """The demo's corpus."""
    return str(first_run["corpus_uri"])


CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def page(airflow: AirflowApi, platform: Deployment) -> Iterator[Page]:
    """A browser window, signed in by the form of the login page. Where there is no browser, what needs one is skipped."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    settings = Deployment.load({"SAMPLEMIX_HOME": str(platform.home)})
    with sync_playwright() as playwright:
        # As root, as in a container, Chromium does not start in its sandbox; it sees this machine's own pages only.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        page = browser.new_page(viewport={"width": 1800, "height": 1200})
        page.set_default_timeout(30_000)
        expect.set_options(timeout=30_000)
        page.goto(airflow.url)
        page.get_by_label("Username").fill(settings.require("airflow_user"))
        page.get_by_label("Password").fill(settings.require("airflow_password"))
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
        yield page
        browser.close()
