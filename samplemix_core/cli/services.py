"""Starting the platform's services on this machine, ready for a run."""

from collections.abc import Callable, Sequence
from pathlib import Path

from samplemix_core.database.migrate import migrate
from samplemix_core.local.stack import SERVICES, Stack
from samplemix_core.settings import Settings


def start_services(home: Path, services: Sequence[str] | None, on_progress: Callable[[str], None]) -> Settings:
    """Start the embedded services that are asked for (all, by default) and bring the database to this version's tables.

    Airflow starts last, when its tasks would find the tables they need.
    """
    wanted = tuple(services or SERVICES)
    stack = Stack(home)
    settings = stack.up([name for name in wanted if name != "airflow"], on_progress=on_progress)
    if settings.database_url is not None:
        migrate(settings.database_url)
    return stack.up(["airflow"], on_progress=on_progress) if "airflow" in wanted else settings
