"""Documents that constraints leave out, in a real Postgres: each rule against a plain one in Python."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from samplemix_core.config.constraints import ConstraintsConfig
from samplemix_core.database import columns, ledger, selection
from samplemix_core.database.connection import Named, rows_as, scalar, transaction
from samplemix_core.errors import ConfigError
from samplemix_core.frozen import load_config
from tests.integration.conftest import LedgeredCorpus, mix

Row = dict[str, Any]


def asked(assigned: LedgeredCorpus, constraints: dict[str, Any]) -> tuple[list[selection.LeftOut], dict[tuple[int, int], str]]:
    """The numbers that are left out, and by which rule each document is."""
    config = load_config(ConstraintsConfig, constraints)
    with transaction(assigned.url) as cursor:
        cursor.execute("SELECT min(cluster_model_id) FROM cluster_model")
        model = scalar(cursor)
        states = ledger.shard_states(cursor, assigned.scope)
        selection.open_left_out(cursor)
        rules = selection.leave_out(cursor, assigned.reader_url, assigned.version, model, states, config)
        counts = selection.count_left_out(cursor, rules, states)
        cursor.execute("SELECT shard_id, row, rule FROM left_out")
        places = {(shard, row): rules[rule] for shard, row, rule in cursor.fetchall()}
        by_shard = selection.left_out_rows(cursor)
        assert {(shard, row) for shard, rows in by_shard.items() for row in rows.rows().tolist()} == places.keys()
    return counts, places


def documents(assigned: LedgeredCorpus) -> list[Row]:
    with transaction(assigned.url) as cursor:
        cursor.execute(
            "SELECT sample_scores.*, shard_id FROM sample_scores JOIN shard ON path = shard JOIN snapshot USING (snapshot_id)"
            " WHERE snapshot.name = sample_scores.snapshot AND superseded_at IS NULL"
        )
        return [dict(row) for row in rows_as(cursor, Named)]


CASES: list[tuple[dict[str, Any], Callable[[Row], bool]]] = [
    ({"exclude": {"where": "language = 'de' AND quality < 6"}}, lambda row: row["language"] == "de" and row["quality"] < 6),
    ({"exclude": {"where": "doc_id LIKE 'doc-%' -- by hand"}}, lambda row: row["doc_id"] is not None),
    ({"exclude": {"where": "license = 'mit'"}}, lambda row: row["license"] == "mit"),
    ({"exclude": {"where": "cluster = 0 OR is_noise OR distance > 2"}}, lambda row: row["cluster"] == 0 or row["is_noise"]),
    ({"exclude": {"where": "doc_id IN ('doc-1', 'now', 'today, it''s random (5)')"}}, lambda row: row["doc_id"] == "doc-1"),
    ({"exclude": {"ids": ["doc-1", "doc-2", "nobody"]}}, lambda row: row["doc_id"] in ("doc-1", "doc-2")),
    ({"exclude": {"hosts": ["SITE-1.example"]}}, lambda row: row["host"] == "site-1.example"),
    ({"exclude": {"hosts": ["https://*.example", "other"]}}, lambda row: True),
    ({"exclude": {"hosts": [".site-1.example", "//site-0.EXAMPLE:443/"]}}, lambda row: row["host"] != "site-2.example"),
    ({"exclude": {"hosts": ["example.org", "te-1.example", "site-0.exampl"]}}, lambda row: False),
    ({"exclude": {"hosts": ["site-0.example/0", "site-1.example/nothing"]}}, lambda row: row["url"] == "https://site-0.example/0"),
    ({"exclude": {"licenses": ["MIT", "cc-by-4.0"]}}, lambda row: row["license"] is not None),
    ({"include": {"licenses": ["MIT"]}}, lambda row: row["license"] != "mit"),
    (
        {"include": {"where": "language = 'en'", "licenses": ["mit", "CC-BY-4.0"]}},
        lambda row: row["language"] != "en" or not row["license"],
    ),
]


@pytest.mark.parametrize(("constraints", "left_out"), CASES)
def test_rules_leave_out_just_what_they_say(
    assigned: LedgeredCorpus, constraints: dict[str, Any], left_out: Callable[[Row], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "_DOCUMENTS_AT_ONCE", 3)
    monkeypatch.setattr(selection, "_ROWS", 2)
    rows = documents(assigned)
    expected = {(row["shard_id"], row["row"]) for row in rows if left_out(row)}
    counts, places = asked(assigned, constraints)
    assert places.keys() == expected
    by_domain = Counter(row["domain"] for row in rows if left_out(row))
    found: Counter[str] = Counter()
    for item in counts:
        found[item.domain] += item.documents
    assert found == by_domain


def test_a_document_counts_for_the_first_rule_and_hashes_are_read_in_any_form(assigned: LedgeredCorpus) -> None:
    rows = documents(assigned)
    first, second = rows[0]["content_hash"], rows[-1]["content_hash"]
    constraints = {
        "exclude": {"where": "row = 0", "hashes": [str(first), second.hex.upper()]},
        "include": {"where": "row < 2"},
    }
    _, places = asked(assigned, constraints)
    for row in rows:
        rule = places.get((row["shard_id"], row["row"]))
        if row["row"] == 0:
            assert rule == "exclude.where"
        elif row["content_hash"] in (first, second):
            assert rule == "exclude.hashes"
        else:
            assert rule == (None if row["row"] < 2 else "include.where")


def test_what_is_left_out_gives_its_place_to_a_twin(assigned: LedgeredCorpus) -> None:
    config = load_config(ConstraintsConfig, {"exclude": {"where": "snapshot = 'crawl-a'"}})
    with transaction(assigned.url) as cursor:
        before = columns.find_duplicates(cursor, assigned.scope)
        alone = columns.find_duplicates(cursor, replace(assigned.scope, snapshot_ids=assigned.snapshot_ids[1:]))
        states = ledger.shard_states(cursor, assigned.scope)
        selection.open_left_out(cursor)
        selection.leave_out(cursor, assigned.reader_url, assigned.version, 1, states, config)
        after = columns.find_duplicates(cursor, assigned.scope, selection.LEFT_OUT)
    assert {shard: rows.rows().tolist() for shard, rows in after.items()} == {
        shard: rows.rows().tolist() for shard, rows in alone.items()
    }
    assert before != after


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("quality <", "syntax error"),
        ("colour = 'red'", 'column "colour" does not exist'),
        ("quality = 'high'", "invalid input syntax"),
        ("n_tokens / 0 > 1", "division by zero"),
        ("true) IS TRUE THEN 0 END FROM sample; DROP TABLE sample; --", "Postgres refuses"),
        ("pg_sleep(1) IS NULL AND (DELETE FROM sample RETURNING true)", "Postgres refuses"),
        ("EXISTS (SELECT FROM pg_authid)", "not allowed"),
        ("row_number() OVER (ORDER BY quality) > 1", "window functions are not allowed"),
        ("count(*) > 1", "aggregate functions are not allowed"),
        ("false) IS TRUE THEN 0 WHEN (quality < 5) IS TRUE THEN 99 WHEN (false", "syntax error"),
        ("random() < 0.5", "asks for random, which isn't the same each time"),
        ("now() > '2026-01-01'", "asks for now"),
        ("current_date > '2026-01-01'", "asks for current_date"),
        ("'now'::timestamptz > '2026-01-01'", "asks for 'now'::"),
    ],
)
def test_a_condition_that_postgres_refuses_is_told_and_harms_nothing(assigned: LedgeredCorpus, where: str, said: str) -> None:
    before = documents(assigned)
    with pytest.raises(ConfigError) as raised:
        asked(assigned, {"exclude": {"where": where}})
    assert said in raised.value.what
    assert "exclude.where" in str(raised.value)
    assert documents(assigned) == before


@pytest.mark.parametrize(
    "constraints",
    [
        {"exclude": {"where": " "}},
        {"exclude": {"hashes": ["abc"]}},
        {"exclude": {"hosts": [""]}},
        {"exclude": {"hosts": ["https:///path"]}},
        {"exclude": {"hosts": ["a b.org"]}},
        {"exclude": {"hosts": ["a.*.org"]}},
        {"shares": {"domain=a": 0.1, "domain = a": 0.2}},
        {"include": {"licenses": [" "]}},
        {"exclude": {"ids": ["a\0"]}},
        {"exclude": {"urls": ["x"]}},
    ],
)
def test_selections_that_make_no_sense_are_refused(constraints: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        load_config(ConstraintsConfig, constraints)


def test_licences_are_met_in_any_case_and_one_of_several_leaves_out_but_all_have_to_be_allowed(assigned: LedgeredCorpus) -> None:
    with transaction(assigned.url) as cursor:
        cursor.execute(
            "UPDATE sample SET license = CASE row WHEN 0 THEN 'LICEN\u00c7A \u00dc' WHEN 1 THEN 'MIT, GPL-3.0' ELSE 'MIT' END"
        )

    def left_out(constraints: dict[str, Any]) -> set[str]:
        _, places = asked(assigned, constraints)
        rows = documents(assigned)
        return {row["license"] for row in rows if (row["shard_id"], row["row"]) in places}

    assert left_out({"exclude": {"licenses": ["licen\u00e7a \u00fc"]}}) == {"LICEN\u00c7A \u00dc"}
    assert left_out({"exclude": {"licenses": ["gpl-3.0"]}}) == {"MIT, GPL-3.0"}
    assert left_out({"include": {"licenses": ["mit"]}}) == {"LICEN\u00c7A \u00dc", "MIT, GPL-3.0"}
    assert left_out({"include": {"licenses": ["mit", "GPL-3.0"]}}) == {"LICEN\u00c7A \u00dc"}


def test_the_rule_of_one_document_can_be_asked(assigned: LedgeredCorpus) -> None:
    mix(assigned, 1)
    config = load_config(ConstraintsConfig, {"exclude": {"where": "row = 1", "hosts": ["site-0.example"]}})
    with transaction(assigned.reader_url) as cursor:
        for row in documents(assigned):
            rule = selection.rule_of(cursor, assigned.reader_url, 1, row["shard"], row["row"], config)
            expected = "exclude.where" if row["row"] == 1 else "exclude.hosts" if row["host"] == "site-0.example" else None
            assert rule == expected
        assert selection.rule_of(cursor, assigned.reader_url, 1, "crawl-a/nothing", 0, config) is None
        assert selection.rule_of(cursor, assigned.reader_url, 1, "crawl-a/a.jsonl", 0, ConstraintsConfig()) is None
