"""The context that every step of a run is given."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from samplemix_core.config.run import RunConfig
from samplemix_core.database.connection import exclusive
from samplemix_core.deployment import Deployment
from samplemix_core.progress import Progress, Report


@dataclass(frozen=True)
class RunContext:
    """One run as a step sees it: its configuration, where the services are, where to report, and whether to stop.

    `corpus` is the corpus's name, if it has one. `crawl` is the one snapshot to register and score, if not all are.
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
        """The run's name in its workers' logs: its Airflow run, else its mixture."""
        return self.run_id or self.config.mixture_name

    @contextmanager
    def alone(self, step: str, *what: object) -> Iterator[None]:
        """Do a step's work on the cluster while no other process does the same: others wait, and then find it done.

        So a task that was only slow, but that Airflow took for dead and restarted, isn't done twice at once.
        """
        name = "/".join(map(str, (step, *what)))

        def tell() -> None:
            self.report(Progress(step, 0, 0, message="another process is at work on the same; waiting for it"))

        with exclusive(self.deployment.database, name, self.cancelled, tell):
            yield
