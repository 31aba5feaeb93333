"""The context that every step of a run is given."""

import pkgutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from samplemix_core.config.run import RunConfig
from samplemix_core.database.connection import exclusive
from samplemix_core.deployment import Deployment
from samplemix_core.progress import Progress, Report
from samplemix_core.steps import Step


@dataclass(frozen=True)
class RunContext:
    """One run as a step sees it: its configuration, where the services are, where to report, and whether to stop.

    `corpus` is the corpus's name, if it has one. `crawl` is the one snapshot to register and score, if not all are. `step` is the
    name of the step at work, set by do().
    """

    config: RunConfig
    deployment: Deployment
    report: Report
    cancelled: threading.Event = field(default_factory=threading.Event)
    run_id: str | None = None
    corpus: str | None = None
    crawl: str | None = None
    step: str = "run"

    @property
    def name(self) -> str:
        """The run's name in its workers' logs: its Airflow run, else its mixture."""
        return self.run_id or self.config.mixture_name

    def do(self, step: Step, results: Mapping[str, Any]) -> Any:
        """Do a step. Results of earlier steps, and the group, are given as the functions return them or as JSON values."""
        function = pkgutil.resolve_name(f"samplemix_core.pipeline.{step.function}")
        types = get_type_hints(function)
        names = (*step.takes, "group") if step.mapped and "group" in results else step.takes
        taken = {name: TypeAdapter(types[name]).validate_python(results[name]) for name in names}
        return function(replace(self, step=step.name), **taken)

    def tell(self, done: int, total: int, message: str = "", *, unit: str = "shards", **amounts: Any) -> None:
        """Report the step's progress; see Progress."""
        self.report(Progress(self.step, done, total, message=message, unit=unit, **amounts))

    @contextmanager
    def alone(self, work: str, *what: object) -> Iterator[None]:
        """Do work on the cluster while no other process does the same: others wait, and then find it done.

        So a task that was only slow, but that Airflow wrongly declared dead and restarted, isn't done twice at once.
        """
        name = "/".join(map(str, (work, *what)))

        def waiting() -> None:
            self.tell(0, 0, "another process is at work on the same; waiting for it")

        with exclusive(self.deployment.database, name, self.cancelled, waiting):
            yield
