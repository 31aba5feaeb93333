"""Landing of crawls: what is new at the locations of named corpora is recorded in Postgres, from where runs take it."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime

from samplemix_core.config.run import CorpusConfig
from samplemix_core.corpus.crawls import partition_key, unfinished
from samplemix_core.corpus.shards import is_hidden, is_shard
from samplemix_core.database import corpora
from samplemix_core.database.connection import transaction
from samplemix_core.database.corpora import BY_HAND, HERE, Crawl, CrawlState, NamedCorpus, SnapshotObservation
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, CorpusError, ObjectAccessError, SampleMixError
from samplemix_core.objects.interface import ObjectInfo, ObjectStore


def add(deployment: Deployment, config: CorpusConfig) -> list[Crawl]:
    """Save a corpus under its name, with the crawls that are there: returns these. They are taken, so that none starts a run.

    Name and crawls are saved at once: a watch that saw the name alone would let the crawls land. Nothing is saved of a corpus that
    can't be scanned. Raises ConfigError if the name is taken, and what scan() raises.
    """
    with deployment.transaction() as cursor:
        corpora.require_free(cursor, config.name)
    observations, troubles = _observe(deployment, config, _present(deployment, config), {})
    if troubles:
        raise troubles[0]
    with deployment.transaction() as cursor:
        corpora.add_corpus(cursor, config)
        return corpora.note_observed(cursor, config.name, observations, datetime.now(UTC), first_seen_state=CrawlState.TAKEN)


def scan(
    deployment: Deployment, corpus: NamedCorpus, *, snapshots: AbstractSet[str] | None = None, thorough: bool = False
) -> list[Crawl]:
    """Scan a corpus's location, or some of its snapshots, and record what is new; returns the crawls whose state changed.

    Makes one request per snapshot that has landed; with `thorough`, their files are also listed, and compared with their markers.
    Raises CorpusError if nothing is left of a corpus that had crawls, because a disk that is not mounted is not a removal. Raises
    ObjectAccessError if a snapshot can't be read, or CorpusError if it can't be a partition, after the others are recorded.
    """
    database = deployment.database
    with transaction(database) as cursor:
        known = {crawl.snapshot: crawl for crawl in corpora.crawls(cursor, corpus.name)}
    present = _present(deployment, corpus.config)
    if not present and any(crawl.state is not CrawlState.REMOVED for crawl in known.values()):
        raise CorpusError(
            f"There is nothing at {corpus.config.run.corpus_uri}, where corpus {corpus.name!r} had {len(known)} crawls.",
            "Check the bucket, or that the disk is mounted.",
        )
    wanted = [name for name in present if snapshots is None or name in snapshots]
    observations, troubles = _observe(deployment, corpus.config, wanted, known, thorough=thorough)
    gone = [name for name, crawl in known.items() if name not in present and crawl.state is not CrawlState.REMOVED]
    changed: list[Crawl] = []
    if observations or gone:
        with transaction(database) as cursor:
            changed = corpora.note_observed(cursor, corpus.name, observations, datetime.now(UTC))
            corpora.note_removed(cursor, corpus.name, gone)
            changed += [crawl for crawl in corpora.crawls(cursor, corpus.name) if crawl.snapshot in gone]
    if troubles:
        raise troubles[0]
    return changed


def _present(deployment: Deployment, config: CorpusConfig) -> list[str]:
    return [name for name in deployment.store(config.run.corpus_uri).directories() if not is_hidden(name)]


def _observe(
    deployment: Deployment, config: CorpusConfig, snapshots: Iterable[str], known: Mapping[str, Crawl], *, thorough: bool = False
) -> tuple[list[SnapshotObservation], list[SampleMixError]]:
    """Look at these snapshots; returns what is new about them, and the errors of those that can't be read or be partitions."""
    store = deployment.store(config.run.corpus_uri)
    observations: list[SnapshotObservation] = []
    troubles: list[SampleMixError] = []
    for name in snapshots:
        try:
            partition_key(config.name, name)
            observed = _look(store, name, config.landing.marker, known.get(name), thorough=thorough)
        except (CorpusError, ObjectAccessError) as error:
            troubles.append(error)
            continue
        if observed is not None:
            observations.append(observed)
    return observations, troubles


def check_queue(deployment: Deployment, config: CorpusConfig) -> None:
    """Raise ConfigError, ObjectAccessError or ObjectStoreError if a corpus can't have the queue in its configuration."""
    from samplemix_core.objects.notifications import BucketQueue

    if config.landing.queue_url is None:
        return
    if not config.run.corpus_uri.startswith("s3://"):
        raise ConfigError("A queue is for a corpus in a bucket, not for one in a directory.", "Leave landing.queue_url out.")
    BucketQueue(config.landing.queue_url, deployment).check()


def accept(deployment: Deployment, corpus: NamedCorpus, snapshot: str) -> Crawl:
    """Accept a snapshot as complete in its current state, because a person says so; raise CorpusError if it has no files.

    Its marker, if it has one, then vouches for everything that is there now.
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
    """Return a snapshot as it is; None if nothing about it is new."""
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
    # What a person has accepted is vouched for up to a later time than the marker's own.
    marker_at = known.marker_at if known is not None and same else info.modified if info is not None else None
    reason = unfinished(marker, marker_at, {item.key: item.modified for item in files if item.modified is not None})
    return SnapshotObservation(snapshot, stamp, marker_at, len(files), sum(item.size for item in files), reason)


def _stamp(marker: ObjectInfo | None) -> str | None:
    """Return a value that differs each time a marker is written, which the etag of an empty one doesn't."""
    return f"{marker.etag} {marker.modified:%Y-%m-%dT%H:%M:%S.%f}" if marker is not None else None


def _shards(store: ObjectStore, snapshot: str) -> Sequence[ObjectInfo]:
    files: Iterable[ObjectInfo] = store.list(f"{snapshot}/")
    return [info for info in files if is_shard(info.key) and info.trouble is None]
