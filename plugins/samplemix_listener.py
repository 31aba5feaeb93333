"""What Airflow's processes do when they start: the pools that the DAGs use are there, as wide as an administrator has made them."""

import sys
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

POOLS = {
    "samplemix_gpu": (16, "Tasks that embed, on GPUs where Dask's workers have them: score, estimate"),
    "samplemix_workers": (16, "Tasks that keep Dask's workers busy without a GPU: fit, assign"),
    "samplemix_database": (4, "Tasks that read or write much of Postgres: mix, publish, report, maintenance"),
}
"""Pool -> its slots, when it is made, and what it is for."""


@hookimpl
def on_starting(component: Any) -> None:
    """Make the pools that are missing. Schedulers, triggerers and DAG processors all do, whoever is first.

    A task's own process starts too; it may not use Airflow's database and, unlike the others, is no job.
    """
    if not hasattr(component, "job_type"):
        return
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session
    from sqlalchemy.exc import IntegrityError

    for name, (slots, description) in POOLS.items():
        try:
            with create_session() as session:
                if Pool.get_pool(name, session=session) is None:
                    Pool.create_or_update_pool(name, slots, description, include_deferred=False, session=session)
        except IntegrityError:
            continue  # Another process made it at the same moment.


class SampleMixListenerPlugin(AirflowPlugin):
    """Has Airflow call the function above."""

    name = "samplemix_listener"
    listeners = [sys.modules[__name__]]  # noqa: RUF012 Airflow's way
