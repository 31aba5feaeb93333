"""A mixture read by any number of ranks and workers: each copy once, with its own text, wherever one stops."""

import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.errors import ConfigError, CorpusError, ManifestError, ObjectStoreError
from samplemix_core.objects.directory import FileStore
from samplemix_core.objects.interface import ObjectInfo
from samplemix_core.reading import texts
from samplemix_core.reading.mixture import Document, Mixture, open_mixture
from samplemix_core.reading.texts import Lane
from tests.mixtures import COMPRESS, Published, records, write_shard

from .conftest import publish_directory


@pytest.fixture
def mixture(published: Published, tmp_path: Path) -> Mixture:
    return open_mixture(published.uri, cache_directory=tmp_path / "cache")


def copies_of(documents: list[Document]) -> Counter[tuple[str, int]]:
    return Counter((document.shard, document.row) for document in documents)


def test_an_epoch_has_each_copy_once_with_its_text(mixture: Mixture, published: Published) -> None:
    found = list(mixture.documents())
    assert copies_of(found) == published.copies
    assert len({(item.shard, item.row, item.copy) for item in found}) == len(found) == len(mixture)
    assert all(item.text == published.texts[item.shard, item.row] for item in found)
    assert all((item.domain, item.id is not None) == (item.shard.split("/")[1], True) for item in found)
    assert sum(item.n_tokens for item in found) == mixture.manifest.realised_tokens
    assert [item.position for item in found] == list(range(len(mixture)))


@pytest.mark.parametrize(("world_size", "workers", "batch_size"), [(1, 1, 1), (2, 3, 4), (3, 1, 7), (16, 4, 2), (7, 2, 5)])
def test_ranks_and_workers_share_an_epoch(mixture: Mixture, world_size: int, workers: int, batch_size: int) -> None:
    whole = list(mixture.documents())
    found: list[Document] = []
    for rank in range(world_size):
        mine = [list(mixture.documents(rank, world_size, worker, workers, batch_size=batch_size)) for worker in range(workers)]
        # A loader takes batches from its workers in turns: so a rank reads every world_size-th document, in order.
        batches = [[part[i : i + batch_size] for i in range(0, len(part), batch_size)] for part in mine]
        turns = [batches[i % workers][i // workers] for i in range(sum(map(len, batches)))]
        assert [item for batch in turns for item in batch] == whole[rank::world_size]
        found += [item for part in mine for item in part]
    assert sorted(item.position for item in found) == list(range(len(mixture)))


def test_a_job_goes_on_with_other_ranks(mixture: Mixture) -> None:
    whole = list(mixture.documents())
    read: list[Document] = []
    state: dict[str, Any] | None = None
    for world_size, steps in ((3, 20), (1, 11), (8, 9), (2, None)):
        readers = [mixture.documents(rank, world_size, state=state) for rank in range(world_size)]
        for reader in readers:
            read += list(reader) if steps is None else [next(reader) for _ in range(steps)]
        states = [reader.state_dict() for reader in readers]
        if steps is not None:
            assert states == [states[0]] * world_size
            state = json.loads(json.dumps(states[0]))
        for reader in readers:
            reader.close()
    assert sorted(read, key=lambda item: item.position) == whole


def test_epochs_follow_each_other_in_other_orders(mixture: Mixture) -> None:
    length = len(mixture)
    found = list(mixture.documents(batch_size=8, epochs=3))
    assert [item.epoch for item in found] == [0] * length + [1] * length + [2] * length
    first, second = found[:length], found[length : 2 * length]
    assert copies_of(first) == copies_of(second) == copies_of(found[2 * length :])
    assert [item.sample for item in first] != [item.sample for item in second]
    later = mixture.state(2 * length - 5)
    assert (later.epoch, later.position) == (1, length - 5)
    assert list(mixture.documents(epochs=3, state=later)) == found[2 * length - 5 :]


def test_a_mixture_goes_to_another_process_as_it_is(mixture: Mixture) -> None:
    other = pickle.loads(pickle.dumps(mixture))
    assert list(other.documents(2, 5)) == list(mixture.documents(2, 5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"content_digest": "0" * 64}, "Open the version that the job was reading"),
        ({"seed": 9}, "with the state's seed"),
        ({"order": 2}, "release of SampleMix that saved it"),
        ({"position": 10**9}, "place is not in the mixture"),
        ({"position": -1}, "place is not in the mixture"),
        ({"position": "5"}, "no state of a mixture"),
        ({"epoch": 0.5}, "no state of a mixture"),
        ({"seed": True}, "no state of a mixture"),
    ],
)
def test_a_state_of_something_else_is_refused(mixture: Mixture, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        mixture.documents(state=mixture.state(5).as_dict() | change)
    with pytest.raises(ManifestError, match="no state of a mixture"):
        mixture.documents(state={"step": 5})


@pytest.mark.parametrize(
    ("arguments", "message"), [((2, 2), "no rank 2 of 2"), ((0, 0), "no rank 0 of 0"), ((0, 1, -1, 1), "no worker -1 of 1")]
)
def test_a_rank_that_is_not_there_is_refused(mixture: Mixture, arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mixture.documents(*arguments)


def corpus_of(root: Path) -> Published:
    for name in ("a.jsonl", "b.jsonl.gz", "c.parquet"):
        write_shard(root / "corpus" / "crawl" / "web" / name, records(name, 60))
    return publish_directory(root, lambda n: 1 + n % 2)


@pytest.mark.parametrize("name", ["a.jsonl", "b.jsonl.gz", "c.parquet"])
def test_a_file_that_changed_is_named_and_not_read(tmp_path: Path, name: str) -> None:
    published = corpus_of(tmp_path)
    path = tmp_path / "corpus" / "crawl" / "web" / name
    mixture = open_mixture(published.uri, cache_directory=tmp_path / "cache")
    assert len(list(mixture.documents())) == len(mixture)
    write_shard(path, records(name[::-1], 60))
    # What was kept was read before.
    assert len(list(mixture.documents())) == len(mixture)
    with pytest.raises(CorpusError, match=rf"crawl/web/{name} is not the file that was mixed: (its etag|it has)"):
        list(open_mixture(published.uri, cache_directory=tmp_path / "other").documents())
    path.unlink()
    with pytest.raises(CorpusError, match=rf"crawl/web/{name} is not the file that was mixed: it is gone"):
        list(open_mixture(published.uri, cache_directory=tmp_path / "other").documents())


def test_every_compression_and_other_fields_are_read(tmp_path: Path) -> None:
    suffixes = (*COMPRESS, "", "parquet")
    for number, suffix in enumerate(suffixes):
        name = f"{number}.parquet" if suffix == "parquet" else f"{number}.jsonl{suffix}"
        rows = [
            {"body": item["text"], "key": item["id"], "about": ("müsic", "art")[n % 2]} for n, item in enumerate(records(name, 60))
        ]
        write_shard(tmp_path / "corpus" / "crawl" / "web" / name, rows)
    config = ReaderConfig(text_field="body", id_field="key", domain_field="about")
    published = publish_directory(tmp_path, lambda n: n % 3, config)
    found = list(open_mixture(published.uri, cache_directory=tmp_path / "cache").documents())
    assert copies_of(found) == published.copies
    assert {item.shard.rpartition("/")[2][0] for item in found} == {str(number) for number in range(len(suffixes))}
    assert all(item.text == published.texts[item.shard, item.row] for item in found)
    assert {item.domain for item in found} == {"müsic", "art"}
    assert all(item.text.startswith(" ".join((item.id or "").rsplit(".", 2)[:2])) for item in found)


def test_reading_goes_on_while_nobody_asks(published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch, has_first, goes_on = Lane.fetch, threading.Event(), threading.Event()
    fetched: list[int] = []

    def noted(lane: Lane, wanted: Any, stretch: tuple[int, int]) -> Any:
        if fetched:
            assert has_first.wait(30)
            goes_on.set()
        fetched.append(wanted.size)
        return fetch(lane, wanted, stretch)

    monkeypatch.setattr(Lane, "fetch", noted)
    # One thread fetches what is wanted first, and then goes on.
    documents = open_mixture(published.uri, cache_directory=tmp_path, threads=1).documents()
    next(documents)
    assert not goes_on.is_set()
    has_first.set()
    assert goes_on.wait(30)
    documents.close()


def test_a_file_with_another_record_in_its_place_is_named(tmp_path: Path) -> None:
    """Where a version doesn't say what its files were, what is missing is still noticed."""
    published = corpus_of(tmp_path)
    for name in ("a.jsonl", "b.jsonl.gz", "c.parquet"):
        write_shard(tmp_path / "corpus" / "crawl" / "web" / name, records(name, 50))
        mixture = open_mixture(published.uri, cache_directory=tmp_path / name)
        bare = replace(mixture, texts=replace(mixture.texts, sources=mixture.texts.sources.slice(0, 0)))
        with pytest.raises(CorpusError, match=r"is not the file that was mixed: row \d+ is missing"):
            list(bare.documents())
        write_shard(tmp_path / "corpus" / "crawl" / "web" / name, records(name, 60))


def test_a_corpus_that_was_copied_is_read_where_it_is_now(tmp_path: Path) -> None:
    published = corpus_of(tmp_path)
    shutil.move(tmp_path / "corpus", tmp_path / "elsewhere")
    mixture = open_mixture(published.uri, corpus_root=str(tmp_path / "elsewhere"), cache_directory=tmp_path / "cache")
    assert copies_of(list(mixture.documents())) == published.copies


@pytest.mark.parametrize("failures", [2, 5])
def test_a_store_that_fails_is_asked_again(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    waits, left, opened = list[float](), [failures], FileStore.open

    def failing(store: FileStore, key: str, version: ObjectInfo | None = None) -> Any:
        if key.endswith("part.0.jsonl") and left[0]:
            left[0] -= 1
            raise ObjectStoreError("The store is busy.", "Ask again.")
        return opened(store, key, version)

    monkeypatch.setattr(FileStore, "open", failing)
    # Only there: other threads of this process sleep too.
    monkeypatch.setattr(texts, "time", SimpleNamespace(sleep=waits.append, time=time.time))
    found = open_mixture(published.uri, cache_directory=tmp_path / "cache", threads=1).documents()
    if failures == 5:
        with pytest.raises(ObjectStoreError, match="The store is busy"):
            list(found)
        assert waits == [0.5, 1, 2, 4]
    else:
        assert len(list(found)) == sum(published.copies.values())
        assert waits == [0.5, 1]


def test_opening_says_how_far_it_is(published: Published) -> None:
    told: list[tuple[int, int]] = []
    mixture = open_mixture(published.uri, on_progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(mixture.manifest.parts),) * 2


def test_a_small_cache_is_kept_to_its_bound(published: Published, tmp_path: Path) -> None:
    mixture = open_mixture(published.uri, cache_directory=tmp_path / "cache", cache_bytes=20_000)
    assert copies_of(list(mixture.documents())) == published.copies
    kept = list((tmp_path / "cache").glob("*.arrow"))
    assert kept
    assert sum(path.stat().st_size for path in kept) <= 20_000 or len(kept) == 1
    assert not list((tmp_path / "cache").glob("*.part"))


def test_files_made_at_once_share_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = texts.Cache(tmp_path, max_bytes=1_500)
    made, look = [], cache._make_room
    all_written = threading.Barrier(4)

    def write(path: Path) -> None:
        path.write_bytes(bytes(1_000))
        all_written.wait(20)

    def slowly(n_bytes: int) -> None:
        look(n_bytes)
        made.append(n_bytes)
        # Time for the others to look, if they may.
        time.sleep(0.02)

    monkeypatch.setattr(cache, "_make_room", slowly)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda each: cache.make(f"{each}{each}.arrow", write), range(4)))
    assert len(made) == 4
    assert len(list(tmp_path.glob("*.arrow"))) == 1


def test_a_version_without_sources_is_read_all_the_same(published: Published, tmp_path: Path) -> None:
    mixture = open_mixture(published.uri, cache_directory=tmp_path / "cache")
    bare = replace(mixture, texts=replace(mixture.texts, sources=mixture.texts.sources.slice(0, 0)))
    assert copies_of(list(bare.documents())) == published.copies


def test_an_epoch_is_a_sequence_too(mixture: Mixture) -> None:
    whole = list(mixture.documents(epochs=2))
    source = mixture.source(epoch=1)
    assert len(source) == len(mixture)
    assert list(source) == whole[len(mixture) :]
    assert source[-1] == whole[-1]
    assert source[3:5] == whole[len(mixture) + 3 : len(mixture) + 5]
    with pytest.raises(IndexError):
        source[len(source)]
    scattered = [i * 7919 % len(source) for i in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert [item.position for item in pool.map(pickle.loads(pickle.dumps(source)).__getitem__, scattered)] == scattered


def test_the_end_of_an_epoch_is_the_beginning_of_the_next_whatever_the_last_batch(mixture: Mixture) -> None:
    readers = [mixture.documents(rank, 7, epochs=2, state=mixture.state(11)) for rank in range(7)]
    assert sum(len(list(reader)) for reader in readers) == 2 * len(mixture) - 11
    assert [reader.state_dict() for reader in readers] == [mixture.state(0, 2).as_dict()] * 7


def test_what_failed_once_does_not_look_like_the_end(tmp_path: Path) -> None:
    published = corpus_of(tmp_path)
    shutil.rmtree(tmp_path / "corpus")
    documents = open_mixture(published.uri, cache_directory=tmp_path / "cache").documents()
    for _ in range(2):
        with pytest.raises(CorpusError):
            next(documents)


@pytest.mark.parametrize("damage", [b"", b"ARROW1", None])
def test_a_damaged_file_of_the_cache_is_made_again(published: Published, tmp_path: Path, damage: bytes | None) -> None:
    whole = list(open_mixture(published.uri, cache_directory=tmp_path).documents())
    for path in tmp_path.glob("*.arrow"):
        path.write_bytes(path.read_bytes()[:-5] if damage is None else damage)
    assert list(open_mixture(published.uri, cache_directory=tmp_path).documents()) == whole


def test_a_cache_that_can_t_be_written_says_so(published: Published, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ConfigError, match="another cache_directory"):
        next(open_mixture(published.uri, cache_directory=tmp_path / "cache").documents())


def test_what_killed_processes_leave_in_the_cache_is_removed(published: Published, tmp_path: Path) -> None:
    left, fresh = tmp_path / "a.part", tmp_path / "b.part"
    for path in (left, fresh):
        path.write_bytes(b"half")
    os.utime(left, (1, 1))
    list(open_mixture(published.uri, cache_directory=tmp_path).documents())
    assert (left.exists(), fresh.exists()) == (False, True)


def test_a_process_that_is_forked_while_others_read_reads_too(published: Published, tmp_path: Path) -> None:
    mixture = open_mixture(published.uri, cache_directory=tmp_path)
    lock, _ = mixture.texts._kept
    with lock, mixture.texts.cache._lock("zz"), multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_count, (mixture,)).get(30) == len(mixture)
    with mixture.texts.cache._lock("zz"):
        pass


def _count(mixture: Mixture) -> int:
    return sum(1 for _ in mixture.documents())


def test_relative_paths_open_too(published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(published.uri.removeprefix("file://")).parents[2])
    assert open_mixture("demo/latest.json", cache_directory=tmp_path).version.uri == published.uri


def test_a_job_that_ends_in_the_middle_says_nothing(published: Published, tmp_path: Path) -> None:
    code = f"""
from samplemix_core import open_mixture
documents = open_mixture({published.uri!r}, cache_directory={str(tmp_path)!r}).documents()
next(documents)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
