"""The whole pipeline for a corpus, from its files to a published and verified version of a mixture."""

from airflow.sdk import DAG
from samplemix_operators import DEFAULT_ARGS, SampleMixConfigureOperator, documentation, form_params, step_tasks

from samplemix_core.steps import ESTIMATE, STEPS

ALL_STEPS = (STEPS[0], ESTIMATE, *STEPS[1:])
WHAT = "Turns the raw documents of a corpus into a published, versioned mixture."

with DAG(
    dag_id="samplemix_corpus_run",
    description="Score a corpus and publish a mixture of it",
    doc_md=documentation("SampleMix corpus run", WHAT, ALL_STEPS),
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=16,
    params=form_params(),
    default_args=DEFAULT_ARGS,
    tags=["samplemix", "corpus"],
):
    step_tasks(ALL_STEPS, SampleMixConfigureOperator(task_id="configure", source="form"))
