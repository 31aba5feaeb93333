import hashlib
import os
import stat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from samplemix_core.errors import ObjectAccessError, ObjectStoreError
from samplemix_core.objects.directory import RESERVED, FileStore


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a/.", "", "a\0b", f"{RESERVED}/lock"])
def test_keys_that_leave_the_root_are_refused(tmp_path: Path, key: str) -> None:
    (tmp_path / "x").write_bytes(b"outside")
    store = FileStore(tmp_path / "root")
    for act in (store.head, store.open, store.get, store.delete, lambda key: store.put(key, b"1")):
        with pytest.raises(ObjectStoreError, match="is not a key"):
            act(key)
    assert (tmp_path / "x").read_bytes() == b"outside"


def test_links_that_leave_the_root_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"outside")
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").symlink_to(tmp_path / "secret")
    (root / "directory").symlink_to(tmp_path)
    store = FileStore(root)
    for key in ("file", "directory/secret"):
        for act in (store.head, store.open, store.get, store.delete, lambda key: store.put(key, b"1")):
            with pytest.raises(ObjectStoreError, match="link to a place outside"):
                act(key)
    for info in store.list():
        assert "link to a place outside" in str(info.trouble)
        with pytest.raises(ObjectStoreError, match="link to a place outside"):
            assert info.etag
    assert (tmp_path / "secret").read_bytes() == b"outside"


def test_links_within_the_root_are_followed_to_files_only(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "1").write_bytes(b"one")
    (tmp_path / "a").symlink_to("blobs/1")
    store = FileStore(tmp_path)
    assert store.get("a")[0] == b"one"
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    troubles = {info.key: info.trouble for info in store.list()}
    assert (troubles.pop("a"), troubles.pop("blobs/1")) == (None, None)
    assert troubles.keys() == {"gone", "loop", "pipe", "self"}
    assert "is a link to itself" in str(troubles.pop("self"))
    for act in (store.head, store.get, lambda key: [*store.list(f"{key}/")]):
        with pytest.raises(ObjectAccessError, match="is a link to itself"):
            act("self")
    assert all("is not a regular file" in str(trouble) for trouble in troubles.values())


def test_a_name_that_no_file_can_have_is_named(tmp_path: Path) -> None:
    for root, prefix in ((tmp_path / ("x" * 300), ""), (tmp_path, "x" * 300 + "/")):
        with pytest.raises(ObjectAccessError, match="File name too long"):
            list(FileStore(root).list(prefix))
    with pytest.raises(ObjectAccessError, match="File name too long"):
        FileStore(tmp_path).head("x" * 300)


def test_directories_may_lie_as_deep_as_paths_are_long(tmp_path: Path) -> None:
    made = [tmp_path]
    for _ in range(1200):
        made.append(made[-1] / "d")
        made[-1].mkdir()
    (made[-1] / "x").touch()
    (info,) = FileStore(tmp_path).list()
    assert info.key == "d/" * 1200 + "x"
    # What pytest removes by itself may not be so deep.
    (made[-1] / "x").unlink()
    for directory in reversed(made[1:]):
        directory.rmdir()


def test_a_directory_that_may_not_be_read_is_listed_with_the_trouble() -> None:
    with TemporaryDirectory() as place:
        root = Path(place)
        root.chmod(0o755)
        (root / "a").mkdir(mode=0o000)
        (root / "b").touch()
        was = os.geteuid()
        try:
            if was == 0:
                os.seteuid(65534)  # Root may read everything.
            trouble, file = FileStore(root).list()
        finally:
            os.seteuid(was)
        assert (trouble.key, file.key) == ("a/", "b")
        assert "Permission denied" in str(trouble.trouble)


def test_a_name_that_is_not_utf_8_is_listed_and_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    (tmp_path / os.fsdecode(b"caf\xe9") / "x").write_bytes(b"1")
    (tmp_path / "caf\u00e9").mkdir()
    store = FileStore(tmp_path)
    assert [info.key for info in store.list()] == ["caf\udce9/x"]
    assert list(store.directories()) == ["caf\u00e9"]


def test_etag_is_of_the_content_not_of_the_file(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    first = store.put("a", b"same")
    os.utime(tmp_path / "a", (1, 1))
    assert store.head("a") == first
    assert store.put("b", b"same").etag == first.etag == hashlib.sha256(b"same").hexdigest()


def test_files_have_the_mode_of_any_new_file(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.put("a", b"1")
    (tmp_path / "b").write_bytes(b"1")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_reading_writes_nothing(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "root")
    assert list(store.list()) == []
    assert store.head("a") is None
    store.delete("a")
    with pytest.raises(ObjectStoreError):
        store.get("a")
    assert not (tmp_path / "root").exists()


def test_an_interrupted_upload_leaves_the_old_object(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "root")
    store.put("a", b"old")
    with pytest.raises(ObjectStoreError, match="missing"):
        store.upload("a", tmp_path / "missing")
    assert store.get("a")[0] == b"old"
    assert [path.name for path in (tmp_path / "root" / RESERVED).iterdir()] == ["lock"]


def test_an_open_stream_stays_the_version_it_opened(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.put("a", b"old" * 10_000)
    with store.open("a") as stream:
        first = stream.read(3)
        store.put("a", b"new" * 10_000)
        assert first + stream.read() == b"old" * 10_000


def test_listing_reads_no_file_and_an_etag_is_of_what_was_listed(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    (tmp_path / "old").write_bytes(b"one")
    os.utime(tmp_path / "old", (1, 1))
    (tmp_path / "young").write_bytes(b"one")
    old, young = store.list()
    assert (old.stamp, young.stamp) == ("1000000000", None)
    assert old.etag == young.etag == hashlib.sha256(b"one").hexdigest()
    os.utime(tmp_path / "old", (2, 2))
    old, young = store.list()
    (tmp_path / "old").write_bytes(b"two")
    with pytest.raises(ObjectStoreError, match="old is being written"):
        _ = old.etag


def test_a_file_is_read_for_its_etag_once_while_it_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, file = FileStore(tmp_path), tmp_path / "old"
    reads = 0
    digest = hashlib.file_digest

    def counted(file: Any, name: str) -> Any:
        nonlocal reads
        reads += 1
        return digest(file, name)

    def etags() -> set[str]:
        return {info.etag for info in (store.head("old"), store.head("old")) if info is not None}

    monkeypatch.setattr(hashlib, "file_digest", counted)
    for content, modified in ((b"one", 1), (b"two", 2)):
        file.write_bytes(content)
        os.utime(file, (modified, modified))
        assert (etags(), reads) == ({hashlib.sha256(content).hexdigest()}, modified)
    # What was written just now may be written again at the same moment.
    file.write_bytes(b"new")
    assert (etags(), reads) == ({hashlib.sha256(b"new").hexdigest()}, 4)
