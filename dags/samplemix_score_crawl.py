"""A crawl as a partition: scored by its corpus's configuration, one run or a backfill over many."""

from airflow.sdk import DAG
from samplemix_crawls import CrawlTimetable
from samplemix_operators import DEFAULT_ARGS, SampleMixConfigureOperator, documentation, step_tasks

from samplemix_core.steps import SCORE_CRAWL

with DAG(
    dag_id="samplemix_score_crawl",
    description="Score one crawl of a corpus, or backfill many",
    doc_md=documentation(
        "SampleMix score crawl",
        "Each crawl that has landed is a partition, `corpus/snapshot`, with a date of its own. Press Backfill and choose a range of"
        " dates, or Trigger with a partition key. With another encoder or quality model in the corpus's configuration, its scores"
        " are added and the earlier ones stay.",
        SCORE_CRAWL,
    ),
    schedule=CrawlTimetable(),
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=4,
    default_args=DEFAULT_ARGS,
    tags=["samplemix", "crawl"],
):
    step_tasks(SCORE_CRAWL, SampleMixConfigureOperator(task_id="configure", source="crawl"))
