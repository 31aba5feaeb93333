"""A quality model: documents are annotated by a language model, if one is named, and a model is trained on labels."""

from airflow.sdk import DAG
from samplemix_operators import DEFAULT_ARGS, LANGUAGE_MODEL, SampleMixQualityOperator, params, task_table

from samplemix_core.config.form import quality_form
from samplemix_core.steps import Pool, Task

TASKS = (
    Task(
        "annotate", "asks a language model about documents of a scored corpus; skipped if none is named", "asks about what is left"
    ),
    Task("train", "trains on the labels, on a Dask worker; enters the model and how good it is", "trains again"),
)
DOCS = f"""
### SampleMix train quality
Labels that people or a language model gave by a rubric make a quality model: ordinal heads on documents' vectors, or a fine-tuned
encoder with such heads.

{task_table(TASKS)}

The language model is any endpoint that speaks OpenAI's protocol: connection `{LANGUAGE_MODEL}`, its host the base URL
(https://.../v1), its password the key; or OPENAI_BASE_URL and OPENAI_API_KEY. Import your own labels with
`samplemix quality import`.
"""

with DAG(
    dag_id="samplemix_train_quality",
    description="Annotate documents and train a quality model on labels",
    doc_md=DOCS,
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=2,
    params=params(quality_form()),
    default_args=DEFAULT_ARGS,
    tags=["samplemix", "quality"],
):
    annotate = SampleMixQualityOperator(task_id="annotate")
    train = SampleMixQualityOperator(task_id="train", asked=annotate.output, trigger_rule="none_failed", pool=Pool.WORKERS.pool)
    annotate >> train
