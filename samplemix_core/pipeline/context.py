"""What every step of a run is given."""

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
