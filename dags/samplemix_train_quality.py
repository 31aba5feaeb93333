"""A quality model: documents are annotated by a language model, if one is named, and a model is trained on labels."""

from airflow.sdk import DAG
from samplemix_operators import DEFAULT_ARGS, LANGUAGE_MODEL, SampleMixQualityOperator, quality_params

from samplemix_core.steps import Pool

DOCS = f"""
### SampleMix train quality
Labels by a rubric, of people or of a language model, make a quality model: ordinal heads on documents' vectors, or an encoder of
its own with them.

| task | what it does | when it is cleared or retried |
|---|---|---|
| annotate | asks a language model about documents of a scored corpus; skipped where none is named | asks about what is left |
| train | trains on the labels, on a Dask worker; enters the model and how good it is | trains again |

The language model is any endpoint that speaks OpenAI's protocol: connection `{LANGUAGE_MODEL}`, its host the base URL
(https://.../v1), its password the key; or OPENAI_BASE_URL and OPENAI_API_KEY. Labels of your own: `samplemix quality import`.
"""

with DAG(
    dag_id="samplemix_train_quality",
    description="Annotate documents and train a quality model on labels",
    doc_md=DOCS,
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=2,
    params=quality_params(),
    default_args=DEFAULT_ARGS,
    tags=["samplemix", "quality"],
):
    annotate = SampleMixQualityOperator(task_id="annotate")
    train = SampleMixQualityOperator(task_id="train", asked=annotate.output, trigger_rule="none_failed", pool=Pool.WORKERS.pool)
    annotate >> train
