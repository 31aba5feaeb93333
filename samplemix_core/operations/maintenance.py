"""Upkeep of a deployment: drafts, old versions, scores that no version needs, files that nothing refers to, statistics.

Safe while runs are active: a run that relied on scores dropped meanwhile fails, naming the shards to be scored again.
"""

import pkgutil
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg2 import errors as pg

from samplemix_core.config.form import Upkeep
from samplemix_core.database import upkeep
from samplemix_core.database.connection import transaction
from samplemix_core.database.query import end_long_reads
from samplemix_core.database.registration import forget_scores
from samplemix_core.deployment import Deployment, Prefix
from samplemix_core.errors import ServiceError
from samplemix_core.frozen import FrozenModel
from samplemix_core.objects.interface import ObjectInfo, ObjectStore
from samplemix_core.pipeline.drafts import collect_drafts
from samplemix_core.steps import UPKEEP, Task

ORPHAN_PREFIXES = (Prefix.CLUSTERS, Prefix.EMBEDDINGS, Prefix.TRAINING, Prefix.SIGNATURES)
"""Prefixes of files that may have no score referring to them; an abandoned training leaves its last checkpoint."""

ORPHAN_AGE = timedelta(days=1)
"""A younger file may be one that a run is about to enter."""


LOCK_SECONDS = 2
"""How long dropping a table waits for its readers, and new readers wait behind it."""

LOCK_TRIES = 45
"""Together longer than any reader may take."""


class Kept(FrozenModel):
    """What one part of the upkeep found, and whether it did anything about it."""

    task: str
    found: int
    bytes: int
    done: bool
    what: str

    def __str__(self) -> str:
        size = f", {self.bytes / 1e6:,.1f} MB" if self.bytes else ""
        return f"{self.task}: {self.found:,} {self.what}{size}{'' if self.done else ', left as they are'}"


def drafts(deployment: Deployment, wanted: Upkeep) -> Kept:
    """Drafts of mixtures that nobody published, older than a week."""
    store = deployment.state
    old = collect_drafts(store, datetime.now(UTC).date(), dry_run=wanted.dry_run)
    size = sum(info.size for info in old)
    return Kept(task="drafts", found=len(old), bytes=size, done=not wanted.dry_run, what="files of drafts older than a week")


def orphans(deployment: Deployment, wanted: Upkeep) -> Kept:
    """Embeddings, cluster models and checkpoints, older than a day, that no score refers to: of failed attempts, replaced files."""
    store = deployment.state
    limit = datetime.now(UTC) - ORPHAN_AGE
    delete = wanted.delete_orphans and not wanted.dry_run
    found = size = 0
    database = deployment.database
    with transaction(database) as cursor:
        lying = (info for prefix in ORPHAN_PREFIXES for info in store.list(f"{prefix}/"))
        for info in _not_in(lying, upkeep.referred_files(cursor)):
            if _is_older(info, limit) and (not delete or _collect(database, store, info.key, limit)):
                found, size = found + 1, size + info.size
    return Kept(task="orphans", found=found, bytes=size, done=delete, what="files that no score refers to")


def _is_older(info: ObjectInfo, limit: datetime) -> bool:
    return info.modified is not None and info.modified < limit


def _collect(database_url: str, store: ObjectStore, key: str, limit: datetime) -> bool:
    """Delete a file unless it was written again since it was listed, or is being written; return whether it was deleted."""
    with transaction(database_url) as cursor:
        if not upkeep.may_collect_file(cursor, key):
            return False
        now = store.head(key)
        if now is None or not _is_older(now, limit):
            return False
        store.delete(key)
    return True


def _not_in(infos: Iterator[ObjectInfo], keys: Iterator[str]) -> Iterator[ObjectInfo]:
    """Yield the objects whose key is not among the keys; both are sorted, so neither has to be in memory."""
    key = next(keys, None)
    for info in infos:
        while key is not None and key < info.key:
            key = next(keys, None)
        if key != info.key:
            yield info


def versions(deployment: Deployment, wanted: Upkeep) -> Kept:
    """Samples, in Postgres, of all but the last versions of each mixture. Manifests stay: a published version never changes."""
    found: list[tuple[int, str, int]] = []
    if wanted.keep_versions is not None:
        with deployment.transaction() as cursor:
            found = upkeep.old_versions(cursor, wanted.keep_versions)
        for version in found if not wanted.dry_run else ():
            _drop(deployment.database, upkeep.drop_samples, *version)
    done = wanted.keep_versions is not None and not wanted.dry_run
    return Kept(task="versions", found=len(found), bytes=0, done=done, what="old versions with samples in Postgres")


def _drop(database_url: str, drop: Callable[..., None], *what: Any) -> None:
    """Drop one thing in a transaction of its own, which no query has to wait for longer than LOCK_SECONDS.

    Queries that arrive while a table waits to be dropped wait behind it, so it gives way to a long read, and tries again until that
    one is over or was ended. Raises ServiceError if others follow it without end.
    """
    for attempt in range(LOCK_TRIES):
        try:
            with transaction(database_url) as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                return drop(cursor, *what)
        except ServiceError as error:
            if not isinstance(error.__cause__, pg.LockNotAvailable) or attempt == LOCK_TRIES - 1:
                raise
        with transaction(database_url) as cursor:
            end_long_reads(cursor)
        time.sleep(LOCK_SECONDS)


def models(deployment: Deployment, wanted: Upkeep) -> Kept:
    """Scores and clusters by models that no kept version was made with. Documents that need them are scored or assigned again."""
    found: list[tuple[Callable[..., None], Any]] = []
    database = deployment.database
    if wanted.unused_days is not None:
        before = datetime.now(UTC) - timedelta(days=wanted.unused_days)
        with transaction(database) as cursor:
            kept = upkeep.kept_versions(cursor, wanted.keep_versions)
            found += [(upkeep.drop_assignments, model) for model in upkeep.unused_cluster_models(cursor, kept, before)]
            found += [(upkeep.drop_scores, scored) for scored in upkeep.unused_scores(cursor, kept, before)]
    for drop, unused in found if wanted.drops_unused else ():
        _drop(database, drop, unused)
    what = "models whose scores or clusters no kept version was made with"
    return Kept(task="models", found=len(found), bytes=0, done=wanted.drops_unused, what=what)


def crawls(deployment: Deployment, wanted: Upkeep) -> Kept:
    """Everything stored of crawls that were removed and that no kept version holds."""
    found: list[int] = []
    database = deployment.database
    if wanted.unused_days is not None:
        before = datetime.now(UTC) - timedelta(days=wanted.unused_days)
        with transaction(database) as cursor:
            found = upkeep.removed_snapshots(cursor, upkeep.kept_versions(cursor, wanted.keep_versions), before)
    for snapshot_id in found if wanted.drops_unused else ():
        _drop(database, forget_scores, snapshot_id)
    return Kept(
        task="crawls", found=len(found), bytes=0, done=wanted.drops_unused, what="removed crawls that no kept version holds"
    )


def corpora(deployment: Deployment, wanted: Upkeep) -> Kept:
    """Corpora of which nothing could be read, and whose place was then read in a different way."""
    database, before = deployment.database, datetime.now(UTC) - ORPHAN_AGE
    with transaction(database) as cursor:
        found = upkeep.dead_corpora(cursor, before)
    for corpus_id in found if not wanted.dry_run else ():
        _drop(database, upkeep.drop_corpus, corpus_id, before)
    return Kept(
        task="corpora",
        found=len(found),
        bytes=0,
        done=not wanted.dry_run,
        what="corpora, older than a day, of which nothing was scored and whose place is read in another way since",
    )


def statistics(deployment: Deployment, wanted: Upkeep) -> Kept:
    """The statistics of Postgres's planner, including those of partitioned tables as a whole."""
    tables = len(upkeep.STATISTICS)
    if not wanted.dry_run:
        with deployment.transaction() as cursor:
            tables = upkeep.refresh_statistics(cursor)
    return Kept(task="statistics", found=tables, bytes=0, done=not wanted.dry_run, what="tables whose statistics are counted")


def keep_up(deployment: Deployment, wanted: Upkeep, tasks: Sequence[Task] = UPKEEP) -> Iterator[Kept]:
    """Do these tasks of the upkeep, one by one."""
    for task in tasks:
        found: Kept = pkgutil.resolve_name(f"{__name__}:{task.name}")(deployment, wanted)
        yield found
