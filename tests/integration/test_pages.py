"""Every page and every answer of the API, on a mixture in Postgres; with names that mean harm. Airflow's login: tests/e2e."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from fastapi.testclient import TestClient

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.config.run import AuditConfig, Limit
from samplemix_core.database import descriptions, registration, samples
from samplemix_core.database.connection import scalar, transaction
from samplemix_core.database.evaluations import load_comparison, save_comparison
from samplemix_core.database.query import run_query
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, QueryError
from samplemix_core.evaluation.comparison import (
    Checked,
    Comparison,
    Contender,
    TargetFacts,
    TextGroup,
    gains,
    group_losses,
    noise,
    together,
    views,
)
from samplemix_core.evaluation.curves import stops
from samplemix_core.manifest.format import SolverRecord
from samplemix_core.operations.quality_audit import audit_corpus
from samplemix_core.pages import api
from samplemix_core.pages import app as pages
from samplemix_core.pages import samples as pages_samples
from samplemix_core.pages.charts import COLOURS
from samplemix_core.pages.html import query
from samplemix_core.policies.registry import all_parameters
from samplemix_core.report.why import why_fewer
from tests.integration.conftest import TEXTS, LedgeredCorpus, mix

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
    """The pages, without a login, on a mixture of two versions whose clusters are described."""
    places = np.array([[-1, -1], [0.5, 0.25], [1, 1]], dtype=np.float32)
    with transaction(assigned.url) as cursor:
        assert not descriptions.is_described(cursor, 1)
        found = descriptions.Description(places, [["null", "alpha"], [], ["beta"]], np.array([1, np.nan, 0.5], dtype=np.float32))
        descriptions.save_description(cursor, 1, found)
        assert descriptions.is_described(cursor, 1)
    for version, step in ((1, 7), (2, 5)):
        mix(assigned, version, step)
    compare(assigned)
    app = pages.make_app(lambda: None)
    app.dependency_overrides[api.reader] = lambda: assigned.reader_url
    with TestClient(app, root_path="/air/samplemix") as client:
        yield client


def compare(assigned: LedgeredCorpus) -> None:
    """Store a comparison of mixtures, one of which isn't known to be better or worse."""
    groups = [TextGroup("held", name, half) for name in (HOSTILE, "web") for half in (0, 1)]
    n_bytes = np.array([100, 200, 300, 400])
    tokens = stops(100_000)
    draws = {
        name: [Checked(tokens, (9 - np.log(tokens[:, np.newaxis] * saves * (1 + 0.01 * draw))) * n_bytes) for draw in range(3)]
        for name, saves in {"natural": 1.0, HOSTILE: 2.0, "worse": 0.5}.items()
    }
    seen = views(groups, n_bytes, {"held": {HOSTILE: 0.5, "web": 0.5}})
    about = {"policy": "topk", "realised_tokens": 10, "tokens": 9, "documents": 3, "copies": 4, "epochs": 1.2, "seconds": 1}
    contenders = tuple(
        Contender(
            **{"name": name, **about, "multipliers": {"domain": {HOSTILE: 0.2, "web": 1.3}}},
            gains=tuple(gains(own, draws["natural"], n_bytes, seen)),
            groups=tuple(group_losses(own, draws["natural"], groups, n_bytes)),
            like_source=together(own, draws["natural"], n_bytes, seen[:1]),
            elsewhere=together(own, draws["natural"], n_bytes, seen[1:]),
            settings={"policy": {"name": "topk"}, "title": HOSTILE},
        )
        for name, own in draws.items()
    )
    facts = [TargetFacts(name=name, key="k", drawn=name == "held", texts=4, n_bytes=1000, held_by=2) for name in ("held", HOSTILE)]
    found = Comparison(
        **{"method": "quick", "vocabulary": "v", "tokens": 100_000, "share": 0.5, "draws": 3, "budget_tokens": 10},
        targets=tuple(facts),
        contenders=contenders,
        noise=tuple(noise(draws["natural"], n_bytes, seen)),
    )
    with transaction(assigned.url) as cursor:
        number = save_comparison(cursor, "s3://bucket/corpus", "demo", 2, found.model_dump(mode="json"), "run", {})
        assert number == 1
        assert Comparison.model_validate(load_comparison(cursor, number)["report"]) == found
        with pytest.raises(ConfigError, match="There is no comparison 2"):
            load_comparison(cursor, 2)


PAGES = (
    "/",
    "/corpora/1",
    "/corpora/1/quality",
    "/mixtures/demo",
    "/mixtures/demo/1",
    "/mixtures/demo/diff",
    "/mixtures/demo/2/what-if",
    "/mixtures/demo/2/clusters",
    "/mixtures/demo/2/map",
    "/mixtures/demo/2/samples",
    "/mixtures/demo/2/samples?order=place&copies_to=0&domain=&cluster=",
    "/mixtures/demo/2/search",
    "/mixtures/demo/2/near-duplicates",
    "/mixtures/demo/2/contamination",
    "/comparisons",
    "/comparisons/1",
    "/run",
    "/runs/manual__2026-01-01T00%3A00%3A00%2B00%3A00%2Fx",
    "/docs",
)
ANSWERS = (
    *("/api/queries", "/api/corpora", "/api/corpora/1", "/api/mixtures", "/api/mixtures/demo", "/api/mixtures/demo?version=1"),
    *("/api/mixtures/demo/diff", "/api/mixtures/demo/diff?older=2&newer=1", "/api/mixtures/demo/2/what-if?alpha=0.1"),
    "/api/mixtures/demo/2/clusters",
    "/api/mixtures/demo/2/map",
    *("/api/mixtures/demo/2/samples", "/api/mixtures/demo/1/samples?order=distance&cluster=1"),
    *("/api/mixtures/demo/2/near-duplicates", "/api/mixtures/demo/2/contamination"),
    *("/api/queries/funnel?mixture=demo", "/api/queries/comparison?comparison=1", "/openapi.json"),
)


@pytest.mark.parametrize("path", [*PAGES[:2], *ANSWERS[:3], "/static/swagger-ui.css", "/swagger", "/corpora/none", "/not/there"])
def test_every_answer_says_what_it_is_and_what_it_may_run(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe-eval" not in headers["content-security-policy"]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_whole_and_needs_nothing_from_elsewhere(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    seen = Seen(answer.text)
    assert seen.outside == []
    assert all(link.startswith(("/air/", "#", "?")) for link in seen.links), seen.links
    assert "Undefined" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    allowed = re.search(r"script-src 'nonce-([\w-]+)';", answer.headers["content-security-policy"])
    assert allowed
    assert answer.text.count("<script") == answer.text.count(f'<script nonce="{allowed[1]}"') > 0
    for link in {link for link in seen.links if link.startswith("/air/samplemix")}:
        inside = link.removeprefix("/air/samplemix")
        if not inside.endswith(("/2/picture.png", "/1/picture.png", "/files")) or "comparisons" in inside:
            # The others read a manifest, which is not there.
            assert client.get(inside).status_code == 200, link


@pytest.mark.parametrize("path", ANSWERS)
def test_the_api_answers_what_the_pages_show(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.json()


def test_a_budget_that_is_not_met_is_said(client: TestClient, assigned: LedgeredCorpus) -> None:
    said = "of the budget is not met"
    for short, told in (("1.005", False), ("1.25", True)):
        with transaction(assigned.url) as cursor:
            cursor.execute("UPDATE mixture SET budget_tokens = (realised_tokens * %s::float8)::bigint WHERE version = 2", (short,))
        assert (said in client.get("/mixtures/demo/2").text) == told
    assert f"20.0% {said}" in client.get("/mixtures/demo/2").text


def test_the_api_is_described_and_only_reads(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    assert described["servers"] == [{"url": "/air/samplemix"}]
    assert {method for methods in described["paths"].values() for method in methods} == {"get"}
    assert {path.partition("?")[0] for path in described["paths"]} >= {
        "/api/mixtures/{name}/{version}/what-if",
        "/api/queries/{name}",
    }
    tried = described["paths"]["/api/mixtures/{name}/{version}/what-if"]["get"]["parameters"]
    own = {"name", "version", "policy", "budget_percent", "max_copies"}
    assert {item["name"] for item in tried} == own | all_parameters().keys() - {"shares", "topics", "formats"}
    for path in (*PAGES, *ANSWERS):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert client.request(method, path).status_code == 405


def test_the_page_to_try_the_api_out_needs_nothing_from_elsewhere(client: TestClient) -> None:
    seen = Seen(client.get("/swagger").text)
    assert seen.outside == []
    assert len(seen.links) == 3
    for link in seen.links:
        answer = client.get(link.removeprefix("/air/samplemix"))
        assert answer.status_code == 200
        assert len(answer.content) > 1000
    assert any("/air/samplemix/openapi.json" in script for script in seen.scripts)
    assert client.get("/static/other.js").status_code == 422


def test_a_run_says_what_it_made(client: TestClient, assigned: LedgeredCorpus) -> None:
    with transaction(assigned.url) as cursor:
        cursor.execute("UPDATE mixture SET airflow_run_id = 'manual/a b+c' WHERE version = 2")
    seen = Seen(client.get("/runs/manual%2Fa%20b%2Bc").text)
    assert "/air/samplemix/mixtures/demo/2" in seen.links
    assert "/air/samplemix/mixtures/demo/1" not in seen.links


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


def test_a_version_whose_own_settings_can_not_be_estimated_has_its_page(client: TestClient, assigned: LedgeredCorpus) -> None:
    with transaction(assigned.url) as cursor:
        cursor.execute('UPDATE mixture SET config = config || \'{"policy": {"name": "semdedup"}}\' WHERE version = 2')
    seen = client.get("/mixtures/demo/2/what-if")
    assert seen.status_code == 200
    assert "The published settings can&#39;t be estimated" in seen.text or "The published settings can't be estimated" in seen.text
    assert client.get("/api/mixtures/demo/2/what-if").status_code == 422
    assert client.get("/api/mixtures/demo/2/what-if?policy=natural").json()["error"] is None


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/api/mixtures/demo/2/what-if?budget_percent=900", 422, "at most 4 copies"),
        ("/api/mixtures/demo/2/what-if?policy=none", 422, "there is no policy 'none'; choose one of: betr, cluster_balanced"),
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
        ("/api/mixtures/demo/1/samples?order=distance", 422, "give its number"),
        ("/api/mixtures/demo/1/samples?after=1,2", 422, "Start again"),
        ("/api/mixtures/demo/1/samples?order=place&after=1,2,x", 422, "Start again"),
        ("/api/mixtures/demo/1/samples?snapshot=none", 422, "not made from a snapshot 'none'"),
        ("/api/mixtures/demo/1/samples?shard=none", 422, "no shard 'none'"),
        ("/api/mixtures/demo/1/samples?quality_from=nan", 422, "finite number"),
        ("/api/mixtures/demo/1/samples?colour=red", 422, "Extra inputs"),
        ("/api/mixtures/demo/1/search?shard=none&words=%20", 422, "no word"),
        ("/api/mixtures/demo/1/search?shard=none&words=x", 422, "no shard 'none'"),
        ("/api/mixtures/demo/1/sample?shard=none&row=1", 422, "no document in row 1"),
        ("/api/corpora/1/text?shard=crawl-a/a.jsonl&row=99999999999999999999", 422, "less than"),
        ("/nothing", 404, "Not Found"),
    ],
)
def test_what_is_wrong_is_said(client: TestClient, path: str, status: int, told: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert told in (" ".join(Seen(answer.text).texts) if path.startswith("/mixtures") else answer.text)


@pytest.mark.parametrize("value", [HOSTILE, "a\0b", "x" * 10_000, "%", "..", "\u202e"])
def test_hostile_values_are_values(client: TestClient, value: str) -> None:
    sample = "/mixtures/demo/1/sample"
    for path in (
        *("/mixtures/{}", "/mixtures/{}/diff", "/api/queries/{}", "/run?mixture_name={}", "/api/queries/run_costs?run={}"),
        *("/runs/{}", f"{sample}s?domain={{}}", f"{sample}s?shard={{}}", f"{sample}s?after={{}}", f"{sample}?shard={{}}&row=0"),
        *("/mixtures/demo/1/search?shard={0}&words={0}", "/api/corpora/1/text?shard={}&row=1"),
    ):
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
    mixture = f"/mixtures/{name}"
    pages = ["/", "/corpora/1", mixture, f"{mixture}/diff", f"{mixture}/2/what-if", f"{mixture}/2/samples?order=place"]
    pages += [f"{mixture}/2/clusters?colour={colour}" for colour in COLOURS]
    for path in pages:
        answer = client.get(path)
        assert answer.status_code == 200, path
        seen = Seen(answer.text)
        assert any(HOSTILE in text or slashless in text for text in seen.texts), path
        assert "<script>alert" not in answer.text
        nonce = re.search(r"'nonce-([\w-]+)'", answer.headers["content-security-policy"])
        assert nonce
        assert answer.text.count(nonce[1]) == len(re.findall(r"<script nonce=", answer.text))
        assert f'<script nonce="{nonce[1]}">alert' not in answer.text
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


ALL = """
SELECT path AS shard, sample.row, domain.name AS domain, sample.n_tokens, coalesce(copies, 0) AS copies, weight, score.quality,
       d.diversity, assigned.cluster, distance, snapshot_id, shard_id
FROM sample
JOIN quality_score AS score USING (snapshot_id, shard_id, row)
JOIN diversity_score AS assigned USING (snapshot_id, shard_id, row)
JOIN cluster AS d USING (cluster_model_id, cluster)
JOIN shard USING (snapshot_id, shard_id)
JOIN domain USING (domain_id)
LEFT JOIN (SELECT * FROM mixture_sample WHERE mixture_id = 2) AS held USING (snapshot_id, shard_id, row)
"""
ORDERS: dict[samples.Order, Any] = {
    "copies": lambda row: [-row[name] for name in ("copies", "weight", "snapshot_id", "shard_id", "row")],
    "weight": lambda row: [row[name] for name in ("weight", "snapshot_id", "shard_id", "row")],
    "quality": lambda row: [-row[name] for name in ("quality", "shard_id", "row")],
    "distance": lambda row: [row[name] for name in ("distance", "shard_id", "row")],
    "place": lambda row: [row[name] for name in ("snapshot_id", "shard_id", "row")],
}
FILTERS: dict[str, Any] = {
    "": lambda row: True,
    "domain=web": lambda row: row["domain"] == "web",
    "snapshot=crawl-b&quality_from=4": lambda row: row["shard"].startswith("crawl-b/") and row["quality"] >= 4,
    "shard=crawl-b/B.jsonl": lambda row: row["shard"] == "crawl-b/B.jsonl",
    "copies_from=1&copies_to=2&quality_to=7": lambda row: 1 <= row["copies"] <= 2 and row["quality"] <= 7,
    "copies_to=0": lambda row: row["copies"] == 0,
    "diversity_from=0.4&diversity_to=0.6": lambda row: 0.4 <= row["diversity"] <= 0.6,
    "cluster=2": lambda row: row["cluster"] == 2,
}


@pytest.mark.parametrize("order", ORDERS)
def test_pages_of_samples_hold_each_once_in_order(
    client: TestClient, assigned: LedgeredCorpus, order: samples.Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "PAGE_ROWS", 3)
    monkeypatch.setattr(samples, "LOOK_SECONDS", -1.0)
    monkeypatch.setitem(samples._WALKS, order, replace(samples._WALKS[order], looks=4))
    documents = [row for row in run_query(assigned.reader_url, ALL) if row["copies"] or order not in ("copies", "weight")]
    for chosen, keep in FILTERS.items():
        within = "&cluster=2" if order == "distance" and chosen != "cluster=2" else ""
        expected = sorted((row for row in documents if keep(row) and (not within or row["cluster"] == 2)), key=ORDERS[order])
        found: list[tuple[str, int]] = []
        after: str | None = ""
        asked = 0
        while after is not None and asked < 50:
            answer = client.get(f"/api/mixtures/demo/2/samples?order={order}&{chosen}{within}&after={after}").json()
            found += [(row["shard"], row["row"]) for row in answer["samples"]]
            if len(answer["samples"]) < 3:
                assert answer["looked"] == (4 if answer["more"] else None)
            after, asked = answer["more"], asked + 1
        assert found == [(row["shard"], row["row"]) for row in expected], chosen
        monkeypatch.setattr(samples, "LOOK_SECONDS", 60.0)
        whole = client.get(f"/api/mixtures/demo/2/samples?order={order}&{chosen}{within}").json()
        assert [(row["shard"], row["row"]) for row in whole["samples"]] == found[:3], "time to look further by itself"
        assert (whole["more"] is None) == (len(found) <= 3)
        monkeypatch.setattr(samples, "LOOK_SECONDS", -1.0)


@pytest.fixture
def files(assigned: LedgeredCorpus, tmp_path: Path) -> Path:
    """The corpus's files, as they were scored."""
    for shard, texts in zip(assigned.shards, TEXTS.values(), strict=False):
        lines = [json.dumps({"text": text, "id": f"id {i}"}) for i, text in enumerate(texts)]
        if shard is assigned.shards[0]:
            lines.insert(1, "[]")
        path = tmp_path / shard.path
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines))
    reader = ReaderConfig(domain_path_index=0).model_dump_json()
    with transaction(assigned.url) as cursor:
        cursor.execute("UPDATE corpus SET uri = %s, reader = %s", (f"file://{tmp_path}", reader))
    return tmp_path


def text(client: TestClient, shard: str, row: int) -> Any:
    return client.get(f"/api/corpora/1/text?shard={quote(shard)}&row={row}").json()


def test_the_text_of_a_document_comes_from_its_shard(client: TestClient, assigned: LedgeredCorpus, files: Path) -> None:
    shard = assigned.shards[0].path
    found = [text(client, shard, row) for row in (0, 2, 4)]
    assert [item["text"] for item in found] == [TEXTS[0][0], TEXTS[0][1], TEXTS[0][3]]
    assert [item["changed"] for item in found] == [False] * 3
    assert found[0]["doc_id"] == "id 0"
    assert "no document in row 1" in text(client, shard, 1)["detail"], "a record that was set aside"
    assert "no document in row 99" in text(client, shard, 99)["detail"]
    hostile = f"<img src=x onerror=alert(1)>\u202e {HOSTILE}" + "x" * pages_samples.MAX_SHOWN
    (files / shard).write_text(json.dumps({"text": hostile}))
    changed = text(client, shard, 0)
    assert (changed["changed"], changed["characters"]) == (True, len(hostile))
    assert changed["text"] == hostile[: pages_samples.MAX_SHOWN]
    (files / shard).unlink()
    assert "No such file" in text(client, shard, 0)["detail"]


def test_words_are_found_in_a_shard_a_page_at_a_time(
    client: TestClient, assigned: LedgeredCorpus, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages_samples, "PAGE_ROWS", 1)
    shard = assigned.shards[0].path
    search = f"/api/mixtures/demo/2/search?shard={quote(shard)}&words="
    first = client.get(f"{search}ONE%20alpha").json()
    assert [(item["row"], item["excerpt"]) for item in first["matches"]] == [(0, "alpha one")]
    second = client.get(f"{search}one&row={first['more']}").json()
    assert [item["row"] for item in second["matches"]] == [3]
    assert second["matches"][0]["sample"]["copies"] == 0, "a duplicate of the first"
    last = client.get(f"{search}one&row={second['more']}").json()
    assert (last["matches"], last["more"]) == ([], None)
    assert client.get(f"{search}alpha%20beta").json()["matches"] == []
    monkeypatch.setattr(pages_samples, "SEARCH_SECONDS", -1.0)
    stopped = client.get(f"{search}nothing").json()
    assert (stopped["matches"], stopped["looked"], stopped["more"]) == ([], 4, 5)
    monkeypatch.setattr(pages_samples, "SEARCH_SECONDS", 5.0)
    # The time is up at the second batch of 128 records, which holds no document.
    (files / shard).write_text('{"text": "first"}\n' + "[]\n" * 300)
    with monkeypatch.context() as patch:
        patch.setattr(pages_samples, "time", SimpleNamespace(monotonic=iter([0.0, 1.0, 6.0]).__next__))
        assert client.get(f"{search}nothing").json() == {"matches": [], "looked": 1, "more": 1}
    (files / shard).write_text('{"text": "the one"}')
    shown = client.get(f"/mixtures/demo/2/search?shard={quote(shard)}&words=one")
    assert "the one" in Seen(shown.text).texts


def test_a_duplicate_says_of_which_document(client: TestClient, assigned: LedgeredCorpus) -> None:
    shard = assigned.shards[0].path
    why = client.get(f"/api/mixtures/demo/2/sample?shard={quote(shard)}&row=3").json()
    assert (why["became"], why["chances"]) == ("duplicate", [])
    assert (why["twins"][0]["shard"], why["twins"][0]["row"]) == (shard, 0)
    shown = client.get(f"/mixtures/demo/2/sample?shard={quote(shard)}&row=3")
    assert f"row 0 of {shard}" in Seen(shown.text).texts


def test_what_was_left_out_is_shown_with_those_for_whom(client: TestClient, assigned: LedgeredCorpus) -> None:
    assert "older than that setting" in client.get("/mixtures/demo/2/near-duplicates").text
    assert "keeps no benchmark out" in client.get("/mixtures/demo/2/contamination").text
    with transaction(assigned.url) as cursor:
        cursor.execute("SELECT mixture_id FROM mixture WHERE name = 'demo' AND version = 2")
        mixture = scalar(cursor)
        cursor.execute(
            "SELECT shard_id, path, min(content_hash::text) FROM sample JOIN shard USING (shard_id) GROUP BY 1, 2 ORDER BY 1"
        )
        shard, path, content_hash = cursor.fetchall()[0]
        cursor.execute("SELECT row FROM sample WHERE content_hash = %s AND shard_id = %s ORDER BY 1", (content_hash, shard))
        held = cursor.fetchall()[0][0]
        cursor.execute("INSERT INTO mixture_near_duplicate VALUES (%s, %s, 2, %s, 0, 0.875)", (mixture, shard, shard))
        cursor.execute(
            "INSERT INTO benchmark (benchmark_key, name, items, parts, artifact_key, artifact_sha256, report)"
            " VALUES ('key', 'exam', 5, 4, 'a', 'b', '{\"recall\": {\"exact\": 0.75}}') RETURNING benchmark_id"
        )
        benchmark = scalar(cursor)
        cursor.execute("INSERT INTO mixture_benchmark VALUES (%s, %s)", (mixture, benchmark))
        cursor.execute("INSERT INTO contamination VALUES (%s, %s, 3, 'passage', 0.8125, 1)", (benchmark, content_hash))
        cursor.execute("SELECT min(domain_id) FROM sample")
        domain = scalar(cursor)
        for rule in ("near_duplicates", "contaminated.exam"):
            cursor.execute("INSERT INTO mixture_left_out VALUES (%s, %s, %s, 1)", (mixture, domain, rule))
    alike = client.get("/mixtures/demo/2/near-duplicates")
    assert {path, "0.875"} <= set(Seen(alike.text).texts)
    assert sum(link.endswith("row=0") or link.endswith("row=2") for link in Seen(alike.text).links) == 2
    (kept,) = client.get("/api/mixtures/demo/2/near-duplicates").json()["kept"]
    assert (kept["shard"], kept["row"], kept["documents"], kept["example_row"]) == (path, 0, 1, 2)
    kept_out = client.get("/mixtures/demo/2/contamination")
    assert {"exam", "passage", "contaminated.exam", path} <= set(Seen(kept_out.text).texts)
    found = client.get("/api/mixtures/demo/2/contamination").json()
    assert [row["recall_exact"] for row in found["benchmarks"]] == [0.75]
    assert (path, held, 3) in {(row["shard"], row["row"], row["item"]) for row in found["found"]}
    version = client.get("/mixtures/demo/2").text
    assert "Left out, by the first rule that did it" in version
    shown = client.get(f"/mixtures/demo/2/sample?shard={quote(path)}&row=0").text
    assert "Documents that are left out for this one" in shown


def test_clusters_have_words_and_a_place_and_what_the_mixture_did_to_them(client: TestClient, assigned: LedgeredCorpus) -> None:
    rows = {row["cluster"]: row for row in client.get("/api/mixtures/demo/2/clusters").json()}
    assert {number: row["terms"] for number, row in rows.items()} == {0: ["null", "alpha"], 1: [], 2: ["beta"]}
    assert [(rows[number]["x"], rows[number]["y"]) for number in range(3)] == [(-1, -1), (0.5, 0.25), (1, 1)]
    (mixture,) = client.get("/api/queries/mixture_version?mixture=demo&version=2").json()
    for name in ("samples", "documents"):
        assert sum(row[name] for row in rows.values()) == mixture["samples" if name == "samples" else "eligible"]
    assert "alpha" in client.get("/mixtures/demo/2/clusters").text
    with transaction(assigned.url) as cursor:
        cursor.execute("UPDATE cluster SET x = NULL, y = NULL, terms = NULL")
    assert "next run finds them" in client.get("/mixtures/demo/2/clusters").text


def test_documents_are_on_a_map_with_what_became_of_them(client: TestClient, assigned: LedgeredCorpus) -> None:
    assert client.get("/api/mixtures/demo/2/map").json()["columns"]["x"] == []
    hostile = "</script><script>alert(1)</script>\0 \u202e{{ 7 }}"
    shard = assigned.shards[1]
    rows = np.array([0, 1], dtype=np.int64)
    places = np.array([[-1, 0.5], [1, 0.123456]], dtype=np.float32)
    for beginnings in (["first", "last"], [hostile, "last"]):
        with transaction(assigned.url) as cursor:
            descriptions.save_map(cursor, 1, [descriptions.MappedDocuments(shard, rows, places, beginnings)], "some")
    found = client.get("/api/mixtures/demo/2/map").json()
    columns = found["columns"]
    assert columns["beginning"] == [hostile.replace("\0", "\ufffd"), "last"]
    assert (columns["x"], columns["y"]) == ([-1, 1], [0.5, 0.1235])
    assert columns["shard"] == [shard.path] * 2
    assert columns["row"] == [0, 1]
    known = {(row["shard"], row["row"]): row for row in run_query(assigned.reader_url, ALL)}
    for i in range(2):
        document = known[shard.path, columns["row"][i]]
        for name in ("domain", "quality", "copies", "n_tokens"):
            assert columns[name][i] == pytest.approx(document[name])
        assert columns["cluster"][i] == f"1.{document['cluster']}"
    assert found["clusters"]["1.0"] == "null, alpha"
    # A version whose samples were dropped doesn't know its copies.
    with transaction(assigned.url) as cursor:
        cursor.execute("ALTER TABLE mixture_sample DETACH PARTITION mixture_sample_m1")
        cursor.execute("ALTER TABLE mixture_sample_m1 RENAME TO dropped")
    assert client.get("/api/mixtures/demo/1/map").json()["columns"]["copies"] == [None, None]
    # Nothing of a shard that is scored again stays behind.
    with transaction(assigned.url) as cursor:
        registration.forget_shards(cursor, "s3://bucket/corpus", [shard.path])
    assert client.get("/api/mixtures/demo/2/map").json()["columns"]["x"] == []


def test_what_quality_models_measure_is_shown_with_the_documents_to_look_at(
    client: TestClient, assigned: LedgeredCorpus, database: Deployment
) -> None:
    assert "nothing" in client.get("/corpora/1/quality").text
    config = AuditConfig(least_documents=2, extremes=2, length_correlation=Limit(warn=0.0), source_r2=Limit(stop=0.0))
    found = audit_corpus(database, "s3://bucket/corpus", config)
    (model,) = found.models
    assert model.documents == len(found.places) == 14
    shown = Seen(client.get("/corpora/1/quality").text)
    for finding in model.findings:
        assert any(finding.said in text for text in shown.texts)
    assert model.verdict in shown.texts
    (kept,) = client.get("/api/queries/quality_audits?corpus=s3://bucket/corpus").json()
    places = {(item["shard"], item["row"]) for item in kept["extremes"]}
    assert len(places) > 4
    for shard, row in places:
        assert f"/air/samplemix/api/corpora/1/text?{query({'shard': shard, 'row': row})}" in shown.links
    again = audit_corpus(database, "s3://bucket/corpus", AuditConfig(), snapshots=["crawl-b"])
    assert {place.snapshot for place in again.places} == {"crawl-b"}
    with pytest.raises(ConfigError, match="has no snapshot crawl-z"):
        audit_corpus(database, "s3://bucket/corpus", AuditConfig(), snapshots=["crawl-z"])
    with pytest.raises(QueryError, match="There is no corpus"):
        audit_corpus(database, "s3://bucket/none", AuditConfig())


@pytest.mark.parametrize(
    ("max_share", "passed_over", "copies", "said"),
    [
        (1.0, 0, 3, ""),
        (1.0, 0, 4, "paid for one copy more"),
        (1.0, 2, 1, "so it was skipped"),
        (0.01, 2, 1, "exceed 1.00% of the budget"),
        (0.5, 0, 1, ""),
    ],
)
def test_a_sample_with_fewer_copies_than_its_weight_gives_says_why(
    max_share: float, passed_over: int, copies: int, said: str
) -> None:
    solver = SolverRecord(max_copies=3, max_share=max_share, kappa=1.0, next_tokens=9, passed_over=passed_over)
    found = why_fewer(solver, 10_000, 3.4, copies, 60)
    assert said in found
    assert bool(said) == bool(found)


def test_a_sample_that_earlier_phases_had_spent_says_so() -> None:
    solver = SolverRecord(max_copies=3, kappa=1.0, next_tokens=9)
    assert why_fewer(solver, 10_000, 3.4, 1, 60, most=1) == "The constraints allow it 1 copy at most."
    assert "had spent 2 of its copies, so that 1 was left" in why_fewer(solver, 10_000, 3.4, 1, 60, spent=2, most=1)
    assert why_fewer(solver, 10_000, 1.4, 1, 60, spent=2, most=1) == ""
