"""The texts of a mixture's samples, from the shards that it was mixed from: by ranges, checked, and tried again."""

import fcntl
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, NamedTuple
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from samplemix_core import schemas
from samplemix_core.config.reader import ReaderConfig
from samplemix_core.corpus.reader import ShardReader
from samplemix_core.corpus.records import Block, RejectedRecordError
from samplemix_core.corpus.streams import is_compressed
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, CorpusError, ManifestError, SampleMixError, ShardRefusedError
from samplemix_core.identity import fingerprint
from samplemix_core.objects.interface import Announced, ObjectInfo, ObjectStore
from samplemix_core.reading.mixture_samples import Samples
from samplemix_core.reading.order import Int

log = logging.getLogger(__name__)

ATTEMPTS = 5
FIRST_WAIT_SECONDS = 0.5

_WORTH_KEEPING, _HELD_TOKENS = 2, 2**20
"""A part of a shard is kept on disk if it holds so many times the samples that are read of it together, or more tokens (4 MB)."""

_TOKEN_BYTES = 6
"""Of text: more than most languages and tokenizers have."""

_PART_BYTES, _KEPT_PART_BYTES, _BATCH_BYTES = 2**22, 2**24, 2**22
"""Bytes: of plain JSON lines that are read at once, the same where all texts are kept, and of a batch of a kept file.

Fewer and longer requests are faster, but where a part isn't kept, what isn't wanted of it now is read again later.
"""

_ABANDONED_SECONDS = 3600.0
_SHARDS_KNOWN, _FILES_OPEN = 4096, 256


def default_cache_directory() -> Path:
    """Where texts are kept unless a place is given: below XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "samplemix" / "reading"


@lru_cache(maxsize=1)
def _boot() -> str:
    """What names the time since the machine came up, where the system says it."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


class Cache:
    """Files of at most `max_bytes` together, shared by all processes of a machine: those used last are kept."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.directory, self.max_bytes = directory, max_bytes
        self._room = 0

    def find(self, name: str) -> pa.MemoryMappedFile | None:
        """The file of this name; None if it isn't there. Raises ConfigError if the directory can't be used."""
        try:
            with suppress(PermissionError):
                os.utime(self.directory / name)
            return pa.memory_map(str(self.directory / name))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error

    def make(self, name: str, write: Callable[[Path], None]) -> pa.MemoryMappedFile:
        """The file of this name, written by `write` if it isn't there: one process writes, and others wait for it."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._lock(name):
                return self.find(name) or self._made(name, write)
        except OSError as error:
            raise self._unusable(error) from error

    def _made(self, name: str, write: Callable[[Path], None]) -> pa.MemoryMappedFile:
        temporary = self.directory / f"{uuid4().hex}.part"
        try:
            write(temporary)
            # Opened before it has its name, because others may then remove it.
            opened = pa.memory_map(str(temporary))
            # One at a time: two that looked at once would each take the room that the other counts on.
            with self._lock("room"):
                self._make_room(temporary.stat().st_size)
                temporary.replace(self.directory / name)
        finally:
            temporary.unlink(missing_ok=True)
        return opened

    def remove(self, name: str) -> None:
        """Remove a file that is damaged."""
        with suppress(OSError):
            (self.directory / name).unlink(missing_ok=True)

    def is_marked(self, name: str) -> bool:
        """Whether a process of this machine has made this mark."""
        return os.access(self._mark(name), os.F_OK)

    def mark(self, name: str) -> None:
        """Make a mark; where the directory can't be written, what it would save is done again."""
        with suppress(OSError):
            self._mark(name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._mark(name).touch()

    def _mark(self, name: str) -> Path:
        return self.directory / "unchanged" / name

    def _unusable(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"The cache {self.directory} can't be used: {error}.",
            "Free some space there, or give another cache_directory (and cache_bytes that fit).",
        )

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        # A lock a name would leave a file for each; two names that share one only wait for each other.
        with (self.directory / f"lock-{name[:2]}").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                # Closing is not enough: a child that was forked meanwhile has the file open too.
                fcntl.flock(file, fcntl.LOCK_UN)

    def _make_room(self, n_bytes: int) -> None:
        self._room -= n_bytes
        if self._room > 0:
            return
        found = []
        for path in [*self.directory.glob("*.arrow"), *self.directory.glob("*.part")]:
            with suppress(FileNotFoundError):
                found.append((path.stat().st_mtime, path.stat().st_size, path))
        for modified, _, path in found:
            # Left by a process that was killed.
            if path.suffix == ".part" and time.time() - modified > _ABANDONED_SECONDS:
                path.unlink(missing_ok=True)
        kept = sorted(each for each in found if each[2].suffix == ".arrow")
        left = sum(size for _, size, _ in kept) + n_bytes
        for _, size, path in kept:
            if left <= self.max_bytes:
                break
            # Readers that have it open keep what they opened.
            path.unlink(missing_ok=True)
            left -= size
        # Other processes write too: look again long before it can be full.
        self._room = (self.max_bytes - left) // 64


@dataclass(frozen=True, eq=False)
class Texts:
    """Where the texts are: `sources` says which file each shard was, and is empty for versions that don't say."""

    corpus_root: str
    deployment: Deployment
    config: ReaderConfig
    sources: pa.Table
    samples: Samples
    content_digest: str
    cache: Cache

    def __getstate__(self) -> dict[str, Any]:
        # What is open belongs to one process.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def store(self) -> ObjectStore:
        """The corpus's store, with connections of this process."""
        return _store_of(self.deployment, self.corpus_root, os.getpid())

    @cached_property
    def all_kept(self) -> bool:
        """Whether the cache has room for all texts, so that none is read from its file twice."""
        return int(self.samples.n_tokens.sum(dtype=np.int64)) * _TOKEN_BYTES <= self.cache.max_bytes

    @cached_property
    def shard(self) -> "Callable[[int], _Shard]":
        """A shard of the mixture by its number."""
        return lru_cache(maxsize=_SHARDS_KNOWN)(partial(_Shard, self))

    def kept(self, shard: "_Shard", part: int, opened: "Open") -> "_Columns":
        """A part's documents from the cache, which gets them first if it doesn't have them. The files used last stay open."""
        columns = self.open_kept(shard, part)
        if columns is None:
            columns = shard.find_kept(part) or shard.keep(opened, part)
            lock, found = self._kept
            with lock:
                found[shard.number, part] = columns
                while len(found) > _FILES_OPEN:
                    found.popitem(last=False)
        return columns

    def open_kept(self, shard: "_Shard", part: int) -> "_Columns | None":
        """A part's documents, if the cache has them open."""
        lock, found = self._kept
        with lock:
            if (columns := found.get((shard.number, part))) is not None:
                found.move_to_end((shard.number, part))
            return columns

    def stream(self, first: int, last: int) -> Iterator[pa.RecordBatch]:
        """Yield samples [first, last) as documents (DOCUMENTS), in order, straight from their files: for those who read all once.

        Raises CorpusError for a file that isn't the one that was mixed, naming it.
        """
        while first < last:
            shard = self.shard(self.samples.shard_of(first))
            for batch in shard.stream(first, last):
                yield batch
                first += batch.num_rows

    @property
    def _kept(self) -> "tuple[Lock, OrderedDict[tuple[int, int], _Columns]]":
        # A process that is forked while a thread holds the lock gets its own.
        found: tuple[Lock, OrderedDict[tuple[int, int], _Columns]] = self.__dict__.setdefault(
            f"kept by {os.getpid()}", (Lock(), OrderedDict())
        )
        return found

    @cached_property
    def source_of(self) -> npt.NDArray[np.int64]:
        """For each shard of the mixture, its row in the sources; -1 if it has none."""
        found = pc.index_in(pa.array(self.samples.shards), self.sources["shard"])
        return np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)


@lru_cache(maxsize=8)
def _store_of(deployment: Deployment, uri: str, process: int) -> ObjectStore:
    return deployment.store(uri)


class Lane:
    """Reads texts that lie ahead of each other in few shards: its last shard stays open. For one thread at a time."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self._open: tuple[_Shard, BinaryIO, ShardReader] | None = None
        self._held: tuple[_Shard, int, _Columns] | None = None

    def fetch(self, wanted: Int, stretch: tuple[int, int]) -> "Fetched":
        """Read some samples, ascending and all in one stretch, the samples [first, last) that are read together.

        What may pass is tried again. Raises CorpusError for a file that isn't the one that was mixed, naming it.
        """
        shard = self._texts.shard(self._texts.samples.shard_of(int(wanted[0])))
        wait = FIRST_WAIT_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return Fetched(
                    (self._columns(shard, part, stretch), at) for part, at in shard.places(wanted, shard.parts(self._reader))
                )
            except SampleMixError as error:
                self.close()
                if not error.may_pass or attempt == ATTEMPTS:
                    raise
                log.warning("%s Trying again in %.1f s (%s of %s).", error.what, wait, attempt, ATTEMPTS - 1)
            time.sleep(wait)
            wait *= 2
        raise AssertionError("the last attempt returns or raises")

    def fetched(self, wanted: Int) -> "Fetched | None":
        """The same where the cache has it open already, else None. Any thread may ask."""
        shard = self._texts.shard(self._texts.samples.shard_of(int(wanted[0])))
        if (parts := shard.known_parts) is None:
            return None
        found = [(self._texts.open_kept(shard, part), at) for part, at in shard.places(wanted, parts)]
        held = [(columns, at) for columns, at in found if columns is not None]
        return Fetched(held) if len(held) == len(found) else None

    def _columns(self, shard: "_Shard", part: int, stretch: tuple[int, int]) -> "_Columns":
        """A part's documents: as they are read now, or from a file that keeps them for later reads."""
        if self._held is None or self._held[:2] != (shard, part):
            if shard.is_worth_keeping(part, stretch):
                kept = self._texts.kept(shard, part, self._reader)
                # Hundreds of lanes would hold as many files open.
                self.close()
                return kept
            self._held = shard, part, _Columns(list(shard.pick(self._reader(shard), part)))
        return self._held[2]

    def _reader(self, shard: "_Shard") -> ShardReader:
        """The reader of a shard, which is opened and checked first."""
        if self._open is None or self._open[0] is not shard:
            self.close()
            self._open = shard, *shard.open()
        return self._open[2]

    def close(self) -> None:
        """Close what is open."""
        self._held = None
        if self._open is not None:
            self._open[1].close()
            self._open = None


class _Parts(NamedTuple):
    """The p parts of a shard that can be read by themselves.

    first: int64 (p + 1,), the first sample of each part, and of the next shard. row: int64 (p,), its first row. bytes: where it
    begins, and how many bytes it has, if that is known.
    """

    first: Int
    row: Int
    bytes: list[tuple[int, int | None]]


Open = Callable[["_Shard"], ShardReader]


class _Shard:
    """A shard of the mixture, and the file that it was."""

    def __init__(self, texts: Texts, number: int) -> None:
        self._texts, self.number = texts, number
        self._path = texts.samples.shards[number]
        self._first, self._last = texts.samples.shard_first[number : number + 2].tolist()
        at = int(texts.source_of[number]) if texts.sources.num_rows else -1
        if at < 0 and texts.sources.num_rows:
            raise ManifestError(f"The version's sources lack {self._path}.", "Verify it: samplemix mixture verify.")
        self._source = None if at < 0 else texts.sources.slice(at, 1).to_pylist()[0]
        self.known_parts: _Parts | None = None

    def parts(self, opened: Open) -> _Parts:
        """Its parts; the file is opened only if its name and the sources don't tell."""
        if self.known_parts is None:
            if self._source and self._source["first_rows"]:
                offsets = np.array(self._source["byte_offsets"], dtype=np.int64)
                n_bytes = _KEPT_PART_BYTES if self._texts.all_kept else _PART_BYTES
                chosen = np.unique(offsets // n_bytes, return_index=True)[1]
                starts = np.array(self._source["first_rows"], dtype=np.int64)[chosen]
                sizes = np.diff(offsets[chosen], append=self._source["size_bytes"])
                ranges: list[tuple[int, int | None]] = list(zip(offsets[chosen].tolist(), sizes.tolist(), strict=True))
            else:
                starts = np.array([0] if is_compressed(self._path) else opened(self).starts() or [0], dtype=np.int64)
                ranges = [(0, None)] * starts.size
            rows = self._texts.samples.row[self._first : self._last]
            self.known_parts = _Parts(np.append(self._first + np.searchsorted(rows, starts), self._last), starts, ranges)
        return self.known_parts

    def places(self, wanted: Int, parts: _Parts) -> Iterator[tuple[int, Int]]:
        """Yield the parts that samples, ascending, are in, and where they are in each."""
        number = np.searchsorted(parts.first, wanted, side="right") - 1
        if number[0] == number[-1]:
            yield int(number[0]), wanted - parts.first[number[0]]
            return
        bounds = np.flatnonzero(np.diff(number, prepend=-1)).tolist()
        for begin, end in zip(bounds, [*bounds[1:], wanted.size], strict=True):
            part = int(number[begin])
            yield part, wanted[begin:end] - parts.first[part]

    def is_worth_keeping(self, part: int, stretch: tuple[int, int]) -> bool:
        """Whether a part is read more than once, or is too long for memory."""
        assert self.known_parts is not None
        first, last = self.known_parts.first[part : part + 2].tolist()
        together = min(last, stretch[1]) - max(first, stretch[0])
        tokens = int(self._texts.samples.n_tokens[first:last].sum(dtype=np.int64))
        return self._texts.all_kept or last - first >= _WORTH_KEEPING * together or tokens > _HELD_TOKENS

    def open(self) -> tuple[BinaryIO, ShardReader]:
        """Open the file; raise CorpusError if it isn't the one that was mixed."""
        stream = self._texts.store.open(self._path, None if self._source is None else self._unchanged(self._source))
        try:
            return stream, ShardReader(stream, self._path, self._texts.config)
        except ShardRefusedError as error:
            stream.close()
            raise self._changed(error.what) from error
        except BaseException:
            stream.close()
            raise

    def pick(self, reader: ShardReader, part: int) -> Iterator[pa.RecordBatch]:
        """Yield a part's samples as documents; raise CorpusError if one isn't there."""
        assert self.known_parts is not None
        first, last = self.known_parts.first[part : part + 2].tolist()
        rows = self._texts.samples.row[first:last].astype(np.int64)
        offset, n_bytes = self.known_parts.bytes[part]
        read = 0
        try:
            for batch in reader.pick(rows, Block(first_row=int(self.known_parts.row[part]), byte_offset=offset, n_bytes=n_bytes)):
                read += batch.num_rows
                yield batch
        except RejectedRecordError as error:
            raise self._changed(f"a record is no document: {error.detail}") from error
        except ShardRefusedError as error:
            raise self._changed(error.what) from error
        if read != rows.size:
            raise self._changed(f"row {rows[read]} is missing")

    def stream(self, first: int, last: int) -> Iterator[pa.RecordBatch]:
        """Yield those of the samples [first, last) that are the shard's, in order."""
        stream, reader = self.open()
        with stream:
            parts = self.parts(lambda _: reader)
            bounds, begin = parts.first, int(np.searchsorted(parts.first, first, side="right")) - 1
            offset, n_bytes = parts.bytes[begin]
            if n_bytes is not None and isinstance(stream, Announced):
                # All parts by one request.
                end, more = parts.bytes[int(np.searchsorted(bounds, min(last, bounds[-1]))) - 1]
                stream.seek(offset)
                stream.announce(end + (more or 0) - offset)
            for part in range(begin, bounds.size - 1):
                at = int(bounds[part])
                if at >= last:
                    return
                if at == bounds[part + 1]:
                    continue
                for batch in self.pick(reader, part):
                    start, stop = max(first - at, 0), min(last - at, batch.num_rows)
                    if start < stop:
                        yield batch.slice(start, stop - start)
                    at += batch.num_rows
                    if at >= last:
                        return

    def find_kept(self, part: int) -> "_Columns | None":
        """A part's documents in the cache, if they are there. They were read from the file that was mixed, wherever it is now."""
        assert self.known_parts is not None
        name = self._kept_name(part)
        file = self._texts.cache.find(name)
        if file is None:
            return None
        try:
            found = _Columns.of(file)
        except pa.ArrowInvalid:
            found = _Columns([])
        if found.rows != np.diff(self.known_parts.first)[part]:
            self._texts.cache.remove(name)
            return None
        return found

    def keep(self, opened: Open, part: int) -> "_Columns":
        """Read a part into the cache."""

        def write(path: Path) -> None:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schemas.DOCUMENTS) as writer:
                # In few batches, because each costs when it is read.
                held: list[pa.RecordBatch] = []
                for batch in self.pick(opened(self), part):
                    held.append(batch)
                    if sum(each.nbytes for each in held) >= _BATCH_BYTES:
                        writer.write_batch(_joined(held))
                        held = []
                if held:
                    writer.write_batch(_joined(held))

        return _Columns.of(self._texts.cache.make(self._kept_name(part), write))

    def _kept_name(self, part: int) -> str:
        assert self.known_parts is not None
        texts, samples = self._texts, self.known_parts.first[part : part + 2].tolist()
        etag = self._source["etag"] if self._source else None
        # What was kept before the machine last went down may not be whole.
        place = [texts.content_digest, texts.corpus_root, self._path, etag, texts.config.identity(), samples, _boot()]
        return f"{fingerprint(place)}.arrow"

    def _unchanged(self, source: dict[str, Any]) -> ObjectInfo:
        """The file that is there, if it is the one of the source; raise CorpusError if it isn't."""
        info = self._texts.store.head(self._path)
        if info is None:
            raise self._changed("it is gone")
        if info.size != source["size_bytes"]:
            raise self._changed(f"it has {info.size:,} bytes, and had {source['size_bytes']:,}")
        # The etag of a directory's file is its SHA-256: once a machine, as long as its time stays the same.
        known = fingerprint([self._texts.corpus_root, self._path, source["etag"], info.stamp])
        if info.stamp is not None and self._texts.cache.is_marked(known):
            return info
        if info.etag != source["etag"]:
            raise self._changed(f"its etag is {info.etag}, and was {source['etag']}")
        if info.stamp is not None:
            self._texts.cache.mark(known)
        return info

    def _changed(self, what: str) -> CorpusError:
        return CorpusError(
            f"{self._texts.corpus_root}/{self._path} is not the file that was mixed: {what}.",
            "Put the file back, or train on a version that was mixed from the new one. If the corpus was moved, say where it is:"
            " corpus_root. To list every file that changed, run 'samplemix mixture verify --corpus'.",
        )


class Values(NamedTuple):
    """The ids, domains and texts of documents."""

    ids: list[str | None]
    domains: list[str]
    texts: list[str]


class Fetched(tuple["tuple[_Columns, Int]", ...]):
    """Documents that were read, which become values when they are asked for."""

    def values(self) -> Values:
        """Return them, in the order in which they were wanted."""
        found = Values([], [], [])
        for columns, at in self:
            columns.add_to(found, at)
        return found


class _Columns:
    """Documents in batches, each of which becomes a value when it is asked for."""

    @classmethod
    def of(cls, file: pa.MemoryMappedFile) -> "_Columns":
        """Those of a file that was kept; they hold it open."""
        reader = pa.ipc.open_file(file)
        return cls([reader.get_batch(number) for number in range(reader.num_record_batches)])

    def __init__(self, batches: Sequence[pa.RecordBatch]) -> None:
        self._batches = batches
        self._ends = np.cumsum([batch.num_rows for batch in batches], dtype=np.int64)
        self.rows = sum(batch.num_rows for batch in batches)
        self._columns: dict[int, tuple[_Strings, _Strings, _Strings]] = {}

    def add_to(self, found: Values, at: Int) -> None:
        """Add the documents at these places, ascending."""
        first, last = np.searchsorted(self._ends, at[[0, -1]], side="right").tolist()
        for number in range(first, last + 1):
            start = int(self._ends[number]) - self._batches[number].num_rows
            here = at - start
            if first < last:
                here = here[(here >= 0) & (here < self._batches[number].num_rows)]
            ids, domains, texts = self._columns.get(number) or self._prepared(number)
            found.ids.extend(ids.take(here))
            found.domains.extend(domains.take(here))
            found.texts.extend(texts.take(here))

    def _prepared(self, number: int) -> "tuple[_Strings, _Strings, _Strings]":
        ids, domains, texts = (_Strings(self._batches[number][name]) for name in ("doc_id", "domain", "text"))
        self._columns[number] = ids, domains, texts
        return ids, domains, texts


class _Strings:
    """A column of text of which a few values are taken: faster than pyarrow's take() and to_pylist(), with no memory of its own."""

    def __init__(self, column: pa.StringArray | pa.LargeStringArray) -> None:
        validity, offsets, data = column.buffers()
        ends = np.frombuffer(offsets, dtype=np.int64 if pa.types.is_large_string(column.type) else np.int32)[column.offset :]
        self._starts, self._stops, self._view = ends[:-1], ends[1:], memoryview(data or b"")
        self._validity, self._offset = np.frombuffer(validity or b"", dtype=np.uint8), column.offset

    def take(self, at: Int) -> list[Any]:
        """The values at these places."""
        bounds, view = zip(self._starts[at].tolist(), self._stops[at].tolist(), strict=True), self._view
        found: list[Any] = [str(view[start:stop], "utf-8") for start, stop in bounds]
        if self._validity.size:
            byte, bit = np.divmod(at + self._offset, 8)
            for number in np.flatnonzero(self._validity[byte] >> bit & 1 == 0).tolist():
                found[number] = None
        return found


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of several: concat_batches() copies even one."""
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
