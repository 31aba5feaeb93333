"""Crawls that land: what is new in the places of corpora with a name, entered into Postgres, where runs take it from."""

import math
import traceback
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime

from samplemix_core.config.run import CorpusConfig
from samplemix_core.corpus.crawls import partition_key, unfinished
from samplemix_core.corpus.shards import is_hidden, is_shard
from samplemix_core.database import corpora
from samplemix_core.database.connection import transaction
from samplemix_core.database.corpora import BY_HAND, HERE, Crawl, CrawlState, NamedCorpus, SnapshotObservation
from samplemix_core.database.query import READ_LIMIT_SECONDS, READER, end_long_reads
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, CorpusError, ObjectAccessError, SampleMixError
from samplemix_core.objects.interface import ObjectInfo, ObjectStore

FULL_LOOK_SECONDS = 600.0
"""How often the place of a corpus with a queue is looked at whole: a notification may be lost."""


def scan(
    deployment: Deployment,
    corpus: NamedCorpus,
    *,
    snapshots: AbstractSet[str] | None = None,
    thorough: bool = False,
    first_seen_state: CrawlState = CrawlState.LANDED,
) -> list[Crawl]:
    """Look at a corpus's place, or at some of its snapshots, and enter what is new; returns the crawls whose state changed.

    One request a snapshot that has landed; with `thorough`, the files of those are listed too, and compared with their markers.
    Raises CorpusError where nothing is left of a corpus that had crawls: a disk that is not mounted is not a removal. Raises
    ObjectAccessError where a snapshot can't be read, or CorpusError where it can be no partition, once the others are entered.
    """
    database = deployment.database
    with transaction(database) as cursor:
        known = {crawl.snapshot: crawl for crawl in corpora.crawls(cursor, corpus.name)}
    store = deployment.store(corpus.config.run.corpus_uri)
    present = [name for name in store.directories() if not is_hidden(name)]
    if not present and any(crawl.state is not CrawlState.REMOVED for crawl in known.values()):
        raise CorpusError(
            f"Nothing is at {corpus.config.run.corpus_uri}, where corpus {corpus.name!r} had {len(known)} crawls.",
            "Check the bucket, or that the disk is mounted.",
        )
    observations: list[SnapshotObservation] = []
    troubles: list[SampleMixError] = []
    for name in present:
        if snapshots is None or name in snapshots:
            try:
                partition_key(corpus.name, name)
                observed = _look(store, name, corpus.config.landing.marker, known.get(name), thorough=thorough)
            except (CorpusError, ObjectAccessError) as error:
                troubles.append(error)
                continue
            if observed is not None:
                observations.append(observed)
    gone = [name for name, crawl in known.items() if name not in present and crawl.state is not CrawlState.REMOVED]
    changed: list[Crawl] = []
    if observations or gone:
        with transaction(database) as cursor:
            changed = corpora.note_observed(cursor, corpus.name, observations, datetime.now(UTC), first_seen_state=first_seen_state)
            corpora.note_removed(cursor, corpus.name, gone)
            changed += [crawl for crawl in corpora.crawls(cursor, corpus.name) if crawl.snapshot in gone]
    if troubles:
        raise troubles[0]
    return changed


class Watch:
    """Looks at the places of all corpora that are not paused, again and again, as often as each of them wants it.

    Of a corpus that has a queue, the snapshots are looked at that the queue names; the whole place at first, after any trouble, and
    every FULL_LOOK_SECONDS. So nothing is lost with a message, nor with a Watch.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._said: dict[str, str] = {}
        self._asked: dict[str, float] = {}
        self._looked: dict[str, float] = {}

    def look(self, deployment: Deployment, now: float) -> list[Crawl]:
        """Enter what is new at the places whose time has come; returns the crawls that wait for a run, the longest waiting first.

        `now` is in seconds, by a clock that only goes forward. What is wrong with one corpus, its place, its queue or its
        configuration, is said when it begins, and does not keep the others from being looked at.
        """
        watched = self._watched(deployment)
        named = self._named_by_queues(deployment, watched, now)
        self._looked = {corpus.name: self._looked[corpus.name] for corpus in watched if corpus.name in self._looked}
        for corpus in watched:
            every = FULL_LOOK_SECONDS if corpus.name in named else corpus.config.landing.poll_seconds
            snapshots = named.get(corpus.name)
            if now - self._looked.get(corpus.name, -math.inf) >= every:
                snapshots = None
            elif not snapshots:
                continue
            whose = f"corpus {corpus.name}"
            try:
                changed = scan(deployment, corpus, snapshots=snapshots)
            except Exception as error:  # noqa: BLE001 said, with its traceback: it is no other corpus's
                # What a queue has named is gone with its messages.
                self._looked.pop(corpus.name, None)
                self._tell(whose, _said(error))
                continue
            if snapshots is None:
                self._looked[corpus.name] = now
            self._tell(whose, None)
            for crawl in changed:
                if crawl.state is not CrawlState.LANDED:
                    self._warn(f"crawl {crawl.corpus}/{crawl.snapshot} is {crawl.state}: it {crawl.reason}")
        with deployment.transaction() as cursor:
            if ended := end_long_reads(cursor):
                self._warn(f"ended {ended} sessions of {READER} that read for longer than {READ_LIMIT_SECONDS:g} s")
            return corpora.landed_crawls(cursor, (corpus.name for corpus in watched))

    def _watched(self, deployment: Deployment) -> list[NamedCorpus]:
        with deployment.transaction() as cursor:
            usable, errors = corpora.usable_corpora(cursor)
        for name, error in errors.items():
            self._tell(f"corpus {name}", str(error))
        return [corpus for corpus in usable.values() if not corpus.is_paused]

    def _named_by_queues(self, deployment: Deployment, watched: Sequence[NamedCorpus], now: float) -> dict[str, set[str]]:
        """Of each corpus whose queue answers, the snapshots that it has named since it was last asked."""
        from samplemix_core.objects.notifications import BucketQueue

        named: dict[str, set[str]] = {}
        for url in sorted({corpus.config.landing.queue_url or "" for corpus in watched} - {""}):
            theirs = [corpus for corpus in watched if corpus.config.landing.queue_url == url]
            if now - self._asked.get(url, -math.inf) < min(corpus.config.landing.poll_seconds for corpus in theirs):
                named |= {corpus.name: set() for corpus in theirs}
                continue
            try:
                notices = BucketQueue(url, deployment).take()
            except Exception as error:  # noqa: BLE001 said, with its traceback: it is no other queue's
                self._asked.pop(url, None)
                self._tell(url, f"{_said(error)} Its corpora are looked at without it.")
                continue
            self._asked[url] = now
            self._tell(url, None)
            for corpus in theirs:
                base = f"{corpus.config.run.corpus_uri}/"
                named[corpus.name] = {uri.removeprefix(base).split("/")[0] for uri in notices.uris if uri.startswith(base)}
                if notices.unclear:
                    self._looked.pop(corpus.name, None)
            if notices.unclear:
                self._warn(f"{notices.unclear} messages of {url} are no notifications of S3; its corpora are looked at whole")
        return named

    def _tell(self, about: str, trouble: str | None) -> None:
        """Say what is wrong when it begins, not each time one looks."""
        if trouble is None:
            self._said.pop(about, None)
        elif self._said.get(about) != trouble:
            self._said[about] = trouble
            self._warn(f"{about}: {trouble}" if about not in trouble else trouble)


def _said(error: Exception) -> str:
    """An error for people; of one that nobody foresaw, all that is known of it."""
    if isinstance(error, SampleMixError):
        return str(error)
    return f"{error!r}. Nobody foresaw this: please report it.\n{''.join(traceback.format_exception(error))}"


def check_queue(deployment: Deployment, config: CorpusConfig) -> None:
    """Raise ConfigError, ObjectAccessError or ObjectStoreError if the queue that a corpus is to have is none that it can have."""
    from samplemix_core.objects.notifications import BucketQueue

    if config.landing.queue_url is None:
        return
    if not config.run.corpus_uri.startswith("s3://"):
        raise ConfigError("A queue is for a corpus in a bucket, not for one in a directory.", "Leave landing.queue_url out.")
    BucketQueue(config.landing.queue_url, deployment).check()


def accept(deployment: Deployment, corpus: NamedCorpus, snapshot: str) -> Crawl:
    """Take a snapshot for whole as it is now, because a person says so; raise CorpusError if it has no file.

    The marker that it has, if it has one, then vouches for all that is there now.
    """
    store = deployment.store(corpus.config.run.corpus_uri)
    files, marker = _shards(store, snapshot), _stamp(store.head(f"{snapshot}/{corpus.config.landing.marker}"))
    now = datetime.now(UTC)
    # By the store's clock, which may be ahead of ours.
    latest = max((info.modified for info in files if info.modified), default=now)
    with deployment.transaction() as cursor:
        observed = SnapshotObservation(
            snapshot, marker or BY_HAND, max(now, latest), len(files), sum(info.size for info in files), None
        )
        return corpora.accept_crawl(cursor, corpus.name, observed, now)


def _look(store: ObjectStore, snapshot: str, marker: str, known: Crawl | None, *, thorough: bool) -> SnapshotObservation | None:
    """A snapshot as it is; None where there is nothing new to it."""
    info = store.head(f"{snapshot}/{marker}")
    stamp = _stamp(info) or (BY_HAND if known is not None and known.marker == BY_HAND else None)
    same = known is not None and known.marker == stamp
    if known is not None and same and known.state in HERE and not thorough:
        return None
    if known is not None and known.state is CrawlState.WAITING and info is None and known.marker is None and not thorough:
        return None
    files = _shards(store, snapshot)
    if known is None and info is None and not files:
        return None
    # What a person has accepted is vouched for to a later time than the marker's own.
    marker_at = known.marker_at if known is not None and same else info.modified if info is not None else None
    reason = unfinished(marker, marker_at, {item.key: item.modified for item in files if item.modified is not None})
    return SnapshotObservation(snapshot, stamp, marker_at, len(files), sum(item.size for item in files), reason)


def _stamp(marker: ObjectInfo | None) -> str | None:
    """What is another for each marker that is written: an empty one has the same etag each time."""
    return f"{marker.etag} {marker.modified:%Y-%m-%dT%H:%M:%S.%f}" if marker is not None else None


def _shards(store: ObjectStore, snapshot: str) -> Sequence[ObjectInfo]:
    files: Iterable[ObjectInfo] = store.list(f"{snapshot}/")
    return [info for info in files if is_shard(info.key) and info.trouble is None]
