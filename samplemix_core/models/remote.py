"""Make a quality model from Airflow: ask a language model for labels, then train a model on a worker."""

import threading
from dataclasses import asdict, replace
from typing import Any

from samplemix_core.compute.fanout import Work, call_one, connect
from samplemix_core.config.quality import AnnotationConfig, TrainingConfig
from samplemix_core.deployment import Deployment
from samplemix_core.models.annotate import annotate
from samplemix_core.progress import Progress, Report


def ask(
    config: AnnotationConfig,
    deployment: Deployment,
    endpoint: tuple[str | None, str | None],
    report: Report,
    cancelled: threading.Event,
    *,
    dry_run: bool,
) -> dict[str, Any]:
    """Annotate, with this endpoint and key if the environment names none. Returns what became of the documents, as plain values."""
    if deployment.llm_base_url is None:
        deployment = replace(deployment, llm_base_url=endpoint[0], llm_api_key=endpoint[1])
    return annotate(config, deployment, report, dry_run=dry_run, cancelled=cancelled).as_json()


def train_on_worker(
    config: TrainingConfig, deployment: Deployment, report: Report, cancelled: threading.Event, *, dry_run: bool
) -> dict[str, Any]:
    """Train on a worker of the Dask cluster, one with a GPU if the configuration insists on it. Returns how good the model is.

    With `dry_run`, returns what would be read. Raises what the training raises, and CancelledRunError if `cancelled` is set.
    """
    function = "describe_training" if dry_run else "train_quality"

    def on_progress(done: int) -> None:
        report(Progress("train", done, 0, message="texts read, or steps done", unit="parts"))

    with connect(deployment) as client:
        work = Work("the training", (config,), resources=config.embedding.worker_resources)
        found = call_one(client, f"samplemix_core.models.train:{function}", work, cancelled, partly=on_progress)
    if dry_run:
        return dict(found)
    overall = found.report.scores[-1]
    kept = overall.methods[found.report.method]
    return {
        "name": found.name,
        "key": found.key,
        "labels": found.report.documents,
        "embedded": found.embedded,
        "score": overall.score,
        **{name: asdict(measured) for name, measured in kept.items()},
    }
