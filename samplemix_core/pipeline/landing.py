"""Crawls that land: what is new in the places of corpora with a name, entered into Postgres, where runs take it from."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from samplemix_core.corpus.crawls import unfinished
from samplemix_core.corpus.shards import is_shard
from samplemix_core.database import corpora
from samplemix_core.database.connection import transaction
from samplemix_core.database.corpora import BY_HAND, Crawl, NamedCorpus, Sight
from samplemix_core.errors import CorpusError, SampleMixError
from samplemix_core.objects import open_store
from samplemix_core.objects.interface import ObjectInfo, ObjectStore
from samplemix_core.settings import Settings


def scan(settings: Settings, corpus: NamedCorpus, *, thorough: bool = False, new_are: str = "landed") -> list[Crawl]:
    """Look at a corpus's place and enter what is new; returns the crawls whose state changed.

    One request a snapshot that has landed; with `thorough`, the files of those are listed too, and compared with their markers.
    Raises CorpusError where nothing is left of a corpus that had crawls: a disk that is not mounted is not a removal.
    """
    database = settings.require("database_url")
    with transaction(database) as cursor:
        known = {crawl.snapshot: crawl for crawl in corpora.crawls(cursor, corpus.name)}
    store = open_store(corpus.config.run.corpus_uri, settings)
    present = [name for name in store.directories() if not name.startswith(("_", "."))]
    if not present and any(crawl.state != "removed" for crawl in known.values()):
        raise CorpusError(
            f"Nothing is at {corpus.config.run.corpus_uri}, where corpus {corpus.name!r} had {len(known)} crawls.",
            "Check the bucket, or that the disk is mounted.",
        )
    sights = [
        sight
        for name in present
        if (sight := _look(store, name, corpus.config.landing.marker, known.get(name), thorough=thorough)) is not None
    ]
    gone = [name for name, crawl in known.items() if name not in present and crawl.state != "removed"]
    if not sights and not gone:
        return []
    with transaction(database) as cursor:
        changed = corpora.note_sights(cursor, corpus.name, sights, datetime.now(UTC), new_are=new_are)
        corpora.note_removed(cursor, corpus.name, gone)
        return changed + [crawl for crawl in corpora.crawls(cursor, corpus.name) if crawl.snapshot in gone]


def watch(settings: Settings, warn: Callable[[str], None]) -> list[Crawl]:
    """Look at the places of all corpora that are not paused; returns the crawls that wait for a run, the longest waiting first.

    What is wrong with one corpus, its place or its configuration, is said and does not keep the others from being looked at.
    """
    database = settings.require("database_url")
    with transaction(database) as cursor:
        names = corpora.corpus_names(cursor)
    for name in names:
        try:
            with transaction(database) as cursor:
                corpus = corpora.find_corpus(cursor, name)
            for crawl in scan(settings, corpus) if corpus is not None and not corpus.is_paused else ():
                if crawl.state != "landed":
                    warn(f"crawl {name}/{crawl.snapshot} is {crawl.state}: it {crawl.reason}")
        except SampleMixError as error:
            warn(f"corpus {name}: {error}")
    with transaction(database) as cursor:
        return corpora.landed_crawls(cursor)


def accept(settings: Settings, corpus: NamedCorpus, snapshot: str) -> Crawl:
    """Take a snapshot for whole as it is now, because a person says so; raise CorpusError if it has no file.

    The marker that it has, if it has one, then vouches for all that is there now.
    """
    store = open_store(corpus.config.run.corpus_uri, settings)
    files, marker = _shards(store, snapshot), _stamp(store.head(f"{snapshot}/{corpus.config.landing.marker}"))
    now = datetime.now(UTC)
    # By the store's clock, which may be ahead of ours.
    latest = max((info.modified for info in files if info.modified), default=now)
    with transaction(settings.require("database_url")) as cursor:
        sight = Sight(snapshot, marker or BY_HAND, max(now, latest), len(files), sum(info.size for info in files), None)
        return corpora.accept_crawl(cursor, corpus.name, sight, now)


def _look(store: ObjectStore, snapshot: str, marker: str, known: Crawl | None, *, thorough: bool) -> Sight | None:
    """A snapshot as it is; None where there is nothing new to it."""
    info = store.head(f"{snapshot}/{marker}")
    stamp = _stamp(info) or (BY_HAND if known is not None and known.marker == BY_HAND else None)
    same = known is not None and known.marker == stamp
    if known is not None and same and known.state in ("landed", "taken") and not thorough:
        return None
    if known is not None and known.state == "waiting" and info is None and known.marker is None and not thorough:
        return None
    files = _shards(store, snapshot)
    if known is None and info is None and not files:
        return None
    # What a person has accepted is vouched for to a later time than the marker's own.
    marker_at = known.marker_at if known is not None and same else info.modified if info is not None else None
    reason = unfinished(marker, marker_at, {item.key: item.modified for item in files if item.modified is not None})
    return Sight(snapshot, stamp, marker_at, len(files), sum(item.size for item in files), reason)


def _stamp(marker: ObjectInfo | None) -> str | None:
    """What is another for each marker that is written: an empty one has the same etag each time."""
    return f"{marker.etag} {marker.modified:%Y-%m-%dT%H:%M:%S.%f}" if marker is not None else None


def _shards(store: ObjectStore, snapshot: str) -> Sequence[ObjectInfo]:
    files: Iterable[ObjectInfo] = store.list(f"{snapshot}/")
    return [info for info in files if is_shard(info.key)]
