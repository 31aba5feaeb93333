"""Damage of every kind is found, and placed."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.manifest.catalogue import CROISSANT, MANIFEST, SUMS, Mixtures, Version
from samplemix_core.manifest.format import MIXTURE_PART, SOURCES, Manifest, ShardEntry, SolverRecord
from samplemix_core.manifest.sources import SourceShard, entries, read_sources, write_sources
from samplemix_core.manifest.verify import VerifyReport, manifest_problems, verify
from samplemix_core.objects.directory import FileStore

Make = Callable[..., Any]
PREFIX = "mixtures/demo/v000001/"
SHARDS = [(f"crawl-a/web/part-{i:05d}.jsonl.zst", f"etag{i}", 100 + i) for i in range(3)]


@pytest.fixture
def manifest(store: FileStore, make_mixture: Make) -> Manifest:
    published: Manifest = make_mixture().publish(store).version.manifest
    return published


def at(store: FileStore, manifest: Manifest) -> Version:
    """The published version, as if its manifest said this."""
    return Version(Mixtures(store, "mixtures"), manifest, hashlib.sha256(store.get(PREFIX + MANIFEST)[0]).hexdigest())


def problems(store: FileStore, manifest: Manifest) -> list[str]:
    return [str(problem) for problem in verify(at(store, manifest)).problems]


def rewrite(store: FileStore, manifest: Manifest, change: Callable[[pa.Table], pa.Table], tmp_path: Path) -> Manifest:
    """Replace the second part by a changed one, with its hash made to fit: what is left must be found by counting."""
    part = manifest.parts[1]
    table = pq.read_table(pa.BufferReader(store.get(PREFIX + part.path)[0]))
    pq.write_table(change(table), tmp_path / "changed.parquet")
    data = (tmp_path / "changed.parquet").read_bytes()
    store.put(PREFIX + part.path, data)
    store.delete(PREFIX + SUMS)
    changed = part.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
    return manifest.model_copy(update={"parts": (manifest.parts[0], changed, *manifest.parts[2:])})


def set_value(name: str, row: int, value: Any) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        index = MIXTURE_PART.get_field_index(name)
        values = table[name].to_pylist()
        values[row] = value
        return table.set_column(index, MIXTURE_PART.field(index), pa.array(values, MIXTURE_PART.types[index]))

    return change


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"kappa": ', b'"kappa": 1'),
        (b'"seed": ', b'"seed": 1'),
        (b'"alpha": 0', b'"alpha": 1'),
        (b'"next_tokens": ', b'"next_tokens": 1'),
        (b'"encoder": "', b'"encoder": "x'),
        (b'"config_fingerprint": "', b'"config_fingerprint": "x'),
        (b'"corpus_root": "', b'"corpus_root": "x'),
        (b"{\n", b"{ \n"),
    ],
)
def test_a_manifest_that_was_changed_is_found(store: FileStore, manifest: Manifest, before: bytes, after: bytes) -> None:
    data = store.get(PREFIX + MANIFEST)[0]
    assert before in data
    store.put(PREFIX + MANIFEST, data.replace(before, after, 1))
    found = [str(problem) for problem in verify(Mixtures(store, "mixtures").open("demo", 1)).problems]
    assert any(problem.startswith("manifest.json: has SHA-256 ") for problem in found), found
    assert any(problem.startswith("latest.json: says manifest_sha256 is ") for problem in found), found


def test_what_lies_beside_a_manifest_is_compared_too(store: FileStore, manifest: Manifest) -> None:
    sums = store.get(PREFIX + SUMS)[0].decode().splitlines()
    assert sums == sorted(sums, key=lambda line: line.split("  ")[1])
    assert len(sums) == len(manifest.parts) + 2
    latest = "mixtures/demo/latest.json"

    def found(key: str, change: Callable[[bytes], bytes]) -> str:
        data = store.get(key)[0]
        store.put(key, change(data))
        (problem,) = problems(store, manifest)
        store.put(key, data)
        return problem

    renamed = found(PREFIX + CROISSANT, lambda data: data.replace(b"SampleMix", b"SampleMax"))
    assert renamed.startswith("croissant.json: has SHA-256")
    assert "does not name part-0000" in found(PREFIX + SUMS, lambda data: b"".join(data.splitlines(keepends=True)[:-1]))
    assert "can't be read" in found(PREFIX + SUMS, lambda data: data[:-1])
    assert found(latest, lambda data: data.replace(b"v000001", b"v000002")).startswith("latest.json: says manifest is 'v000002/")
    assert "names version 0" in found(latest, lambda data: data.replace(b'"version": 1', b'"version": 0'))
    assert "names version 2, which is not published" in found(
        latest, lambda _: b'{"version": 2, "manifest": "v000002/manifest.json"}'
    )
    assert "is not JSON" in found(latest, lambda data: data[:-4])
    # Somebody copied this version alone.
    data = store.get(latest)[0]
    store.delete(latest)
    assert problems(store, manifest) == []
    store.put(latest, data)
    # An earlier release wrote neither the sums nor the digest in latest.json.
    store.delete(PREFIX + SUMS)
    store.put(latest, b'{"version": 1, "manifest": "v000001/manifest.json"}')
    assert problems(store, manifest) == []


def test_a_sound_version_has_no_problems(store: FileStore, manifest: Manifest) -> None:
    report = verify(at(store, manifest), lambda _: SHARDS)
    assert report == VerifyReport("demo", 1, len(manifest.parts), manifest.samples, manifest.copies, manifest.realised_tokens, ())
    assert report.lines() == [
        f"demo version 1: 4 parts, {manifest.samples} samples, {manifest.copies} copies, {manifest.realised_tokens} tokens: "
        "all agree with the manifest"
    ]
    assert report.as_dict()["ok"] is True


def test_a_missing_part(store: FileStore, manifest: Manifest) -> None:
    store.delete(PREFIX + "part-00001.parquet")
    found = problems(store, manifest)
    assert "part-00001.parquet: is missing" in found
    assert any(problem.startswith("samples: the parts add up to") for problem in found)


def test_changed_bytes(store: FileStore, manifest: Manifest) -> None:
    data = bytearray(store.get(PREFIX + "part-00000.parquet")[0])
    data[40] ^= 1
    store.put(PREFIX + "part-00000.parquet", bytes(data))
    assert problems(store, manifest)[0].startswith("part-00000.parquet: has SHA-256")


def test_bytes_that_are_no_parquet(store: FileStore, manifest: Manifest) -> None:
    store.put(PREFIX + "part-00000.parquet", b"nonsense")
    found = problems(store, manifest)
    assert found[1].startswith("part-00000.parquet: can't be read as a part")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (set_value("copies", 0, 0), "has copies 0, below 1"),
        (set_value("copies", 0, 5), "has a sample with 5 copies, the manifest allows 4"),
        (set_value("sample_key", 3, bytes(16)), "has a sample_key that is not its own"),
        (set_value("row", 5, 0), "is out of order, or comes twice"),
        (set_value("n_tokens", 5, 100_000), "tokens, the manifest says"),
        (set_value("domain", 5, "elsewhere"), "domains, elsewhere: the parts have 1 samples"),
        (lambda table: table.slice(1), "rows, the manifest says"),
        (lambda table: table.take(list(range(table.num_rows))[::-1]), "out of order"),
        (lambda table: table.drop_columns("cluster"), "A part has no column"),
        (lambda table: table.slice(0, 0), "has 0 rows"),
    ],
)
def test_changed_rows(
    store: FileStore, manifest: Manifest, tmp_path: Path, change: Callable[[pa.Table], pa.Table], expected: str
) -> None:
    found = problems(store, rewrite(store, manifest, change, tmp_path))
    assert any(expected in problem for problem in found), found


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("samples", 1, "samples"),
        ("copies", 1, "copies"),
        ("realised_tokens", 1, "realised_tokens"),
        ("content_digest", "0" * 64, "content_digest"),
        ("budget_tokens", 10**12, "realised_tokens"),
        ("budget_tokens", 1, "realised_tokens"),
        ("domains", (), "counts.eligible"),
    ],
)
def test_a_manifest_that_contradicts_itself(store: FileStore, manifest: Manifest, field: str, value: Any, place: str) -> None:
    report = verify(at(store, manifest.model_copy(update={field: value})))
    assert place in {problem.place for problem in report.problems}


def test_counts_that_do_not_account_for_every_document(store: FileStore, manifest: Manifest) -> None:
    counts = manifest.counts.model_copy(update={"quarantined": manifest.counts.quarantined + 1})
    found = problems(store, manifest.model_copy(update={"counts": counts}))
    assert [problem.partition(":")[0] for problem in found] == ["counts.documents"]


def test_domain_figures_that_are_wrong(store: FileStore, manifest: Manifest) -> None:
    row = manifest.domains[0]
    wrong = row.model_copy(update={"mixture_share": row.mixture_share / 2, "copies": row.copies + 1})
    found = problems(store, manifest.model_copy(update={"domains": (wrong, *manifest.domains[1:])}))
    assert any(problem.startswith(f"domains, {row.domain}, mixture_share") for problem in found)
    assert any(problem.startswith(f"domains, {row.domain}: the parts have") for problem in found)


def test_objects_that_do_not_belong(store: FileStore, manifest: Manifest) -> None:
    store.put(PREFIX + "part-00009.parquet", b"stray")
    store.put(PREFIX + "croissant.json", b"{}")
    store.delete(PREFIX + SUMS)
    assert problems(store, manifest) == [
        "part-00009.parquet: lies in the version's directory, but is no part of it",
        "croissant.json: describes other parts than the manifest",
    ]
    store.delete(PREFIX + "croissant.json")
    assert "croissant.json: is missing" in problems(store, manifest)


@pytest.mark.parametrize("shards", [SHARDS[1:], [(path, etag + "x", size) for path, etag, size in SHARDS], []])
def test_a_corpus_that_has_changed(store: FileStore, manifest: Manifest, shards: list[ShardEntry]) -> None:
    report = verify(at(store, manifest), lambda _: shards)
    assert [problem.place for problem in report.problems] == ["snapshot crawl-a"]
    assert report.as_dict()["ok"] is False
    assert report.lines()[0].endswith("1 problems")


@pytest.fixture
def with_sources(store: FileStore, make_mixture: Make) -> Version:
    return cast("Version", make_mixture(sources=True).publish(store).version)


def test_a_version_says_which_files_its_corpus_had_and_how_they_are_read(with_sources: Version) -> None:
    table = read_sources(with_sources)
    assert list(entries(table)) == SHARDS
    assert table["byte_offsets"].to_pylist() == [[0, 9_000]] * len(SHARDS)
    assert with_sources.manifest.reader == ReaderConfig(text_field="body")
    report = verify(with_sources, lambda _: SHARDS)
    assert report.problems == ()


def test_files_that_changed_since_are_named(with_sources: Version) -> None:
    (first, _, size), (second, *_), third = SHARDS
    now = [(first, "other", size), third, ("crawl-a/web/more.jsonl", "e", 1)]
    [problem] = verify(with_sources, lambda _: now).problems
    assert problem.what.endswith(f"; changed: {first}; gone: {second}; new: crawl-a/web/more.jsonl")


def test_sources_that_are_not_those_that_were_mixed(store: FileStore, with_sources: Version, tmp_path: Path) -> None:
    file = write_sources([SourceShard(*SHARDS[0], [], [])], tmp_path)
    store.put(with_sources.key(SOURCES), (tmp_path / SOURCES).read_bytes())
    assert ["has changed since" in str(problem) for problem in verify(with_sources).problems if problem.place == SOURCES]
    manifest = with_sources.manifest.model_copy(update={"sources": file.model_copy(update={"rows": 2})})
    found = [problem.what for problem in verify(replace(with_sources, manifest=manifest)).problems if problem.place == SOURCES]
    assert found[1:] == [
        "has 1 shards, the manifest says 2",
        "has other shards of snapshot crawl-a than the lineage",
        f"lacks {SHARDS[1][0]}, {SHARDS[2][0]}",
    ]
    store.delete(with_sources.key(SOURCES))
    assert any("does not exist" in problem.what or "No such" in problem.what for problem in verify(with_sources).problems)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"realised_tokens": 1}, "not within one document"),
        ({"copies": 5}, "phases, copies"),
        ({"samples": 5}, "phases, broad: the parts have"),
        ({"held_back": 10**9}, "held_back: 1000000000, more than the"),
        ({"solver": SolverRecord(max_copies=9, kappa=1, next_tokens=10**6)}, "max_copies: 9, more than the 4 over all phases"),
        ({"name": "clean"}, "phases: a name comes twice"),
    ],
)
def test_phases_that_disagree_with_the_parts_are_found(
    store: FileStore, make_mixture: Make, values: dict[str, Any], found: str
) -> None:
    manifest = make_mixture(phases=True).publish(store).version.manifest
    first, *others = manifest.phases
    changed = manifest.model_copy(update={"phases": (first.model_copy(update=values), *others)})
    if "name" in values:
        assert any(found in str(problem) for problem in manifest_problems(changed))
    else:
        assert any(found in problem for problem in problems(store, changed))


def test_copies_that_are_not_those_of_the_phases_together_are_found(store: FileStore, make_mixture: Make, tmp_path: Path) -> None:
    manifest = make_mixture(phases=True).publish(store).version.manifest
    assert problems(store, manifest) == []
    assert [str(problem) for problem in manifest_problems(manifest.model_copy(update={"format_version": 1}))] == [
        "format_version: 1, but by whether there are phases: 2"
    ]
    for phases, said in ((manifest.phases[::-1], "clean, broad"), ((), "none")):
        found = problems(store, manifest.model_copy(update={"phases": phases}))
        assert any(f"has the columns copies_broad, copies_clean, and phases are {said}" in problem for problem in found)
    found = problems(store, rewrite(store, manifest, set_value("copies", 3, 4), tmp_path))
    assert any("has 4 copies, and " in problem and "in all phases together" in problem for problem in found)
