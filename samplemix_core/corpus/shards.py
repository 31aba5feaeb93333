"""Shards, what their paths say, and the files of a corpus that aren't shards, each with its reason.

Paths are relative to the corpus root and '/'-separated: `<snapshot>/<domain>/<file>`. Directory 0 is the snapshot.
"""

import pkgutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.errors import CorpusError
from samplemix_core.objects.interface import ObjectInfo

if TYPE_CHECKING:
    from samplemix_core.corpus.corpus_format import Format

COMPRESSIONS = {
    **{".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"},
    **{".bz2": "bzip2", ".xz": "xz", ".lz4": "lz4"},
}
"""Suffix of files that are compressed as a whole -> compression."""


@dataclass(frozen=True)
class KnownFormat:
    """A format: its name for people, the suffixes of its files, the usual one first, and its class, "module:class" here.

    If `compressible`, its files may be compressed as a whole. `sign` is the bytes that each of its files begins with, if any.
    """

    name: str
    suffixes: tuple[str, ...]
    reader: str
    compressible: bool = False
    sign: bytes = b""

    @cached_property
    def kind(self) -> "type[Format]":
        """Its class, imported when needed: telling names apart doesn't need the packages that read files."""
        found: type[Format] = pkgutil.resolve_name(f"samplemix_core.corpus.{self.reader}")
        return found

    @cached_property
    def endings(self) -> tuple[str, ...]:
        """Endings of its files' names."""
        return tuple(suffix + end for suffix in self.suffixes for end in ("", *(COMPRESSIONS if self.compressible else ())))


JSON_LINES = KnownFormat(
    "JSON lines", (".jsonl", ".ndjson", ".json", ".jl", ".jsonlines"), "json_lines:JsonLines", compressible=True
)
FORMATS = (JSON_LINES, KnownFormat("Parquet", (".parquet", ".parq", ".pq"), "parquet:Parquet", sign=b"PAR1"))
"""Every format that corpus files, files of labels and files of scores may have."""

_NAMED = 10
MAX_PATH_BYTES = 1024
"""S3's limit. Postgres's indexes can't hold more than 2,700 bytes."""


def _read_suffixes() -> str:
    """The suffixes, for people."""
    said = [
        ", ".join(kind.suffixes) + (f" (each also with {', '.join(COMPRESSIONS)})" if kind.compressible else "") for kind in FORMATS
    ]
    *others, last = ", ".join(said).rsplit(", ", 1)
    return f"{', '.join(others)} or {last}"


READ_SUFFIXES = _read_suffixes()

NOTES = frozenset({"dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json"})
"""Files that Hugging Face's datasets write next to their data."""


class Unread(StrEnum):
    """Why a file of a corpus is not read."""

    NO_SNAPSHOT = "no_snapshot"
    NO_DOMAIN = "no_domain"
    HIDDEN = "hidden"
    SUFFIX = "suffix"
    NOTE = "note"
    PATH = "path"
    NO_FILE = "no_file"

    @property
    def why(self) -> str:
        """The reason, for people."""
        return _WHY[self]


_WHY = {
    Unread.NO_SNAPSHOT: "it lies in no snapshot's directory",
    Unread.NO_DOMAIN: "no directory on its way names a domain",
    Unread.HIDDEN: "its name, or a directory's on the way, begins with '.' or '_', or is lost+found",
    Unread.SUFFIX: f"its name does not end in {READ_SUFFIXES}",
    Unread.NOTE: "Hugging Face's datasets write a file of this name beside the data",
    Unread.PATH: f"its path is not UTF-8, or has over {MAX_PATH_BYTES:,} bytes",
    Unread.NO_FILE: "it is a link to a directory, to nothing or out of the corpus, or no regular file",
}


@dataclass(frozen=True)
class UnreadFile:
    """A file that is not read. A path that is not UTF-8 has backslash escapes in place of its bytes."""

    path: str
    size_bytes: int
    reason: Unread


def format_of(path: str) -> KnownFormat | None:
    """Return a file's format by its name, compressed or not; None if it isn't one that is read."""
    name = path.lower()
    return next((known for known in FORMATS if name.endswith(known.endings)), None)


def is_hidden(name: str) -> bool:
    """Whether a file's or directory's name says it isn't data, but put next to data by other systems or by a file system."""
    return name.startswith((".", "_")) or name == "lost+found"


def why_unread(path: str) -> Unread | None:
    """Return why a file isn't a shard, by its path alone; None if it is: it has a suffix we read, and nothing hidden on its way.

    The second rule leaves out files that other systems put next to data: `_SUCCESS`, `_temporary/`, `.part-0.crc`.
    """
    names = path.split("/")
    try:
        if len(path.encode()) > MAX_PATH_BYTES:
            return Unread.PATH
    except UnicodeEncodeError:
        return Unread.PATH
    if any(map(is_hidden, names)):
        return Unread.HIDDEN
    if format_of(path) is None:
        return Unread.SUFFIX
    return Unread.NOTE if names[-1] in NOTES else None


def is_shard(path: str) -> bool:
    """Whether a path names a shard."""
    return why_unread(path) is None


def describe_unread(files: Sequence[UnreadFile]) -> str:
    """Say how many files are not read, and name some with reasons, those that may hold data first."""
    shown = sorted(files, key=lambda file: (is_note(file), file.path))
    named = ", ".join(f"{file.path} ({file.reason.value})" for file in shown[:_NAMED])
    more = f" and {len(files) - _NAMED:,} more" if len(files) > _NAMED else ""
    return f"{len(files):,} files are not read: {named}{more}"


def is_note(file: UnreadFile) -> bool:
    """Whether a file is one that tools leave next to data: it is empty, or its name says so."""
    return not file.size_bytes or file.reason is Unread.NOTE


def unread_counts(files: Iterable[UnreadFile]) -> dict[str, int]:
    """How many files are not read, by reason."""
    return dict(sorted(Counter(file.reason.value for file in files).items()))


def parse_shard_path(path: str, config: ReaderConfig) -> tuple[str, str | None]:
    """Snapshot and domain of a shard; the domain is None if it is a field of each record.

    Raises CorpusError if the path is too shallow to hold the directories the configuration asks for.
    """
    directories = path.split("/")[:-1]
    if not directories:
        raise CorpusError(
            f"{path!r} lies directly at the corpus root, so it belongs to no snapshot.",
            "Put shards below a directory named after their snapshot: <snapshot>/<domain>/<file>.",
        )
    if config.domain_field is not None:
        return directories[0], None
    if config.domain_path_index >= len(directories):
        raise CorpusError(
            f"{path!r} has no directory {config.domain_path_index} below the corpus root to name its domain.",
            "Lay shards out as <snapshot>/<domain>/<file>, or set the reader's domain_field or domain_path_index.",
        )
    return directories[0], directories[config.domain_path_index]


@dataclass(frozen=True)
class Selection:
    """The shards of the wanted snapshots by snapshot, each list sorted by path; and the files of a listing that are not read.

    `whole`: files outside any snapshot's directory were listed too.
    """

    snapshots: dict[str, list[ObjectInfo]]
    unread: list[UnreadFile]
    whole: bool = True

    @property
    def shards(self) -> int:
        """How many shards there are in all."""
        return sum(map(len, self.snapshots.values()))


def select_snapshots(files: Mapping[str, ObjectInfo], wanted: Sequence[str], config: ReaderConfig) -> Selection:
    """Return the shards of the wanted snapshots (of all, if none is named), and other files there or in no snapshot, with reasons.

    Raises CorpusError if a wanted snapshot has no shard, naming those that do, if there is no shard at all, or if a file with a
    shard's name (such as a dangling link), or a directory that may hold shards, can't be read.
    """
    snapshots: dict[str, list[ObjectInfo]] = {}
    unread: list[UnreadFile] = []
    for path, info in sorted(files.items()):
        snapshot, slash, _ = path.partition("/")
        reason = why_unread(path) if slash else Unread.NO_SNAPSHOT
        is_wanted = not slash or not wanted or snapshot in wanted
        is_directory = path.endswith("/")
        if is_directory and reason is not Unread.HIDDEN and is_wanted:
            raise CorpusError(
                f"The directory {path!r} can't be read: {info.trouble}",
                "Make it readable for the user that runs SampleMix, or remove it.",
            )
        if reason is None and info.trouble is not None and is_wanted:
            raise CorpusError(
                f"{path!r} has a shard's name and can't be read: {info.trouble}.",
                "Put the file there, or the directory itself instead of a link to it, or remove it.",
            )
        if reason is None and config.domain_field is None and path.count("/") <= config.domain_path_index:
            reason = Unread.NO_DOMAIN
        if reason is None:
            snapshots.setdefault(snapshot, []).append(info)
        elif is_wanted:
            if info.trouble is not None and reason is not Unread.PATH and not is_directory:
                reason = Unread.NO_FILE
            unread.append(UnreadFile(path.encode(errors="surrogateescape").decode(errors="backslashreplace"), info.size, reason))
    if not snapshots:
        raise _no_shard(unread)
    missing = sorted(set(wanted) - snapshots.keys())
    if missing:
        raise CorpusError(
            f"The corpus has no snapshot {', '.join(map(repr, missing))}; it has {', '.join(map(repr, sorted(snapshots)))}.",
            "Name snapshots that exist, or none to take all.",
        )
    return Selection({name: snapshots[name] for name in sorted(wanted or snapshots)}, unread)


def _no_shard(unread: Sequence[UnreadFile]) -> CorpusError:
    for file in unread:
        if file.reason in (Unread.NO_SNAPSHOT, Unread.NO_DOMAIN) and is_shard(file.path):
            return CorpusError(
                f"The corpus holds no usable shard: {file.path!r} is left out because {file.reason.why}.",
                "Lay shards out as <snapshot>/<domain>/<file>, or set the reader's domain_field or domain_path_index.",
            )
    if unread:
        return CorpusError(
            f"The corpus holds no shard, only other files ({len(unread):,}): {unread[0].path!r} is left out because"
            f" {unread[0].reason.why}.",
            f"A shard's name ends in {READ_SUFFIXES}.",
        )
    return CorpusError("There is no file at the corpus URI.", "Check the URI: a missing place and an empty one look the same.")
