"""A mixture's documents in a format that training frameworks read."""

from airflow.sdk import DAG
from samplemix_operators import DEFAULT_ARGS, SampleMixExportOperator, params, task_table

from samplemix_core.config.export import export_form
from samplemix_core.steps import Pool, Task

TASKS = (
    Task(
        "export", "writes the version's documents, as often as they have copies, on Dask workers", "goes on with what is not whole"
    ),
)
DOCS = f"""
### SampleMix export mixture
A published version as JSON lines, Parquet, a Hugging Face repository, WebDataset, MosaicML MDS, litdata, Megatron or OLMo files.

{task_table(TASKS)}

Each file is read back and checked; `samplemix.json`, written last, names the manifest and its digest. Give a place on S3, or a
directory that all workers see and `SAMPLEMIX_EXPORT_PLACES` allows.
"""

with DAG(
    dag_id="samplemix_export_mixture",
    description="Export a mixture in a format that training frameworks read",
    doc_md=DOCS,
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=2,
    params=params(export_form()),
    default_args=DEFAULT_ARGS,
    tags=["samplemix", "mixture"],
):
    SampleMixExportOperator(task_id="export", pool=Pool.WORKERS.pool)
