"""The whole way of a corpus: register, score, fit, assign, measure, mix, publish, verify."""

from airflow.sdk import DAG
from samplemix_operators import DEFAULT_ARGS, SampleMixConfigureOperator, documentation, form_params, step_tasks

from samplemix_core.pipeline.steps import STEPS

with DAG(
    dag_id="samplemix_corpus_run",
    description="Score a corpus and publish a mixture of it",
    doc_md=documentation("SampleMix corpus run", "Turns the raw documents of a corpus into a published, versioned mixture.", STEPS),
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=4,
    params=form_params(),
    default_args=DEFAULT_ARGS,
    tags=["samplemix", "corpus"],
):
    step_tasks(STEPS, SampleMixConfigureOperator(task_id="configure", source="form"))
