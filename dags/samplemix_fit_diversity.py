"""Clusters for a corpus: fitted if it has none for its encoder and settings, or on request, then measured over all its crawls."""

from airflow.sdk import DAG
from samplemix_operators import (
    ASSETS,
    DEFAULT_ARGS,
    FIT_DIVERSITY_DAG,
    SampleMixConfigureOperator,
    documentation,
    form_params,
    step_tasks,
)

from samplemix_core.steps import FIT_DIVERSITY, News

with DAG(
    dag_id=FIT_DIVERSITY_DAG,
    description="Fit the clusters of a corpus, and assign its documents to them",
    doc_md=documentation(
        "SampleMix fit diversity",
        "For all crawls of a corpus that are scored. A corpus keeps its clusters unless `diversity` says `refit`: then they are"
        " fitted again. Clusters that are still there keep their names, nothing is embedded again, and the last task says what"
        " changes before the next version is mixed by the new ones. Starts by itself when a crawl lands that drifts.",
        FIT_DIVERSITY,
    ),
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=2,
    params=form_params("corpus_uri", "snapshots", "tokenizer", "reader", "embedding", "diversity"),
    default_args=DEFAULT_ARGS,
    tags=["samplemix", "diversity"],
):
    step_tasks(FIT_DIVERSITY, SampleMixConfigureOperator(task_id="configure", source="form", inlets=[ASSETS[News.SCORES]]))
