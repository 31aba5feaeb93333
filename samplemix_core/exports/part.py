"""Export one part of a version: chunk by chunk, each verified and recorded, so that one that was cut off goes on."""

import errno
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from samplemix_core.config.export import TOKEN_FORMATS, ExportConfig
from samplemix_core.config.reader import ReaderConfig
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, ObjectStoreError
from samplemix_core.exports.export_format import ROWS, Chunk, ExportFormat, Facts, Tokens, json_bytes, phase_of
from samplemix_core.exports.formats import FORMATS
from samplemix_core.identity import fingerprint
from samplemix_core.manifest.catalogue import Version
from samplemix_core.manifest.format import PhaseRecord, copies_in
from samplemix_core.manifest.parts import file_sha256
from samplemix_core.manifest.sources import read_sources
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.reading.mixture_samples import Samples, samples_of
from samplemix_core.reading.packed import tokenizer_of
from samplemix_core.reading.texts import Cache, Texts, default_cache_directory
from samplemix_core.reading.versions import open_version

RECORDS = ".samplemix"
"""Directory of the records of chunks that are done, until the export is."""

_READ_BYTES = 2**22


@dataclass(frozen=True)
class ExportTask:
    """Stripe `stripe` of `stripes` of a part of a version, to export to a URI.

    `corpus_root` says where the corpus is now, if it was copied.
    """

    manifest: str
    config: ExportConfig
    uri: str
    part: int = 0
    stripe: int = 0
    stripes: int = 1
    corpus_root: str | None = None

    def identity(self, version: Version) -> str:
        """What identifies the export: what it holds and how, wherever it goes, unless that is written into it."""
        written = self.config.format in TOKEN_FORMATS and not self.config.prefix
        return fingerprint([version.manifest.content_digest, self.manifest, self.config.identity(), self.uri if written else None])

    def format(self, version: Version) -> ExportFormat:
        """The export's format. Raises what tokenizer_of() does, for a format of tokens."""
        tokens = _tokens(version, self.config) if self.config.format in TOKEN_FORMATS else None
        target = unquote(self.uri.removeprefix("file://")) if self.uri.startswith("file://") else self.uri
        return FORMATS[self.config.format](self.config, version.manifest, self.manifest, target, tokens)


class ChunkRecord(NamedTuple):
    """A chunk that is done: what it holds, copies counted in `copies` and `tokens`, and its files."""

    samples: int
    copies: int
    tokens: int
    files: list[Facts]


def export_part(task: ExportTask, on_progress: Callable[[int], None] = lambda done: None) -> int:
    """Export a stripe of a part: some of its chunks, which follow each other. Chunks that are done are kept.

    Returns the number of its documents; `on_progress` hears how many are done.

    Raises CorpusError for a file that isn't the one that was mixed, and ManifestError for other tokens than the manifest counts.
    """
    deployment = Deployment.load()
    version = open_version(deployment, task.manifest)
    rows = _chosen(version.table(version.manifest.parts[task.part]), phase_of(version.manifest, task.config))
    if not rows.num_rows:
        return 0
    exporting = _Exporting(task, version, deployment)
    bounds = chunk_bounds(rows["n_tokens"].to_numpy(), exporting.chunk_tokens)
    first, last = ((len(bounds) - 1) * (task.stripe + more) // task.stripes for more in range(2))
    done = {number for number in range(first, last) if read_record(exporting.store, exporting.identity, task.part, number)}
    texts = _texts(deployment, task, version, samples_of(rows, version.manifest.solver.max_copies))
    told = sum(bounds[number + 1] - bounds[number] for number in done)
    on_progress(told)
    for start, stop in _stretches(first, last, done):
        stream = _Stream(_with_facts(texts.stream(bounds[start], bounds[stop]), rows.slice(bounds[start])))
        for number in range(start, stop):
            rows_of_chunk = bounds[number + 1] - bounds[number]
            exporting.chunk(number, _told(stream.take(rows_of_chunk), told, on_progress))
            told += rows_of_chunk
    return bounds[last] - bounds[first]


def _chosen(rows: pa.Table, phase: PhaseRecord | None) -> pa.Table:
    """The rows of a phase, with its copies; all rows for None."""
    if phase is None:
        return rows
    own = rows[copies_in(phase.name)]
    place = rows.schema.get_field_index("copies")
    return rows.set_column(place, rows.schema.field(place), own).filter(pc.greater(own, 0))


def chunk_bounds(n_tokens: Any, chunk_tokens: int) -> list[int]:
    """The first row of each chunk of a part, and the number of rows: by tokens alone, so that any release cuts the same."""
    ended = np.cumsum(n_tokens, dtype=np.int64)
    chunk = (ended - n_tokens) // chunk_tokens
    return [*np.flatnonzero(np.diff(chunk, prepend=-1)).tolist(), int(ended.size)]


def record_key(part: int, number: int) -> str:
    """Where a chunk's record is, below the export's URI."""
    return f"{RECORDS}/{part:05d}-{number:04d}.json"


def read_record(store: ObjectStore, identity: str, part: int, number: int) -> ChunkRecord | None:
    """The record of a chunk of this export; None if it isn't done, or a file of it is gone."""
    key = record_key(part, number)
    if store.head(key) is None:
        return None
    found = json.loads(store.get(key)[0])
    if found.pop("export") != identity:
        return None
    files = [Facts(**facts) for facts in found.pop("files")]
    for facts in files:
        info = store.head(facts.path)
        if info is None or info.size != facts.size_bytes:
            return None
    return ChunkRecord(files=files, **found)


def _tokens(version: Version, config: ExportConfig) -> Tokens:
    end = config.end_of_document
    found, end_id = tokenizer_of(version, config.tokenizer, False if end == "none" else end or True)
    return Tokens(found.encode, end_id, found.vocabulary_size)


def _stretches(start: int, last: int, done: set[int]) -> Iterator[tuple[int, int]]:
    """Yield the numbers that are left, as [start, stop)."""
    while start < last:
        stop = start
        while stop < last and stop not in done:
            stop += 1
        if stop > start:
            yield start, stop
        start = stop + 1


def _texts(deployment: Deployment, task: ExportTask, version: Version, samples: Samples) -> Texts:
    manifest = version.manifest
    return Texts(
        corpus_root=task.corpus_root or manifest.corpus_root,
        deployment=deployment,
        config=(manifest.reader or ReaderConfig()).of_texts(),
        sources=read_sources(version),
        samples=samples,
        content_digest=manifest.content_digest,
        # Only for its marks of unchanged files.
        cache=Cache(default_cache_directory(), 0),
    )


def _with_facts(documents: Iterator[pa.RecordBatch], rows: pa.Table) -> Iterator[pa.Table]:
    """Yield documents with what the manifest says of them (ROWS)."""
    at = 0
    for batch in documents:
        own = rows.slice(at, batch.num_rows)
        at += batch.num_rows
        columns = {
            "text": batch["text"].cast(pa.large_string()),
            "id": batch["doc_id"].cast(pa.string()),
            "domain": own["domain"].cast(pa.string()),
            "sample_key": _hex(own["sample_key"]),
            "shard": own["shard"].cast(pa.string()),
            "row": own["row"],
            "n_tokens": own["n_tokens"],
            "copies": own["copies"],
        }
        yield pa.table(columns, schema=ROWS)


def _hex(keys: pa.ChunkedArray) -> pa.Array:
    """Keys of 16 bytes as 32 hex digits."""
    data = b"".join(keys.to_pylist()).hex().encode()
    offsets = np.arange(len(keys) + 1, dtype=np.int32) * 32
    return pa.StringArray.from_buffers(len(keys), pa.py_buffer(offsets), pa.py_buffer(data))


class _Stream:
    """Tables, taken by numbers of rows."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables = tables
        self._rest: pa.Table = ROWS.empty_table()

    def take(self, left: int) -> Iterator[pa.Table]:
        """Yield the next rows, so many of them."""
        while left:
            if not self._rest.num_rows:
                self._rest = next(self._tables)
            piece = self._rest.slice(0, left)
            self._rest = self._rest.slice(piece.num_rows)
            left -= piece.num_rows
            yield piece


def _told(tables: Iterator[pa.Table], done: int, on_progress: Callable[[int], None]) -> Iterator[pa.Table]:
    """Yield tables, and tell how many rows have been taken, `done` before them."""
    for table in tables:
        yield table
        done += table.num_rows
        on_progress(done)


class _Exporting:
    """Writes the chunks of one part."""

    def __init__(self, task: ExportTask, version: Version, deployment: Deployment) -> None:
        self._part, self._deployment, self.store = task.part, deployment, deployment.store(task.uri)
        self.identity = task.identity(version)
        self._format = task.format(version)
        self.chunk_tokens = task.config.chunk_tokens or self._format.chunk_tokens

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A directory for a chunk's files. Raises ConfigError if the disk is full."""
        try:
            with self._deployment.scratch() as directory:
                yield directory
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise ConfigError(
                f"There is no room for an export's files below {self._deployment.home}: {error}.",
                "Free some space there, or set SAMPLEMIX_HOME to a place with more; then export again: what is whole is kept.",
            ) from error

    def chunk(self, number: int, batches: Iterator[pa.Table]) -> None:
        """Write a chunk's files, read them back, and record it."""
        held = _Counted(batches)
        files = []
        with self._scratch() as directory:
            for written in self._format.write(Chunk(f"{self._part:05d}-{number:04d}", held), directory):
                path = directory / written.path
                facts = Facts(written.path, path.stat().st_size, file_sha256(path), written.facts)
                self.store.upload(written.path, path)
                require_written(self.store, facts)
                path.unlink()
                files.append(facts)
        record = ChunkRecord(held.samples, held.copies, held.tokens, files)
        values = {**record._asdict(), "files": [facts._asdict() for facts in files], "export": self.identity}
        self.store.put(record_key(self._part, number), json_bytes(values))


class _Counted:
    """Batches, counted as they are taken."""

    def __init__(self, batches: Iterator[pa.Table]) -> None:
        self._batches = batches
        self.samples = self.copies = self.tokens = 0

    def __iter__(self) -> Iterator[pa.Table]:
        for table in self._batches:
            self.samples += table.num_rows
            self.copies += pc.sum(table["copies"]).as_py()
            self.tokens += pc.sum(pc.multiply(table["copies"].cast(pa.int64()), table["n_tokens"])).as_py()
            yield table


def require_written(store: ObjectStore, facts: Facts) -> None:
    """Read a file back; raise ObjectStoreError if it isn't what was written."""
    digest = hashlib.sha256()
    with store.open(facts.path) as stream:
        while data := stream.read(_READ_BYTES):
            digest.update(data)
    if digest.hexdigest() != facts.sha256:
        raise ObjectStoreError(f"{store.uri}/{facts.path} is not what was written.", "Export again: what is whole is kept.")
