from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samplemix_core.errors import ManifestError
from samplemix_core.manifest.layout import Location
from samplemix_core.manifest.read import list_mixtures, list_versions, open_manifest, read_manifest, read_parts
from samplemix_core.objects.files import FileStore
from samplemix_core.schemas import MIXTURE_PART

Make = Callable[..., Any]


@pytest.fixture
def published(store: FileStore, make_mixture: Make) -> FileStore:
    for seed in (1, 2):
        make_mixture(seed=seed).publish(store)
    make_mixture(name="other").publish(store)
    return store


def test_lists_every_published_version_of_every_mixture(published: FileStore) -> None:
    published.put("mixtures/demo/v000003/croissant.json", b"{}")
    published.put("mixtures/demo/drafts/v000009/manifest.json", b"{}")
    assert list_mixtures(published, "mixtures") == [("demo", 1), ("demo", 2), ("other", 1)]
    assert list_versions(published, "mixtures", "demo") == {1: True, 2: True, 3: False}
    assert list_mixtures(published, "elsewhere") == []


def test_opens_a_version_and_the_latest(published: FileStore) -> None:
    assert read_manifest(published, "mixtures", "demo", 1).version == 1
    assert read_manifest(published, "mixtures", "demo").version == 2
    location, manifest = open_manifest(published, "mixtures/demo/v000001/manifest.json")
    assert (location, manifest.version) == (Location("mixtures", "demo", 1), 1)
    location, manifest = open_manifest(published, "mixtures/demo/latest.json")
    assert (location, manifest.version) == (Location("mixtures", "demo", 2), 2)


def test_parts_are_what_was_written(published: FileStore, make_mixture: Make) -> None:
    mixture = make_mixture(seed=1)
    tables = list(read_parts(published, "mixtures", read_manifest(published, "mixtures", "demo", 1)))
    assert [table.schema for table in tables] == [MIXTURE_PART] * len(mixture.parts)
    expected = pa.concat_tables([pq.read_table(mixture.directory / part.path) for part in mixture.parts])
    assert pa.concat_tables(tables).to_pylist() == expected.to_pylist()


def test_refuses_a_part_that_has_changed(published: FileStore) -> None:
    published.put("mixtures/demo/v000001/part-00001.parquet", b"PAR1")
    parts = read_parts(published, "mixtures", read_manifest(published, "mixtures", "demo", 1))
    next(parts)
    with pytest.raises(ManifestError, match=r"part-00001\.parquet has changed since it was published"):
        next(parts)


def test_names_what_is_missing(published: FileStore) -> None:
    with pytest.raises(ManifestError, match=r"No mixture 'nothing' is published at file://"):
        read_manifest(published, "mixtures", "nothing")
    with pytest.raises(ManifestError, match=r"v000007/manifest\.json does not exist"):
        read_manifest(published, "mixtures", "demo", 7)


def test_refuses_a_latest_that_names_no_version(published: FileStore) -> None:
    published.put("mixtures/demo/latest.json", b'{"version": "two"}')
    with pytest.raises(ManifestError, match="names no version: 'two'"):
        read_manifest(published, "mixtures", "demo")


def test_refuses_a_manifest_in_anothers_place(published: FileStore) -> None:
    data, _ = published.get("mixtures/demo/v000001/manifest.json")
    published.put("mixtures/demo/v000005/manifest.json", data)
    with pytest.raises(ManifestError, match="says it is 'demo' version 1"):
        read_manifest(published, "mixtures", "demo", 5)
