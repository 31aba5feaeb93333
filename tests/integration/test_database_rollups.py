"""Roll-ups are what they add up, whatever is loaded, replaced, dropped or migrated; and a check finds what is not."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa
import pytest

from samplemix_core.config.run import AuditConfig
from samplemix_core.corpus.records import Block
from samplemix_core.database import audits, check, clusters, ledger, registration, rollups, scores, upkeep
from samplemix_core.database import quality_models as quality
from samplemix_core.database.connection import transaction
from samplemix_core.database.query import run_query
from samplemix_core.manifest.verify import Problem
from samplemix_core.objects.interface import ObjectInfo
from tests.integration.conftest import LedgeredCorpus, assignment_of, commit_scores, mix, scores_of

TABLES = ("score_rollup", "cluster_rollup", "mixture_rollup", "mixture_copy_count", "mixture_sample")


def problems(corpus: LedgeredCorpus) -> list[Problem]:
    with transaction(corpus.url) as cursor:
        found = [problem for item in check.snapshots_of(cursor) for problem in check.snapshot_problems(cursor, item)]
        return found + [problem for item in check.versions_of(cursor) for problem in check.mixture_problems(cursor, *item)]


def dump(corpus: LedgeredCorpus) -> dict[str, list[tuple[object, ...]]]:
    kept = {}
    with transaction(corpus.url) as cursor:
        for table in TABLES:
            cursor.execute(
                "SELECT array_agg(column_name::text ORDER BY column_name) FROM information_schema.columns WHERE table_name = %s",
                (table,),
            )
            names = ", ".join(cursor.fetchall()[0][0])
            cursor.execute(f"SELECT {names} FROM {table} ORDER BY {names}")
            kept[table] = cursor.fetchall()
    return kept


def test_what_was_loaded_is_added_up(mixed: LedgeredCorpus) -> None:
    assert problems(mixed) == []
    sums = run_query(
        mixed.reader_url,
        "SELECT sum(documents) AS documents, sum(tokens) AS tokens, sum(bytes) AS bytes, sum(quality_sum) AS quality"
        " FROM score_rollups",
    )
    rows = run_query(
        mixed.reader_url,
        "SELECT count(*) AS documents, sum(n_tokens) AS tokens, sum(n_bytes) AS bytes, sum(quality::float8) AS quality"
        " FROM sample_scores",
    )
    assert rows[0]["documents"] == 14
    assert sums == rows
    by_cluster = "SELECT cluster, diversity, sum({}) AS documents FROM {} GROUP BY 1, 2 ORDER BY 1"
    assert run_query(mixed.reader_url, by_cluster.format("documents", "cluster_rollups")) == run_query(
        mixed.reader_url, by_cluster.format("1", "sample_scores")
    )
    held = "SELECT domain, cluster, sum(copies) AS copies FROM {} GROUP BY 1, 2 HAVING sum(copies) > 0 ORDER BY 1, 2"
    assert run_query(mixed.reader_url, held.format("mixture_rollups")) == run_query(
        mixed.reader_url, held.format("mixture_samples")
    )
    assert run_query(mixed.reader_url, "SELECT sum(mixture_tokens) AS n FROM mixture_copy_counts") == run_query(
        mixed.reader_url, "SELECT realised_tokens AS n FROM mixture"
    )


def test_workers_that_load_one_snapshot_at_once_wait_for_each_other(ledgered: LedgeredCorpus) -> None:
    # Every block has all domains and bands, in another order: two that added them as they come would deadlock.
    domains = [f"domain-{number}" for number in range(8)]
    blocks = [Block(number, number * 100, 100, number * 1000, 1000) for number in range(12)]
    shards = [shard for shard in ledgered.shards if shard.snapshot == "crawl-a"]
    start = threading.Barrier(len(shards))
    with transaction(ledgered.url) as cursor:
        for shard in shards:
            ledger.save_plan(cursor, shard, blocks)

    def load(number: int) -> None:
        start.wait()
        for block in blocks:
            turned = domains[(number + block.block) % 8 :] + domains[: (number + block.block) % 8]
            loaded = scores_of([f"{'x' * i} {number} {block.block}" for i in range(100)], domains=tuple(turned))
            moved = [
                table.set_column(0, "row", pa.array(table["row"].to_numpy() + block.first_row))
                for table in (loaded.samples, loaded.quality)
            ]
            with transaction(ledgered.url) as cursor:
                scores.commit_block(
                    cursor, shards[number], ledgered.version, block, replace(loaded, samples=moved[0], quality=moved[1])
                )

    with ThreadPoolExecutor(len(shards)) as pool:
        list(pool.map(load, range(len(shards))))
    assert problems(ledgered) == []
    (sums,) = run_query(ledgered.reader_url, "SELECT sum(documents) AS documents FROM score_rollup")
    assert sums["documents"] == len(shards) * 1200


def test_doing_it_again_adds_nothing(mixed: LedgeredCorpus) -> None:
    before = dump(mixed)
    result = scores_of(["epsilon five"])
    with transaction(mixed.url) as cursor:
        commit_scores(cursor, mixed.shards[2], mixed.version, result)
        clusters.commit_assignment(cursor, 1, mixed.shards[2], assignment_of(result))
    mix(mixed, 1)
    assert dump(mixed) == before


def test_what_is_scored_or_assigned_otherwise_takes_the_place_of_what_was(assigned: LedgeredCorpus) -> None:
    result = scores_of(["beta", "delta"])
    with transaction(assigned.url) as cursor:
        other = replace(assigned.version, quality_model_id=registration.ensure_quality_model(cursor, "q-2", {}, q_low=2, q_high=7))
        commit_scores(cursor, assigned.shards[1], other, result)
        moved = assignment_of(result, n_clusters=2)
        cursor.execute("UPDATE shard_score SET embedding_digest = %s WHERE shard_id = %s", ("2" * 64, assigned.shards[1].shard_id))
        clusters.commit_assignment(cursor, 1, assigned.shards[1], replace(moved, embedding_digest="2" * 64))
    assert problems(assigned) == []
    second = "SELECT sum(documents) AS n FROM score_rollups WHERE quality_model = 'q-2'"
    assert run_query(assigned.reader_url, second) == [{"n": 2}]


def test_a_block_whose_ledger_row_is_gone_is_not_counted_twice(assigned: LedgeredCorpus) -> None:
    with transaction(assigned.url) as cursor:
        cursor.execute("DELETE FROM block_score WHERE shard_id = %s", (assigned.shards[2].shard_id,))
        scores.commit_block(cursor, assigned.shards[2], assigned.version, Block(), scores_of(["epsilon five"]))
    assert problems(assigned) == []


def test_replaced_files_and_dropped_models_take_theirs_away(mixed: LedgeredCorpus) -> None:
    first, *others = [shard for shard in mixed.shards if shard.snapshot == "crawl-a"]
    with transaction(mixed.url) as cursor:
        entries = [ObjectInfo(shard.path, shard.size_bytes, shard.etag) for shard in others]
        registration.register_snapshot(cursor, mixed.corpus_id, "crawl-a", [ObjectInfo(first.path, 1, "other"), *entries])
    assert problems(mixed) == [], "what a mixture chose from has changed: nothing is said of it"
    documents = (
        "SELECT (SELECT sum(documents) FROM score_rollup) AS scored, (SELECT sum(documents) FROM cluster_rollup) AS assigned"
    )
    assert run_query(mixed.reader_url, documents) == [{"scored": 10, "assigned": 10}]
    with transaction(mixed.url) as cursor:
        upkeep.drop_assignments(cursor, 1)
        upkeep.drop_scores(cursor, upkeep.ScoredWith(mixed.corpus_id, mixed.version.encoder_id, mixed.version.quality_model_id))
        cursor.execute("SELECT count(*) FROM mixture_sample")
        assert cursor.fetchall() != [(0,)]
    assert run_query(mixed.reader_url, documents) == [{"scored": None, "assigned": None}]
    assert problems(mixed) == []


def test_domains_of_words_that_the_tokenizer_does_not_know_are_found(ledgered: LedgeredCorpus) -> None:
    words = ["one two three four"] * 3
    with transaction(ledgered.url) as cursor:
        commit_scores(
            cursor, ledgered.shards[0], ledgered.version, scores_of(words, domains=("web", "books", "dna"), unknown=[0, 1, 4])
        )
        commit_scores(cursor, ledgered.shards[1], ledgered.version, scores_of(["many " * 96], domains=("books",)))
        assert rollups.unknown_words(cursor, ledgered.scope, 0.001) == [("dna", 1.0), ("books", 0.01)]
        assert rollups.unknown_words(cursor, ledgered.scope, 0.01) == [("dna", 1.0)]
        assert rollups.count_domains(cursor, ledgered.scope) == 3
    assert problems(ledgered) == []


def test_a_refused_shard_takes_its_blocks_away(ledgered: LedgeredCorpus) -> None:
    with transaction(ledgered.url) as cursor:
        blocks = [Block(0, 0, 2, 0, 10), Block(1, 2, None, 10, None)]
        ledger.save_plan(cursor, ledgered.shards[0], blocks)
        scores.commit_block(cursor, ledgered.shards[0], ledgered.version, blocks[0], scores_of(["a", "b"]))
        cursor.execute("SELECT sum(documents) FROM score_rollup")
        assert cursor.fetchall() == [(2,)]
        scores.refuse_shard(cursor, ledgered.shards[0], ledgered.version, "truncated")
        cursor.execute("SELECT count(*) FROM score_rollup")
        assert cursor.fetchall() == [(0,)]


TAMPERING = {
    "UPDATE score_rollup SET documents = documents + 1 WHERE domain_id = 1": "score_rollup (",
    "UPDATE score_rollup SET quality_square_sum = 0": "score_rollup (",
    "DELETE FROM score_rollup WHERE quality_band > 15": "score_rollup (",
    "UPDATE cluster_rollup SET noise = noise + 1, documents = documents WHERE cluster = 0": "cluster_rollup (",
    "UPDATE sample SET unknown_tokens = 1 WHERE row = 0": "score_rollup (",
    "DELETE FROM sample WHERE row = 3": "the ledger says",
    "DELETE FROM quality_score WHERE row = 3": "quality scores",
    "DELETE FROM diversity_score WHERE row = 3": "assigned samples",
    "DELETE FROM quarantine WHERE row = 1": "quarantined records",
    "UPDATE quality_score SET quality = 9.5 WHERE row = 0": "score_rollup (",
    "UPDATE diversity_score SET cluster = 2 WHERE row = 0": "cluster_rollup (",
    "UPDATE sample SET n_tokens = n_tokens + 1 WHERE row = 0": "score_rollup (",
    "UPDATE mixture_rollup SET documents = documents + 1 WHERE cluster = 0": "mixture_rollup (",
    "UPDATE mixture_rollup SET distance_sum = 0": "mixture_rollup (",
    "UPDATE mixture_rollup SET copies = copies + 1": "mixture_rollup (",
    "UPDATE mixture_copy_count SET samples = samples + 1 WHERE copies = 0": "mixture_copy_count (",
    "UPDATE mixture_copy_count SET samples = samples + 1 WHERE copies = 1": "mixture_copy_count (",
    "UPDATE mixture_domain SET mixture_tokens = 0": "mixture_tokens is 0, the rows come to ",
    "DELETE FROM mixture_sample WHERE copies = 2": "its rows in Postgres come to",
    "UPDATE mixture_sample SET copies = 4 WHERE copies = 2": "its rows in Postgres come to",
    "UPDATE mixture_sample SET cluster = 1": "mixture_rollup (",
}


@pytest.mark.parametrize(("statement", "told"), TAMPERING.items())
def test_a_check_finds_what_was_tampered_with(mixed: LedgeredCorpus, statement: str, told: str) -> None:
    with transaction(mixed.url) as cursor:
        cursor.execute(statement)
        assert cursor.rowcount
    assert any(told in str(problem) for problem in problems(mixed))


def test_what_is_sampled_is_the_same_wherever_it_lies(ledgered: LedgeredCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two databases hold the same samples on other pages: they are loaded in another order, and rows were deleted in between."""
    monkeypatch.setattr(quality, "MOST_RANKED", 200)
    model = ledgered.version.quality_model_id
    loaded = {shard: scores_of([f"{'x' * (i % 10)} {shard.path} {i}" for i in range(300)]) for shard in ledgered.shards}
    found = []
    for order in (ledgered.shards, ledgered.shards[::-1]):
        with transaction(ledgered.url) as cursor:
            registration.forget_shards(cursor, "s3://bucket/corpus", [shard.path for shard in ledgered.shards])
            for shard in order:
                commit_scores(cursor, shard, ledgered.version, loaded[shard])
            cells = quality.cell_quantiles(cursor, model, "s3://bucket/corpus", 5)
            sampled, places = audits.read_sampled(
                cursor,
                ledgered.snapshot_ids,
                [quality.quality_models(cursor, ids=[model])[model]],
                ["q"],
                AuditConfig(documents=200),
            )
            found.append((quality.score_quantiles(cursor, model, "s3://bucket/corpus", 5), cells, places, sampled.tokens.tolist()))
    assert found[0] == found[1]
    (everything,) = (cell.documents for cell in cells if (cell.content_type, cell.language) == ("", ""))
    assert 150 < everything < 250
    assert 150 < len(places) < 250
