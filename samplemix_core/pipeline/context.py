"""What every step of a run is given."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from samplemix_core.config import RunConfig
from samplemix_core.pipeline.progress import Progress, Report
from samplemix_core.settings import Settings
from samplemix_core.store.postgres import exclusive


@dataclass(frozen=True)
class RunContext:
    """One run as a step sees it: what is wanted, where the services are, whom to tell, and whether to stop."""

    config: RunConfig
    settings: Settings
    report: Report
    cancelled: threading.Event = field(default_factory=threading.Event)
    run_id: str | None = None

    @contextmanager
    def alone(self, step: str, *what: object) -> Iterator[None]:
        """Do a step's work on the cluster while nobody else does the same: another waits, and then finds it done.

        So a task that Airflow took for dead and started again, while it was only slow, is not done twice at once.
        """
        name = "/".join(map(str, (step, *what)))

        def tell() -> None:
            self.report(Progress(step, 0, 0, message="another process is at work on the same; waiting for it"))

        with exclusive(self.settings.require("database_url"), name, self.cancelled, tell):
            yield
