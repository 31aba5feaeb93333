"""Versions as earlier releases wrote them, and as later ones may: they open, they verify, and what is new in them is named.

tests/golden/mixture_v1 is what the first release published, mixture_v1_croissant_1_1 what is published since croissant.json is of
Croissant 1.1, and mixture_v2 is a mixture with phases. They stay as they are, and a later format gets a directory of its own.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import samplemix_core
from samplemix_core.cli.main import app
from samplemix_core.errors import ManifestError, NewerFormatError
from samplemix_core.manifest.catalogue import Mixtures
from samplemix_core.manifest.format import MIXTURE_PART, schema_json
from samplemix_core.manifest.verify import verify
from samplemix_core.objects.directory import FileStore

GOLDEN = Path(__file__).parents[2] / "golden" / "mixture_v1_croissant_1_1"
FIRST = GOLDEN.with_name("mixture_v1")
PHASES = GOLDEN.with_name("mixture_v2")
Make = Callable[..., Any]


class Named(FileStore):
    """A store that says it is where the golden version was published: croissant.json names the place."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.uri = "s3://samplemix"


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(params=[FIRST, GOLDEN], ids=lambda path: path.name)
def golden(tmp_path: Path, request: pytest.FixtureRequest) -> FileStore:
    shutil.copytree(request.param, tmp_path / "golden" / "mixtures")
    return FileStore(tmp_path / "golden")


def test_a_version_of_an_earlier_release_opens_and_verifies(golden: FileStore) -> None:
    version = Mixtures(golden, "mixtures").open("demo")
    assert verify(version).problems == ()
    assert (version.manifest.samples, version.unknown, version.unknown_columns()) == (148, {}, [])


def test_the_same_mixture_is_published_with_the_same_bytes(tmp_path: Path, make_mixture: Make) -> None:
    """Other bytes are another content digest to everybody who mixes again: belongs in the changelog."""
    store = Named(tmp_path / "now")
    make_mixture().publish(store)
    assert files(tmp_path / "now" / "mixtures") == files(GOLDEN)
    changed = {Path(path).name for path, data in files(FIRST).items() if files(GOLDEN)[path] != data}
    assert changed == {"croissant.json", "SHA256SUMS"}


def test_a_mixture_with_phases_is_published_with_the_same_bytes(tmp_path: Path, make_mixture: Make) -> None:
    store = Named(tmp_path / "now")
    make_mixture(phases=True).publish(store)
    assert files(tmp_path / "now" / "mixtures") == files(PHASES)
    shutil.copytree(PHASES, tmp_path / "golden" / "mixtures")
    version = Mixtures(FileStore(tmp_path / "golden"), "mixtures").open("demo")
    assert (version.manifest.format_version, version.manifest.phase_names) == (2, ("broad", "clean"))
    assert (verify(version).problems, version.unknown, version.unknown_columns()) == ((), {}, [])


@pytest.fixture
def later(tmp_path: Path, make_mixture: Make) -> Mixtures:
    """A version with fields and a part column that are not known today, as a later release might publish it."""
    made = make_mixture()
    mixture = replace(made, directory=shutil.copytree(made.directory, tmp_path / "later"))
    parts = []
    for part in mixture.parts:
        path = mixture.directory / part.path
        table = pq.read_table(path)
        # Not last: columns are known by their names.
        pq.write_table(table.add_column(2, "shuffle_key", pa.array(range(table.num_rows), pa.int64())), path)
        parts.append(part.model_copy(update={"sha256": sha256_of(path)}))
    store = FileStore(tmp_path / "store")
    version = replace(mixture, parts=tuple(parts)).publish(store).version
    key = version.key("manifest.json")
    fields = json.loads(store.get(key)[0])
    fields |= {"epochs": 3, "lineage": fields["lineage"] | {"holdout": {"seed": 1}}}
    fields["solver"]["method"] = "exact"
    for domain in fields["domains"]:
        domain["median"] = 7
    store.put(key, json.dumps(fields).encode())
    for name in ("SHA256SUMS", "latest.json"):
        store.delete(version.key(name) if name == "SHA256SUMS" else "mixtures/demo/latest.json")
    return Mixtures(store, "mixtures")


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_a_later_release_adds_is_left_out_and_named(later: Mixtures) -> None:
    version = later.open("demo", 1)
    assert version.unknown == {"epochs": 3, "lineage.holdout": {"seed": 1}, "solver.method": "exact", "domains.median": 7}
    assert version.unknown_columns() == ["shuffle_key"]
    assert [table.schema.names for table in version.rows()] == [MIXTURE_PART.names] * len(version.manifest.parts)
    assert verify(version).problems == ()
    jsonschema.validate(json.loads(later.store.get(version.key("manifest.json"))[0]), json.loads(schema_json()))


def test_the_command_says_what_it_does_not_know(later: Mixtures) -> None:
    place = str(later.store.uri.removeprefix("file://")) + "/mixtures/demo/v000001/manifest.json"
    shown = CliRunner().invoke(app, ["mixture", "show", place]).output
    assert "fields that this one doesn't know, and leaves out: domains.median, epochs, lineage.holdout, solver.method" in shown
    assert "columns that this one doesn't know, and leaves out: shuffle_key" in shown
    values = json.loads(CliRunner().invoke(app, ["mixture", "show", place, "--json"]).output)
    assert values["unknown"]["columns"] == ["shuffle_key"]
    assert values["unknown"]["fields"]["lineage.holdout"] == {"seed": 1}


def test_a_part_without_a_column_is_refused(golden: FileStore, tmp_path: Path) -> None:
    version = Mixtures(golden, "mixtures").open("demo")
    part = version.manifest.parts[0]
    path = tmp_path / "part.parquet"
    pq.write_table(pq.read_table(GOLDEN / "demo" / "v000001" / part.path).drop_columns(["cluster"]), path)
    golden.put(version.key(part.path), path.read_bytes())
    assert [problem.what for problem in verify(version).problems if "no column cluster" in problem.what]


@pytest.mark.parametrize(
    ("written", "writer", "remedy"),
    [
        (3, "7.1.0", r"Upgrade SampleMix to 7\.1\.0 or later, here"),
        (3.0, "7.1.0", r"Upgrade SampleMix to 7\.1\.0 or later, here"),
        ("3", samplemix_core.__version__, "Upgrade SampleMix, here"),
        ("v3.0.1", None, "Upgrade SampleMix, here"),
    ],
)
def test_a_newer_format_is_refused_with_what_to_do_by_readers_and_publishers(
    store: FileStore, make_mixture: Make, written: object, writer: object, remedy: str
) -> None:
    version = make_mixture(seed=1).publish(store).version
    key = version.key("manifest.json")
    fields = json.loads(store.get(key)[0])
    lineage = fields["lineage"] | {"code_version": writer}
    store.put(key, json.dumps({**fields, "format_version": written, "lineage": lineage}).encode())
    refused = rf"format version [v0-9.]+; SampleMix \S+ reads up to 2\. {remedy}"
    with pytest.raises(NewerFormatError, match=refused):
        Mixtures(store, "mixtures").open("demo")
    before = files(Path(store.uri.removeprefix("file://")))
    with pytest.raises(NewerFormatError, match=refused):
        make_mixture(seed=2).publish(store)
    assert files(Path(store.uri.removeprefix("file://"))) == before
    store.put(key, json.dumps({**fields, "format_version": "1"}).encode())
    with pytest.raises(ManifestError, match="is not a valid manifest: format_version"):
        Mixtures(store, "mixtures").open("demo")
