"""The whole way of a corpus: register, score, fit, assign, measure, mix, publish, verify."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, Param, chain
from samplemix_operators import SampleMixStepOperator

from samplemix_core.form import form_schema
from samplemix_core.pipeline.steps import GROUPS, STEPS

DOCS = """
### SampleMix corpus run
Turns the raw documents of a corpus into a published, versioned mixture.

| task | what it does | when it is cleared or retried |
|---|---|---|
{rows}

Mark the run as failed to cancel it: its work on the Dask cluster is cancelled too. Trigger it again with the same
configuration to go on where it stopped.
""".format(rows="\n".join(f"| {step.name} | {step.what} | {step.again} |" for step in STEPS))

mixtures = Asset(name="samplemix_mixtures", uri="samplemix://mixtures")


def form_params() -> dict[str, Param]:
    """One Param for each field of a run's configuration, from its JSON schema."""
    params = {}
    for name, schema in form_schema().items():
        schema = dict(schema)
        default = schema.pop("default")
        description = schema.pop("description", None)
        if schema.get("type") == "object":
            schema["section"] = "Advanced"
        if name == "corpus_uri":
            schema["minLength"] = 1
        params[name] = Param(default, description=description, **schema)
    return params


with DAG(
    dag_id="samplemix_corpus_run",
    description="Score a corpus and publish a mixture of it",
    doc_md=DOCS,
    schedule=None,
    catchup=False,
    max_active_runs=4,
    params=form_params(),
    default_args={
        "owner": "samplemix",
        "retries": 2,
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=5),
        "execution_timeout": timedelta(hours=24),
    },
    tags=["samplemix"],
):
    tasks: list[Any] = []
    results: dict[str, Any] = {}
    for step in STEPS:
        options: dict[str, Any] = {"task_id": step.name, "step": step.name, "inputs": {name: results[name] for name in step.takes}}
        if step.gives == "published":
            options["outlets"] = [mixtures]
        if step.mapped:
            shown = "group {{ task.group['index'] + 1 }} of {{ task.group['count'] }}"
            tasks.append(SampleMixStepOperator.partial(**options, map_index_template=shown).expand(group=results[GROUPS]))
        else:
            tasks.append(SampleMixStepOperator(**options))
        results[step.gives] = tasks[-1].output
    chain(*tasks)
