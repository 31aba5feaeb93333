"""Corpora by name, from the command line, over the real Postgres and S3."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from samplemix_core.deployment import Deployment
from samplemix_core.objects import open_store
from tests.e2e.conftest import Command, Run, Upload


@pytest.fixture
def name() -> str:
    return f"web-{uuid4().hex[:8]}"


def listed(command: Command, *arguments: str) -> Any:
    return json.loads(command("corpus", *arguments, "--json").stdout)


def test_a_corpus_is_configured_once_and_run_by_its_name(
    command: Command, upload: Upload, platform: Deployment, shards: dict[str, bytes], name: str
) -> None:
    uri = upload(shards | {"s1/_SUCCESS": b"", "s2/web/later.jsonl": b'{"text": "a"}\n'})
    done = command("corpus", "add", name, uri, "--budget", "10%", "--set", "embedding.max_seq_tokens=64", "--json")
    assert [(row["snapshot"], row["state"]) for row in json.loads(done.stdout)] == [("s1", "taken"), ("s2", "waiting")]
    assert f"samplemix corpus accept {name} s2" in done.stderr
    shown = listed(command, "show", name)
    run = shown["config"]["run"]
    assert (run["corpus_uri"], run["mixture_name"], run["budget"]) == (uri, name, "10%")
    assert run["embedding"]["max_seq_tokens"] == 64
    planned = json.loads(command("run", name, "--dry-run", "--json", "-s", "s1").stdout)["snapshots"]
    assert [(row["snapshot"], row["shards"]) for row in planned] == [("s1", len(shards))]
    assert json.loads(command("progress", name, "--json").stdout) == []
    changed = listed(command, "set", name, "--budget", "5%", "--marker", "_DONE")
    assert changed == [
        {"setting": "landing.marker", "before": "_SUCCESS", "now": "_DONE"},
        {"setting": "budget", "before": "10%", "now": "5%"},
    ]
    assert [row["state"] for row in listed(command, "accept", name, "s2")] == ["landed"]
    command("corpus", "pause", name)
    (row,) = [row for row in listed(command, "list") if row["corpus"] == name]
    assert (row["budget"], row["paused"], row["taken"], row["landed"]) == ("5%", True, 1, 1)
    assert f"samplemix corpus resume {name}" in command("corpus", "show", name).stdout
    command("corpus", "resume", name)
    open_store(uri, platform).put("s2/_DONE", b"")
    assert [row["snapshot"] for row in listed(command, "scan", name)] == ["s1"], "its marker has another name now"
    command("corpus", "remove", name)
    assert "no corpus" in command("corpus", "show", name, check=False).stderr


def test_an_estimate_is_near_what_comes_and_nothing_where_all_is_done(
    command: Command, corpus_uri: str, first_run: dict[str, Any], shards: dict[str, bytes], upload: Upload, small_config: Path
) -> None:
    options = ("--config", str(small_config), "--estimate", "--json")
    done = json.loads(command("run", corpus_uri, *options).stdout)
    scored = first_run["scoring"]
    assert (done["shards_done"], done["documents"], done["tokens"]) == (len(shards), scored["documents"], scored["tokens"])
    assert (done["documents_left"], done["seconds_left"], done["embedding_bytes"]) == (0, 0, 0)
    new = json.loads(command("run", upload(shards), *options).stdout)
    assert new["documents"] == pytest.approx(scored["documents"], rel=0.2)
    assert new["tokens"] == pytest.approx(scored["tokens"], rel=0.4)
    assert new["seconds_left"] > 0
    assert new["embedding_bytes"] == new["documents"] * 384 * 2


def test_what_can_t_be_is_refused_with_a_remedy(command: Command, name: str, tmp_path: Path) -> None:
    (tmp_path / "s1" / "web").mkdir(parents=True)
    for arguments, said in (
        (("add", "Web!", str(tmp_path)), "name = 'Web!'"),
        (("add", name, "s3://no-such-bucket/corpus"), "no bucket"),
        (("add", name, str(tmp_path), "--budget", "much"), "budget 'much'"),
        (("add", name, str(tmp_path), "--set", 'snapshots=["s1"]'), "can't have a list of snapshots"),
        (("set", name, "--budget", "5%"), "There is no corpus"),
    ):
        done = command("corpus", *arguments, check=False)
        assert done.returncode == 1, arguments
        assert said in done.stderr, arguments
    command("corpus", "add", name, str(tmp_path))
    for arguments, said in (
        (("add", name, str(tmp_path)), f"There is a corpus '{name}' already"),
        (("set", name, "--set", "corpus_uri=/elsewhere"), "place can't be changed"),
        (("accept", name, "s9"), "no snapshot 's9'"),
    ):
        assert said in command("corpus", *arguments, check=False).stderr
    command("corpus", "remove", name)


def test_a_few_documents_mix_naturally_and_with_a_warning_of_what_is_odd(
    command: Command, run_command: Run, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = {
        # As long as a name of a file may be.
        f"s1/web/{'x' * 249}.jsonl": ["A river runs here.", "The river was cold, and the night was long. " * 40],
        "s1/books/a.jsonl": ["The mill stands by the river.", "ACGTTGCA" * 500],
        "s1/code/back\\slash.jsonl": ["return river + mill"],
    }
    for path, texts in documents.items():
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    uri, options = str(tmp_path), ("--name", name, "--budget", "20%")
    with monkeypatch.context() as patch:
        patch.setattr("samplemix_core.pipeline.score.MAX_DOMAINS", 2)
        crowded = command("run", uri, *options, "--set", "embedding.max_seq_tokens=64", check=False)
    assert (crowded.returncode, "domains" in crowded.stderr) == (1, True)
    degenerate = command("run", uri, *options, "--set", "embedding.max_seq_tokens=64", check=False)
    assert (degenerate.returncode, "policy natural" in degenerate.stderr) == (1, True)
    run = run_command(uri, *options, "--policy", "natural")
    assert run["scoring"]["skipped"] == run["scoring"]["shards"] == 3
    words, budget = run["warnings"]
    assert "'books'" in words
    assert "--tokenizer" in words
    assert "of the budget is not met" in budget
    assert command("check", uri).returncode == 0
