import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from samplemix_core.config.run import RunConfig
from samplemix_core.corpus.records import Block
from samplemix_core.database import clusters, connection, ledger, registration, scores
from samplemix_core.database.connection import transaction
from samplemix_core.database.embeddings import embedding_files
from samplemix_core.database.scope import Group, ScoredCounts, ScoreVersion, Shard
from samplemix_core.deployment import Deployment
from samplemix_core.errors import CorpusError, ShardRefusedError
from samplemix_core.objects.directory import FileStore
from samplemix_core.objects.interface import ObjectInfo
from samplemix_core.pipeline import register
from tests.integration.conftest import LedgeredCorpus, assignment_of, commit_scores, save_model, scores_of

CORPUS: dict[str, Any] = {
    "uri": "s3://bucket/corpus",
    "reader": {"text_field": "text"},
    "tokenizer": "a tokenizer",
    "tokenizer_id": "tok",
}


def test_a_corpus_is_its_location_reader_and_tokenizer(database: Deployment) -> None:
    with database.transaction() as cursor:
        first = registration.register_corpus(cursor, **CORPUS)
        assert registration.register_corpus(cursor, **CORPUS) == first
        changes: list[dict[str, Any]] = [{"uri": "s3://bucket/other"}, {"reader": {}}, {"tokenizer_id": "other"}]
        for change in changes:
            other = registration.register_corpus(cursor, **CORPUS | change)
            assert (other.corpus_id, other.corpus_key) != (first.corpus_id, first.corpus_key)


def test_models_are_entered_once(database: Deployment) -> None:
    with database.transaction() as cursor:
        assert registration.ensure_encoder(cursor, "e1", {"a": 1}) == registration.ensure_encoder(cursor, "e1", {"a": 1})
        assert registration.ensure_encoder(cursor, "e1", {"a": 1}) != registration.ensure_encoder(cursor, "e2", {"a": 2})
        assert registration.ensure_quality_model(cursor, "q1", {}) == registration.ensure_quality_model(cursor, "q1", {})


def test_the_encoder_that_scored_a_corpus_last_is_known_first_and_else_the_one_that_was_entered_first(
    ledgered: LedgeredCorpus,
) -> None:
    def known(*uri: str) -> list[str]:
        return [spec["name"] for spec in registration.known_encoders(cursor, *uri)]

    with transaction(ledgered.url) as cursor:
        later = registration.ensure_encoder(cursor, "encoder-2", {"name": "entered later"})
        assert known("s3://bucket/corpus") == known() == ["encoder", "entered later"]
        version = replace(ledgered.version, encoder_id=later)
        commit_scores(cursor, ledgered.shards[0], version, scores_of(["one"]))
        assert known("s3://bucket/corpus") == ["entered later", "encoder"]
        assert known("s3://bucket/other") == known() == ["encoder", "entered later"]


def test_registering_again_adds_only_what_is_new(ledgered: LedgeredCorpus) -> None:
    entries = [ObjectInfo(shard.path, shard.size_bytes, shard.etag) for shard in ledgered.shards if shard.snapshot == "crawl-a"]
    new = ObjectInfo("crawl-a/new.jsonl", 5, "etag-new")
    with transaction(ledgered.url) as cursor:
        for _ in range(2):
            registered = registration.register_snapshot(cursor, ledgered.corpus_id, "crawl-a", [*entries, new])
            assert registered == registration.RegisteredSnapshot(ledgered.snapshot_ids[0], 7, ())
        states = ledger.shard_states(cursor, replace(ledgered.scope, snapshot_ids=ledgered.snapshot_ids[:1]))
    assert [state.shard.path for state in states if state.shard not in ledgered.shards] == ["crawl-a/new.jsonl"]
    assert {state.shard for state in states} >= {shard for shard in ledgered.shards if shard.snapshot == "crawl-a"}


def test_vanished_shards_are_named(ledgered: LedgeredCorpus) -> None:
    left = [ObjectInfo("crawl-a/a.jsonl", 100, "etag-a.jsonl")]
    with (
        transaction(ledgered.url) as cursor,
        pytest.raises(
            CorpusError, match=r"2 shards of snapshot 'crawl-a' that were registered are gone: crawl-a/B.jsonl, crawl-a/ä"
        ),
    ):
        registration.register_snapshot(cursor, ledgered.corpus_id, "crawl-a", left)


def test_a_replaced_file_is_another_shard_and_the_rows_of_the_earlier_go(ledgered: LedgeredCorpus) -> None:
    files = {shard.path: shard for shard in ledgered.shards if shard.snapshot == "crawl-a"}
    entries = {path: ObjectInfo(path, shard.size_bytes, shard.etag) for path, shard in files.items()}
    entries["crawl-a/a.jsonl"] = ObjectInfo("crawl-a/a.jsonl", 100, "another")
    earlier = files["crawl-a/a.jsonl"]
    one = scores_of(["one", "two"], bad_rows=(1,))
    with transaction(ledgered.url) as cursor:
        model = save_model(cursor, ledgered)
        clusters.prepare_assignment(cursor, model.cluster_model_id, ledgered.snapshot_ids)
        for shard in files.values():
            commit_scores(cursor, shard, ledgered.version, one)
            clusters.commit_assignment(cursor, model.cluster_model_id, shard, assignment_of(one))
        for replaced in (("crawl-a/a.jsonl",), ()):
            registered = registration.register_snapshot(cursor, ledgered.corpus_id, "crawl-a", entries.values())
            assert registered.replaced == replaced
        scope = replace(ledgered.scope, snapshot_ids=ledgered.snapshot_ids[:1])
        states = {state.shard.path: state for state in ledger.shard_states(cursor, scope)}
        assert {path: state.state for path, state in states.items()} == dict.fromkeys(files, "done") | {
            "crawl-a/a.jsonl": "pending"
        }
        now = states["crawl-a/a.jsonl"].shard
        assert (now.etag, now.shard_id != earlier.shard_id) == ("another", True)
        assert registration.replaced_shards(cursor, now.snapshot_id) == [
            registration.ReplacedShard("crawl-a/a.jsonl", earlier.etag, 100)
        ]
        kept = (
            "sample",
            "quality_score",
            "quarantine",
            "diversity_score",
            "shard_assignment",
            "block",
            "block_score",
        )
        for table in kept:
            cursor.execute(f"SELECT count(DISTINCT shard_id), bool_or(shard_id = %s) FROM {table}", (earlier.shard_id,))
            assert cursor.fetchone() == (2, False), table
        with pytest.raises(CorpusError, match=r"crawl-a/a.jsonl has been replaced by another file"):
            commit_scores(cursor, earlier, ledgered.version, one)
        commit_scores(cursor, now, ledgered.version, scores_of(["other"]))


def test_shards_come_in_byte_order_of_snapshot_and_path(ledgered: LedgeredCorpus) -> None:
    names = ("B.jsonl", "a.jsonl", "ä.jsonl")
    assert [shard.path for shard in ledgered.shards] == [
        f"{snapshot}/{name}" for snapshot in ("crawl-a", "crawl-b") for name in names
    ]
    assert list(ledgered.snapshot_ids) == [ledgered.shards[0].snapshot_id, ledgered.shards[3].snapshot_id]


def test_what_is_pending(ledgered: LedgeredCorpus) -> None:
    done, refused, poison, failed, begun, fresh = ledgered.shards
    with transaction(ledgered.url) as cursor:
        ledger.begin_shards(cursor, ledgered.shards[:-1], ledgered.version)
        ledger.begin_shards(cursor, [begun], ledgered.version)
        commit_scores(cursor, done, ledgered.version, scores_of(["one", "two"]))
        scores.refuse_shard(cursor, refused, ledgered.version, "truncated")
        scores.poison_shard(cursor, poison, ledgered.version, "killed 4 workers")
        scores.fail_shard(cursor, failed, ledgered.version, "timeout")
        listed = ledger.shard_states(cursor, ledgered.scope)
        states = {state.shard: state for state in listed}
        assert ledger.pending_shards(listed) == [failed, begun, fresh]
        again = ledger.pending_shards(listed, retry_refused=True)
        other = ScoreVersion(ledgered.version.encoder_id, registration.ensure_quality_model(cursor, "quality-2", {}))
        assert len(ledger.pending_shards(ledger.shard_states(cursor, replace(ledgered.scope, version=other)))) == 6
    assert again == [refused, poison, failed, begun, fresh]
    assert [states[shard].state for shard in ledgered.shards] == ["done", "refused", "poison", "failed", "pending", "pending"]
    assert [states[shard].attempts for shard in ledgered.shards] == [1, 1, 1, 1, 2, 0]
    assert states[refused].error == "truncated"
    assert (states[done].documents, states[done].scored, states[done].tokens) == (2, 2, 2)


def test_beginning_a_done_shard_keeps_it_done(ledgered: LedgeredCorpus) -> None:
    shard = ledgered.shards[0]
    with transaction(ledgered.url) as cursor:
        commit_scores(cursor, shard, ledgered.version, scores_of(["one"]))
        ledger.begin_shards(cursor, [shard], ledgered.version)
        assert ledger.block_counts(cursor, shard, ledgered.version, Block()) == ScoredCounts(1, 0, 1, 3)
        assert ledger.shard_states(cursor, ledgered.scope)[0].state == "done"


def test_a_shard_is_cut_once_and_what_is_open_of_it_is_known(ledgered: LedgeredCorpus) -> None:
    first, second, third, *_ = ledgered.shards
    blocks = [Block(0, 0, 2, 0, 20), Block(1, 2, 2, 20, 30), Block(2, 4, 1, 50, 9)]
    with transaction(ledgered.url) as cursor:
        for plan in (blocks, [Block()]):
            ledger.save_plan(cursor, first, plan)
        ledger.save_plan(cursor, second, [Block()])
        commit_scores(cursor, second, ledgered.version, scores_of(["one"]))
        assert ledger.open_blocks(cursor, ledgered.shards, ledgered.version) == {first.shard_id: blocks, second.shard_id: []}
        other = ScoreVersion(ledgered.version.encoder_id, registration.ensure_quality_model(cursor, "quality-2", {}))
        assert ledger.open_blocks(cursor, [second, third], other) == {second.shard_id: [Block()]}


def test_a_shard_is_done_with_its_last_block_and_adds_up_however_it_was_cut(ledgered: LedgeredCorpus) -> None:
    texts = ["one", "two two", "three three three", "four", "five five"]
    whole, parts, _, *_ = ledgered.shards
    result = scores_of(texts, bad_rows=(2, 4))
    with transaction(ledgered.url) as cursor:
        commit_scores(cursor, whole, ledgered.version, result)
        blocks = [Block(0, 0, 3, 0, 30), Block(1, 3, 3, 30, 30), Block(2, 6, 1, 60, 10)]
        ledger.save_plan(cursor, parts, blocks)
        ledger.begin_shards(cursor, [parts], ledgered.version)
        for block in (blocks[2], blocks[0], blocks[0], blocks[1]):
            states = {state.shard: state.state for state in ledger.shard_states(cursor, ledgered.scope)}
            assert states[parts] == "pending"
            scores.commit_block(cursor, parts, ledgered.version, block, part_of(result, block))
        one, other = (state for state in ledger.shard_states(cursor, ledgered.scope) if state.shard in (whole, parts))
        assert replace(other, shard=whole, embedding_digest=one.embedding_digest) == one
        assert other.embedding_digest == f"{3 * 0x1111:064x}"
        assert ledger.check_accounts(cursor, ledgered.scope, [one, other]) == ledger.Totals(2, 14, 10, 4, 18)
        for table in ("sample", "quality_score", "quarantine"):
            cursor.execute(f"SELECT row, count(DISTINCT t) FROM {table} AS t GROUP BY row HAVING count(*) <> 2")
            assert cursor.fetchall() == [], table
        files = embedding_files(cursor, ledgered.version, [one, other])
        assert [file.rows for file in files[parts.shard_id]] == [2, 2, 1]
        assert [file.rows for file in files[whole.shard_id]] == [5]


def test_progress_is_told_by_domain_and_cost_by_run(ledgered: LedgeredCorpus) -> None:
    whole, cut, *_ = ledgered.shards
    result = replace(scores_of(["one", "two two", "three three three"], bad_rows=(3,)), run="manual-1", seconds=2.0)
    blocks = [Block(0, 0, 2, 0, 40), Block(1, 2, 2, 40, 60)]
    with transaction(ledgered.url) as cursor:
        ledger.save_plan(cursor, cut, blocks)
        ledger.begin_shards(cursor, [cut, whole], ledgered.version)
        scores.commit_block(cursor, cut, ledgered.version, blocks[0], part_of(result, blocks[0]))
        (unread, begun) = ledger.scoring_progress(cursor, "s3://bucket/corpus")
        assert (begun["snapshot"], begun["domain"], begun["encoder"]) == (cut.snapshot, cut.path.split("/")[1], "encoder")
        assert (begun["blocks_done"], begun["blocks"], begun["documents"], begun["tokens"]) == (1, 2, 2, 3)
        assert (begun["core_seconds"], begun["documents_per_core_second"]) == (2.0, 1.0)
        # 60 bytes are left, and 40 took two seconds.
        assert begun["core_seconds_left"] == pytest.approx(3.0)
        assert (unread["blocks_done"], unread["blocks"], unread["core_seconds_left"]) == (0, 0, None)
        assert ledger.scoring_progress(cursor, "s3://bucket/another") == []
        on_gpu = ScoreVersion(
            registration.ensure_encoder(cursor, "encoder-gpu", {"name": "encoder", "device": "cuda"}),
            ledgered.version.quality_model_id,
        )
        commit_scores(cursor, whole, on_gpu, replace(result, seconds=5.0))
        commit_scores(cursor, whole, ledgered.version, replace(result, run="another"))
        (score,) = ledger.run_cost(cursor, "manual-1")
        assert score == {"step": "score", "tasks": 2, "core_seconds": 7.0, "gpu_seconds": 5.0}
        assert ledger.run_cost(cursor, "never") == []


def part_of(result: scores.BlockScores, block: Block) -> scores.BlockScores:
    """What of a whole shard's scores is a block's, with a digest of its own."""
    assert block.rows is not None
    first, end = block.first_row, block.first_row + block.rows

    def within(table: pa.Table) -> pa.Table:
        return table.filter(pc.and_(pc.greater_equal(table["row"], first), pc.less(table["row"], end)))

    samples, quarantine = within(result.samples), within(result.quarantine)
    return replace(
        result,
        samples=samples,
        quality=within(result.quality),
        quarantine=quarantine,
        records=samples.num_rows + quarantine.num_rows,
        embedding_digest=f"{0x1111:064x}",
    )


def test_poison_keeps_the_blocks_that_are_done_and_a_refusal_leaves_nothing(ledgered: LedgeredCorpus) -> None:
    shard = ledgered.shards[0]
    blocks = [Block(0, 0, 1, 0, 10), Block(1, 1, 1, 10, 10)]
    with transaction(ledgered.url) as cursor:
        ledger.save_plan(cursor, shard, blocks)
        result = scores_of(["one", "two"])
        scores.commit_block(cursor, shard, ledgered.version, blocks[0], part_of(result, blocks[0]))
        for error in ("killed its worker", "killed it again"):
            scores.poison_shard(cursor, shard, ledgered.version, error)
        assert [item["detail"] for item in ledger.list_quarantine(cursor)] == ["killed its worker"]
        assert ledger.open_blocks(cursor, [shard], ledgered.version) == {shard.shard_id: [blocks[1]]}
        assert ledger.check_accounts(cursor, ledgered.scope, ledger.shard_states(cursor, ledgered.scope)).shards == 0
        scores.refuse_shard(cursor, shard, ledgered.version, "a page is broken")
        for table in ("sample", "quality_score", "block_score"):
            cursor.execute(f"SELECT FROM {table}")
            assert cursor.rowcount == 0, table
        assert [item["reason"] for item in ledger.list_quarantine(cursor)] == ["shard_refused"]
        with pytest.raises(ShardRefusedError, match="a page is broken"):
            scores.commit_block(cursor, shard, ledgered.version, blocks[1], part_of(result, blocks[1]))
        ledger.begin_shards(cursor, [shard], ledgered.version)
        for block in blocks:
            scores.commit_block(cursor, shard, ledgered.version, block, part_of(result, block))
        assert ledger.shard_states(cursor, ledgered.scope)[0].state == "done"
        assert list(ledger.list_quarantine(cursor)) == []


def test_shards_are_listed_with_their_state_and_tried_again_when_asked(ledgered: LedgeredCorpus) -> None:
    done, refused, poison, failed, *_ = ledgered.shards
    uri = CORPUS["uri"]
    with transaction(ledgered.url) as cursor:
        commit_scores(cursor, done, ledgered.version, scores_of(["one", "two"], bad_rows=(1,)))
        scores.refuse_shard(cursor, refused, ledgered.version, "truncated")
        scores.poison_shard(cursor, poison, ledgered.version, "killed its worker")
        scores.fail_shard(cursor, failed, ledgered.version, "timeout")
        listed = {item["shard"]: item for item in ledger.list_shards(cursor, uri)}
        assert [item["state"] for item in listed.values()] == ["done", "refused", "poison", "failed", "pending", "pending"]
        assert (listed[done.path]["documents"], listed[done.path]["quarantined"]) == (3, 1)
        assert listed[poison.path]["error"] == "killed its worker"
        assert [item["shard"] for item in ledger.list_shards(cursor, states=["poison", "failed"])] == [poison.path, failed.path]
        assert len(list(ledger.list_shards(cursor, snapshot="crawl-b"))) == 3
        assert list(ledger.list_shards(cursor, "s3://bucket/other")) == []
        assert ledger.retry_shards(cursor, uri, [poison.path, done.path]) == [poison.path]
        assert ledger.retry_shards(cursor, "s3://bucket/other") == []
        assert ledger.retry_shards(cursor, uri) == [refused.path]
        assert refused in ledger.pending_shards(ledger.shard_states(cursor, ledgered.scope))
        assert [item["reason"] for item in ledger.list_quarantine(cursor)] == ["bad_json"]


def test_lists_come_a_page_at_a_time(ledgered: LedgeredCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ROWS_PER_FETCH", 2)
    with transaction(ledgered.url) as cursor:
        assert [item["shard"] for item in ledger.list_shards(cursor)] == [shard.path for shard in ledgered.shards]


def test_quarantine_is_listed_with_place_and_reason(ledgered: LedgeredCorpus) -> None:
    first, second, *_ = ledgered.shards
    with transaction(ledgered.url) as cursor:
        scores.refuse_shard(cursor, second, ledgered.version, "truncated")
        commit_scores(cursor, first, ledgered.version, scores_of(["one"], bad_rows=(1, 0)[::-1]))
        listed = list(ledger.list_quarantine(cursor, "s3://bucket/corpus"))
        assert list(ledger.list_quarantine(cursor)) == listed
        assert list(ledger.list_quarantine(cursor, "s3://bucket/other")) == []
        reasons = ledger.quarantine_reasons(cursor, ledgered.scope)
    assert reasons == [
        ("bad_json", 2, "crawl-a/B.jsonl, row 0: not \N{REPLACEMENT CHARACTER} JSON"),
        ("shard_refused", 1, "crawl-a/a.jsonl: truncated"),
    ]
    assert [(item["shard"], item["row"], item["byte_offset"], item["reason"]) for item in listed] == [
        (first.path, 0, 0, "bad_json"),
        (first.path, 1, 100, "bad_json"),
        (second.path, -1, -1, "shard_refused"),
    ]
    assert listed[2]["detail"] == "truncated"
    assert listed[0]["snapshot"] == "crawl-a"


def test_groups_stay_what_they_are_and_later_shards_are_for_the_next_run(ledgered: LedgeredCorpus) -> None:
    with transaction(ledgered.url) as cursor:
        last = max(shard.shard_id for shard in ledgered.shards)
        scope = replace(ledgered.scope, last_shard_id=last)

        def groups() -> list[list[Shard]]:
            return [
                [state.shard for state in ledger.shard_states(cursor, scope, Group(index=index, count=4))] for index in range(4)
            ]

        before = groups()
        assert sorted(shard.shard_id for group in before for shard in group) == sorted(s.shard_id for s in ledgered.shards)
        entries = [ObjectInfo(shard.path, shard.size_bytes, shard.etag) for shard in ledgered.shards[:3]]
        early = ObjectInfo("crawl-a/A-comes-first.jsonl", 5, "etag")
        registered = registration.register_snapshot(cursor, ledgered.corpus_id, "crawl-a", [early, *entries])
        assert registered.last_shard_id > last
        assert groups() == before
        assert len(ledger.shard_states(cursor, replace(scope, last_shard_id=registered.last_shard_id))) == 7
        # One that is replaced leaves its group, and moves no other.
        registration.register_snapshot(
            cursor, ledgered.corpus_id, "crawl-a", [early, replace(entries[0], content="new"), *entries[1:]]
        )
        assert groups() == [[shard for shard in group if shard != ledgered.shards[0]] for group in before]


def test_files_that_are_not_read_are_noted_as_they_were_seen_last(database: Deployment, tmp_path: Path) -> None:
    for path in ("s1/web/a.jsonl", "s1/web/b.txt", "s2/web/a.jsonl", "s2/_SUCCESS", "README.md"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("{}")
    (tmp_path / os.fsdecode(b"s2/web/caf\xe9.jsonl")).write_text("{}")
    config = RunConfig(corpus_uri=str(tmp_path))
    with database.transaction() as cursor:
        corpus_id = registration.register_corpus(cursor, **CORPUS).corpus_id

        def noted(*snapshots: str) -> dict[str, str]:
            wanted = config.model_copy(update={"snapshots": snapshots})
            registration.register_unread(cursor, corpus_id, register.list_corpus(wanted, database))
            return {row["path"]: row["reason"] for row in registration.unread_files(cursor, corpus_id, 100)}

        of_all = {"README.md": "no_snapshot", "s1/web/b.txt": "suffix", "s2/_SUCCESS": "hidden", "s2/web/caf\\xe9.jsonl": "path"}
        assert noted() == of_all
        (tmp_path / "s2/_SUCCESS").unlink()
        (tmp_path / "README.md").unlink()
        assert noted("s1") == of_all
        assert noted("s2") == {path: reason for path, reason in of_all.items() if path != "s2/_SUCCESS"}
        assert noted().keys() == {"s1/web/b.txt", "s2/web/caf\\xe9.jsonl"}
        cursor.execute("SELECT snapshot FROM unread_file ORDER BY path")
        assert cursor.fetchall() == [("s1",), ("s2",)]


def test_files_of_a_directory_are_read_once_and_again_only_if_they_were_touched(
    database: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(file: Any, digest: str) -> Any:
        read.append(Path(file.name).name)
        return file_digest(file, digest)

    file_digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", counted)
    directory = tmp_path / "crawl"
    directory.mkdir()

    def write(name: str, text: str, moment: float) -> None:
        (directory / name).write_text(text)
        os.utime(directory / name, (moment, moment))

    for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
        write(name, "text", 1000)
    with database.transaction() as cursor:
        corpus = registration.register_corpus(cursor, **CORPUS)

        def registered() -> tuple[str, ...]:
            read.clear()
            listed = list(FileStore(tmp_path).list())
            unread = [Path(entry.key).name for entry in registration.unread_entries(cursor, corpus.corpus_id, "crawl", listed)]
            assert read == []
            replaced = registration.register_snapshot(cursor, corpus.corpus_id, "crawl", listed).replaced
            assert unread == sorted(read)
            return replaced

        assert (registered(), read) == ((), ["a.jsonl", "b.jsonl", "c.jsonl"])
        assert (registered(), read) == ((), [])
        write("b.jsonl", "text", 2000)
        write("c.jsonl", "TEXT", 2000)
        assert (registered(), read) == (("crawl/c.jsonl",), ["b.jsonl", "c.jsonl"])
        assert (registered(), read) == ((), [])
