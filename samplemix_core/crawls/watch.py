"""The watch over named corpora: scans when it is time to, or when a queue says so, and reports each problem once."""

import math
import traceback
from collections.abc import Callable, Sequence

from samplemix_core.crawls.landing import scan
from samplemix_core.database import corpora
from samplemix_core.database.corpora import Crawl, CrawlState, NamedCorpus
from samplemix_core.database.query import READ_LIMIT_SECONDS, READER, end_long_reads
from samplemix_core.deployment import Deployment
from samplemix_core.errors import SampleMixError

FULL_LOOK_SECONDS = 600.0
"""How often the location of a corpus with a queue is scanned in full, as a notification may be lost."""


class Watch:
    """Scans the locations of all corpora that are not paused, again and again, as often as each of them wants.

    For a corpus with a queue, only the snapshots that the queue names are scanned; the whole location at first, after any problem,
    and every FULL_LOOK_SECONDS. So losing a message or a Watch loses nothing.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._said: dict[str, str] = {}
        self._asked: dict[str, float] = {}
        self._looked: dict[str, float] = {}

    def look(self, deployment: Deployment, now: float) -> list[Crawl]:
        """Record what is new at the locations that are due; returns the crawls that wait for a run, longest-waiting first.

        `now` is in seconds, by a clock that only goes forward. A problem with one corpus (its location, queue or configuration) is
        reported when it begins, and does not keep the others from being scanned.
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
            except Exception as error:  # noqa: BLE001 reported, with its traceback: the other corpora go on
                # What a queue has named is gone with its messages, so the whole location is scanned next.
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
        """Return, for each corpus whose queue answers, the snapshots named since it was last asked."""
        from samplemix_core.objects.notifications import BucketQueue

        named: dict[str, set[str]] = {}
        for url in sorted({corpus.config.landing.queue_url or "" for corpus in watched} - {""}):
            theirs = [corpus for corpus in watched if corpus.config.landing.queue_url == url]
            if now - self._asked.get(url, -math.inf) < min(corpus.config.landing.poll_seconds for corpus in theirs):
                named |= {corpus.name: set() for corpus in theirs}
                continue
            try:
                notices = BucketQueue(url, deployment).take()
            except Exception as error:  # noqa: BLE001 reported, with its traceback: the other queues go on
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
        """Report a problem when it begins, not on every scan."""
        if trouble is None:
            self._said.pop(about, None)
        elif self._said.get(about) != trouble:
            self._said[about] = trouble
            self._warn(f"{about}: {trouble}" if about not in trouble else trouble)


def _said(error: Exception) -> str:
    """Return an error as text for people; if it is unforeseen, with everything known about it."""
    if isinstance(error, SampleMixError):
        return str(error)
    return f"{error!r}. Nobody foresaw this: please report it.\n{''.join(traceback.format_exception(error))}"
