"""Exports through the stock reader of each format: `make conformance`. Not part of `make test`, because it installs the readers."""

import json
import os
import subprocess
import threading
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from samplemix_core.config.export import TABLES, TOKEN_FORMATS, ExportConfig, FormatName
from samplemix_core.deployment import Deployment
from samplemix_core.embedding.tokens import TokenCounter
from samplemix_core.exports import litdata, mds
from samplemix_core.exports.exporting import export_mixture
from samplemix_core.manifest.catalogue import Mixtures
from samplemix_core.objects.directory import FileStore
from samplemix_core.sample_key import keys_to_bytes, sample_keys
from tests.mixtures import Published, publish_corpus
from tests.peers import peers

READERS = (
    *("datasets==5.2.0", "pandas==3.1.1", "dill==0.4.1", "multiprocess==0.70.19", "xxhash==4.1.0", "fsspec==2026.9.0"),
    *("mosaicml-streaming==0.13.0", "catalogue==2.0.10", "zstd==1.5.7.2", "brotli==1.2.1", "python-snappy==0.7.3"),
    *("cramjam==2.14.0", "webdataset==1.0.2", "braceexpand==0.1.7", "litdata==0.2.76", "lightning-utilities==0.15.3"),
    *("megatron-core==0.16.1", "mlcroissant==1.1.1", "absl-py==2.5.1", "etils==1.15.0", "jsonpath-rw==1.4.0", "ply==3.11"),
    *("rdflib==7.6.0", "isodate==0.7.2", "decorator==5.3.1", "pandas-stubs==3.1.0.261029", "ai2-olmo-core==3.0.0"),
    *("bettermap==1.3.1", "cached_path==1.8.10", "dataclass-extensions==0.5.0", "importlib_resources==7.1.0"),
    *("google-cloud-storage==3.17.1", "google-api-core==2.44.0", "google-auth==2.63.0", "google-cloud-core==2.8.0"),
    *("accelerate==1.15.0", "megatron-energon==7.4.1", "multi-storage-client==1.3.1", "xattr==1.3.0", "lark==1.3.1"),
    *("wcmatch==12.0.1", "bracex==3.2.3", "rapidyaml==0.15.2", "deprecation==2.1.0", "filetype==1.2.0"),
    *("google-resumable-media==2.11.0", "google-crc32c==1.9.0", "proto-plus==1.29.0", "pyasn1==0.6.5", "pyasn1_modules==0.4.2"),
)
"""Without their dependencies, of which this environment has those that they need."""


def read(what: str, root: Path) -> list[Any]:
    """What the stock reader reads."""
    script = Path(__file__).with_name("stock_readers.py")
    places = {"PYTHONPATH": str(script.parents[2])}
    environment = {
        **os.environ,
        **places,
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(root.parent / "hf"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [str(peers("conformance", READERS)), str(script), what, str(root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


CASES = [(name, materialise) for name in get_args(FormatName) for materialise in (False, True) if not materialise or name in TABLES]


@pytest.mark.parametrize(("name", "materialise"), CASES)
def test_the_stock_reader_reads_each_copy(
    name: FormatName,
    materialise: bool,
    published: Published,
    words: TokenCounter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same copies, ids, texts or tokens, and sums; with shards as full as they may be, and documents longer than a shard."""
    monkeypatch.setattr(mds, "SHARD_BYTES", 400)
    monkeypatch.setattr(litdata, "CHUNK_BYTES", 400)
    words._tokenizer.save(str(tmp_path / "tokenizer.json"))
    tokenizer = str(tmp_path / "tokenizer.json") if name in TOKEN_FORMATS else None
    config = ExportConfig(format=name, materialise=materialise, tokenizer=tokenizer, chunk_tokens=3_000)
    target = str(tmp_path / "export")
    made = export_mixture(Deployment.load(), published.uri, None, target, config, lambda _: None, threading.Event(), workers=1)
    assert made.copies == sum(published.copies.values())
    assert made.files > 100 or name not in ("mds", "litdata")
    found = read(name, tmp_path / "export")
    keys = {place: _key(*place) for place in published.copies}
    realised = published.version.manifest.realised_tokens
    if name in TOKEN_FORMATS:
        ids = {place: [*words.encode([published.texts[place]])[0].tolist(), words.end_of_document()] for place in keys}
        wanted = Counter({tuple(ids[place]): 0 for place in keys})
        for place, copies in published.copies.items():
            wanted[tuple(ids[place])] += copies
        assert Counter(map(tuple, found)) == wanted
        # Less a token after each.
        assert sum(map(len, found)) - len(found) == realised
    else:
        assert Counter((key, id_, text) for key, _, id_, text, _ in found) == {
            (keys[place], _id(*place), published.texts[place]): copies for place, copies in published.copies.items()
        }
        assert sum(tokens for *_, tokens in found) == realised
        numbered = [(key, copy) for key, copy, *_ in found]
        if name in ("webdataset", "litdata") or materialise:
            assert sorted(numbered) == sorted((keys[place], copy) for place, n in published.copies.items() for copy in range(n))
        else:
            # A reader that repeats a document doesn't number its copies.
            assert {copy for _, copy in numbered} == {None}


def test_energon_reads_what_it_has_prepared(published: Published, words: TokenCounter, tmp_path: Path) -> None:
    found = read("energon", exported("webdataset", published, words, tmp_path / "webdataset"))
    wanted = [(_key(*place), copy, published.texts[place]) for place, n in published.copies.items() for copy in range(n)]
    assert sorted(map(tuple, found)) == sorted(wanted)


def test_megatrons_gpt_dataset_reads_each_copy(published: Published, words: TokenCounter, tmp_path: Path) -> None:
    """Of a whole epoch, in an order of Megatron's own; it drops the tail that fills no sequence."""
    found = read("megatron-gpt", exported("megatron", published, words, tmp_path / "megatron"))
    wanted = Counter[tuple[int, ...]]()
    for place, copies in published.copies.items():
        wanted[*words.encode([published.texts[place]])[0].tolist(), words.end_of_document()] += copies
    assert sum(documents for _, documents, _ in found) == sum(wanted.values())
    longest = max(map(len, wanted))
    end = words.end_of_document()
    for _, _, tokens in found:
        ends = [at + 1 for at, token in enumerate(tokens) if token == end]
        whole = Counter(tuple(tokens[start:stop]) for start, stop in pairwise([0, *ends]))
        assert not whole - wanted
        wanted -= whole
    # Of each dataset, the document that the tail begins in is cut.
    assert sum(len(ids) * copies for ids, copies in wanted.items()) <= (16 + longest) * len(found)


def test_mlcroissant_reads_a_version(published: Published) -> None:
    root = Path(published.uri.removeprefix("file://")).parent
    found = {(shard, row): copies for shard, row, copies in read("croissant", root)}
    assert found == published.copies


def test_mlcroissant_reads_a_version_with_a_parent_phases_and_licences(published: Published, tmp_path: Path) -> None:
    corpus = FileStore(Path(published.version.manifest.corpus_root.removeprefix("file://")))
    mixtures, phases = Mixtures(FileStore(tmp_path / "store"), "mixtures"), {"broad": lambda n: 1, "clean": lambda n: n % 2}
    publish_corpus(mixtures, corpus, tmp_path / "first", lambda n: 1)
    licences = ("https://opendatacommons.org/licenses/by/1-0/", "CC-BY-4.0")
    made = publish_corpus(mixtures, corpus, tmp_path / "second", lambda n: 0, phases=phases, licenses=licences)
    assert (made.version.manifest.version, made.version.manifest.parent_version) == (2, 1)
    root = Path(made.uri.removeprefix("file://")).parent
    described = json.loads((root / "croissant.json").read_text())
    assert all(licence in json.dumps(described["license"]) for licence in licences)
    assert "v000001/manifest.json" in json.dumps(described["prov:wasDerivedFrom"])
    assert {(shard, row): copies for shard, row, copies in read("croissant", root)} == made.copies


def exported(name: FormatName, published: Published, words: TokenCounter, tmp_path: Path) -> Path:
    tmp_path.mkdir()
    words._tokenizer.save(str(tmp_path / "tokenizer.json"))
    config = ExportConfig(format=name, tokenizer=str(tmp_path / "tokenizer.json") if name in TOKEN_FORMATS else None)
    target = tmp_path / "export"
    export_mixture(Deployment.load(), published.uri, None, str(target), config, lambda _: None, threading.Event(), workers=1)
    return target


def test_the_pages_of_the_guide_are_true(published: Published, words: TokenCounter, tmp_path: Path) -> None:
    found = read("mosaicml-page", exported("mds", published, words, tmp_path / "mds"))
    assert len(found) == sum(published.copies.values())
    ((instances, length),) = read("olmo-page", exported("olmo", published, words, tmp_path / "olmo"))
    assert length == 128
    assert 200 < instances < sum(published.copies.values())


def test_the_trainer_goes_on_where_it_stopped(published: Published, words: TokenCounter, tmp_path: Path) -> None:
    words._tokenizer.save(str(tmp_path / "tokenizer.json"))
    where = {"manifest": published.uri, "tokenizer": str(tmp_path / "tokenizer.json"), "vocabulary_size": words.vocabulary_size}
    (tmp_path / "where.json").write_text(json.dumps(where))
    first, then = read("trainer-page", tmp_path)
    assert [*first, *then] == list(range(60))


def _id(shard: str, row: int) -> str:
    """The id that the corpus gives a document, of which JSON lines have a blank one in between."""
    return f"{shard}.{row - (row > 3 and not shard.endswith('.parquet'))}.é"


def _key(shard: str, row: int) -> str:
    key: bytes = keys_to_bytes(sample_keys(shard.partition("/")[0], shard, np.array([row])))[0].tobytes()
    return key.hex()
