"""Every page and every answer of the API, on a mixture in Postgres; with names that mean harm. Airflow's login: tests/e2e."""

from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from samplemix_core.database.connection import transaction
from samplemix_core.pages import app as pages
from tests.integration.conftest import LedgeredCorpus, mix

HOSTILE = "\"><script>alert(1)</script>\u202e'; DROP TABLE sample; --"


class Seen(HTMLParser):
    """The text, the links and the scripts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.links: list[str] = []
        self.outside: list[str] = []
        self._tag = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        for name, value in attrs:
            if name in ("src", "href", "action") and value:
                self.links.append(value)
                if "//" in value.partition("?")[0]:
                    self.outside.append(value)
            assert not name.startswith("on"), f"{tag} has {name}"

    def handle_data(self, data: str) -> None:
        (self.scripts if self._tag == "script" else self.texts).append(data)


@pytest.fixture
def client(assigned: LedgeredCorpus) -> Iterator[TestClient]:
    """The pages, without a login, on a mixture of two versions."""
    for version, step in ((1, 7), (2, 5)):
        mix(assigned, version, step)
    app = pages.make_app(lambda: None)
    app.dependency_overrides[pages.reader] = lambda: assigned.reader_url
    with TestClient(app, root_path="/air/samplemix") as client:
        yield client


PAGES = (
    "/",
    "/corpora/1",
    "/mixtures/demo",
    "/mixtures/demo/1",
    "/mixtures/demo/diff",
    "/mixtures/demo/2/what-if",
    "/run",
    "/docs",
)
ANSWERS = (
    *("/api/queries", "/api/corpora", "/api/corpora/1", "/api/mixtures", "/api/mixtures/demo", "/api/mixtures/demo?version=1"),
    *("/api/mixtures/demo/diff", "/api/mixtures/demo/diff?older=2&newer=1", "/api/mixtures/demo/2/what-if?alpha=0.1"),
    *("/api/queries/funnel?mixture=demo", "/openapi.json"),
)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_whole_and_needs_nothing_from_elsewhere(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    seen = Seen(answer.text)
    assert seen.outside == []
    assert all(link.startswith(("/air/", "#", "?")) for link in seen.links), seen.links
    assert "Undefined" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    for link in {link for link in seen.links if link.startswith("/air/samplemix")}:
        inside = link.removeprefix("/air/samplemix")
        if "picture.png" not in inside:  # It reads a manifest, which is not there.
            assert client.get(inside).status_code == 200, link


@pytest.mark.parametrize("path", ANSWERS)
def test_the_api_answers_what_the_pages_show(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.json()


def test_the_api_is_described_and_only_reads(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    assert described["servers"] == [{"url": "/air/samplemix"}]
    assert {method for methods in described["paths"].values() for method in methods} == {"get"}
    assert {path.partition("?")[0] for path in described["paths"]} >= {
        "/api/mixtures/{name}/{version}/what-if",
        "/api/queries/{name}",
    }
    for path in (*PAGES, *ANSWERS):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert client.request(method, path).status_code == 405


def test_a_mixture_under_its_own_settings_and_under_others(client: TestClient) -> None:
    own = client.get("/api/mixtures/demo/2/what-if?policy=natural&budget_percent=100&max_copies=4").json()
    assert [row["weight"] for row in own["domains"]] == pytest.approx([1.0] * len(own["domains"]))
    assert own["total"]["tokens"] == pytest.approx(
        sum(row["epochs"] * row["source_share"] for row in own["domains"]) * own["total"]["tokens"]
    )
    assert sum(row["published_share"] for row in own["domains"]) == pytest.approx(1)
    sharp = client.get("/api/mixtures/demo/2/what-if?alpha=0&tau=0.02&budget_percent=50").json()
    assert sum(row["share"] for row in sharp["domains"]) == pytest.approx(1)
    assert sharp["domains"] != own["domains"]
    assert 0 <= sharp["error"] <= 1


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/api/mixtures/demo/2/what-if?budget_percent=900", 422, "at most 4 copies"),
        ("/api/mixtures/demo/2/what-if?policy=none", 422, "There is no policy 'none'"),
        ("/api/mixtures/demo/2/what-if?alpha=2", 422, "less than or equal to 1"),
        ("/api/mixtures/web", 422, "there is no mixture 'web'"),
        ("/api/mixtures/demo?version=9", 422, "there is no mixture 'demo' version 9"),
        ("/api/mixtures/demo?version=99999999999999", 422, "less than 2147483648"),
        ("/api/mixtures/web/diff", 422, "There is no mixture 'web'"),
        ("/api/corpora/99", 422, "There is no corpus 99"),
        ("/api/queries/none", 422, "There is no query 'none'"),
        ("/api/queries/funnel?mixture=demo&other=1", 422, "no parameter other"),
        ("/api/queries/funnel", 422, "needs mixture"),
        ("/api/queries/sample_why?mixture=demo&shard=x&row=x", 422, "invalid input syntax"),
        ("/mixtures/web", 422, "there is no mixture"),
        ("/nothing", 404, "Not Found"),
    ],
)
def test_what_is_wrong_is_said(client: TestClient, path: str, status: int, told: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert told in (" ".join(Seen(answer.text).texts) if path.startswith("/mixtures") else answer.text)


@pytest.mark.parametrize("value", [HOSTILE, "a\0b", "x" * 10_000, "%", "..", "\u202e"])
def test_hostile_values_are_values(client: TestClient, value: str) -> None:
    for path in ("/mixtures/{}", "/mixtures/{}/diff", "/api/queries/{}", "/run?mixture_name={}", "/api/queries/run_costs?run={}"):
        answer = client.get(path.format(quote(value, safe="")))
        assert answer.status_code in (200, 404, 422)
        if "html" in answer.headers["content-type"]:
            assert not any("alert(1)" in script for script in Seen(answer.text).scripts)
    assert len(client.get("/api/mixtures").json()) == 1


def test_hostile_names_of_domains_shards_and_mixtures_are_text(client: TestClient, assigned: LedgeredCorpus) -> None:
    slashless = HOSTILE.replace("/", "-")  # No mixture can have one.
    with transaction(assigned.url) as cursor:
        for statement in (
            "UPDATE mixture_domain SET domain = %(name)s"
            " || (SELECT domain_id FROM domain WHERE domain.name = mixture_domain.domain)",
            "UPDATE domain SET name = %(name)s || domain_id",
            "UPDATE shard SET path = %(name)s || path",
            "UPDATE snapshot SET name = %(name)s || name",
            "UPDATE corpus SET uri = %(name)s",
            "UPDATE mixture SET name = %(slashless)s, airflow_run_id = %(name)s",
            "UPDATE quarantine SET detail = %(name)s",
        ):
            cursor.execute(statement, {"name": HOSTILE, "slashless": slashless})
    name = quote(slashless, safe="")
    for path in ("/", "/corpora/1", f"/mixtures/{name}", f"/mixtures/{name}/diff", f"/mixtures/{name}/2/what-if"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        seen = Seen(answer.text)
        assert any(HOSTILE in text or slashless in text for text in seen.texts), path
        assert "<script>alert" not in answer.text
        for script in seen.scripts:
            assert "</" not in script or "<script" not in script
    found = client.get(f"/api/mixtures/{name}/2/what-if").json()
    assert all(row["domain"].startswith(HOSTILE) for row in found["domains"])
    assert client.get("/api/mixtures").json()[0]["mixture"] == slashless


def test_a_version_without_a_roll_up_is_shown_without_charts(client: TestClient, assigned: LedgeredCorpus) -> None:
    with transaction(assigned.url) as cursor:
        cursor.execute("DELETE FROM mixture_rollup")
        cursor.execute("DELETE FROM mixture_copy_count")
    assert client.get("/mixtures/demo/1").status_code == 200
    assert "can't be estimated" in client.get("/api/mixtures/demo/1/what-if").json()["detail"]
