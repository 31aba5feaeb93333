import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest

from samplemix_core import schemas
from samplemix_core.corpus.records import Block
from samplemix_core.database import ledger, registration, scores
from samplemix_core.database.connection import transaction
from samplemix_core.database.scope import ScoreVersion
from samplemix_core.database.scores import BlockScores
from samplemix_core.errors import AccountingError, CorpusError, ShardRefusedError, UnstorableError
from tests.integration.conftest import LedgeredCorpus, commit_scores, scores_of

TABLES = ("sample", "quality_score", "quarantine")


def contents(url: str) -> dict[str, list[Any]]:
    """Everything that scoring wrote, but for times."""
    found = {}
    with transaction(url) as cursor:
        for table in TABLES:
            cursor.execute(f"SELECT * FROM {table} AS t ORDER BY t")
            found[table] = cursor.fetchall()
        cursor.execute(
            "SELECT shard_id, state, documents, scored, quarantined, tokens, embedding_digest, error FROM shard_score ORDER BY 1"
        )
        found["shard_score"] = cursor.fetchall()
    return found


def commit(ledgered: LedgeredCorpus, index: int, result: scores.BlockScores) -> None:
    with transaction(ledgered.url) as cursor:
        commit_scores(cursor, ledgered.shards[index], ledgered.version, result)


def test_what_is_committed_is_what_analysts_read(ledgered: LedgeredCorpus) -> None:
    texts = [f"text {i} " * (i + 1) for i in range(20)]
    result = scores_of(texts, bad_rows=(3, 7))
    commit(ledgered, 1, result)
    with transaction(ledgered.url) as cursor:
        cursor.execute("UPDATE corpus SET current_quality_model = %s", (ledgered.version.quality_model_id,))
        dimensions = ", ".join(schemas.DIMENSIONS)
        cursor.execute(
            "SELECT row, domain, doc_id, n_tokens, n_bytes, content_hash, content_type, language, url, host, license,"
            f" quality, {dimensions}, snapshot, shard, cluster FROM sample_scores ORDER BY row"
        )
        stored = cursor.fetchall()
    expected = []
    for sample, quality in zip(result.samples.to_pylist(), result.quality.to_pylist(), strict=True):
        del sample["unknown_tokens"]
        sample["content_hash"] = UUID(bytes=sample["content_hash"])
        expected.append((*sample.values(), *list(quality.values())[1:], "crawl-a", "crawl-a/a.jsonl", None))
    # Postgres prints a real with the digits that make the same float32 again.
    assert [tuple(np.float32(v) if isinstance(v, float) else v for v in row) for row in stored] == expected


def test_committing_again_changes_nothing(ledgered: LedgeredCorpus) -> None:
    result = scores_of(["one", "two", "three"], bad_rows=(1,))
    commit(ledgered, 0, result)
    before = contents(ledgered.url)
    commit(ledgered, 0, result)
    assert contents(ledgered.url) == before
    assert before["shard_score"] == [(ledgered.shards[0].shard_id, "done", 4, 3, 1, 3, "1" * 64, None)]


def test_rows_that_a_killed_attempt_left_are_replaced(ledgered: LedgeredCorpus) -> None:
    commit(ledgered, 0, scores_of(["one", "two"], bad_rows=(0,)))
    clean = contents(ledgered.url)
    with transaction(ledgered.url) as cursor:
        cursor.execute("UPDATE shard_score SET state = 'pending'")
        cursor.execute("DELETE FROM block_score")
        cursor.execute("UPDATE sample SET n_tokens = 999, row = row + 50")
        cursor.execute("UPDATE quarantine SET row = 99")
    commit(ledgered, 0, scores_of(["one", "two"], bad_rows=(0,)))
    assert contents(ledgered.url) == clean


def test_a_commit_that_fails_leaves_nothing(ledgered: LedgeredCorpus) -> None:
    def broken_off() -> None:
        with transaction(ledgered.url) as cursor:
            commit_scores(cursor, ledgered.shards[0], ledgered.version, scores_of(["one"]))
            raise KeyboardInterrupt

    empty = contents(ledgered.url)
    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert contents(ledgered.url) == empty


def test_two_workers_committing_one_shard_leave_one_result(ledgered: LedgeredCorpus) -> None:
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        commit(ledgered, 0, scores_of(["one", "two", "three"], bad_rows=(2,)))

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(work) for _ in range(4)]:
            future.result()
    found = contents(ledgered.url)
    assert {table: len(found[table]) for table in TABLES} == {"sample": 3, "quality_score": 3, "quarantine": 1}


def test_a_value_that_postgres_can_not_hold_is_no_trouble_of_the_server_s(ledgered: LedgeredCorpus) -> None:
    for value, kind in ((np.random.default_rng(1).bytes(3000).hex(), "text"), ("12x", "int")):
        with pytest.raises(UnstorableError) as caught, transaction(ledgered.url) as cursor:
            cursor.execute(f"INSERT INTO domain (name) VALUES (%s::{kind})", (value,))
        assert not caught.value.may_pass
        assert len(str(caught.value)) < 800


def test_shards_with_the_same_new_domains_do_not_deadlock(ledgered: LedgeredCorpus) -> None:
    names = [f"domain-{i:02}" for i in range(30)]
    start = threading.Barrier(6)

    def work(index: int) -> None:
        start.wait()
        order = names if index % 2 else names[::-1]
        commit(ledgered, index, scores_of([f"text {i}" for i in range(30)], domains=tuple(order)))

    with ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(work, index) for index in range(6)]:
            future.result()
    with transaction(ledgered.url) as cursor:
        assert sorted(registration.domain_names(cursor).values()) == names


def test_another_version_adds_its_scores_and_keeps_the_samples(ledgered: LedgeredCorpus) -> None:
    result = scores_of(["one", "two"])
    commit(ledgered, 0, result)
    before = contents(ledgered.url)
    with transaction(ledgered.url) as cursor:
        other = ScoreVersion(ledgered.version.encoder_id, registration.ensure_quality_model(cursor, "quality-2", {}))
        commit_scores(cursor, ledgered.shards[0], other, result)
    after = contents(ledgered.url)
    assert after["sample"] == before["sample"]
    assert len(after["quality_score"]) == 4
    with transaction(ledgered.url) as cursor:
        third = ScoreVersion(ledgered.version.encoder_id, registration.ensure_quality_model(cursor, "quality-3", {}))
    with transaction(ledgered.url) as cursor, pytest.raises(AccountingError, match="another version counted"):
        commit_scores(cursor, ledgered.shards[0], third, scores_of(["one", "two", "three"]))


def test_a_late_worker_can_not_replace_what_is_committed(ledgered: LedgeredCorpus) -> None:
    commit(ledgered, 0, scores_of(["one"]))
    before = contents(ledgered.url)
    commit(
        ledgered,
        0,
        replace(scores_of(["one"]), embedding_sha256="sha-2", embedding_digest="2" * 64, embedding_key="embeddings/late"),
    )
    assert contents(ledgered.url) == before


def test_refused_then_mended(ledgered: LedgeredCorpus) -> None:
    shard = ledgered.shards[0]
    with transaction(ledgered.url) as cursor:
        for _ in range(2):
            scores.refuse_shard(cursor, shard, ledgered.version, "bad \0 archive")
    assert contents(ledgered.url)["quarantine"] == [
        (shard.shard_id, -1, -1, "shard_refused", "bad \N{REPLACEMENT CHARACTER} archive")
    ]
    with transaction(ledgered.url) as cursor:
        ledger.begin_shards(cursor, [shard], ledgered.version)
    commit(ledgered, 0, scores_of(["one"], bad_rows=(0,)))
    found = contents(ledgered.url)
    assert [row[1] for row in found["quarantine"]] == [0]
    assert [row[1] for row in found["shard_score"]] == ["done"]


def test_a_file_of_which_no_record_can_be_read_is_refused_as_a_file(ledgered: LedgeredCorpus) -> None:
    def unread(block: Block, *reasons: str) -> BlockScores:
        found = scores_of([], bad_rows=(0, 1))
        rows = pa.array([block.first_row, block.first_row + 1])
        return replace(found, quarantine=found.quarantine.set_column(0, "row", rows).set_column(2, "reason", pa.array(reasons)))

    pointer, blank, *_ = ledgered.shards
    blocks = [Block(0, 0, 2), Block(1, 2, 2)]
    with transaction(ledgered.url) as cursor:
        for shard in (pointer, blank):
            ledger.save_plan(cursor, shard, blocks)
            scores.commit_block(cursor, shard, ledgered.version, blocks[0], unread(blocks[0], "invalid_json", "missing_text"))
        with pytest.raises(
            ShardRefusedError, match=r"No record of 'crawl-a/B.jsonl' can be read, of 4; the first, row 0, for invalid_json"
        ):
            scores.commit_block(cursor, pointer, ledgered.version, blocks[1], unread(blocks[1], "not_an_object", "record_too_long"))
        # Its records are documents, though without a text.
        scores.commit_block(cursor, blank, ledgered.version, blocks[1], unread(blocks[1], "invalid_json", "empty_text"))
        states = {state.shard: state.state for state in ledger.shard_states(cursor, ledgered.scope)}
    assert (states[pointer], states[blank]) == ("pending", "done")


def test_a_shard_that_is_done_can_not_fail_any_more(ledgered: LedgeredCorpus) -> None:
    commit(ledgered, 0, scores_of(["one"]))
    before = contents(ledgered.url)
    with transaction(ledgered.url) as cursor:
        scores.fail_shard(cursor, ledgered.shards[0], ledgered.version, "late")
        scores.poison_shard(cursor, ledgered.shards[0], ledgered.version, "late")
        scores.refuse_shard(cursor, ledgered.shards[0], ledgered.version, "late")
    assert contents(ledgered.url) == before


def test_a_shard_registered_with_other_content_is_refused(ledgered: LedgeredCorpus) -> None:
    stale = replace(ledgered.shards[0], etag="old")
    with transaction(ledgered.url) as cursor, pytest.raises(CorpusError, match=r"crawl-a/B.jsonl.*'old'"):
        commit_scores(cursor, stale, ledgered.version, scores_of(["one"]))


def test_samples_and_scores_of_other_rows_are_refused(ledgered: LedgeredCorpus) -> None:
    result = replace(scores_of(["one", "two"]), quality=scores_of(["one", "two"], bad_rows=(0,)).quality)
    with transaction(ledgered.url) as cursor, pytest.raises(AccountingError, match="or other rows"):
        commit_scores(cursor, ledgered.shards[0], ledgered.version, result)


def test_a_shard_without_documents(ledgered: LedgeredCorpus) -> None:
    commit(ledgered, 0, scores_of([], bad_rows=(0, 1)))
    found = contents(ledgered.url)
    assert found["shard_score"] == [(ledgered.shards[0].shard_id, "done", 2, 0, 2, 0, "1" * 64, None)]


def test_accounts_add_up_and_a_lost_row_is_noticed(ledgered: LedgeredCorpus) -> None:
    for index in range(3):
        commit(ledgered, index, scores_of(["one two"] * (index + 1), bad_rows=(0,)))
    with transaction(ledgered.url) as cursor:
        states = ledger.shard_states(cursor, ledgered.scope)
        assert ledger.check_accounts(cursor, ledgered.scope, states) == ledger.Totals(3, 9, 6, 3, 12)
    for damage in (
        "DELETE FROM sample WHERE row = 3",
        "DELETE FROM quality_score WHERE row = 3",
        "DELETE FROM quarantine",
        "UPDATE sample SET n_tokens = n_tokens + 1 WHERE row = 3",
    ):
        with transaction(ledgered.url) as cursor:
            cursor.execute(damage)
            with pytest.raises(AccountingError, match="the ledger says"):
                ledger.check_accounts(cursor, ledgered.scope, states)
            cursor.connection.rollback()


def test_a_record_that_the_reader_met_and_nobody_stored_is_noticed(ledgered: LedgeredCorpus) -> None:
    result = replace(scores_of(["one", "two"], bad_rows=(1,)), records=4)
    with (
        transaction(ledgered.url) as cursor,
        pytest.raises(AccountingError, match=r"4 records were read, 2 scored and 1 set aside"),
    ):
        commit_scores(cursor, ledgered.shards[0], ledgered.version, result)
