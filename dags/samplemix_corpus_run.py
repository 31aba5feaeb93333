"""The whole way of a corpus: register, score, fit, assign, measure, mix, publish, verify."""

from datetime import timedelta

from airflow.sdk import DAG, Asset, Param
from samplemix_operators import SampleMixStepOperator

from samplemix_core.config import form_schema

DOCS = """
### SampleMix corpus run
Turns the raw documents of a corpus into a published, versioned mixture.

| task | what it does | when it is cleared or retried |
|---|---|---|
| register | lists the shards of the snapshots, writes them into the ledger | lists again; a replaced file is another shard |
| shard_groups | splits the shards into groups, one mapped task each | splits again, alike |
| score | a Dask task a shard: tokens, quality, embedding | shards that are done are skipped |
| check_loss | stops the run if more than max_loss of the documents was set aside | counts again |
| fit_diversity | fits clusters on a stratified sample | an identical fit is reused |
| assign | a Dask task a shard: nearest cluster of each document | shards that are done are skipped |
| measure_clusters | compactness, separation and diversity of each cluster | computed again, same result |
| mix | weights and copies under the token budget, written as a draft | computed again, same result |
| publish | makes the draft the next version of the mixture | the same content is the same version |
| verify | reads the published version back and adds it up | reads again |

Mark the run as failed to cancel it: its work on the Dask cluster is cancelled too. Trigger it again with the same
configuration to go on where it stopped.
"""

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
    register = SampleMixStepOperator(task_id="register", step="register")
    registered = {"registered": register.output}
    groups = SampleMixStepOperator(task_id="shard_groups", step="shard_groups", inputs=registered)
    score = SampleMixStepOperator.partial(
        task_id="score", step="score", inputs=registered, map_index_template="group {{ task.group[0] + 1 }} of {{ task.group[1] }}"
    ).expand(group=groups.output)
    loss = SampleMixStepOperator(task_id="check_loss", step="check_loss", inputs=registered)
    fit = SampleMixStepOperator(task_id="fit_diversity", step="fit_diversity", inputs=registered)
    fitted = {**registered, "cluster_model": fit.output}
    assign = SampleMixStepOperator.partial(
        task_id="assign", step="assign", inputs=fitted, map_index_template="group {{ task.group[0] + 1 }} of {{ task.group[1] }}"
    ).expand(group=groups.output)
    measure = SampleMixStepOperator(task_id="measure_clusters", step="measure_clusters", inputs=fitted)
    mix = SampleMixStepOperator(task_id="mix", step="mix", inputs=fitted)
    publish = SampleMixStepOperator(task_id="publish", step="publish", inputs={"draft": mix.output}, outlets=[mixtures])
    verify = SampleMixStepOperator(task_id="verify", step="verify", inputs={"published": publish.output})

    score >> loss >> fit >> assign >> measure >> mix >> publish >> verify
