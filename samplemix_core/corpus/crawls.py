"""Crawls, the snapshots of a named corpus as they land: when one is complete, its date, and its name as a partition.

A marker in the snapshot's directory says that all its files are there. It vouches for files written before it: a file newer than
its marker is not taken until the marker is written again.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from samplemix_core.errors import CorpusError

_NAMED = 3
_WEEK = re.compile(r"CC-MAIN-(?P<year>20\d\d)-(?P<week>\d\d)(?!\d)")
_DATE = re.compile(r"(?<!\d)(?P<year>20\d\d)-?(?P<month>0[1-9]|1[0-2])(?:-?(?P<day>0[1-9]|[12]\d|3[01]))?(?!\d)")


def unfinished(marker: str, marker_at: datetime | None, files: Mapping[str, datetime]) -> str | None:
    """Return why a snapshot is not complete yet, for people; None if it is.

    `marker` is the marker's name and `marker_at` when it was written, None if there is none. `files` are the snapshot's shards by
    path with the times at which they were written.
    """
    if marker_at is None:
        return f"has no marker {marker}"
    if not files:
        return f"has the marker {marker} and no file yet"
    newer = sorted(path for path, modified in files.items() if modified > marker_at)
    if newer:
        more = f" and {len(newer) - _NAMED} more" if len(newer) > _NAMED else ""
        return f"{', '.join(newer[:_NAMED])}{more} newer than the marker; write {marker} again when all files are there"
    return None


def crawl_date(snapshot: str, landed: datetime) -> datetime:
    """Return a crawl's date: the one in its name (2024-10, 20241031, Common Crawl's CC-MAIN-2024-10 by weeks), else when it landed.

    In UTC, to the second. A date in the future is ignored: nobody could backfill it.
    """
    named = _named_date(snapshot)
    landed = landed.astimezone(UTC).replace(microsecond=0)
    return landed if named is None or named > landed else named


def _named_date(snapshot: str) -> datetime | None:
    try:
        if found := _WEEK.search(snapshot):
            return datetime.fromisocalendar(int(found["year"]), int(found["week"]), 1).replace(tzinfo=UTC)
        if found := _DATE.search(snapshot):
            return datetime(int(found["year"]), int(found["month"]), int(found["day"] or 1), tzinfo=UTC)
    except ValueError:
        return None  # The 31st of a short month, the 54th week.
    return None


def distinct_date(date: datetime, taken: set[datetime]) -> datetime:
    """The date itself, or the next second that no other crawl has."""
    while date in taken:
        date += timedelta(seconds=1)
    return date


MOST_KEY = 250
"""Most characters of a partition's name that Airflow keeps."""


def partition_key(corpus: str, snapshot: str) -> str:
    """Return a crawl's name as a partition: 'web/crawl-a'. Raises CorpusError for a name that Airflow could not keep."""
    key = f"{corpus}/{snapshot}"
    if len(key) > MOST_KEY:
        raise CorpusError(
            f"Corpus {corpus!r} can have no crawl {snapshot!r}: with the corpus's name, its own has {len(key)} characters, more"
            f" than the {MOST_KEY} of a partition.",
            "Give its directory a shorter name.",
        )
    return key


def parse_partition_key(key: str) -> tuple[str, str]:
    """Return the corpus and snapshot of a partition; raise ValueError if the key isn't one."""
    corpus, separator, snapshot = key.partition("/")
    if not (corpus and separator and snapshot) or "/" in snapshot:
        raise ValueError(f"{key!r} is no crawl: write it as corpus/snapshot")
    return corpus, snapshot
