"""A run: what every step of it is given, and the whole of it in one process, from the table that Airflow's tasks are made of."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from samplemix_core.config.run import RunConfig
from samplemix_core.database.connection import exclusive
from samplemix_core.database.ledger import run_cost
from samplemix_core.database.registration import unread_files
from samplemix_core.deployment import Deployment
from samplemix_core.frozen import FrozenModel
from samplemix_core.pipeline.handoff import PublishedRef, ScoreCounts, VerifiedCounts
from samplemix_core.pipeline.progress import Progress, Report
from samplemix_core.steps import GROUPS, STEPS

UNREAD_NAMED = 1000
"""How many files that were not read a summary names; the table unread_file has all."""


@dataclass(frozen=True)
class RunContext:
    """One run as a step sees it: what is wanted, where the services are, whom to tell, and whether to stop.

    `corpus` is the corpus's name, if it has one; `crawl` the one snapshot that is registered and scored, where not all are.
    """

    config: RunConfig
    deployment: Deployment
    report: Report
    cancelled: threading.Event = field(default_factory=threading.Event)
    run_id: str | None = None
    corpus: str | None = None
    crawl: str | None = None

    @property
    def name(self) -> str:
        """The run as its workers' logs name it: by its Airflow run, else by its mixture."""
        return self.run_id or self.config.mixture_name

    @contextmanager
    def alone(self, step: str, *what: object) -> Iterator[None]:
        """Do a step's work on the cluster while nobody else does the same: another waits, and then finds it done.

        So a task that Airflow took for dead and started again, while it was only slow, is not done twice at once.
        """
        name = "/".join(map(str, (step, *what)))

        def tell() -> None:
            self.report(Progress(step, 0, 0, message="another process is at work on the same; waiting for it"))

        with exclusive(self.deployment.database, name, self.cancelled, tell):
            yield


class RunSummary(FrozenModel):
    """What a run published, what it had to leave out, and what it cost by step: tasks, core-seconds, GPU-seconds.

    `unread` are the files that are not read, UNREAD_NAMED at most; `scoring` names shards that were left out as a whole; `warnings`
    say what else may not have been expected.
    """

    name: str
    version: int
    manifest_uri: str
    content_digest: str
    created: bool
    warnings: tuple[str, ...]
    unread: list[dict[str, Any]]
    scoring: ScoreCounts
    verified: VerifiedCounts
    cost: list[dict[str, Any]]


def run_corpus(run: RunContext) -> RunSummary:
    """From register to verify, one step after the other, each over all shards; raise the SampleMixError of the first that fails."""
    results: dict[str, Any] = {}
    for step in STEPS:
        if step.gives != GROUPS:
            results[step.gives] = step.call(run, results)
    published: PublishedRef = results["published"]
    with run.deployment.transaction() as cursor:
        cost = run_cost(cursor, run.name)
        unread = unread_files(cursor, published.registered.corpus_id, UNREAD_NAMED)
    return RunSummary(
        **published.model_dump(exclude={"registered"}),
        warnings=results["draft"].warnings,
        unread=unread,
        scoring=results["scored"],
        verified=results["verified"],
        cost=cost,
    )
