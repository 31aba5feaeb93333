"""Steps 3 to 5: fit clusters on a sample, assign every document to one, measure the clusters over the corpus."""

from typing import TYPE_CHECKING

from samplemix_core.compute.cluster import connect
from samplemix_core.compute.fanout import Outcome, Work, fan_out
from samplemix_core.config import FrozenModel
from samplemix_core.diversity.model import ClusterModel, cluster_table
from samplemix_core.diversity.statistics import ClusterSums
from samplemix_core.errors import CorpusError, ServiceError
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.fit_sample import fit_spec, scored_shards
from samplemix_core.pipeline.keys import ClusterModelRef, Registered
from samplemix_core.pipeline.progress import Progress
from samplemix_core.pipeline.remote import assign_shard, fit_model
from samplemix_core.pipeline.score import WHOLE
from samplemix_core.pipeline.tasks import AssignTask, FitResult, FitTask
from samplemix_core.store import clusters, ledger
from samplemix_core.store.objects import open_store
from samplemix_core.store.postgres import transaction

if TYPE_CHECKING:
    from samplemix_core.store.ledger import Shard


class AssignCounts(FrozenModel):
    """What an assigning step did."""

    shards: int
    skipped: int
    documents: int


class MeasuredClusters(FrozenModel):
    """The clusters of a model, measured over the corpus."""

    clusters: int
    documents: int
    largest: int


def fit_diversity(run: RunContext, registered: Registered) -> ClusterModelRef:
    """Fit clusters on a stratified sample of the run's scored documents; an identical earlier fit is reused."""
    with run.alone("fit_diversity", registered.corpus_id, registered.encoder_id):
        return _find_or_fit(run, registered)


def _find_or_fit(run: RunContext, registered: Registered) -> ClusterModelRef:
    database = run.settings.require("database_url")
    with transaction(database) as cursor:
        states = ledger.shard_states(cursor, registered.snapshot_ids, registered.version)
        spec = fit_spec(states, run.config)
        record = clusters.find_cluster_model(cursor, corpus_id=registered.corpus_id, encoder_id=registered.encoder_id, spec=spec)
    if not scored_shards(states):
        raise CorpusError("No shard of the run's snapshots is scored.", "See 'samplemix quarantine' for what became of them.")
    reused = record is not None
    if record is None:
        fitted = _fit(run, registered)
        with transaction(database) as cursor:
            record = clusters.save_cluster_model(
                cursor,
                corpus_id=registered.corpus_id,
                encoder_id=registered.encoder_id,
                spec=spec,
                artifact_key=fitted.artifact_key,
                artifact_sha256=fitted.artifact_sha256,
                n_clusters=fitted.clusters,
                fit_rows=fitted.rows,
                fit_noise_share=fitted.noise_share,
            )
    message = (
        f"{record.n_clusters} clusters from {record.fit_rows:,} documents, noise {record.fit_noise_share:.1%}"
        f"{', fitted before' if reused else ''}"
    )
    run.report(Progress("fit_diversity", 1, 1, message=message, unit="models"))
    return ClusterModelRef(
        cluster_model_id=record.cluster_model_id, cluster_model_key=record.cluster_model_key, clusters=record.n_clusters
    )


def _fit(run: RunContext, registered: Registered) -> FitResult:
    """Fit on a worker, which has the memory and the threads set for it."""
    run.report(Progress("fit_diversity", 0, 1, message="fitting on a sample", unit="models"))
    task = FitTask(
        snapshots=registered.snapshot_ids,
        version=registered.version,
        reader=run.config.reader,
        encoder_key=registered.encoder_key,
        diversity=run.config.diversity,
        seed=run.config.seed,
    )
    with connect(run.settings) as client:
        (outcome,) = fan_out(client, fit_model, [Work("the fit", (task,))], run.cancelled)
    if outcome.error is not None:
        raise outcome.error
    result: FitResult = outcome.result
    return result


def assign_clusters(
    run: RunContext, registered: Registered, model: ClusterModelRef, group: tuple[int, ...] = WHOLE
) -> AssignCounts:
    """Assign the scored shards of a group to clusters; those that are assigned already are skipped."""
    index, count = group
    with run.alone("assign", model.cluster_model_id, *registered.snapshot_ids, f"{index} of {count}"):
        return _assign(run, registered, model, index, count)


def _assign(run: RunContext, registered: Registered, model: ClusterModelRef, index: int, count: int) -> AssignCounts:
    database = run.settings.require("database_url")
    with transaction(database) as cursor:
        record = clusters.load_cluster_model(cursor, model.cluster_model_id)
        clusters.prepare_assignment(cursor, model.cluster_model_id, registered.snapshot_ids)
        mine = scored_shards(ledger.shard_states(cursor, registered.snapshot_ids, registered.version)[index::count])
        unassigned = clusters.unassigned_shards(cursor, model.cluster_model_id, registered.snapshot_ids, registered.version)
        open_shards = {shard.shard_id for shard in unassigned}
    todo = [state for state in mine if state.shard.shard_id in open_shards]
    work = [
        Work(
            state.shard.path,
            (
                AssignTask(
                    shard=state.shard,
                    encoder_key=registered.encoder_key,
                    embedding_key=str(state.embedding_key),
                    embedding_sha256=str(state.embedding_sha256),
                    cluster_model_id=record.cluster_model_id,
                    artifact_key=record.artifact_key,
                ),
            ),
            cost=state.scored,
        )
        for state in todo
    ]
    done, documents, failed = len(mine) - len(todo), 0, list[Outcome]()
    run.report(Progress("assign", done, len(mine)))
    if work:
        with connect(run.settings) as client:
            for outcome in fan_out(client, assign_shard, work, run.cancelled):
                done += 1
                if outcome.error is None:
                    documents += outcome.result
                    run.report(Progress("assign", done, len(mine), documents=documents))
                else:
                    failed.append(outcome)
                    shard: Shard = outcome.work.arguments[0].shard
                    with transaction(database) as cursor:
                        clusters.fail_assignment(cursor, record.cluster_model_id, shard, repr(outcome.error))
    if failed:
        raise ServiceError(
            f"{len(failed)} of {len(mine)} shards were not assigned, the first is {failed[0].work.name}: {failed[0].error!r}.",
            "Mend the cause and run again: the shards that are done are kept.",
        ) from failed[0].error
    return AssignCounts(shards=len(mine), skipped=len(mine) - len(todo), documents=documents)


def measure_clusters(run: RunContext, registered: Registered, model: ClusterModelRef) -> MeasuredClusters:
    """Compactness, separation and diversity of each cluster, from the sums that assigning left in the ledger.

    A model is measured once; from then on its figures stay, so that a later crawl changes no earlier document's diversity.
    """
    with transaction(run.settings.require("database_url")) as cursor:
        record = clusters.load_cluster_model(cursor, model.cluster_model_id)
        if record.state != "measured":
            totals = clusters.cluster_totals(cursor, record, registered.snapshot_ids, registered.version)
            artifact, _ = open_store(run.settings.state_root, run.settings).get(record.artifact_key)
            fitted = ClusterModel.from_bytes(artifact)
            table = cluster_table(ClusterSums(totals.members, totals.distance_sum), fitted)
            clusters.finish_cluster_model(
                cursor,
                model.cluster_model_id,
                table,
                diversity_low=fitted.bounds.low,
                diversity_high=fitted.bounds.high,
            )
        sizes = clusters.cluster_table(cursor, model.cluster_model_id)["size"].to_numpy()
    measured = MeasuredClusters(clusters=len(sizes), documents=int(sizes.sum()), largest=int(sizes.max()))
    message = f"the largest holds {measured.largest / max(1, measured.documents):.1%} of {measured.documents:,} documents"
    run.report(Progress("measure_clusters", len(sizes), len(sizes), message=message, unit="clusters"))
    return measured
