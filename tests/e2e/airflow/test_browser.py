"""Airflow's pages as people use them, in a headless browser: the form, a run, a backfill over crawls, cancel and resume.

Needs Debian's chromium (CI installs it); without it these tests are skipped. With SAMPLEMIX_SCREENSHOTS set, pictures of the pages
go to that directory: those in docs/ are made so.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import pytest
from playwright.sync_api import Locator, Page, Request, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from samplemix_core.database.connection import scalar
from samplemix_core.demo.airflow_api import FINAL_STATES, AirflowApi
from samplemix_core.demo.demo import SNAPSHOT
from samplemix_core.deployment import Deployment
from samplemix_core.objects import open_store
from tests.e2e.airflow.conftest import DEMO
from tests.e2e.conftest import DOCUMENTS, Command, Upload, finished, runs_of, settings_of, wait_for

SCORE = "samplemix_score_crawl"
COPIES = {"a": 4, "b": 1}
"""Of the documents in each crawl: the first is so long that it can be cancelled in the middle."""


def picture(page: Page, name: str) -> None:
    directory = os.environ.get("SAMPLEMIX_SCREENSHOTS")
    if directory:
        page.wait_for_timeout(1500)  # Charts are drawn with a delay.
        page.screenshot(path=Path(directory) / f"airflow-{name}.png")


def trigger_dialog(page: Page, airflow: AirflowApi, dag_id: str) -> Locator:
    page.goto(f"{airflow.url}/dags/{dag_id}")
    page.get_by_role("button", name="Trigger").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    return dialog


@pytest.fixture(scope="module")
def corpus(
    airflow: AirflowApi, command: Command, upload: Upload, shards: dict[str, bytes], small_corpus: dict[str, Any]
) -> Iterator[str]:
    """A corpus with a name and two crawls, cut into blocks of one document."""
    name = f"ui-{uuid4().hex[:6]}"
    content = {
        f"2026-03-{crawl}/copy-{i}/{path.replace('/', '-')}": data
        for crawl, copies in COPIES.items()
        for i in range(copies)
        for path, data in shards.items()
    }
    uri = upload(content | {"2026-03-a/_SUCCESS": b"", "2026-03-b/_SUCCESS": b""})
    command("corpus", "add", name, uri, *settings_of(small_corpus | {"blocks": {"documents": 1}}))
    yield name
    command("corpus", "remove", name)


def blocks_done(settings: Deployment, corpus: str, crawl: str) -> int:
    with settings.transaction() as cursor:
        cursor.execute(
            "SELECT count(*) FROM block_score JOIN shard USING (shard_id) JOIN snapshot USING (snapshot_id)"
            " JOIN corpus USING (corpus_id)"
            " JOIN corpus_config ON config->'run'->>'corpus_uri' = uri WHERE corpus_config.name = %s AND snapshot.name = %s",
            (corpus, crawl),
        )
        return int(scalar(cursor))


def choose_dates(page: Page, dialog: Locator, *dates: str) -> None:
    for i, date in enumerate(dates):
        field = dialog.get_by_test_id("datetime-input").nth(i)
        field.click()
        page.get_by_placeholder("YYYY/MM/DD").filter(visible=True).last.fill(date)
        page.get_by_placeholder("HH:mm").filter(visible=True).last.fill("00:00")
        field.click()


@pytest.mark.timeout(600)
def test_a_backfill_over_two_crawls_one_of_them_cancelled_and_resumed(
    page: Page, airflow: AirflowApi, corpus: str, platform: Deployment
) -> None:
    dialog = trigger_dialog(page, airflow, SCORE)
    dialog.get_by_text("Run this Dag for a range of dates").click()
    choose_dates(page, dialog, "2026/03/01", "2026/03/31")
    expect(dialog.get_by_text("2 runs will be triggered")).to_be_visible()
    picture(page, "backfill")
    dialog.get_by_role("button", name="Run Backfill").click()
    first, second = wait_for(lambda: len(found := runs_of(airflow, SCORE, corpus)) == 2 and found, 60, "two runs")
    assert (first["partition_key"], second["partition_key"]) == (f"{corpus}/2026-03-a", f"{corpus}/2026-03-b")
    page.goto(f"{airflow.url}/dags/{SCORE}/runs")
    for run in (first, second):
        expect(page.get_by_role("link", name=run["dag_run_id"][:30])).to_be_visible()
    picture(page, "crawls")
    page.get_by_role("link", name=first["dag_run_id"][:30]).click()
    wait_for(lambda: blocks_done(platform, corpus, "2026-03-a") > 10, 60, "blocks that are scored")
    mark_as_failed(page)
    state = wait_for(lambda: (s := airflow.run_state(SCORE, first["dag_run_id"])) in FINAL_STATES and s, 30, "cancelled run")
    done, blocks = blocks_done(platform, corpus, "2026-03-a"), COPIES["a"] * DOCUMENTS
    assert state == "failed", f"it was {state}, with {done} of {blocks} blocks"
    wait_for(lambda: not airflow_is_scoring(airflow, first["dag_run_id"]), 30, "end of its tasks")
    assert 10 < blocks_done(platform, corpus, "2026-03-a") < blocks, "cancelled in the middle"
    picture(page, "cancelled")
    page.get_by_role("button", name="Press shift+c to clear").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Confirm").click()
    wait_for(lambda: airflow.run_state(SCORE, first["dag_run_id"]) != "failed", 30, "resumed run")
    address = page.url
    page.goto("about:blank")  # A page of a run asks for much, every few seconds.
    for run, copies in zip((first, second), COPIES.values(), strict=True):
        finished(airflow, SCORE, run["dag_run_id"], 200)
        assert blocks_done(platform, corpus, run["partition_key"].partition("/")[2]) == copies * DOCUMENTS
    page.goto(address)
    expect(page.get_by_text("Success").first).to_be_visible()
    picture(page, "resumed")


def mark_as_failed(page: Page) -> None:
    """Choose it in the run's menu and confirm it. Both close when the page refreshes itself: then it is done again."""
    for _ in range(10):
        try:
            page.get_by_role("button", name="Mark Dag Run as...").first.click()
            page.get_by_role("menuitem", name="Failed").click(timeout=2000)
            with page.expect_response(lambda answer: is_change_of_a_run(answer.request), timeout=10_000):
                page.get_by_role("dialog").get_by_role("button", name="Confirm").click(timeout=5000)
        except PlaywrightTimeoutError:
            page.keyboard.press("Escape")
            continue
        return
    pytest.fail("the run could not be marked")


def is_change_of_a_run(request: Request) -> bool:
    return request.method == "PATCH" and re.search(r"/dagRuns/[^/?]+$", request.url) is not None


def airflow_is_scoring(airflow: AirflowApi, run_id: str) -> bool:
    return any(task.state == "running" for task in airflow.tasks(SCORE, run_id))


def test_a_form_with_a_wrong_value_says_so_and_with_right_ones_runs(
    page: Page,
    airflow: AirflowApi,
    command: Command,
    platform: Deployment,
    corpus_uri: str,
) -> None:
    name = f"form-{uuid4().hex[:6]}"
    open_store(corpus_uri, platform).put(f"{SNAPSHOT}/_SUCCESS", b"")
    command("corpus", "add", name, corpus_uri, *settings_of(DEMO))
    dialog = trigger_dialog(page, airflow, "samplemix_corpus_run")
    expect(dialog.get_by_text("This field is required")).to_have_count(1)
    expect(dialog.get_by_role("button", name="Trigger")).to_be_disabled()
    picture(page, "form")
    dialog.locator("#element_corpus_uri").fill(name)
    dialog.locator("[id='switch:element_dry_run']").click()
    dialog.get_by_role("button", name="How much", exact=True).click()
    budget = dialog.locator("#element_budget")
    budget.fill("much")
    dialog.get_by_role("button", name="Trigger").click()
    expect(dialog.get_by_text(re.compile("much.*does not match"))).to_be_visible()
    picture(page, "form-wrong")
    budget.fill("30%")
    dialog.get_by_role("button", name="Trigger").click()
    page.wait_for_url("**/runs/**")
    run_id = unquote(page.url.rpartition("/runs/")[2].partition("?")[0])
    expect(page.get_by_role("link", name="verify")).to_be_visible()
    address = page.url
    page.goto("about:blank")
    finished(airflow, "samplemix_corpus_run", run_id)
    page.goto(address)
    expect(page.get_by_text("Success").first).to_be_visible()
    picture(page, "run")
    configured = airflow.xcom("samplemix_corpus_run", run_id, "configure")
    assert (configured["config"]["budget"], configured["dry_run"]) == ("30%", True)
    command("corpus", "remove", name)


def test_the_chain_of_assets_is_a_graph(page: Page, airflow: AirflowApi) -> None:
    page.goto(f"{airflow.url}/assets")
    page.get_by_role("link", name="samplemix_clusters").click()
    graph = page.locator(".react-flow")
    made = ("samplemix_scores", "samplemix_clusters", "samplemix_mixtures")
    for node in ("samplemix_landings", "samplemix_land_crawl", *made, "samplemix_score_crawl", "samplemix_build_mixture"):
        expect(graph.get_by_text(node).first).to_be_visible()
    picture(page, "assets")
