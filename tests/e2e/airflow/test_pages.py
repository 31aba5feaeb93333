"""SampleMix's pages in the real Airflow: who may see them, and people who use them, in a browser.

As in test_browser.py, without chromium the tests in a browser are skipped, and SAMPLEMIX_SCREENSHOTS makes pictures.
"""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from samplemix_core.corpus.streams import zstd
from samplemix_core.demo.airflow_api import AirflowApi
from samplemix_core.deployment import Deployment
from samplemix_core.local.airflow import command_environment
from samplemix_core.local.home import Home
from tests.e2e.airflow.conftest import DEMO
from tests.e2e.conftest import Command, settings_of, wait_for

MINT = """
from airflow.api_fastapi.app import create_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
manager = create_auth_manager()
manager.init()
print("token", manager.generate_jwt(SimpleAuthManagerUser(username="someone", role=ROLE)))
"""


@pytest.fixture(scope="module")
def viewer(airflow: AirflowApi, platform: Deployment) -> Iterator[httpx.Client]:
    """Somebody whose role in Airflow is to view."""
    environment = command_environment(Home(platform.home), os.environ)
    script = MINT.replace("ROLE", "'viewer'")
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    token = re.findall(r"^token (\S+)$", done.stdout, re.MULTILINE)[0]
    with httpx.Client(base_url=airflow.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=30) as client:
        yield client


def paths(first: str, sample: str) -> list[str]:
    """Pages and answers about a mixture; `sample` is one of its samples as a query says it."""
    mixture = f"/samplemix/mixtures/{first}"
    pages = ["/samplemix/", "/samplemix/corpora/1", mixture, f"{mixture}/1", f"{mixture}/diff", f"{mixture}/1/what-if"]
    pages += [
        f"{mixture}/1/picture.png",
        "/samplemix/run",
        "/samplemix/docs",
        "/samplemix/swagger",
        "/samplemix/runs/some",
        "/samplemix/openapi.json",
        "/samplemix/static/bokeh.min.js",
    ]
    api = f"/samplemix/api/mixtures/{first}"
    pages += [f"{mixture}/1/files", f"{mixture}/1/files/manifest.json", f"{mixture}/1/files/part-00000.parquet"]
    pages += [f"{mixture}/1/clusters", f"{mixture}/1/samples", f"{mixture}/1/search", f"{mixture}/1/sample?{sample}"]
    answers = [f"{api}/1/samples", f"{api}/1/sample?{sample}", f"/samplemix/api/corpora/1/text?{sample}"]
    answers += ["/samplemix/api/mixtures", "/samplemix/api/corpora", api, f"{api}/diff", f"{api}/1/what-if?alpha=0.3"]
    return [*pages, *answers, f"/samplemix/api/queries/funnel?mixture={first}"]


@pytest.fixture(scope="module")
def sample(viewer: httpx.Client, first_run: dict[str, Any], first: str) -> str:
    """The sample that is repeated most, as a query says it."""
    row = viewer.get(f"/samplemix/api/mixtures/{first}/1/samples").json()["samples"][0]
    return urlencode({"shard": row["shard"], "row": row["row"]})


def test_nobody_without_a_login_sees_anything(airflow: AirflowApi, first_run: dict[str, Any], first: str, sample: str) -> None:
    for headers, status in (({}, 401), ({"Authorization": "Bearer forged"}, 403)):
        for path in paths(first, sample):
            answer = httpx.get(f"{airflow.url}{path}", headers=headers, trust_env=False)
            assert answer.status_code == status, path
            assert len(answer.content) < 100
            assert first not in answer.text


def test_a_viewer_reads_everything_and_writes_nothing(
    viewer: httpx.Client, first_run: dict[str, Any], first: str, sample: str
) -> None:
    for path in paths(first, sample):
        answer = viewer.get(path)
        assert answer.status_code == 200, (path, answer.text[:300])
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert viewer.request(method, path).status_code == 405
    mixture = f"/samplemix/mixtures/{first}/1"
    assert viewer.get(f"{mixture}/picture.png").content.startswith(b"\x89PNG")
    part = viewer.get(f"{mixture}/files/manifest.json").json()["parts"][0]
    downloaded = viewer.get(f"{mixture}/files/{part['path']}")
    assert hashlib.sha256(downloaded.content).hexdigest() == part["sha256"]
    assert part["path"] in downloaded.headers["content-disposition"]
    assert viewer.get(f"{mixture}/files/..%2Flatest.json").status_code in (404, 422)
    assert viewer.get(f"{mixture}/files/latest.json").status_code == 422
    started = viewer.post(
        "/api/v2/dags/samplemix_corpus_run/dagRuns", json={"logical_date": None, "conf": {"corpus_uri": "s3://x/y"}}
    )
    assert started.status_code == 403, "the run form's request"


_OWN = ("http://127.0.0.1:", "data:", "blob:")
"""Where pages may take anything from."""

LOOKS: tuple[tuple[Literal["light", "dark"], int], ...] = (("light", 1400), ("dark", 390))


def look(page: Page, name: str) -> None:
    """Check the page as all are to be: usable at any width, light and dark, and nothing serious for axe."""
    page.wait_for_load_state("networkidle")  # what a page is still fetching when it is left counts as failed
    for scheme, width in LOOKS:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 1000})
        page.reload()
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} is wider than {width}"
        found = Axe().run(page).response["violations"]
        serious = [(item["id"], item["nodes"][0]["html"][:200]) for item in found if item["impact"] in ("serious", "critical")]
        assert serious == [], (name, scheme, width)
        if directory := os.environ.get("SAMPLEMIX_SCREENSHOTS"):
            page.screenshot(path=Path(directory) / f"pages-{name}-{scheme}.png", full_page=width == 390)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1400, "height": 1000})


def test_every_page_is_fit_for_people(page: Page, airflow: AirflowApi, first_run: dict[str, Any], first: str, sample: str) -> None:
    failed: list[str] = []
    page.on("requestfailed", lambda request: failed.append(request.url) if "/samplemix/" in request.url else None)
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.on("request", lambda request: failed.append(request.url) if not request.url.startswith(_OWN) else None)
    mixture = f"{airflow.url}/samplemix/mixtures/{first}"
    addresses = {
        "home": f"{airflow.url}/samplemix/",
        "mixture": f"{mixture}/1",
        "diff": f"{mixture}/diff",
        "what-if": f"{mixture}/1/what-if",
        "clusters": f"{mixture}/1/clusters",
        "map": f"{mixture}/1/map",
        "files": f"{mixture}/1/files",
        "near-duplicates": f"{mixture}/1/near-duplicates",
        "benchmarks": f"{mixture}/1/contamination",
        "samples": f"{mixture}/1/samples",
        "sample": f"{mixture}/1/sample?{sample}",
        "search": f"{mixture}/1/search?{sample.partition('&')[0]}&words=the",
        "run": f"{airflow.url}/samplemix/run",
        "api": f"{airflow.url}/samplemix/docs",
    }
    for name, address in addresses.items():
        page.goto(address)
        look(page, name)
    page.goto(addresses["home"])
    page.get_by_role("link", name="corpora/demo-").first.click()
    expect(page.get_by_role("heading", name="Crawls")).to_be_visible()
    look(page, "corpus")
    page.goto(addresses["mixture"])
    expect(page.locator(".bk-Figure")).to_have_count(2)
    page.goto(f"{airflow.url}/samplemix/swagger")
    expect(page.get_by_text("/api/mixtures/{name}/diff", exact=True)).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert failed == []


def test_from_airflows_navigation_to_a_mixture_and_its_run(
    page: Page, airflow: AirflowApi, first_run: dict[str, Any], first: str
) -> None:
    page.goto(airflow.url)
    page.get_by_test_id("nav-sidebar").get_by_role("link", name="SampleMix").click()
    frame = page.frame_locator("iframe")
    frame.get_by_role("link", name=first, exact=True).click()
    expect(frame.get_by_role("heading", name=f"{first} version")).to_be_visible()


def test_the_document_that_is_repeated_most_is_found_and_read(
    page: Page, airflow: AirflowApi, command: Command, corpus_uri: str, unique: str, viewer: httpx.Client
) -> None:
    repeating = f"often-{unique}"
    command("run", corpus_uri, "--name", repeating, "--budget", "150%", *settings_of(DEMO))
    page.goto(f"{airflow.url}/samplemix/mixtures/{repeating}/1")
    page.get_by_role("link", name="Samples", exact=True).click()
    rows = page.get_by_role("region", name="Samples").locator("tbody tr")
    copies = [int(text) for text in rows.locator("td:nth-child(4)").all_inner_texts()]
    assert copies == sorted(copies, reverse=True)
    assert copies[0] > 1
    rows.first.get_by_role("link").click()
    text = page.get_by_role("region", name="Text").inner_text
    wait_for(lambda: text(), 10, "the text")
    shard, row = re.findall(r"shard=([^&]+)&row=(\d+)", page.url)[0]
    read = viewer.get(f"/samplemix/api/corpora/1/text?shard={shard}&row={row}").json()
    assert (read["changed"], len(read["text"])) == (False, read["characters"])
    assert text().split() == read["text"].split()
    word = max(re.findall(r"[a-zA-Z]{5,}", read["text"]), key=len)
    page.go_back()
    page.get_by_label("Words").fill(word.upper())
    page.get_by_role("button", name="Search").click()
    expect(
        page.get_by_role("region", name="Documents with these words").get_by_role("link", name=f"{int(row):,}", exact=True)
    ).to_be_visible()


def test_clusters_have_places_and_words_from_their_documents(
    first_run: dict[str, Any], first: str, viewer: httpx.Client, shards: dict[str, bytes]
) -> None:
    clusters = viewer.get(f"/samplemix/api/mixtures/{first}/1/clusters").json()
    assert all(-1 <= row["x"] <= 1 and -1 <= row["y"] <= 1 for row in clusters)
    words = {word for row in clusters for word in row["terms"]}
    assert words
    text = b"".join(zstd.decompress(data) for data in shards.values()).decode().lower()
    assert all(word in text for word in words)


def test_a_click_on_a_cluster_leads_to_the_documents_nearest_to_its_centre(
    page: Page, airflow: AirflowApi, first_run: dict[str, Any], first: str, viewer: httpx.Client
) -> None:
    largest = viewer.get(f"/samplemix/api/mixtures/{first}/1/clusters").json()[0]
    page.goto(f"{airflow.url}/samplemix/mixtures/{first}/1/clusters")
    canvas = page.locator(".bk-Figure .bk-events")
    expect(canvas).to_be_visible()
    box = canvas.bounding_box()
    assert box is not None
    frame = page.evaluate(
        "(() => { const f = Object.values(Bokeh.index)[0].frame.bbox; return [f.left, f.top, f.width, f.height]; })()"
    )
    left, top, width, height = frame
    across, up = (largest["x"] + 1.15) / 2.3, (largest["y"] + 1.15) / 2.3
    page.mouse.click(box["x"] + left + across * width, box["y"] + top + (1 - up) * height)
    page.wait_for_url(re.compile(rf"samples\?order=distance&cluster={largest['cluster']}$"))
    distances = [float(text) for text in page.locator("tbody tr td:nth-child(9)").all_inner_texts()]
    assert distances
    assert distances == sorted(distances)


def test_a_document_is_found_on_the_map_and_read(
    page: Page, airflow: AirflowApi, first_run: dict[str, Any], first: str, viewer: httpx.Client
) -> None:
    columns = viewer.get(f"/samplemix/api/mixtures/{first}/1/map").json()["columns"]
    documents = len(columns["x"])
    assert documents > 100
    page.goto(f"{airflow.url}/samplemix/mixtures/{first}/1/map")
    expect(page.get_by_text(f"{documents} documents", exact=True)).to_be_visible()
    page.get_by_label("Colour by").select_option("quality")
    expect(page.locator(".legend span")).to_have_count(3)
    domain = columns["domain"][0]
    own = columns["domain"].count(domain)
    page.get_by_label("Find").fill(domain.upper())
    said = page.get_by_role("status").first
    expect(said).to_have_text(re.compile(rf"^\d+ of {documents} documents$"))
    assert own <= int(said.inner_text().split()[0]) < documents
    page.locator("#found button").first.click()
    expect(page.locator("#state")).to_contain_text("characters")
    read = page.locator("pre.text").inner_text()
    assert any(beginning and read.split()[:3] == beginning.split()[:3] for beginning in columns["beginning"])
    # A click on the map chooses what is there.
    page.get_by_label("Find").fill("")
    expect(page.get_by_text(f"{documents} documents", exact=True)).to_be_visible()
    box = page.locator(".bk-Figure .bk-events").bounding_box()
    assert box is not None
    left, top, width, height = page.evaluate(
        "(() => { const f = Object.values(Bokeh.index)[0].frame.bbox; return [f.left, f.top, f.width, f.height]; })()"
    )
    place = max(range(documents), key=lambda i: abs(columns["x"][i]) + abs(columns["y"][i]))
    across, up = (columns["x"][place] + 1.15) / 2.3, (columns["y"][place] + 1.15) / 2.3
    page.mouse.click(box["x"] + left + across * width, box["y"] + top + (1 - up) * height)
    expect(page.locator("#title")).to_contain_text(", row ")
    expect(page.locator("#state")).to_contain_text("characters")
    page.get_by_role("link", name="Why it has its copies").click()
    page.wait_for_url(re.compile(r"/sample\?shard="))


def test_copies_are_what_weight_kappa_and_u_make_of_them(first_run: dict[str, Any], first: str, viewer: httpx.Client) -> None:
    mixture = f"/samplemix/api/mixtures/{first}/1"
    found = []
    for chosen in ("order=copies", "order=weight", "order=place&copies_to=0"):
        found += viewer.get(f"{mixture}/samples?{chosen}").json()["samples"][:8]
    explained = [viewer.get(f"{mixture}/sample", params={"shard": row["shard"], "row": row["row"]}).json() for row in found]
    assert {why["became"] for why in explained} >= {"taken", "not taken"}
    for why in explained:
        if why["became"] == "duplicate":
            assert why["chances"] == []
        else:
            (chance,) = why["chances"]
            assert chance["phase"] is None
            copies = min(chance["max_copies"], int(chance["wanted"] + chance["u"]))
            if chance["note"]:
                assert why["document"]["copies"] < copies, why
            else:
                assert why["document"]["copies"] == copies, why
            assert why["document"]["weight"] in (None, chance["weight"])


def test_what_if_by_keyboard_and_a_run_with_its_settings(
    page: Page, airflow: AirflowApi, first_run: dict[str, Any], first: str
) -> None:
    page.goto(f"{airflow.url}/samplemix/mixtures/{first}/1/what-if")
    rows = page.locator("#domains tr")
    expect(rows.first).to_be_visible()
    before = page.locator("#domains").inner_text()
    page.locator("#samplemix-alpha").focus()
    for _ in range(60):
        page.keyboard.press("ArrowLeft")
    expect(page.locator('output[for="samplemix-alpha"]')).to_have_text("0.2")
    wait_for(lambda: page.locator("#domains").inner_text() != before, 10, "other shares")
    shares = [float(text.rstrip("%")) for text in page.locator("#domains tr td:nth-child(5)").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=1)
    page.get_by_role("link", name="Run with these settings").click()
    expect(page.get_by_label("Alpha")).to_have_value("0.2")
    expect(page.get_by_label("Mixture name")).to_have_value(first)
    page.get_by_label("Dry run").select_option("yes")
    page.get_by_role("button", name="Start the run").click()
    link = page.get_by_role("status").get_by_role("link")
    expect(link).to_be_visible()
    run_id = link.inner_text()
    link.click()
    page.get_by_role("link", name="Mixture", exact=True).click()
    expect(page.frame_locator("iframe").get_by_role("heading", name=f"What run {run_id} made")).to_be_visible()
    run = airflow.request("GET", f"/api/v2/dags/samplemix_corpus_run/dagRuns/{run_id}")
    assert (run["conf"]["alpha"], run["conf"]["dry_run"], run["conf"]["mixture_name"]) == (0.2, True, first)
