"""A published mixture compared with others by what a small model learns from each."""

from airflow.sdk import DAG
from samplemix_operators import DEFAULT_ARGS, SampleMixEvaluationOperator, params, task_table

from samplemix_core.config.evaluation import evaluation_form
from samplemix_core.steps import Pool, Task

TASKS = (
    Task(
        "evaluate",
        "solves the other mixtures over the same scores, learns from draws of each, and compares losses on held-out targets",
        "goes on: what was learnt from a draw is kept",
    ),
)
DOCS = f"""
### SampleMix evaluate mixture
Does a mixture help? A small model reads draws of it and of others; its losses on held-out targets say how many times fewer tokens
each needs than natural does for the same loss, with errors over draws.

{task_table(TASKS)}

Targets are drawn from the corpus, or your own: `samplemix target draw`, `samplemix target add`. The comparison has a page,
found by Comparisons.
"""

with DAG(
    dag_id="samplemix_evaluate_mixture",
    description="Compare a mixture with others by what a small model learns from each",
    doc_md=DOCS,
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    params=params(evaluation_form()),
    default_args=DEFAULT_ARGS,
    tags=["samplemix", "mixture"],
):
    SampleMixEvaluationOperator(task_id="evaluate", pool=Pool.WORKERS.pool)
