"""Try diversity settings on a sample of a corpus, on the workers: how steady they are, and which of a grid are steadiest."""

from collections.abc import Iterator, Sequence
from typing import Any

from samplemix_core.compute.fanout import Outcome, Work, connect, fan_out, require_all
from samplemix_core.config.run import DiversityConfig
from samplemix_core.database.ledger import shard_states
from samplemix_core.diversity.health import AS_THEY_ARE, FIFTH, SEED, Attempt, Attempted, Health, Tuned, attempts, health, tuned
from samplemix_core.errors import CorpusError
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.fit import draw_sample
from samplemix_core.pipeline.handoff import Registered
from samplemix_core.worker.jobs import AttemptTask


def measure_health(run: RunContext, registered: Registered, documents: int, *, sensitivity: bool) -> Health:
    """Measure the run's diversity settings on a sample of so many documents of what is scored. Nothing is stored.

    Raises DiversityHealthError if the sample can't be clustered, CorpusError if nothing is scored.
    """
    return health(list(_attempted(run, registered, documents, attempts(run.config.diversity, sensitivity=sensitivity))))


def tune(run: RunContext, registered: Registered, documents: int, changes: Sequence[dict[str, Any]]) -> list[Tuned]:
    """Measure each point of a grid, given as changes to the run's settings, on one sample. Nothing is stored."""
    wanted, points = list[Attempt](), list[tuple[dict[str, Any], DiversityConfig]]()
    for change in changes:
        config = run.config.diversity.model_copy(update=change)
        points.append((change, config))
        wanted += [
            Attempt(AS_THEY_ARE, config),
            Attempt(SEED, config, more_seed=1),
            Attempt(FIFTH, config, more_seed=2, share=0.2),
        ]
    found = list(_attempted(run, registered, documents, wanted))
    return [
        tuned(change, config, {one.name: outcome for one, outcome in found if one.config is config}) for change, config in points
    ]


def _attempted(
    run: RunContext, registered: Registered, documents: int, wanted: Sequence[Attempt]
) -> Iterator[tuple[Attempt, Attempted]]:
    """Yield what each attempt came to, in the order of `wanted`."""
    with run.deployment.transaction() as cursor:
        scored = [state for state in shard_states(cursor, registered.scope) if state.is_scored]
    if not scored:
        raise CorpusError("No shard of the corpus is scored.", "Run it first: 'samplemix run'.")
    sample = draw_sample(run, registered, scored, documents)
    work = [
        # What takes longest goes first.
        Work(one.name, (AttemptTask(sample, registered.encoder_key, one),), cost=round(100 * one.share * one.config.fits))
        for one in wanted
    ]
    outcomes = dict[int, Outcome]()
    run.tell(0, len(work), unit="fits")
    with connect(run.deployment) as client:
        for outcome in fan_out(client, "samplemix_core.worker.clusters:attempt_fit", work, run.cancelled):
            outcomes[id(outcome.work)] = outcome
            run.tell(len(outcomes), len(work), outcome.work.name, unit="fits")
    require_all(list(outcomes.values()), "fits", "failed", "nothing is stored")
    for one, own in zip(wanted, work, strict=True):
        yield one, outcomes[id(own)].result
