"""A mixture's life on S3: read, exported by several processes, copied, and collected but for what something names."""

import io
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from samplemix_core.config.export import ExportConfig
from samplemix_core.deployment import Deployment
from samplemix_core.errors import CorpusError
from samplemix_core.exports.exporting import export_mixture
from samplemix_core.manifest.catalogue import Mixtures
from samplemix_core.manifest.life import Garbage, Rule, collect, copy_version
from samplemix_core.manifest.verify import verify
from samplemix_core.objects import open_store
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.reading.mixture import open_mixture
from tests.mixtures import publish_corpus, records, write_shard


def copies_of(step: int) -> Callable[[int], int]:
    return lambda n: (n + step) % 4


def test_read_export_copy_and_collect(
    services: Deployment, object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What processes of an export read their settings from.
    monkeypatch.setenv("SAMPLEMIX_HOME", str(services.home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for path, count in {"a/web/0.jsonl": 300, "a/web/1.jsonl.gz": 200, "b/books/0.parquet": 250}.items():
        write_shard(tmp_path / path, records(path, count))
        object_store.upload(f"corpus/{path}", tmp_path / path)
    corpus = open_store(f"{object_store.uri}/corpus", services)
    mixtures = Mixtures(object_store, "mixtures")
    first, *_ = (publish_corpus(mixtures, corpus, tmp_path / str(step), copies_of(step), 150) for step in range(4))
    assert first.version.manifest.parts[1:]

    found = list(open_mixture(first.uri, settings=services).documents())
    assert Counter((item.shard, item.row) for item in found) == first.copies
    assert all(item.text == first.texts[item.shard, item.row] for item in found)

    target = f"{object_store.uri}/export"
    config = ExportConfig(format="parquet", chunk_tokens=1_000)
    done = export_mixture(services, first.uri, None, target, config, lambda _: None, threading.Event(), workers=2)
    assert (done.created, done.copies) == (True, sum(first.copies.values()))
    texts = Counter[str]()
    files = [info.key for info in object_store.list("export/data/")]
    assert len(files) > len(first.version.manifest.parts)
    for key in files:
        for row in pq.read_table(io.BytesIO(object_store.get(key)[0])).to_pylist():
            texts[row["text"]] += row["copies"]
    assert texts == Counter({first.texts[place]: copies for place, copies in first.copies.items()})

    changed = object_store.get("corpus/a/web/1.jsonl.gz")[0]
    write_shard(tmp_path / "changed.jsonl.gz", records("changed", 200))
    object_store.upload("corpus/a/web/1.jsonl.gz", tmp_path / "changed.jsonl.gz")
    with pytest.raises(CorpusError, match=r"corpus/a/web/1\.jsonl\.gz is not the file that was mixed: it"):
        list(open_mixture(first.uri, settings=services, cache_directory=tmp_path / "other").documents())
    object_store.put("corpus/a/web/1.jsonl.gz", changed)

    copied = copy_version(first.version, Mixtures(open_store(f"{object_store.uri}/elsewhere", services)))
    assert verify(copied).problems == ()
    garbage: list[Garbage] = []
    collect(mixtures, "demo", Rule(1, None), datetime.now(UTC), dry_run=False, on_found=garbage.append)
    # An export names the first, the last is the latest and has the third as its parent.
    assert [item.version for item in garbage] == [2]
    assert [not verify(mixtures.open("demo", number)).problems for number in range(1, 5)] == [True, False, True, True]
