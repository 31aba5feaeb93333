"""Tags, copies in other places, and what may be removed: never a version that something names."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from samplemix_core.cli.main import app
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, ManifestError
from samplemix_core.manifest.catalogue import Mixtures
from samplemix_core.manifest.life import Garbage, Rule, collect, copy_version, tag, untag
from samplemix_core.manifest.verify import verify
from samplemix_core.objects.directory import FileStore
from samplemix_core.reading.mixture import open_mixture
from samplemix_core.reading.versions import open_version
from tests.mixtures import Published, publish_corpus, records, write_shard

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def mixtures(tmp_path: Path) -> Mixtures:
    return Mixtures(FileStore(tmp_path / "store"), "mixtures")


@pytest.fixture
def publish(tmp_path: Path, mixtures: Mixtures) -> Callable[[int], Published]:
    """Publish the n-th mixture of one corpus; the same again is the same version."""
    for name in ("a.jsonl", "b.jsonl.gz"):
        write_shard(tmp_path / "corpus" / "crawl" / "web" / name, records(name, 30))
    made = iter(range(100))

    def call(step: int) -> Published:
        corpus = FileStore(tmp_path / "corpus")
        return publish_corpus(mixtures, corpus, tmp_path / f"scratch-{next(made)}", lambda n: (n + step) % 3, 20)

    return call


def collected(mixtures: Mixtures, rule: Rule, *, dry_run: bool = False) -> list[Garbage]:
    found: list[Garbage] = []
    collect(mixtures, "demo", rule, NOW, dry_run=dry_run, on_found=found.append)
    return found


def readable(mixtures: Mixtures) -> list[int]:
    """The versions whose parts are there."""
    return [number for _, number in mixtures.list() if not verify(mixtures.open("demo", number)).problems]


def test_a_tag_names_a_version_and_moves(mixtures: Mixtures, publish: Callable[[int], Published]) -> None:
    for step in range(2):
        publish(step)
    assert tag(mixtures, "demo", 1, "stable") is None
    assert tag(mixtures, "demo", 2, "stable") == 1
    assert (mixtures.tags("demo"), mixtures.tagged("demo", "stable")) == ({"stable": 2}, 2)
    assert untag(mixtures, "demo", "stable") == 2
    with pytest.raises(ManifestError, match="has no tag 'stable'"):
        mixtures.tagged("demo", "stable")
    with pytest.raises(ManifestError, match="does not exist"):
        tag(mixtures, "demo", 9, "stable")
    for wrong in ("12", "latest", "Stable", "a/b", "", "../x"):
        with pytest.raises(ConfigError, match="can't be a tag"):
            tag(mixtures, "demo", 1, wrong)


def test_versions_past_use_are_collected_unless_something_names_them(
    mixtures: Mixtures, publish: Callable[[int], Published]
) -> None:
    for step in range(3):
        publish(step)
    tag(mixtures, "demo", 1, "stable")
    # Version 2 is the parent of 3, which is kept, and 1 is tagged.
    assert collected(mixtures, Rule(keep=1)) == []
    untag(mixtures, "demo", "stable")
    (found,) = collected(mixtures, Rule(keep=1), dry_run=True)
    assert (found.version, found.why) == (1, "is not among the 1 newest, nothing names it")
    assert readable(mixtures) == [1, 2, 3]
    assert collected(mixtures, Rule(keep=1)) == [found]
    assert readable(mixtures) == [2, 3]
    assert collected(mixtures, Rule(keep=1)) == []
    version = mixtures.open("demo", 1)
    (problem,) = verify(version).problems
    assert "collected as garbage" in problem.what
    with pytest.raises(ManifestError, match=r"was collected as garbage.*fills the version again"):
        open_mixture(version.uri)
    # Publishing the same mixture fills the version again.
    assert publish(0).version.manifest.version == 1
    assert readable(mixtures) == [1, 2, 3]


def test_an_export_keeps_its_version_and_age_counts(mixtures: Mixtures, publish: Callable[[int], Published]) -> None:
    for step in range(3):
        publish(step)
    mixtures.store.put("mixtures/demo/exports/v000001-abc.json", b"{}")
    assert collected(mixtures, Rule(keep=1)) == []
    mixtures.store.delete("mixtures/demo/exports/v000001-abc.json")
    # They were made on 1 March.
    assert collected(mixtures, Rule(age=timedelta(days=100))) == []
    assert [item.version for item in collected(mixtures, Rule(age=timedelta(days=90)))] == [1]
    assert collected(mixtures, Rule()) == []


def test_what_was_begun_long_ago_and_strange_files_go(mixtures: Mixtures, publish: Callable[[int], Published]) -> None:
    publish(0)
    store = mixtures.store
    store.put("mixtures/demo/v000001/part-00099.parquet", b"left over")
    store.put("mixtures/demo/v000002/croissant.json", b"{}")
    # What was begun just now may be published yet.
    found: list[Garbage] = []
    collect(mixtures, "demo", Rule(), datetime.now(UTC), dry_run=True, on_found=found.append)
    assert [(item.version, item.why) for item in found] == [(1, "is no part of the version")]
    found.clear()
    collect(mixtures, "demo", Rule(), datetime.now(UTC) + timedelta(days=2), dry_run=False, on_found=found.append)
    assert [(item.version, item.objects) for item in found] == [(1, 1), (2, 1)]
    assert mixtures.versions("demo") == {1: True}
    assert readable(mixtures) == [1]


def test_a_copy_is_the_same_and_reads_the_same(mixtures: Mixtures, publish: Callable[[int], Published], tmp_path: Path) -> None:
    first, second = publish(0).version, publish(1).version
    to = Mixtures(FileStore(tmp_path / "elsewhere"))
    for _ in range(2):
        made = copy_version(second, to)
        assert (made.manifest, made.sha256) == (second.manifest, second.sha256)
        assert verify(made).problems == ()
    assert copy_version(first, to).manifest.version == 1
    assert to.latest("demo") == 2
    original, copied = (open_mixture(uri, cache_directory=tmp_path / "cache") for uri in (second.uri, made.uri))
    assert list(original.documents()) == list(copied.documents())
    other = Mixtures(FileStore(tmp_path / "other"), "mixtures")
    publish_corpus(other, FileStore(tmp_path / "corpus"), tmp_path / "mine", lambda n: 1, 20)
    with pytest.raises(ManifestError, match="holds something else"):
        copy_version(first, other)
    part = first.key(first.manifest.parts[0].path)
    mixtures.store.put(part, b"damaged")
    with pytest.raises(ManifestError, match="has changed since it was published"):
        copy_version(first, Mixtures(FileStore(tmp_path / "third")))
    assert Mixtures(FileStore(tmp_path / "third")).list() == []


def test_the_commands(
    mixtures: Mixtures, publish: Callable[[int], Published], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(3):
        publish(step)
    monkeypatch.setenv("SAMPLEMIX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(Deployment, "mixtures", mixtures)
    monkeypatch.setattr(Deployment, "state", mixtures.store)

    def run(*arguments: str) -> Any:
        result = CliRunner().invoke(app, ["mixture", *arguments])
        assert result.exit_code == 0, result.exception
        return json.loads(result.output) if "--json" in arguments else result.output

    assert "names version 3" in run("tag", "demo", "candidate")
    assert "it named version 3" in run("tag", "demo@1", "candidate")
    assert open_version(Deployment.load(), "demo@candidate").manifest.version == 1
    assert [row["tags"] for row in run("list", "--json")] == ["candidate", "", ""]
    assert run("gc", "--keep", "1", "--json") == []
    for wrong, why in (("demo@3", "names version 1, not 3"), (str(tmp_path / "demo"), "tags are of this platform")):
        with pytest.raises(ConfigError, match=why):
            CliRunner().invoke(app, ["mixture", "tag", wrong, "candidate", "--delete"], catch_exceptions=False)
    assert "named version 1, and is removed" in run("tag", "demo", "candidate", "--delete")
    assert [row["version"] for row in run("gc", "--keep", "1", "--json")] == [1]
    assert readable(mixtures) == [1, 2, 3]
    day = datetime.now(UTC).date()
    for days in (1, 30):
        mixtures.store.put(f"drafts/{day - timedelta(days=days)}/abc/part-00000.parquet", b"draft")
    assert [(row["why"], row["objects"], row["bytes"]) for row in run("gc", "--json")] == [("drafts older than a week", 1, 5)]
    assert "removed" in run("gc", "demo", "--keep", "1", "--yes")
    assert readable(mixtures) == [2, 3]
    assert [info.key.split("/")[1] for info in mixtures.store.list("drafts/")] == [str(day - timedelta(days=1))]
    copied = run("copy", "demo@3", str(tmp_path / "copy"), "--json")
    assert copied["content_digest"] == mixtures.open("demo", 3).manifest.content_digest
    with pytest.raises(ManifestError, match="No mixture 'none'"):
        CliRunner().invoke(app, ["mixture", "gc", "none"], catch_exceptions=False)
