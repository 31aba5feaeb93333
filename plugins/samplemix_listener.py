"""Make the pools that the DAGs use when Airflow's processes start; existing ones stay as an administrator has set them."""

import sys
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

from samplemix_core.steps import Pool


@hookimpl
def on_starting(component: Any) -> None:
    """Make the pools that are missing. Schedulers, triggerers and DAG processors all do this, whichever comes first.

    A task's own process starts too. It may not use Airflow's database and, unlike the others, isn't a job.
    """
    if not hasattr(component, "job_type"):
        return
    from airflow.models.pool import Pool as StoredPool
    from airflow.utils.session import create_session
    from sqlalchemy.exc import IntegrityError

    for pool in Pool:
        try:
            with create_session() as session:
                if StoredPool.get_pool(pool.pool, session=session) is None:
                    StoredPool.create_or_update_pool(
                        pool.pool, pool.slots, pool.description, include_deferred=False, session=session
                    )
        except IntegrityError:
            continue  # Another process made it at the same moment.


class SampleMixListenerPlugin(AirflowPlugin):
    """Has Airflow call the function above."""

    name = "samplemix_listener"
    listeners = [sys.modules[__name__]]  # noqa: RUF012 Airflow's way
