"""A whole run in one process, from the table of steps that Airflow's tasks are made of."""

from collections.abc import Mapping, Sequence
from typing import Any

from samplemix_core.database.ledger import run_cost
from samplemix_core.database.registration import unread_files
from samplemix_core.frozen import FrozenModel
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.handoff import Estimate, PublishedRef, Reclustered, ScoreCounts, VerifiedCounts
from samplemix_core.steps import DRY_RUN, ESTIMATE, FIT_DIVERSITY, GROUPS, PUBLISH, REPORT_CLUSTERS, STEPS, Step

UNREAD_NAMED = 1000
"""Most unread files that a summary names; the table unread_file has all."""


class RunSummary(FrozenModel):
    """What a run published, what it had to leave out, and what it cost by step: tasks, core-seconds, GPU-seconds.

    `unread` lists the files that are not read, UNREAD_NAMED at most. `scoring` names shards that were left out as a whole.
    `warnings` says what else may be unexpected.
    """

    name: str
    version: int
    manifest_uri: str
    content_digest: str
    created: bool
    warnings: tuple[str, ...]
    unread: list[dict[str, Any]]
    scoring: ScoreCounts
    verified: VerifiedCounts
    cost: list[dict[str, Any]]


def estimate_corpus(run: RunContext) -> Estimate:
    """Do the steps of a dry run."""
    estimated: Estimate = _do(run, DRY_RUN)[ESTIMATE.gives]
    return estimated


def _do(run: RunContext, steps: Sequence[Step], before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Do steps one after another, each over all shards; returns their results, and those of the steps before, by name."""
    results: dict[str, Any] = dict(before or {})
    for step in steps:
        if step.gives != GROUPS:
            results[step.gives] = run.do(step, results)
    return results


def refit_diversity(run: RunContext) -> Reclustered:
    """Fit a corpus's clusters again, if the configuration says so, assign what is scored to them, and say what changes."""
    found: Reclustered = _do(run, FIT_DIVERSITY)[REPORT_CLUSTERS.gives]
    return found


_DRAFTED = STEPS.index(PUBLISH)


def draft_corpus(run: RunContext) -> dict[str, Any]:
    """Do all steps before publishing, one after another; return their results. Raises the error of the first that fails."""
    return _do(run, STEPS[:_DRAFTED])


def publish_corpus(run: RunContext, drafted: Mapping[str, Any]) -> RunSummary:
    """Do the steps that follow draft_corpus, whose results these are. Raises as it does."""
    results = _do(run, STEPS[_DRAFTED:], drafted)
    published: PublishedRef = results["published"]
    with run.deployment.transaction() as cursor:
        cost = run_cost(cursor, run.name)
        unread = unread_files(cursor, published.registered.corpus_id, UNREAD_NAMED)
    return RunSummary(
        **published.model_dump(exclude={"registered"}),
        warnings=results["draft"].warnings,
        unread=unread,
        scoring=results["scored"],
        verified=results["verified"],
        cost=cost,
    )
