"""Upkeep, once a day: drafts, old versions, scores that no version needs, files that nothing refers to, statistics."""

from airflow.sdk import DAG, Param
from samplemix_operators import DEFAULT_ARGS, SampleMixMaintenanceOperator

from samplemix_core.steps import Pool

DOCS = """
### SampleMix maintenance
Runs each night, and by its form. Only what the form says is deleted; a dry run says what would be.

| task | what it does | when it is cleared or retried |
|---|---|---|
| drafts | removes drafts of mixtures, older than a week, that nobody published | removes what is left |
| versions | with `keep_versions`, drops the samples of older versions from Postgres; their manifests and figures stay | goes on |
| models | with `unused_days`, drops scores and clusters by models that no kept version was made with | goes on |
| crawls | with `unused_days`, drops what is stored of crawls that were removed and that no kept version holds | goes on |
| corpora | removes those of which nothing was scored and whose place is read by other fields since | removes what is left |
| orphans | counts embeddings and cluster models, older than a day, that no score refers to, or deletes them | goes on |
| statistics | counts anew what Postgres plans its queries by | counts again |

`crawls` also lets those land again whose run was deleted before it published.
"""

with DAG(
    dag_id="samplemix_maintenance",
    description="Remove what nothing refers to, keep Postgres quick",
    doc_md=DOCS,
    schedule="@daily",
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    params={
        "keep_versions": Param(
            None, type=["integer", "null"], minimum=1, title="Keep versions", description="Of each mixture; empty: all of them"
        ),
        "unused_days": Param(
            None,
            type=["integer", "null"],
            minimum=1,
            title="Unused days",
            description="Drop scores by models, and of removed crawls, that no kept version was made with, so many days after the"
            " last was made; empty: never",
        ),
        "delete_orphans": Param(False, type="boolean", title="Delete orphans", description="Else they are only counted"),
        "dry_run": Param(False, type="boolean", title="Dry run", description="Say what would be done, and do nothing"),
    },
    default_args=DEFAULT_ARGS,
    tags=["samplemix", "maintenance"],
):
    previous = None
    for name in ("drafts", "versions", "models", "crawls", "corpora", "orphans", "statistics"):
        task = SampleMixMaintenanceOperator(task_id=name, pool=Pool.DATABASE.pool)
        if previous is not None:
            previous >> task
        previous = task
