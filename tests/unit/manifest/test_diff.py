"""Two versions compared: what entered and left, and where tokens moved, however the rows are cut into parts."""

import json
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from samplemix_core.cli.main import app
from samplemix_core.errors import ConfigError, ManifestError
from samplemix_core.manifest.catalogue import Mixtures
from samplemix_core.manifest.diff import GroupChange, diff
from samplemix_core.objects.directory import FileStore
from samplemix_core.report.picture import draw_diff
from tests.mixtures import Published, cluster_of, publish_corpus, quality_of, records, write_shard

SHARDS = ("a/web/0.jsonl", "a/web/1.jsonl", "a/books/0.parquet", "b/web/0.jsonl", "b/código/part.0.jsonl")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("diff")
    for number, path in enumerate(SHARDS):
        write_shard(root / "corpus" / path, records(path, 40 + 30 * number))
    return root


def version(corpus: Path, place: str, copies_of: Callable[[int], int], rows: int) -> Published:
    mixtures = Mixtures(FileStore(corpus / place), "mixtures")
    return publish_corpus(mixtures, FileStore(corpus / "corpus"), corpus / uuid4().hex, copies_of, rows)


CASES: list[tuple[Callable[[int], int], Callable[[int], int]]] = [
    (lambda n: n * 7919 % 5, lambda n: n * 31 % 4),
    (lambda n: 1, lambda n: 1),
    (lambda n: int(n < 60), lambda n: int(n > 200)),
    (lambda n: int(n == 70), lambda n: 3),
]


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("rows", [7, 50, 1000])
def test_what_changed_is_counted_whatever_the_parts(corpus: Path, case: int, rows: int) -> None:
    old, new = (version(corpus, f"{case}-{side}-{rows}", CASES[case][side], (rows, 33)[side]) for side in range(2))
    listed: list[pa.Table] = []
    found = diff(old.version, new.version, listed.append)
    places = sorted({*old.copies, *new.copies})
    both = {place: (old.copies.get(place, 0), new.copies.get(place, 0)) for place in places}
    counted = Counter(_change(*pair) for pair in both.values())
    assert found.changes == {change: counted[change] for change in found.changes}
    rows_of = [row for table in listed for row in table.to_pylist()]
    changed = {place: pair for place, pair in both.items() if pair[0] != pair[1]}
    assert {(row["shard"], row["row"]): (row["copies_before"], row["copies"]) for row in rows_of} == changed
    assert all(row["change"] == _change(row["copies_before"], row["copies"]) for row in rows_of)
    number = {place: n for n, place in enumerate(old.texts)}
    assert all(row["cluster"] == cluster_of(number[row["shard"], row["row"]]) for row in rows_of)
    assert all(row["quality"] == np.float32(quality_of(number[row["shard"], row["row"]])) for row in rows_of)
    keys: list[tuple[tuple[GroupChange, ...], Callable[[tuple[str, int]], str]]] = [
        (found.domains, lambda place: place[0].split("/")[1]),
        (found.clusters, lambda place: str(cluster_of(number[place]))),
        (found.quality, lambda place: band(quality_of(number[place]))),
    ]
    for groups, key in keys:
        for side, published in (("before", old), ("after", new)):
            tokens: Counter[str] = Counter()
            for place, copies in published.copies.items():
                tokens[key(place)] += copies * len(published.texts[place].split())
            assert {group.group: getattr(group, side).tokens for group in groups if getattr(group, side).tokens} == tokens
    gained = [group.gained for group in found.domains]
    assert gained == sorted(gained, reverse=True)
    assert sum(group.gained for group in found.quality) == found.total.gained == sum(gained)


def band(quality: float) -> str:
    low = 10 * min(9, int(quality))
    return f"{low:02d} to {low + 10} %"


def _change(before: int, after: int) -> str:
    if not before or not after:
        return "left" if before else "entered"
    return "as before" if before == after else "more copies" if after > before else "fewer copies"


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["mixture", "diff", *arguments])


def test_the_command_compares_and_draws(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLEMIX_HOME", str(tmp_path))
    first, second = (version(corpus, "command", CASES[0][side], 60) for side in range(2))
    changed = tmp_path / "changed.parquet"
    options = ["--parquet", str(changed), "--plot", str(tmp_path / "diff.png")]
    result = run(first.uri, second.uri, *options, "--json")
    found = json.loads(result.output)
    assert (found["before"], found["after"]) == ("demo@1", "demo@2")
    assert pq.read_metadata(changed).num_rows == sum(found["changes"].values()) - found["changes"]["as before"]
    assert (tmp_path / "diff.png").stat().st_size > 10_000
    run(second.uri, "--groups", str(tmp_path / "groups.parquet"))
    groups = pq.read_table(tmp_path / "groups.parquet").to_pylist()
    listed = {"all": [found["total"]], "domain": found["domains"], "quality": found["quality"], "cluster": found["clusters"]}
    assert [(row["by"], row["group"], row["tokens_before"], row["copies_after"], row["documents_after"]) for row in groups] == [
        (by, each["group"], each["before"]["tokens"], each["after"]["copies"], each["after"]["documents"])
        for by, each in ((by, each) for by, own in listed.items() for each in own)
    ]
    # Without another version, the parent.
    assert json.loads(run(second.uri, "--json").output) == found
    said = run(second.uri).output
    assert f"{found['changes']['entered']:,} entered" in said
    assert "código" in said
    assert "no parent" in str(run(first.uri).exception)
    assert isinstance(run(second.uri, "--plot", str(tmp_path / "diff.gif")).exception, ConfigError)
    for option, name in (("--plot", "none/diff.png"), ("--parquet", "none/changed.parquet"), ("--groups", "")):
        error = run(second.uri, option, str(tmp_path / name)).exception
        assert isinstance(error, ConfigError)
        assert f"{tmp_path / name} can't be written" in str(error)


def test_a_picture_shows_all_that_is_known_of_both(corpus: Path, tmp_path: Path) -> None:
    old, new = (version(corpus, "picture", CASES[0][side], 60) for side in range(2))
    found = diff(old.version, new.version).model_copy(update={"clusters": ()})
    for more, height in ((0, 700), (1, 1290), (4, 1880)):
        names = ("languages", "content_types", "clusters", "phases")[:more]
        drawn = found.model_copy(update=dict.fromkeys(names, found.domains))
        assert len(drawn.tables()) == 2 + more
        draw_diff(tmp_path / "diff.png", drawn)
        assert struct.unpack(">II", (tmp_path / "diff.png").read_bytes()[16:24]) == (1400, height)


def test_a_version_is_named_by_its_mixture_and_number(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from samplemix_core.deployment import Deployment
    from samplemix_core.reading.versions import open_version

    for side in range(2):
        version(corpus, "named", CASES[0][side], 60)
    mixtures = Mixtures(FileStore(corpus / "named"), "mixtures")
    monkeypatch.setattr(Deployment, "mixtures", mixtures)
    deployment = Deployment.load()
    assert open_version(deployment, "demo@1").manifest.version == 1
    assert open_version(deployment, "demo").manifest.version == open_version(deployment, "demo", 2).manifest.version == 2
    for wrong in ("demo@", "demo@x", "demo@9"):
        with pytest.raises(ManifestError):
            open_version(deployment, wrong)
    with pytest.raises(ManifestError, match="already names one version"):
        open_version(deployment, "demo@1", 1)


def test_documents_that_moved_between_phases_are_counted(corpus: Path) -> None:
    def phased(place: str, **phases: Callable[[int], int]) -> Published:
        mixtures = Mixtures(FileStore(corpus / place), "mixtures")
        return publish_corpus(mixtures, FileStore(corpus / "corpus"), corpus / uuid4().hex, lambda n: 0, 50, phases)

    old = phased("phased-1", broad=lambda n: 1, clean=lambda n: n % 2)
    new = phased("phased-2", broad=lambda n: int(n >= 9 or n % 2), clean=lambda n: int(n < 9) + int(n >= 9 and n % 2))
    found = diff(old.version, new.version)
    # The even ones below 9 are read later, and the odd ones below 9 as before.
    assert (found.moved, found.changes["as before"]) == (5, len(old.copies))
    assert [(group.group, group.after.copies - group.before.copies) for group in found.phases] == [("broad", -5), ("clean", 5)]
    assert "(5 of them in other phases)" in next(iter(found.lines()))
    plain = version(corpus, "phased-none", lambda n: 1, 50)
    assert [(group.group, group.before.copies > 0, group.after.copies) for group in diff(old.version, plain.version).phases] == [
        ("broad", True, 0),
        ("clean", True, 0),
    ]
