"""Exports, read by small readers of their own: every copy, the same text or tokens, after a kill too, and twice the same bytes."""

import csv
import errno
import gzip
import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from samplemix_core.cli.main import app
from samplemix_core.config.export import TOKEN_FORMATS, ExportConfig, FormatName
from samplemix_core.deployment import Deployment
from samplemix_core.embedding.tokens import TokenCounter
from samplemix_core.errors import AccountingError, CancelledRunError, ConfigError, CorpusError, ManifestError, ObjectStoreError
from samplemix_core.exports import exporting, litdata, mds, part
from samplemix_core.exports.export_format import ROWS, Tokens
from samplemix_core.exports.exporting import Exported, export_mixture
from samplemix_core.exports.formats import FORMATS
from samplemix_core.exports.olmo import Olmo
from samplemix_core.exports.part import ExportTask, chunk_bounds, export_part
from samplemix_core.manifest.catalogue import Mixtures
from samplemix_core.objects.directory import FileStore
from samplemix_core.reading.mixture import open_mixture
from tests.mixtures import Published, publish_corpus, records, write_shard
from tests.unit.reading.conftest import published, words

__all__ = ["published", "words"]

Read = Callable[[Path], Iterator[tuple[str, str]]]


def of_jsonl(root: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(root.glob("data/*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            yield from [(row["sample_key"], row["text"])] * row.get("copies", 1)


def of_parquet(root: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(root.glob("data/*.parquet")):
        for row in pq.read_table(path).to_pylist():
            yield from [(row["sample_key"], row["text"])] * row.get("copies", 1)


def of_tar(root: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(root.glob("*.tar")):
        with tarfile.open(path) as tar:
            members = iter(tar.getmembers())
            for described in members:
                text = next(members)
                assert described.name.removesuffix(".json") == text.name.removesuffix(".txt")
                row = json.load(tar.extractfile(described))  # type: ignore[arg-type]
                yield row["sample_key"], tar.extractfile(text).read().decode()  # type: ignore[union-attr]


def items(data: bytes) -> Iterator[bytes]:
    (count,) = struct.unpack_from("<I", data)
    offsets = struct.unpack_from(f"<{count + 1}I", data, 4)
    assert offsets[-1] == len(data)
    for start, stop in pairwise(offsets):
        yield data[start:stop]


def of_mds(root: Path) -> Iterator[tuple[str, str]]:
    for stream, options in json.loads((root / "streams.json").read_text())["streams"].items():
        for shard in json.loads((root / stream / "index.json").read_text())["shards"]:
            data = (root / stream / shard["raw_data"]["basename"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == shard["raw_data"]["hashes"]["sha256"]
            found = list(items(data))
            assert len(found) == shard["samples"]
            for item in found:
                varying = [name for name, size in zip(shard["column_names"], shard["column_sizes"], strict=True) if size is None]
                sizes = iter(struct.unpack_from(f"<{len(varying)}I", item))
                at, row = 4 * len(varying), {}
                for name, size in zip(shard["column_names"], shard["column_sizes"], strict=True):
                    length = size or next(sizes)
                    row[name], at = item[at : at + length], at + length
                yield from [(row["sample_key"].decode(), row["text"].decode())] * options["repeat"]


def of_litdata(root: Path) -> Iterator[tuple[str, str]]:
    index = json.loads((root / "index.json").read_text())
    names = json.loads(json.loads(index["config"]["data_spec"])[1]["context"])
    for chunk in index["chunks"]:
        found = list(items((root / chunk["filename"]).read_bytes()))
        assert len(found) == chunk["chunk_size"]
        for item in found:
            ends = 4 * len(names) + np.cumsum([0, *struct.unpack_from(f"<{len(names)}I", item)])
            row = {name: item[start:stop] for name, start, stop in zip(names, ends[:-1], ends[1:], strict=True)}
            yield row["sample_key"].decode(), row["text"].decode()


def of_megatron(root: Path) -> Iterator[list[int]]:
    for prefix in (root / "data-args.txt").read_text().split():
        data = Path(f"{prefix}.idx").read_bytes()
        assert data[:9] == b"MMIDIDX\0\0"
        version, code, sequences, documents = struct.unpack_from("<QBQQ", data, 9)
        assert (version, documents) == (1, sequences + 1)
        lengths = np.frombuffer(data, "<i4", sequences, 34)
        pointers = np.frombuffer(data, "<i8", sequences, 34 + 4 * sequences)
        ends = np.frombuffer(data, "<i8", documents, 34 + 12 * sequences)
        assert ends.tolist() == list(range(documents))
        dtype, tokens = {4: "<i4", 8: "<u2"}[code], Path(f"{prefix}.bin").read_bytes()
        for length, pointer in zip(lengths.tolist(), pointers.tolist(), strict=True):
            yield np.frombuffer(tokens, dtype, length, pointer).tolist()


def of_olmo(root: Path) -> Iterator[list[int]]:
    dtype = json.loads((root / "origin.json").read_text())["dtype"]
    for path in (root / "paths.txt").read_text().split():
        tokens = np.fromfile(path, dtype)
        with gzip.open(path.removesuffix(".npy") + ".csv.gz", "rt") as file:
            rows = list(csv.reader(file))
        assert int(rows[-1][1]) == tokens.size
        for start, stop, *_ in rows:
            yield tokens[int(start) : int(stop)].tolist()


READERS: dict[FormatName, Any] = {
    **{"jsonl": of_jsonl, "parquet": of_parquet, "hugging-face": of_parquet, "webdataset": of_tar},
    **{"mds": of_mds, "litdata": of_litdata, "megatron": of_megatron, "olmo": of_olmo},
}


@pytest.fixture
def tokenizer(words: TokenCounter, tmp_path: Path) -> str:
    words._tokenizer.save(str(tmp_path / "tokenizer.json"))
    return str(tmp_path / "tokenizer.json")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def export(uri: str, target: Path, config: ExportConfig, **options: Any) -> Exported:
    return export_mixture(
        Deployment.load(), uri, None, str(target), config, lambda _: None, threading.Event(), **{"workers": 1, **options}
    )


def config_of(name: FormatName, tokenizer: str, **options: Any) -> ExportConfig:
    return ExportConfig(format=name, tokenizer=tokenizer if name in TOKEN_FORMATS else None, chunk_tokens=3_000, **options)


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", list(FORMATS))
def test_each_copy_is_exported_and_twice_the_same(
    name: FormatName, published: Published, words: TokenCounter, tokenizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mds, "SHARD_BYTES", 2_000)
    monkeypatch.setattr(litdata, "CHUNK_BYTES", 2_000)
    root, config = tmp_path / "export", config_of(name, tokenizer)
    made = export(published.uri, root, config)
    totals = (made.samples, made.copies, made.tokens)
    assert totals == (len(published.copies), sum(published.copies.values()), open_mixture(published.uri).manifest.realised_tokens)
    samples = open_mixture(published.uri).samples
    keys = {place: samples.key(samples.find(*place) or 0) for place in published.copies}
    if name in TOKEN_FORMATS:
        wanted: Counter[Any] = Counter()
        for place, copies in published.copies.items():
            wanted[*words.encode([published.texts[place]])[0].tolist(), words.end_of_document()] += copies
        assert Counter(map(tuple, READERS[name](root))) == wanted
    else:
        wanted = Counter({(keys[place], published.texts[place]): copies for place, copies in published.copies.items()})
        assert Counter(READERS[name](root)) == wanted
    first = files_of(root)
    assert not [path for path in first if path.startswith(".samplemix/")]
    sums = dict(line.split("  ")[::-1] for line in first["SHA256SUMS"].decode().splitlines())
    written = {path for path in first if path not in ("SHA256SUMS", "samplemix.json", ".samplemix-store/lock")}
    assert {path: hashlib.sha256(first[path]).hexdigest() for path in written} == sums
    named, version = json.loads(first["samplemix.json"]), open_mixture(published.uri).version
    assert (named["manifest"], named["content_digest"]) == (version.uri, version.manifest.content_digest)
    assert named["manifest_sha256"] == version.sha256
    assert not export(published.uri, root, config).created
    root.rename(tmp_path / "before")
    export(published.uri, root, config)
    assert files_of(root) == first


@pytest.mark.parametrize("name", ["parquet", "hugging-face", "mds", "megatron"])
def test_a_phase_is_exported_by_itself(
    name: FormatName, published: Published, words: TokenCounter, tokenizer: str, tmp_path: Path
) -> None:
    corpus = FileStore(Path(published.version.manifest.corpus_root.removeprefix("file://")))
    # The second has no document of the first part.
    phases = {"broad": lambda n: n % 2, "clean": lambda n: 3 * (n > 300 and n % 5 == 0)}
    store = FileStore(tmp_path / "store")
    made = publish_corpus(Mixtures(store, "mixtures"), corpus, tmp_path, lambda n: 0, phases=phases)
    with pytest.raises(ConfigError, match=r"broad, clean\. An export has no order"):
        export(made.uri, tmp_path / "none", config_of(name, tokenizer))
    with pytest.raises(ManifestError, match=r"no phase 'cleen'\. Name one of broad, clean"):
        export(made.uri, tmp_path / "none", config_of(name, tokenizer, phase="cleen"))
    with pytest.raises(ManifestError, match=r"no phase 'all'\. Leave the phase out"):
        export(published.uri, tmp_path / "none", config_of(name, tokenizer, phase="all"))
    assert not (tmp_path / "none").exists()
    rows = [row for table in made.version.rows() for row in table.to_pylist()]
    for phase, column in (("broad", "copies_broad"), ("clean", "copies_clean"), ("all", "copies")):
        root = tmp_path / phase
        done = export(made.uri, root, config_of(name, tokenizer, phase=phase))
        wanted: Counter[Any] = Counter()
        for row in rows:
            text = published.texts[row["shard"], row["row"]]
            ids = (*words.encode([text])[0].tolist(), words.end_of_document())
            wanted[ids if name in TOKEN_FORMATS else (row["sample_key"].hex(), text)] += row[column]
        found = READERS[name](root)
        assert Counter(map(tuple, found)) == +wanted
        assert (done.copies, done.tokens) == (sum(wanted.values()), sum(row[column] * row["n_tokens"] for row in rows))
        said = json.loads((root / "samplemix.json").read_text())
        assert (said["phase"], said["copies"]) == (phase, done.copies)
        with pytest.raises(ConfigError, match=f"holds another export, of demo version 1, phase {phase}"):
            export(made.uri, root, config_of(name, tokenizer, phase="clean" if phase == "broad" else "broad"))


@pytest.mark.parametrize("name", ["jsonl", "parquet"])
def test_copies_may_be_rows_far_apart(name: FormatName, published: Published, tmp_path: Path) -> None:
    export(published.uri, tmp_path / "export", config_of(name, "", materialise=True))
    found = list(READERS[name](tmp_path / "export"))
    assert len(found) == sum(published.copies.values())
    per_file = [Counter(READERS[name](_alone(path, tmp_path / "one"))) for path in sorted((tmp_path / "export/data").iterdir())]
    assert max(max(count.values()) for count in per_file) == 1


def _alone(path: Path, root: Path) -> Path:
    (root / "data").mkdir(parents=True, exist_ok=True)
    for old in (root / "data").iterdir():
        old.unlink()
    (root / "data" / path.name).write_bytes(path.read_bytes())
    return root


@pytest.mark.parametrize("name", list(FORMATS))
def test_an_export_goes_on_where_it_was_cut_off(
    name: FormatName, published: Published, tokenizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some formats name their place.
    root, config = tmp_path / "export", config_of(name, tokenizer)
    export(published.uri, root, config)
    whole = files_of(root)
    shutil.rmtree(root)
    written, put = [], FileStore.upload

    def failing(store: FileStore, key: str, path: Path) -> Any:
        written.append(key)
        if len(written) in (3, 9):
            raise ObjectStoreError("The disk is gone.", "")
        return put(store, key, path)

    monkeypatch.setattr(FileStore, "upload", failing)
    monkeypatch.setattr(exporting, "_ATTEMPTS", 1)
    for _ in range(2):
        with pytest.raises(ObjectStoreError):
            export(published.uri, root, config)
        assert not (root / "samplemix.json").exists()
    assert export(published.uri, root, config).created
    found = files_of(root)
    assert {path for path in found if found[path] != whole.get(path)} == set()
    assert found.keys() == whole.keys()
    # Only the files of a stretch that was cut off are written twice.
    assert max(Counter(written).values()) <= 3
    assert sum(count > 1 for count in Counter(written).values()) < len(Counter(written)) / 2


@pytest.mark.parametrize("name", ["webdataset", "megatron"])
def test_an_export_goes_on_after_a_kill(name: FormatName, published: Published, tokenizer: str, tmp_path: Path) -> None:
    # Some formats write their place into their files, so both exports go to the same one.
    root, config = tmp_path / "export", ExportConfig(format=name, tokenizer=tokenizer if name in TOKEN_FORMATS else None)
    export(published.uri, root, config)
    whole = files_of(root)
    shutil.rmtree(root)
    # Slow, so that it is killed before its end.
    code = """
import sys, time
from samplemix_core.cli.main import app
from samplemix_core.objects.directory import FileStore
upload = FileStore.upload
def slow(*arguments):
    time.sleep(0.2)
    return upload(*arguments)
FileStore.upload = slow
app(sys.argv[1:])
"""
    command = [sys.executable, "-c", code, "mixture", "export", published.uri, str(root), "--to", name, "--workers", "1"]
    command += ["--tokenizer", tokenizer] if config.tokenizer else []
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    process = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
    while not (done := [*root.glob(".samplemix/[0-9]*.json")]):
        assert process.poll() is None
        # What another process writes can't be waited for.
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    written = {path: path.stat().st_mtime_ns for record in done for path in _files_of(root, record)}
    assert export(published.uri, root, config).created
    assert written
    assert {path: path.stat().st_mtime_ns for path in written} == written
    # What was being written is left where no reader looks.
    assert {path: data for path, data in files_of(root).items() if not path.startswith(".samplemix-store/")} == {
        path: data for path, data in whole.items() if not path.startswith(".samplemix-store/")
    }


def _files_of(root: Path, record: Path) -> list[Path]:
    """Of a chunk that is done."""
    return [root / file["path"] for file in json.loads(record.read_bytes())["files"]]


def test_what_is_in_the_way_is_named(published: Published, tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"not empty: it has thesis\.txt"):
        export(published.uri, tmp_path / "export", config_of("jsonl", ""))
    export(published.uri, tmp_path / "other", config_of("jsonl", ""))
    with pytest.raises(ConfigError, match="holds another export, of demo version 1"):
        export(published.uri, tmp_path / "other", config_of("parquet", ""))


def test_a_file_that_changed_and_other_tokens_stop_an_export(words: TokenCounter, tokenizer: str, tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl.gz"):
        write_shard(tmp_path / "corpus" / "crawl" / "web" / name, records(name, 60))
    mixtures = Mixtures(FileStore(tmp_path / "store"), "mixtures")
    made = publish_corpus(mixtures, FileStore(tmp_path / "corpus"), tmp_path, lambda n: 1 + n % 12)
    characters = tmp_path / "characters.json"
    described = json.loads(Path(tokenizer).read_text())
    described["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": False}
    characters.write_text(json.dumps(described))
    with pytest.raises(ManifestError, match=r"Row 0 of crawl/web/a\.jsonl has [\d,]+ tokens here"):
        export(made.uri, tmp_path / "tokens", config_of("megatron", str(characters)))
    export(made.uri, tmp_path / "many", config_of("webdataset", ""))
    assert len(list((tmp_path / "many").glob("train-00000-0000-c*.tar"))) == 12
    assert len(list(of_tar(tmp_path / "many"))) == sum(made.copies.values())
    write_shard(tmp_path / "corpus" / "crawl" / "web" / "b.jsonl.gz", records("other", 60))
    with pytest.raises(CorpusError, match=r"crawl/web/b\.jsonl\.gz is not the file that was mixed"):
        export(made.uri, tmp_path / "changed", config_of("jsonl", ""))


@pytest.mark.parametrize("name", list(FORMATS))
def test_what_does_not_arrive_as_it_was_written_is_noticed(
    name: FormatName, published: Published, tokenizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = FileStore.upload

    def damaged(store: FileStore, key: str, path: Path) -> Any:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        return put(store, key, path)

    monkeypatch.setattr(FileStore, "upload", damaged)
    monkeypatch.setattr(exporting, "_FIRST_WAIT_SECONDS", 0)
    with pytest.raises(ObjectStoreError, match="is not what was written"):
        export(published.uri, tmp_path / "export", config_of(name, tokenizer))
    monkeypatch.setattr(FileStore, "upload", put)
    monkeypatch.setattr(part, "chunk_bounds", lambda n_tokens, chunk: chunk_bounds(n_tokens, chunk)[:-1])
    with pytest.raises(AccountingError, match="and the manifest"):
        export(published.uri, tmp_path / "short", config_of(name, tokenizer))


def test_the_command_exports_in_processes_and_says_what_it_would_do(published: Published, tmp_path: Path) -> None:
    def run(*arguments: str) -> Any:
        result = CliRunner().invoke(app, ["mixture", "export", published.uri, str(tmp_path / "export"), *arguments])
        return result

    described = json.loads(run("--to", "hugging-face", "--dry-run", "--json").output)
    assert (described["samples"], described["complete"]) == (len(published.copies), False)
    assert not (tmp_path / "export").exists()
    options = ["--license", "odc-by", "--language", "en", "--language", "de"]
    found = json.loads(run("--to", "hugging-face", *options, "--workers", "2", "--json").output)
    assert found["copies"] == sum(published.copies.values())
    card = (tmp_path / "export" / "README.md").read_text()
    assert all(part in card for part in ('license: "odc-by"', 'language: ["en", "de"]', "n<1K", "| código |"))
    assert isinstance(run("--to", "mds", "--materialise").exception, ConfigError)
    assert "webdataset" in str(run("--to", "zip").exception)
    notes = list((Path(published.uri.removeprefix("file://")).parents[1] / "exports").glob("v000001-*.json"))
    assert str(tmp_path / "export") in "".join(path.read_text() for path in notes)


def test_an_export_that_is_cancelled_stops(published: Published, tmp_path: Path) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(CancelledRunError):
        export_mixture(
            Deployment.load(),
            published.uri,
            None,
            str(tmp_path / "x"),
            config_of("jsonl", ""),
            lambda _: None,
            cancelled,
            workers=1,
        )


@pytest.mark.parametrize("stripes", [1, 2, 5, 100])
def test_stripes_make_the_same_files(published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stripes: int) -> None:
    config = config_of("jsonl", "").model_copy(update={"chunk_tokens": 700})
    monkeypatch.setattr(exporting, "_MOST_STRIPES", 1)
    export(published.uri, tmp_path / "one", config)
    monkeypatch.setattr(exporting, "_MOST_STRIPES", stripes)
    monkeypatch.setattr(exporting, "_STRIPE_CHUNKS", 1)
    export(published.uri, tmp_path / "many", config)
    assert files_of(tmp_path / "many") == files_of(tmp_path / "one")


def test_chunks_are_cut_by_tokens_alone() -> None:
    assert chunk_bounds(np.array([5, 5, 5, 30, 1, 1], dtype=np.int32), 10) == [0, 2, 4, 6]
    assert chunk_bounds(np.array([7], dtype=np.int32), 10) == [0, 1]
    assert ROWS.names[0] == "text"


def test_an_export_that_is_killed_leaves_no_process_and_strange_files_are_named(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import os, sys, threading, time
from samplemix_core.exports import part
def slow(*arguments, **options):
    os.write(1, b"begun\\n")  # At once: with PYTHONUNBUFFERED, two processes' prints mix.
    time.sleep(60)
if __name__ == "__main__":
    from samplemix_core.cli.main import app
    app(sys.argv[1:])
else:
    part.samples_of = slow
"""
    (tmp_path / "slow.py").write_text(code)
    target = tmp_path / "killed"
    command = [sys.executable, str(tmp_path / "slow.py"), "mixture", "export", published.uri, str(target), "--to", "jsonl"]
    with subprocess.Popen([*command, "--workers", "2"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
        process.kill()
        # Its workers have this pipe too: it ends when they do.
        assert "begun" not in process.stdout.read()
    (target / "data").mkdir()
    (target / "data" / "train-99999.jsonl").write_text("{}")
    with pytest.raises(ConfigError, match=r"1 files that are not of this export, such as data/train-99999\.jsonl"):
        export(published.uri, target, ExportConfig(format="jsonl"))
    (target / "data" / "train-99999.jsonl").unlink()
    assert export(published.uri, target, ExportConfig(format="jsonl")).created


def test_a_second_export_of_the_same_finds_it_complete(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that run at once to one place: the slower one is done too, and leaves nothing."""
    config, whole = config_of("jsonl", ""), export_part
    place = tmp_path / "export"

    def overtaken(task: ExportTask, on_progress: Callable[[int], None]) -> int:
        if task.part == 3:
            monkeypatch.setattr(exporting, "export_part", whole)
            export(published.uri, place, config)
        return whole(task, on_progress)

    monkeypatch.setattr(exporting, "export_part", overtaken)
    assert not export(published.uri, place, config).created
    assert not list((place / ".samplemix").glob("*"))
    notes = Path(published.uri.removeprefix("file://")).parents[1] / "exports"
    for note in notes.glob("*"):
        note.unlink()
    (place / ".samplemix").mkdir(exist_ok=True)
    (place / ".samplemix" / "00000-0000.json").write_text("{}")
    assert not export(published.uri, place, config).created
    assert len(list(notes.glob("*"))) == 1
    assert not list((place / ".samplemix").glob("*"))
    next(place.glob("data/*")).unlink()
    with pytest.raises(ConfigError, match="lacks 1 files now, such as data/train-"):
        export(published.uri, place, config)
    (place / "samplemix.json").write_text("[]")
    with pytest.raises(ConfigError, match="another export, that can't be read"):
        export(published.uri, place, config)


def test_places_are_written_as_training_jobs_read_them(published: Published, tokenizer: str, tmp_path: Path) -> None:
    place = tmp_path / "é exports"
    with pytest.raises(ConfigError, match="splits it at blanks"):
        export(published.uri, place, config_of("megatron", tokenizer))
    assert not place.exists()
    export(published.uri, place, config_of("olmo", tokenizer))
    assert all(Path(path).is_file() for path in (place / "paths.txt").read_text().splitlines())
    export(published.uri, tmp_path / "é", config_of("megatron", tokenizer))
    assert list(of_megatron(tmp_path / "é"))
    export(published.uri, tmp_path / "prefix", config_of("olmo", tokenizer, prefix="s3://bucket/x/"))
    assert (tmp_path / "prefix" / "paths.txt").read_text().startswith("s3://bucket/x/tokens/")


@pytest.mark.parametrize(("size", "megatron", "olmo"), [(65_499, "<u2", "<u2"), (65_500, "<i4", "<u2"), (70_000, "<i4", "<u4")])
def test_ids_are_of_the_types_that_each_framework_expects(published: Published, size: int, megatron: str, olmo: str) -> None:
    manifest = open_mixture(published.uri).manifest
    tokens = Tokens(lambda texts: [np.full(1, size - 1, np.int32) for _ in texts], None, size)
    made = Olmo(ExportConfig(format="olmo"), manifest, published.uri, "/x", tokens)
    assert made.dtype == np.dtype(olmo)
    (ids,) = tokens.of(pa.table({"text": ["a"], "n_tokens": [1]}), np.dtype(megatron))
    assert ids.tolist() == [size - 1]


def test_a_full_disk_is_told(published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ConfigError, match="There is no room for an export's files below"):
        export(published.uri, tmp_path / "export", config_of("mds", ""))
