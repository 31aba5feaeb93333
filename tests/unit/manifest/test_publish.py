"""One protocol, tried at every point where something else can happen: a crash, a lost answer, another publisher."""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from samplemix_core.errors import AccountingError, ManifestError, ObjectStoreError
from samplemix_core.manifest.catalogue import Mixtures
from samplemix_core.manifest.verify import verify
from samplemix_core.objects.directory import FileStore
from samplemix_core.objects.interface import ObjectInfo

PUTS = 8
"""Writes of one publish of the small mixture: croissant.json, four parts, manifest.json, SHA256SUMS, latest.json."""

Make = Callable[..., Any]


class Interrupted(FileStore):
    """A store where something happens just before, or just after, the n-th write."""

    def __init__(self, root: Path, n: int, happens: Callable[[], None], after: bool = False) -> None:
        super().__init__(root)
        self.n, self.happens, self.after = n, happens, after

    def put(self, key: str, data: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> ObjectInfo:
        self.n -= 1
        if self.n == 0 and not self.after:
            self.happens()
        info = super().put(key, data, if_none_match=if_none_match, if_match=if_match)
        if self.n == 0 and self.after:
            self.happens()
        return info


def crash() -> None:
    raise ObjectStoreError("power cut")


def sound(store: FileStore, versions: list[int], latest: int) -> None:
    """These versions are published and verify; latest.json names the greatest of them."""
    assert [version for version, committed in Mixtures(store, "mixtures").versions("demo").items() if committed] == versions
    for version in versions:
        assert verify(Mixtures(store, "mixtures").open("demo", version)).problems == ()
    names = json.loads(store.get("mixtures/demo/latest.json")[0])
    newest = hashlib.sha256(store.get(f"mixtures/demo/v{latest:06d}/manifest.json")[0]).hexdigest()
    assert names == {"version": latest, "manifest": f"v{latest:06d}/manifest.json", "manifest_sha256": newest}
    assert Mixtures(store, "mixtures").open("demo").manifest.version == latest


def test_a_first_version(store: FileStore, make_mixture: Make) -> None:
    mixture = make_mixture()
    published = mixture.publish(store)
    assert published.created
    assert (published.version.manifest.version, published.version.manifest.parent_version) == (1, None)
    keys = [info.key for info in store.list("mixtures/demo/")]
    files = ["SHA256SUMS", "croissant.json", "manifest.json", *(part.path for part in mixture.parts)]
    assert len(mixture.parts) == PUTS - 4
    assert keys == ["mixtures/demo/latest.json", *(f"mixtures/demo/v000001/{file}" for file in files)]
    sound(store, [1], 1)


def test_versions_follow_each_other(store: FileStore, make_mixture: Make) -> None:
    for seed in (1, 2, 3):
        manifest = make_mixture(seed=seed).publish(store).version.manifest
        assert (manifest.version, manifest.parent_version) == (seed, seed - 1 or None)
    sound(store, [1, 2, 3], 3)


def test_the_same_content_is_one_version_and_moves_nothing(store: FileStore, make_mixture: Make) -> None:
    first, second = make_mixture(seed=1), make_mixture(seed=2)
    published = first.publish(store).version.manifest
    assert not first.publish(store).created
    second.publish(store)
    again = first.publish(store)
    assert (again.created, again.version.manifest) == (False, published)
    sound(store, [1, 2], 2)


def test_mixtures_of_other_names_and_roots_are_apart(store: FileStore, make_mixture: Make) -> None:
    mixture, other = make_mixture(), make_mixture(name="demo2")
    assert mixture.publish(store).version.manifest.version == 1
    assert other.publish(store).version.manifest.version == 1
    assert mixture.publish(store, root="").version.manifest.version == 1
    assert store.head("demo/v000001/manifest.json") is not None
    sound(store, [1], 1)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("n", range(1, PUTS + 1))
def test_a_crash_at_any_write_is_resumed_as_if_nothing_had_happened(
    tmp_path: Path, make_mixture: Make, n: int, after: bool
) -> None:
    mixture = make_mixture()
    undisturbed = FileStore(tmp_path / "undisturbed")
    mixture.publish(undisturbed)
    with pytest.raises(ObjectStoreError, match="power cut"):
        mixture.publish(Interrupted(tmp_path / "store", n, crash, after))
    store = FileStore(tmp_path / "store")
    published = (n, after) >= (PUTS - 2, True)
    assert Mixtures(store, "mixtures").versions("demo").get(1, False) == published
    assert mixture.publish(store).created != published
    sound(store, [1], 1)
    # The first holds the store's address, and the second its digest.
    ignored = {"mixtures/demo/v000001/croissant.json", "mixtures/demo/v000001/SHA256SUMS"}
    for info in undisturbed.list():
        if info.key not in ignored:
            assert store.get(info.key)[0] == undisturbed.get(info.key)[0], info.key


@pytest.mark.parametrize("n", range(1, PUTS + 1))
def test_another_mixture_published_in_between_gets_a_version_of_its_own(tmp_path: Path, make_mixture: Make, n: int) -> None:
    first, second = make_mixture(seed=1), make_mixture(seed=2)
    store = FileStore(tmp_path)
    make_mixture(seed=0).publish(store)
    mine = first.publish(Interrupted(tmp_path, n, lambda: second.publish(store)))
    other = second.publish(store)
    assert mine.created
    assert not other.created
    assert {mine.version.manifest.version, other.version.manifest.version} == {2, 3}
    sound(store, [1, 2, 3], 3)


@pytest.mark.parametrize("n", range(1, PUTS + 1))
def test_the_same_mixture_published_in_between_is_the_same_version(tmp_path: Path, make_mixture: Make, n: int) -> None:
    mixture = make_mixture()
    store = FileStore(tmp_path)
    mixture.publish(Interrupted(tmp_path, n, lambda: mixture.publish(store)))
    sound(store, [1], 1)


@pytest.mark.parametrize("n", range(1, PUTS - 2))
def test_what_a_crashed_publisher_left_does_not_stand_in_the_way(tmp_path: Path, make_mixture: Make, n: int) -> None:
    first, second = make_mixture(seed=1), make_mixture(seed=2)
    with pytest.raises(ObjectStoreError):
        first.publish(Interrupted(tmp_path, n + 1, crash))
    store = FileStore(tmp_path)
    assert second.publish(store).version.manifest.version == 2
    assert first.publish(store).version.manifest.version == 1
    sound(store, [1, 2], 2)


def test_latest_is_the_greatest_version_even_if_its_publisher_died_before_saying_so(tmp_path: Path, make_mixture: Make) -> None:
    first, second = make_mixture(seed=1), make_mixture(seed=2)
    with pytest.raises(ObjectStoreError):
        first.publish(Interrupted(tmp_path, 2, crash))
    with pytest.raises(ObjectStoreError):
        second.publish(Interrupted(tmp_path, PUTS, crash))
    assert first.publish(FileStore(tmp_path)).version.manifest.version == 1
    sound(FileStore(tmp_path), [1, 2], 2)


def test_a_version_spoiled_by_a_stranger_is_left_alone(store: FileStore, make_mixture: Make) -> None:
    mixture = make_mixture()
    with pytest.raises(ObjectStoreError):
        mixture.publish(Interrupted(store.root, 2, crash))
    store.put("mixtures/demo/v000001/part-00000.parquet", b"not ours")
    assert mixture.publish(store).version.manifest.version == 2
    assert store.get("mixtures/demo/v000001/part-00000.parquet")[0] == b"not ours"
    sound(store, [2], 2)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"version": 0, "manifest": ""}', b'{"version": 1e999}', b"[" * 9999])
def test_a_damaged_latest_is_written_anew(store: FileStore, make_mixture: Make, data: bytes) -> None:
    mixture = make_mixture()
    mixture.publish(store)
    store.put("mixtures/demo/latest.json", data)
    assert not mixture.publish(store).created
    sound(store, [1], 1)


def test_an_earlier_manifest_that_is_damaged_keeps_nothing_from_being_published(store: FileStore, make_mixture: Make) -> None:
    make_mixture(seed=1).publish(store)
    key = "mixtures/demo/v000001/manifest.json"
    store.put(key, b"\0" * 512)
    again = make_mixture(seed=2).publish(store)
    assert (again.created, again.version.manifest.version, again.version.manifest.parent_version) == (True, 2, 1)
    assert not make_mixture(seed=2).publish(store).created
    assert store.get(key)[0] == b"\0" * 512


@pytest.mark.parametrize("publishers", [2, 8])
def test_publishers_racing_with_the_same_content_make_one_version(store: FileStore, make_mixture: Make, publishers: int) -> None:
    mixture, barrier = make_mixture(), Barrier(publishers)

    def run(_: int) -> Any:
        barrier.wait()
        return mixture.publish(FileStore(store.root))

    with ThreadPoolExecutor(publishers) as pool:
        results = list(pool.map(run, range(publishers)))
    assert {result.version.manifest.version for result in results} == {1}
    assert sum(result.created for result in results) == 1
    sound(store, [1], 1)


def test_publishers_racing_with_different_content_make_a_version_each(store: FileStore, make_mixture: Make) -> None:
    mixtures = [make_mixture(seed=seed) for seed in range(6)]
    barrier = Barrier(len(mixtures))

    def run(mixture: Any) -> Any:
        barrier.wait()
        return mixture.publish(FileStore(store.root))

    with ThreadPoolExecutor(len(mixtures)) as pool:
        results = list(pool.map(run, mixtures))
    assert all(result.created for result in results)
    assert sorted(result.version.manifest.version for result in results) == [1, 2, 3, 4, 5, 6]
    for mixture, result in zip(mixtures, results, strict=True):
        assert result.version.manifest.parts == mixture.parts
    sound(store, [1, 2, 3, 4, 5, 6], 6)


def test_a_draft_that_does_not_add_up_writes_nothing(store: FileStore, make_mixture: Make) -> None:
    mixture = make_mixture()
    draft = mixture.draft.model_copy(update={"copies": mixture.draft.copies + 1})
    with pytest.raises(AccountingError, match="domains, copies"):
        replace(mixture, draft=draft).publish(store)
    assert list(store.list()) == []


def test_parts_that_are_not_those_of_their_hashes_are_refused(store: FileStore, make_mixture: Make, tmp_path: Path) -> None:
    mixture = make_mixture()
    for part in mixture.parts:
        (tmp_path / part.path).write_bytes(mixture.read(part.path) + b"!")
    with pytest.raises(ManifestError, match=r"part-00000\.parquet are not those it was written with"):
        replace(mixture, directory=tmp_path).publish(store)
    assert Mixtures(store, "mixtures").versions("demo") == {1: False}


def test_a_store_without_conditions_is_noticed(tmp_path: Path, make_mixture: Make) -> None:
    class Refusing(FileStore):
        def put(self, key: str, data: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> ObjectInfo:
            return super().put(key, data, if_match="never")

    with pytest.raises(ManifestError, match="refused 100 attempts"):
        make_mixture().publish(Refusing(tmp_path))


def test_the_same_rows_of_another_corpus_or_of_changed_files_are_another_version(store: FileStore, make_mixture: Make) -> None:
    mixture = make_mixture()
    assert mixture.publish(store).version.manifest.version == 1
    elsewhere = replace(mixture, draft=mixture.draft.model_copy(update={"corpus_root": "s3://elsewhere/corpus"}))
    published = elsewhere.publish(store)
    assert (published.version.manifest.version, published.created) == (2, True)
    assert (published.version.manifest.corpus_root, published.version.manifest.parent_version) == ("s3://elsewhere/corpus", 1)
    (snapshot,) = mixture.draft.lineage.snapshots
    lineage = mixture.draft.lineage.model_copy(update={"snapshots": (snapshot.model_copy(update={"shards_digest": "0" * 64}),)})
    changed = replace(mixture, draft=mixture.draft.model_copy(update={"lineage": lineage}))
    assert changed.publish(store).version.manifest.version == 3
    assert [again.publish(store).version.manifest.version for again in (mixture, elsewhere, changed)] == [1, 2, 3]
