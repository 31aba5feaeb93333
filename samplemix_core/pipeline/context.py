"""What every step of a run is given."""

import threading
from dataclasses import dataclass, field

from samplemix_core.config import RunConfig
from samplemix_core.pipeline.progress import Report
from samplemix_core.settings import Settings


@dataclass(frozen=True)
class RunContext:
    """One run as a step sees it: what is wanted, where the services are, whom to tell, and whether to stop."""

    config: RunConfig
    settings: Settings
    report: Report
    cancelled: threading.Event = field(default_factory=threading.Event)
    run_id: str | None = None
