"""A crawl that lands: scored, assigned to its corpus's clusters, and mixed into a new version, automatically."""

from airflow.sdk import DAG, Asset, AssetWatcher
from samplemix_crawls import CrawlWatch
from samplemix_operators import DEFAULT_ARGS, LAND_CRAWL_DAG, SampleMixConfigureOperator, documentation, step_tasks

from samplemix_core.steps import LAND_CRAWL

LANDINGS = Asset(
    name="samplemix_landings",
    uri="samplemix://landings",
    watchers=[AssetWatcher(name="samplemix_crawl_watch", trigger=CrawlWatch())],
)

with DAG(
    dag_id=LAND_CRAWL_DAG,
    description="Score each crawl that lands and publish a version with it",
    doc_md=documentation(
        "SampleMix land crawl",
        "Starts by itself when a snapshot of a corpus with a name has its marker (`_SUCCESS`), and takes the one that has waited"
        " longest. `samplemix corpus show NAME` says which have landed, and what others wait for.",
        LAND_CRAWL,
        refits=True,
    ),
    schedule=[LANDINGS],
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=16,
    default_args=DEFAULT_ARGS,
    tags=["samplemix", "crawl", "mixture"],
):
    step_tasks(LAND_CRAWL, SampleMixConfigureOperator(task_id="configure", source="landed"), refits=True)
