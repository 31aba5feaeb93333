"""Sampled texts: as many as asked for, from all over, and what is refused or short is made up for by others."""

import json
from pathlib import Path

import pytest

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.objects.directory import FileStore
from samplemix_core.worker import compare
from samplemix_core.worker.compare import sample_texts


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    for name, texts in {"a": 9, "b": 1, "c": 9, "d": 9}.items():
        path = tmp_path / "s1" / name / "part.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps({"text": f"{name}{i}"}) + "\n" for i in range(texts)))
    (tmp_path / "s1" / "b" / "broken.jsonl.gz").write_bytes(b"no archive")
    return FileStore(tmp_path)


PATHS = ["s1/a/part.jsonl", "s1/b/broken.jsonl.gz", "s1/b/part.jsonl", "s1/c/part.jsonl", "s1/d/part.jsonl"]


def test_texts_come_from_all_shards_and_the_later_ones_make_up_for_short_ones(store: FileStore) -> None:
    texts = sample_texts(store, PATHS, ReaderConfig(), 10)
    assert texts == ["a0", "a1", "b0", "c0", "c1", "c2", "c3", "d0", "d1", "d2"]
    assert len(sample_texts(store, PATHS, ReaderConfig(), 100)) == 28
    assert sample_texts(store, [], ReaderConfig(), 10) == []


def test_of_many_shards_some_are_read_spread_evenly(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "MOST_SHARDS", 2)
    assert sample_texts(store, PATHS[2:] + PATHS[:1], ReaderConfig(), 3) == ["b0", "d0", "d1"]
