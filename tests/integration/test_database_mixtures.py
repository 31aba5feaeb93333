"""Duplicates, what mixing reads, and what a published mixture leaves in the database."""

from dataclasses import replace
from typing import Any

import pytest

from samplemix_core.database import columns, connection, ledger, mixtures, registration
from samplemix_core.database.connection import Named, rows_as, scalar, transaction
from samplemix_core.database.mixtures import MixtureRows
from samplemix_core.database.scope import Shard
from samplemix_core.errors import AccountingError, ManifestError
from samplemix_core.manifest.format import (
    Manifest,
    domain_shares,
)
from samplemix_core.mixing.shard_samples import RowSet, ShardSamples
from samplemix_core.objects.interface import ObjectInfo
from tests.integration.conftest import TEXTS, LedgeredCorpus, rollup_for, rows_in
from tests.manifests import LINEAGE, manifest_of


def read(assigned: LedgeredCorpus, snapshot_ids: tuple[int, ...] | None = None) -> list[tuple[Shard, ShardSamples]]:
    scope = replace(assigned.scope, snapshot_ids=snapshot_ids or assigned.snapshot_ids)
    with transaction(assigned.url) as cursor:
        cursor.execute("SELECT min(cluster_model_id) FROM cluster_model")
        model = scalar(cursor)
        return list(columns.stream_samples(cursor, assigned.version, model, ledger.shard_states(cursor, scope)))


@pytest.mark.parametrize("page", [1, 1000])
def test_the_earliest_by_snapshot_path_and_row_is_kept(
    assigned: LedgeredCorpus, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ROWS_PER_FETCH", page)
    first: dict[str, tuple[int, int]] = {}
    expected: dict[int, list[int]] = {}
    for index, texts in TEXTS.items():
        for i, text in enumerate(texts):
            row = i + 1 if index == 0 and i >= 1 else i
            if text in first:
                expected.setdefault(assigned.shards[index].shard_id, []).append(row)
            else:
                first[text] = (index, row)
    with transaction(assigned.url) as cursor:
        found = columns.find_duplicates(cursor, assigned.scope)
        alone = columns.find_duplicates(cursor, replace(assigned.scope, snapshot_ids=assigned.snapshot_ids[1:]))
        none = columns.find_duplicates(cursor, replace(assigned.scope, version=replace(assigned.version, encoder_id=999)))
    assert {shard: rows.rows().tolist() for shard, rows in found.items()} == expected
    assert {shard: rows.size for shard, rows in found.items()} == {shard: len(rows) for shard, rows in expected.items()}
    assert {shard: rows.rows().tolist() for shard, rows in alone.items()} == {assigned.shards[4].shard_id: [0, 2]}
    assert none == {}


def test_languages_and_kinds_are_read_as_places_among_their_names(assigned: LedgeredCorpus) -> None:
    with transaction(assigned.url) as cursor:
        cursor.execute("UPDATE sample SET language = CASE row % 3 WHEN 0 THEN 'en' WHEN 1 THEN 'de' END, content_type = 'list'")
        names = columns.label_names(cursor, assigned.snapshot_ids, ("content_type", "language", "domain"))
        assert names == {"language": ["de", "en", "und"], "content_type": ["list"]}
        assert columns.label_names(cursor, assigned.snapshot_ids, ("cluster",)) == {}
        states = ledger.shard_states(cursor, assigned.scope)
        cursor.execute("SELECT min(cluster_model_id) FROM cluster_model")
        for _, samples in columns.stream_samples(cursor, assigned.version, scalar(cursor), states, names):
            assert samples.labels["language"].tolist() == [[1, 0, 2][row % 3] for row in samples.row.tolist()]
            assert not samples.labels["content_type"].any()
            assert samples.without(RowSet.of(samples.row[:1])).labels["language"].size == samples.row.size - 1
        cursor.connection.rollback()


def test_columns_are_those_of_the_view(assigned: LedgeredCorpus) -> None:
    with transaction(assigned.url) as cursor:
        names = {name: id_ for id_, name in registration.domain_names(cursor).items()}
        cursor.execute(
            "SELECT shard, row, domain, n_tokens, quality, cluster FROM sample_scores"
            ' ORDER BY snapshot COLLATE "C", shard COLLATE "C", row'
        )
        view = [(shard, row, names[domain], *rest) for shard, row, domain, *rest in cursor.fetchall()]
    streamed = read(assigned)
    assert [shard for shard, _ in streamed] == list(assigned.shards[:5])
    flat = [
        (item.path, *values)
        for _, item in streamed
        for values in zip(
            *(getattr(item, name).tolist() for name in ("row", "domain", "n_tokens", "quality", "cluster")), strict=True
        )
    ]
    assert flat == view
    assert [shard for shard, _ in read(assigned, assigned.snapshot_ids[1:])] == list(assigned.shards[3:5])


def test_columns_do_not_depend_on_how_much_is_read_at_once(assigned: LedgeredCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def bytes_of(items: list[tuple[Shard, ShardSamples]]) -> list[bytes]:
        return [item.row.tobytes() + item.quality.tobytes() + item.cluster.tobytes() for _, item in items]

    whole = bytes_of(read(assigned))
    for rows in (1, 5):
        monkeypatch.setattr(columns, "ROWS_PER_READ", rows)
        assert bytes_of(read(assigned)) == whole


@pytest.mark.parametrize("table", ["sample", "quality_score", "diversity_score"])
def test_a_sample_without_its_scores_stops_the_reading(assigned: LedgeredCorpus, table: str) -> None:
    with transaction(assigned.url) as cursor:
        cursor.execute(f"DELETE FROM {table} WHERE row = 0 AND shard_id = %s", (assigned.shards[1].shard_id,))
    with pytest.raises(AccountingError, match=rf"crawl-a/a.jsonl: 2 documents are scored, but {table} has 1 rows"):
        read(assigned)


DOMAINS = domain_shares(
    ["books", "web"], source_samples=[4, 5], source_tokens=[10, 15], samples=[3, 5], copies=[4, 8], mixture_tokens=[5, 15]
)


def mixture_of(version: int = 1, content: str = "1") -> Manifest:
    return manifest_of(version, DOMAINS, content, lineage=LINEAGE.model_copy(update={"airflow_run_id": "manual__1"}))


def rows_of(assigned: LedgeredCorpus, extra: int = 0) -> list[MixtureRows]:
    return [
        rows_in(assigned.shards[0], [0, 2], [3 + extra, 1], [2.5, 1.5]),
        rows_in(assigned.shards[2], [], []),
        rows_in(assigned.shards[3], [1], [2], [0.5]),
        rows_in(assigned.shards[4], range(5), [1] * 5, [1.25] * 5),
    ]


def save(assigned: LedgeredCorpus, manifest: Manifest, rows: list[MixtureRows]) -> int:
    provenance = mixtures.Provenance(
        corpus_id=assigned.corpus_id,
        snapshot_ids=assigned.snapshot_ids,
        quality_model_id=assigned.version.quality_model_id,
        encoder_id=assigned.version.encoder_id,
        cluster_model_id=1,
        manifest_uri="s3://bucket/mixtures/demo/v000001/manifest.json",
        manifest_sha256="sha-m",
    )
    with transaction(assigned.url) as cursor:
        return mixtures.save_mixture(cursor, manifest, provenance, {"alpha": 0.8}, rows, rollup_for(manifest))


def test_a_mixture_comes_back(assigned: LedgeredCorpus) -> None:
    mixture = mixture_of()
    saved = save(assigned, mixture, rows_of(assigned))
    assert save(assigned, mixture, rows_of(assigned)) == saved
    with transaction(assigned.url) as cursor:
        cursor.execute("SELECT * FROM mixture")
        (row,) = rows_as(cursor, Named)
        facts = {
            **mixture.model_dump(),
            **mixture.counts.model_dump(),
            "policy": "samplemix",
            "tokenizer": "a tokenizer",
            "airflow_run_id": "manual__1",
            "config": {"alpha": 0.8},
        }
        known = {name: value for name, value in row.items() if name in facts and name != "created_at"}
        assert known == {name: facts[name] for name in known}
        assert row.keys() - known.keys() == {
            "mixture_id", "created_at", "corpus_id", "manifest_uri", "manifest_sha256", "quality_model_id", "encoder_id",
            "cluster_model_id", "other_quality_model_ids",
        }  # fmt: skip
        cursor.execute("SELECT * FROM mixture_domain ORDER BY domain")
        stored = rows_as(cursor, Named)
        assert stored == [{"mixture_id": saved} | {n: v for n, v in d.model_dump().items() if n in stored[0]} for d in DOMAINS]
        cursor.execute("SELECT array_agg(snapshot_id ORDER BY snapshot_id) FROM mixture_snapshot")
        assert scalar(cursor) == sorted(assigned.snapshot_ids)
        cursor.execute("SELECT shard, row, copies, weight, diversity FROM mixture_samples ORDER BY snapshot, shard, row")
        assert cursor.fetchall() == [
            ("crawl-a/B.jsonl", 0, 3, 2.5, 1.0),
            ("crawl-a/B.jsonl", 2, 1, 1.5, 0.0),
            ("crawl-b/B.jsonl", 1, 2, 0.5, 0.5),
            *[("crawl-b/a.jsonl", row, 1, 1.25, (1.0, 0.5, 0.0)[row % 3]) for row in range(5)],
        ]
        cursor.execute("SELECT conname FROM pg_constraint WHERE conname = 'partition_bound'")
        assert cursor.fetchall() == []


def test_a_published_version_never_changes(assigned: LedgeredCorpus) -> None:
    save(assigned, mixture_of(), rows_of(assigned))
    with pytest.raises(ManifestError, match="recorded with another digest"):
        save(assigned, mixture_of(content="2"), rows_of(assigned))


def test_a_mixture_whose_rows_do_not_add_up_leaves_nothing(assigned: LedgeredCorpus) -> None:
    with pytest.raises(ManifestError, match="has 8 samples, 7 were given"):
        save(assigned, mixture_of(), [*rows_of(assigned)[:1], *rows_of(assigned)[3:]])
    with transaction(assigned.url) as cursor:
        cursor.execute("SELECT count(*) FROM mixture")
        assert cursor.fetchone() == (0,)
        cursor.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'mixture_sample_m%'")
        assert cursor.fetchone() == (0,)


def touched(plan: dict[str, Any]) -> set[str]:
    """Tables that an explained and executed plan looked into."""
    below = set().union(*map(touched, plan.get("Plans", ())))
    return below | {plan["Relation Name"]} if "Relation Name" in plan and plan["Actual Loops"] else below


# On small tables the planner looks rows up one by one, on large ones it reads them whole and joins by hashing.
@pytest.mark.parametrize("planner", ["SELECT", "SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off"])
@pytest.mark.parametrize(
    ("query", "partitions"),
    [
        (
            "SELECT sum(quality * diversity) FROM sample_scores WHERE snapshot = 'crawl-a'",
            ["sample_s{snapshot}", "quality_score_s{snapshot}", "diversity_score_m{model}_s{snapshot}"],
        ),
        ("SELECT sum(n_bytes) FROM sample_scores WHERE snapshot = 'crawl-a' AND n_tokens > 1", ["sample_s{snapshot}"]),
        (
            "SELECT sum(copies * quality) FROM mixture_samples WHERE mixture = 'demo' AND version = 1 AND snapshot = 'crawl-a'",
            ["mixture_sample_m{mixture}"],
        ),
    ],
)
def test_asking_for_one_snapshot_touches_its_partitions_only(
    assigned: LedgeredCorpus, planner: str, query: str, partitions: list[str]
) -> None:
    for version in (1, 2):
        save(assigned, mixture_of(version), rows_of(assigned))
    big = ("sample_s", "quality_score_s", "diversity_score_m", "mixture_sample_m")
    with transaction(assigned.url) as cursor:
        cursor.execute(
            "SELECT snapshot_id, min(cluster_model.cluster_model_id), min(mixture_id) FROM snapshot, cluster_model, mixture"
            " WHERE snapshot.name = 'crawl-a' AND version = 1 GROUP BY 1"
        )
        ((snapshot, model, mixture),) = cursor.fetchall()
        cursor.execute(planner)
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}")
        (((plan,),),) = cursor.fetchall()
    found = {name for name in touched(plan["Plan"]) if name.startswith(big)}
    assert found == {name.format(snapshot=snapshot, model=model, mixture=mixture) for name in partitions}


def test_what_was_published_of_a_replaced_shard_stays(assigned: LedgeredCorpus) -> None:
    save(assigned, mixture_of(), rows_of(assigned))
    replaced, *others = [shard for shard in assigned.shards if shard.snapshot == "crawl-a"]
    entries = [ObjectInfo(shard.path, shard.size_bytes, shard.etag) for shard in others]
    with transaction(assigned.url) as cursor:
        corrected = ObjectInfo(replaced.path, 1, "corrected")
        registration.register_snapshot(cursor, assigned.corpus_id, "crawl-a", [corrected, *entries])
        cursor.execute("SELECT count(*), count(n_tokens) FROM mixture_samples WHERE shard = %s", (replaced.path,))
        assert cursor.fetchone() == (2, 2)
