"""Upkeep, once a day: drafts, old versions, scores that no version needs, files that nothing refers to, statistics."""

from airflow.sdk import DAG, chain
from samplemix_operators import DEFAULT_ARGS, SampleMixMaintenanceOperator, params, task_table

from samplemix_core.config.form import upkeep_form
from samplemix_core.steps import UPKEEP, Pool

WHAT = """
### SampleMix maintenance
Runs each night, and from its form. Beyond old drafts and dead corpora it deletes only what the form tells it to. A dry run shows
what would be deleted.

"""

with DAG(
    dag_id="samplemix_maintenance",
    description="Remove what nothing refers to, keep Postgres quick",
    doc_md=WHAT + task_table(UPKEEP),
    schedule="@daily",
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    params=params(upkeep_form()),
    default_args=DEFAULT_ARGS,
    tags=["samplemix", "maintenance"],
):
    chain(*(SampleMixMaintenanceOperator(task_id=task.name, pool=Pool.DATABASE.pool) for task in UPKEEP))
