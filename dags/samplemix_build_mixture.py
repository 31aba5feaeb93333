"""A version of a mixture from existing scores: another policy, another budget, other crawls. Nothing is scored."""

from airflow.sdk import DAG
from samplemix_operators import ASSETS, DEFAULT_ARGS, SampleMixConfigureOperator, documentation, form_params, step_tasks

from samplemix_core.steps import BUILD_MIXTURE, News

with DAG(
    dag_id="samplemix_build_mixture",
    description="Mix the scored crawls of a corpus by another policy or budget",
    doc_md=documentation(
        "SampleMix build mixture",
        "For all scored crawls of a corpus, or those you name. Empty fields use the corpus's settings.",
        BUILD_MIXTURE,
    ),
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=16,
    params=form_params(
        *("corpus_uri", "snapshots", "mixture_name", "budget", "tokenizer", "max_copies", "max_share", "approval"),
        *("policy", "scorers", "seed", "reader", "embedding", "diversity"),
    ),
    default_args=DEFAULT_ARGS,
    tags=["samplemix", "mixture"],
):
    step_tasks(BUILD_MIXTURE, SampleMixConfigureOperator(task_id="configure", source="form", inlets=[ASSETS[News.CLUSTERS]]))
