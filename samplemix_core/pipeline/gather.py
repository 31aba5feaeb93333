"""Gather all crawls of a corpus that can be mixed: a landing crawl joins them, and a version is made from them."""

from samplemix_core.crawls.landing import scan
from samplemix_core.database import corpora, registration
from samplemix_core.database.connection import transaction
from samplemix_core.errors import CorpusError
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.drafts import read_draft
from samplemix_core.pipeline.handoff import ClusterModelRef, DraftRef, PublishedRef, Registered
from samplemix_core.pipeline.publish import publish
from samplemix_core.steps import ASSIGN, CHECK_DRIFT, DECONTAMINATE, GATE, MIX, NEAR_DUPLICATES


def gather(run: RunContext, registered: Registered) -> Registered:
    """Return the run's corpus with all snapshots scored with the run's models, or those of them that the configuration names.

    A crawl that waits (its files changed after its marker), is removed or isn't fully scored is left out and reported. Raises
    CorpusError if none is left.
    """
    gathered, left_out = _gather(run, registered)
    said = f"; left out: {'; '.join(left_out)}" if left_out else ""
    message = f"{', '.join(gathered.snapshots)}{said}"
    run.tell(len(gathered.snapshots), len(gathered.snapshots), message, unit="snapshots")
    return gathered


def _gather(run: RunContext, registered: Registered) -> tuple[Registered, list[str]]:
    database = run.deployment.database
    unfit: dict[str, str] = {}
    if run.corpus is not None:
        with transaction(database) as cursor:
            corpus = corpora.get_corpus(cursor, run.corpus)
        scan(run.deployment, corpus, thorough=True)
        with transaction(database) as cursor:
            unfit = {
                crawl.snapshot: f"{crawl.snapshot} is {crawl.state}: it {crawl.reason}"
                for crawl in corpora.crawls(cursor, run.corpus)
                if crawl.state not in corpora.HERE
            }
    with transaction(database) as cursor:
        snapshots = registration.scored_snapshots(cursor, registered.corpus_id, registered.version)
    wanted = run.config.snapshots
    fit, left_out = [], []
    for snapshot in snapshots:
        if wanted and snapshot.name not in wanted:
            continue
        if snapshot.name in unfit:
            left_out.append(unfit[snapshot.name])
        elif snapshot.unsettled:
            left_out.append(f"{snapshot.name} has {snapshot.unsettled} of {snapshot.shards} shards that are not scored")
        else:
            fit.append(snapshot)
    if not fit:
        raise CorpusError(
            f"No snapshot of the corpus can be mixed: {'; '.join(left_out) or 'none is scored'}.",
            "Score one: run samplemix_score_crawl, or 'samplemix run'.",
        )
    update = {
        "snapshots": tuple(snapshot.name for snapshot in fit),
        "snapshot_ids": tuple(snapshot.snapshot_id for snapshot in fit),
        "shards": sum(snapshot.shards for snapshot in fit),
        "last_shard_id": max(snapshot.last_shard_id for snapshot in fit),
    }
    return registered.model_copy(update=update), left_out


def publish_gathered(run: RunContext, draft: DraftRef, cluster_model: ClusterModelRef) -> PublishedRef:
    """Publish a draft of gathered crawls, one run of its mixture at a time; mix again if other crawls can be mixed by now.

    So when crawls land together, each version holds the crawls of the version before it, whichever comes first. A draft that a
    person has approved is not mixed again: CorpusError if it would have to be.
    """
    with run.alone("publish", run.config.mixture_name):
        mixed = read_draft(run.deployment.mixtures.store, draft.draft).registered
        now, _ = _gather(run, mixed)
        if now.snapshots != mixed.snapshots:
            if run.config.approval:
                raise CorpusError(
                    f"The approved draft is made of {', '.join(mixed.snapshots)}; by now {', '.join(now.snapshots)} can be mixed.",
                    "Run samplemix_build_mixture: it proposes a draft of all of them.",
                )
            run.tell(0, 1, f"mixing again, of {', '.join(now.snapshots)}", unit="versions")
            results = {"registered": now, "cluster_model": cluster_model}
            for step in (DECONTAMINATE, NEAR_DUPLICATES, ASSIGN, CHECK_DRIFT):
                run.do(step, results)
            again: DraftRef = run.do(MIX, results)
            run.do(GATE, {MIX.gives: again})
            return publish(run, again)
        return publish(run, draft)
