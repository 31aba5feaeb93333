"""A shard: what its path says.

Paths are relative to the corpus root and '/'-separated: `<snapshot>/<domain>/<file>`. Directory 0 is the snapshot.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from samplemix_core.config import ReaderConfig
from samplemix_core.errors import CorpusError

JSON_LINES_SUFFIXES = tuple(name + compression for name in (".jsonl", ".ndjson", ".json") for compression in ("", ".gz", ".zst"))
PARQUET_SUFFIX = ".parquet"
SHARD_SUFFIXES = (*JSON_LINES_SUFFIXES, PARQUET_SUFFIX)


def is_shard(path: str) -> bool:
    """Whether a path names a shard: a suffix we read, and nothing on the way that starts with '.' or '_'.

    The second rule leaves out what other systems put next to data: `_SUCCESS`, `_temporary/`, `.part-0.crc`.
    """
    return path.lower().endswith(SHARD_SUFFIXES) and not any(name.startswith((".", "_")) for name in path.split("/"))


def parse_shard_path(path: str, config: ReaderConfig) -> tuple[str, str | None]:
    """Snapshot and domain of a shard; the domain is None where it is a field of each record.

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
    """Paths, sorted: the shards of the wanted snapshots, and files that could be shards but lie in no snapshot's directory."""

    shards: list[str]
    ignored: list[str]


def select_snapshots(paths: Iterable[str], wanted: Sequence[str]) -> Selection:
    """The shards of the wanted snapshots (of all, if none is named). A README.json at the corpus root is ignored, and says so.

    Raises CorpusError if a wanted snapshot has no shard, naming those that have, or if there is no shard at all.
    """
    by_snapshot: dict[str, list[str]] = {}
    for path in paths:
        if is_shard(path):
            by_snapshot.setdefault(path.split("/", 1)[0] if "/" in path else "", []).append(path)
    ignored = sorted(by_snapshot.pop("", []))
    if ignored and not by_snapshot:
        raise CorpusError(
            f"{ignored[0]!r} lies directly at the corpus root, so it belongs to no snapshot, and so do all files there are.",
            "Put shards below a directory named after their snapshot: <snapshot>/<domain>/<file>.",
        )
    if not by_snapshot:
        raise CorpusError(
            "The corpus holds no shard.", f"Check the corpus URI; a shard's name ends in one of {', '.join(SHARD_SUFFIXES)}."
        )
    missing = sorted(set(wanted) - by_snapshot.keys())
    if missing:
        raise CorpusError(
            f"The corpus has no snapshot {', '.join(map(repr, missing))}; it has {', '.join(map(repr, sorted(by_snapshot)))}.",
            "Name snapshots that exist, or none to take all.",
        )
    return Selection(sorted(path for name in (wanted or by_snapshot) for path in by_snapshot[name]), ignored)
