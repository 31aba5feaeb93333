"""Estimate a run before it starts: counts, and from a sample its tokens, time and space."""

from collections.abc import Sequence

from samplemix_core.compute.fanout import Work, call_one, connect
from samplemix_core.database.ledger import shard_states
from samplemix_core.database.scope import Shard
from samplemix_core.errors import CorpusError
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.handoff import Estimate, Registered
from samplemix_core.pipeline.register import URGENT
from samplemix_core.progress import duration
from samplemix_core.worker.jobs import EstimateTask, Sampled

SHARDS = 8
_DATABASE_BYTES = 550
"""Of one document in Postgres: its rows in sample, quality_score and diversity_score with keys, measured over 3,300 documents.

Larger tables waste less, so this is more likely too high than too low.
"""


def estimate(run: RunContext, registered: Registered) -> Estimate:
    """Estimate the scoring left for a run's shards, from the beginnings of some of them, spread evenly over their sizes.

    Nothing is stored. Raises CorpusError if no document can be read.
    """
    with run.deployment.transaction() as cursor:
        of_versions = [shard_states(cursor, scope) for scope in registered.scopes]
    # With several quality models, the one with the most left to score determines the work.
    states = max(of_versions, key=lambda found: sum(not state.is_scored for state in found))
    done = [state for state in states if state.is_scored]
    todo = sorted((state.shard for state in states if not state.is_scored), key=lambda shard: (shard.size_bytes, shard.path))
    count = min(SHARDS, len(todo))
    chosen = [todo[(2 * i + 1) * len(todo) // (2 * count)] for i in range(count)]
    left, bytes_left = Sampled(1, 0, 0, 0, 0, 0, 0.0, 0), sum(shard.size_bytes for shard in todo)
    with connect(run.deployment) as client:
        workers = sum(worker["nthreads"] for worker in client.scheduler_info(n_workers=-1)["workers"].values())
        if chosen:
            run.tell(0, 1, f"reading a little of {count} shards", unit="samples")
            work = Work(
                "the sample", (_task(run, registered, chosen),), cost=URGENT, resources=run.config.embedding.worker_resources
            )
            left = call_one(client, "samplemix_core.worker.estimate:sample_shards", work, run.cancelled)
            if not left.scored:
                raise CorpusError(
                    "No document of the sampled shards could be read.",
                    f"Check the reader's text_field and the files, as {chosen[0].path}.",
                )
    times = bytes_left / max(1.0, left.file_bytes)
    documents = round(left.documents * times)
    text_bytes = round(left.text_bytes * times)
    core_seconds = documents * left.seconds / max(1, left.scored)
    found = Estimate(
        snapshots=registered.snapshots,
        shards=len(states),
        shards_done=len(done),
        file_bytes=sum(state.shard.size_bytes for state in states),
        documents=documents + sum(state.scored for state in done),
        tokens=round(text_bytes * left.tokens / max(1, left.scored_text_bytes)) + sum(state.tokens for state in done),
        documents_left=documents,
        text_bytes_left=text_bytes,
        core_seconds_left=core_seconds,
        seconds_left=core_seconds / max(1, workers),
        embedding_bytes=documents * left.dim * 2,
        database_bytes=documents * _DATABASE_BYTES,
        sampled_documents=left.scored,
    )
    message = (
        f"{found.shards} shards of {', '.join(found.snapshots)}, {found.file_bytes / 1e6:,.1f} MB, {found.shards_done} of them"
        f" scored; about {found.documents:,} documents, {found.tokens:,} tokens of {registered.tokenizer}. To score: {documents:,}"
        f" documents, {text_bytes / 1e6:,.1f} MB of text, {duration(found.seconds_left)} on {workers} workers"
        f" ({core_seconds:,.0f} core-seconds), {found.embedding_bytes / 1e6:,.1f} MB of vectors,"
        f" {found.database_bytes / 1e6:,.1f} MB in Postgres; from {left.scored} documents that were scored to know"
    )
    run.tell(1, 1, message, unit="samples")
    return found


def _task(run: RunContext, registered: Registered, chosen: Sequence[Shard]) -> EstimateTask:
    chosen_for = {"device": registered.device, "precision": registered.precision, "batch_tokens": registered.batch_tokens}
    return EstimateTask(
        corpus_uri=run.config.corpus_uri,
        reader=run.config.reader,
        embedding=run.config.embedding.model_copy(update=chosen_for),
        tokenizer=run.config.tokenizer,
        quality_model_ids=tuple(version.quality_model_id for version in registered.versions),
        shards=tuple((shard.path, shard.size_bytes) for shard in chosen),
    )
