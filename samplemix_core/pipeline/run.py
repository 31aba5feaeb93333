"""The whole run in one process: the same steps that Airflow runs as tasks, in the same order."""

import threading
from typing import Any

from samplemix_core.config import FrozenModel, RunConfig
from samplemix_core.pipeline.context import Report, RunContext
from samplemix_core.pipeline.diversity import assign_clusters, fit_diversity, measure_clusters
from samplemix_core.pipeline.mix import mix
from samplemix_core.pipeline.publish import publish, verify
from samplemix_core.pipeline.register import list_corpus, register
from samplemix_core.pipeline.score import ScoreCounts, check_loss, score
from samplemix_core.settings import Settings


class RunSummary(FrozenModel):
    """What a run published, and what it had to leave out."""

    name: str
    version: int
    manifest_uri: str
    content_digest: str
    created: bool
    scoring: ScoreCounts
    verified: dict[str, Any]


def plan_corpus(config: RunConfig, settings: Settings) -> tuple[list[dict[str, Any]], list[str]]:
    """What a run would read: for each snapshot its shards and their size; and files it would ignore. Nothing is written."""
    listing = list_corpus(config, settings)
    snapshots = [
        {"snapshot": name, "shards": len(shards), "bytes": sum(info.size for info in shards)}
        for name, shards in listing.snapshots.items()
    ]
    return snapshots, listing.ignored


def run_corpus(
    config: RunConfig,
    settings: Settings,
    report: Report,
    *,
    cancelled: threading.Event | None = None,
) -> RunSummary:
    """From register to verify, one step after the other; raise a SampleMixError from the first that fails."""
    run = RunContext(config, settings, report, cancelled or threading.Event())
    registered = register(run)
    scoring = score(run, registered)
    check_loss(run, registered)
    model = fit_diversity(run, registered)
    assign_clusters(run, registered, model)
    measure_clusters(run, registered, model)
    published = publish(run, mix(run, registered, model))
    return RunSummary(
        name=published.name,
        version=published.version,
        manifest_uri=published.manifest_uri,
        content_digest=published.content_digest,
        created=published.created,
        scoring=scoring,
        verified=verify(run, published),
    )
