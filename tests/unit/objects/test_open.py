import pickle
from pathlib import Path

import pytest

from samplemix_core.errors import ConfigError
from samplemix_core.objects import open_store
from samplemix_core.objects.directory import FileStore
from samplemix_core.objects.s3 import S3Store
from samplemix_core.settings import Settings

SETTINGS = Settings(home=Path("home"), s3_endpoint="http://127.0.0.1:1", s3_access_key="key", s3_secret_key="secret")


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}"])
def test_directories_in_every_form(tmp_path: Path, form: str) -> None:
    (tmp_path / "a").write_bytes(b"1")
    store = open_store(form.format(tmp_path), SETTINGS)
    assert isinstance(store, FileStore)
    assert store.uri == f"file://{tmp_path}"
    assert [item.key for item in store.list()] == ["a"]


def test_relative_paths_are_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_store("corpus", SETTINGS).put("a", b"1")
    assert (tmp_path / "corpus" / "a").read_bytes() == b"1"


def test_a_space_in_a_file_uri(tmp_path: Path) -> None:
    root = tmp_path / "my corpus"
    store = open_store(root.as_uri(), SETTINGS)
    store.put("a", b"1")
    assert (root / "a").read_bytes() == b"1"


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "s3://bucket/a/b", "s3://bucket/a/b/"])
def test_buckets_with_and_without_prefix(uri: str) -> None:
    store = open_store(uri, SETTINGS)
    assert isinstance(store, S3Store)
    # In another process too, with connections of its own.
    assert store.uri == pickle.loads(pickle.dumps(store)).uri == uri.rstrip("/")


@pytest.mark.parametrize(
    "uri", ["", "s3://", "s3:///prefix", "s3://bucket?versionId=1", "gs://bucket", "https://host/x", "http://[::1", "file://host/x"]
)
def test_what_is_no_store_is_named(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"s3://bucket"):
        open_store(uri, SETTINGS)
