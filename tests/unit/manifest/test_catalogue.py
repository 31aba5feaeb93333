"""Mixtures on a store: which there are, opened by name and by key, their rows, and what is refused."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samplemix_core.errors import ManifestError
from samplemix_core.manifest.catalogue import Mixtures, open_key
from samplemix_core.manifest.format import MIXTURE_PART
from samplemix_core.objects.directory import FileStore

Make = Callable[..., Any]


@pytest.fixture
def published(store: FileStore, make_mixture: Make) -> Mixtures:
    for seed in (1, 2):
        make_mixture(seed=seed).publish(store)
    make_mixture(name="other").publish(store)
    return Mixtures(store, "mixtures")


def test_lists_every_published_version_of_every_mixture(published: Mixtures) -> None:
    published.store.put("mixtures/demo/v000003/croissant.json", b"{}")
    published.store.put("mixtures/demo/v4/manifest.json", b"{}")
    published.store.put("mixtures/demo/drafts/v000009/manifest.json", b"{}")
    assert published.list() == [("demo", 1), ("demo", 2), ("other", 1)]
    assert published.versions("demo") == {1: True, 2: True, 3: False}
    assert Mixtures(published.store, "elsewhere").list() == []


@pytest.mark.parametrize("root", ["", "mixtures", "team/mixtures"])
def test_a_version_knows_its_files_below_any_root(store: FileStore, make_mixture: Make, root: str) -> None:
    version = make_mixture().publish(store, root).version
    assert version.key("croissant.json") == f"{root}/demo/v000001/croissant.json".lstrip("/")
    assert store.head(version.key("part-00000.parquet")) is not None
    assert version.uri == f"{store.uri}/{version.key('manifest.json')}"
    assert open_key(store, version.key("manifest.json")) == version
    assert Mixtures(store, root).list() == [("demo", 1)]


def test_versions_have_six_digits_or_more(published: Mixtures) -> None:
    assert [published.key("demo", version, "x") for version in (12, 1_234_567)] == [
        "mixtures/demo/v000012/x",
        "mixtures/demo/v1234567/x",
    ]


def test_opens_a_version_and_the_latest(published: Mixtures) -> None:
    assert published.open("demo", 1).manifest.version == 1
    assert published.open("demo").manifest.version == 2
    assert open_key(published.store, "mixtures/demo/v000001/manifest.json").manifest.version == 1
    assert open_key(published.store, "/mixtures/demo/latest.json").manifest.version == 2


@pytest.mark.parametrize("key", ["m/demo", "manifest.json", "v000001/manifest.json", "latest.json", "m/demo/v1/manifest.json"])
def test_refuses_keys_of_no_manifest(store: FileStore, key: str) -> None:
    with pytest.raises(ManifestError, match="is not a manifest's key"):
        open_key(store, key)


def test_rows_are_what_was_written(published: Mixtures, make_mixture: Make) -> None:
    mixture = make_mixture(seed=1)
    tables = list(published.open("demo", 1).rows())
    assert [table.schema for table in tables] == [MIXTURE_PART] * len(mixture.parts)
    expected = pa.concat_tables([pq.read_table(mixture.directory / part.path) for part in mixture.parts])
    assert pa.concat_tables(tables).to_pylist() == expected.to_pylist()


def test_refuses_a_part_that_has_changed(published: Mixtures) -> None:
    published.store.put("mixtures/demo/v000001/part-00001.parquet", b"PAR1")
    rows = published.open("demo", 1).rows()
    next(rows)
    with pytest.raises(ManifestError, match=r"part-00001\.parquet has changed since it was published"):
        next(rows)


def test_names_what_is_missing(published: Mixtures) -> None:
    with pytest.raises(ManifestError, match=r"No mixture 'nothing' is published at file://"):
        published.open("nothing")
    with pytest.raises(ManifestError, match=r"v000007/manifest\.json does not exist"):
        published.open("demo", 7)


def test_refuses_a_latest_that_names_no_version(published: Mixtures) -> None:
    published.store.put("mixtures/demo/latest.json", b'{"version": "two"}')
    with pytest.raises(ManifestError, match="names no version: 'two'"):
        published.open("demo")


def test_refuses_a_manifest_in_anothers_place(published: Mixtures) -> None:
    data, _ = published.store.get("mixtures/demo/v000001/manifest.json")
    published.store.put("mixtures/demo/v000005/manifest.json", data)
    with pytest.raises(ManifestError, match="says it is 'demo' version 1"):
        published.open("demo", 5)
