"""Crawls in Airflow: as partitions of a DAG, which can be backfilled, and as events when they land."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.exceptions import InvalidPartitionKeyError
from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction, Timetable
from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from airflow.utils.types import DagRunType
from pendulum import DateTime, instance

if TYPE_CHECKING:
    from samplemix_core.crawls.watch import Watch

POLL_SECONDS = 5.0
MOST_NAMED = 200
"""Most characters of a crawl's name in a run's, which has at most 250 including its prefix and suffix."""
RING_AGAIN_SECONDS = 600.0


class CrawlTimetable(Timetable):
    """Each crawl that has landed is a partition, by the date that Postgres holds for it. Runs come from backfills and by hand.

    Its methods run in the scheduler and the api-server, which look crawls up when they are asked.
    """

    description = "By hand, or by a backfill over crawls"
    partitioned = True
    can_be_scheduled = False

    @property
    def summary(self) -> str:
        """What the UI shows as the schedule."""
        return "Crawls"

    def iter_partition_dagrun_infos(self, *, earliest: datetime, latest: datetime) -> Iterable[DagRunInfo]:
        """A run for each crawl that has landed with a date in this range, both ends included."""
        from samplemix_core.corpus.crawls import partition_key
        from samplemix_core.database import corpora
        from samplemix_core.deployment import Deployment

        with Deployment.load().transaction() as cursor:
            found = corpora.crawls_between(cursor, earliest, latest)
        for crawl in found:
            date = instance(crawl.partition_date)
            yield DagRunInfo(
                run_after=date, data_interval=None, partition_date=date, partition_key=partition_key(crawl.corpus, crawl.snapshot)
            )

    def _decode_partition_date(self, partition_key: str) -> datetime:
        from samplemix_core.corpus.crawls import parse_partition_key
        from samplemix_core.database import corpora
        from samplemix_core.deployment import Deployment

        try:
            corpus, snapshot = parse_partition_key(partition_key)
        except ValueError as error:
            raise InvalidPartitionKeyError(str(error)) from error
        with Deployment.load().transaction() as cursor:
            crawl = corpora.find_crawl(cursor, corpus, snapshot)
        if crawl is None:
            raise InvalidPartitionKeyError(f"There is no crawl {partition_key!r}: see 'samplemix corpus show {corpus}'.")
        return crawl.partition_date

    def infer_manual_data_interval(self, *, run_after: DateTime) -> DataInterval:
        """A run by hand is about a crawl, not about a time."""
        return DataInterval.exact(run_after)

    def next_dagrun_info(self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction) -> None:
        """None: nothing is scheduled by the clock."""

    def generate_run_id(
        self, *, run_type: DagRunType, run_after: DateTime, data_interval: DataInterval | None, **extra: Any
    ) -> str:
        """Name a run after its crawl, so that lists and the grid show it; a crawl may have many runs."""
        crawl = re.sub(r"[^A-Za-z0-9_.~+-]+", ".", str(extra.get("partition_key") or "no-crawl"))[:MOST_NAMED]
        return f"{run_type.value}__{crawl}__{datetime.now(tz=run_after.tzinfo):%Y%m%dT%H%M%S.%f}"


class CrawlWatch(BaseEventTrigger):
    """An event for each crawl that lands in a saved corpus's place, one at a time, the longest waiting first.

    Postgres knows which crawls wait, and a run takes one of them: an event only says that there is one. So none is lost with a
    triggerer, and a crawl that is announced twice is scored once.

    :param poll_seconds: how often to check which corpora are due: each corpus says how often it is scanned
    """

    def __init__(self, poll_seconds: float = POLL_SECONDS) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow has no types here
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How a triggerer recreates it."""
        return f"{CrawlWatch.__module__}.{CrawlWatch.__qualname__}", {"poll_seconds": self.poll_seconds}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look for crawls, announce one, and wait, for ever."""
        from samplemix_core.crawls.watch import Watch

        watch = Watch(self.log.warning)
        told: dict[tuple[str, str, datetime | None], float] = {}
        while True:
            waiting = await asyncio.to_thread(self._look, watch)
            if waiting:
                first = waiting[0]
                key = first["corpus"], first["snapshot"], first["landed_at"]
                now = time.monotonic()
                if now - told.get(key, -RING_AGAIN_SECONDS) >= RING_AGAIN_SECONDS:
                    told = {key: now}
                    yield TriggerEvent({**first, "landed_at": str(first["landed_at"])})  # type: ignore[no-untyped-call]
            await asyncio.sleep(self.poll_seconds)

    def _look(self, watch: "Watch") -> list[dict[str, Any]]:
        """The crawls that wait for a run; none if looking fails, which is tried again."""
        from samplemix_core.deployment import Deployment

        try:
            return [
                {"corpus": crawl.corpus, "snapshot": crawl.snapshot, "landed_at": crawl.landed_at}
                for crawl in watch.look(Deployment.load(), time.monotonic())
            ]
        except Exception:
            self.log.exception("can't look for crawls; looking again")
            return []


class SampleMixPlugin(AirflowPlugin):
    """Classes that Airflow's processes have to know by name."""

    name = "samplemix"
    timetables = [CrawlTimetable]  # noqa: RUF012 Airflow's way
