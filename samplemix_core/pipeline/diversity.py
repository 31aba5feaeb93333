"""Steps 3 to 5: fit clusters on a sample, assign every document to one, measure the clusters over the corpus."""

from collections.abc import Sequence

from samplemix_core.compute.cluster import connect
from samplemix_core.compute.fanout import Outcome, Work, fan_out
from samplemix_core.config import FrozenModel
from samplemix_core.database import clusters, ledger
from samplemix_core.database.connection import transaction
from samplemix_core.database.ledger import WHOLE, Shard, ShardState
from samplemix_core.diversity.model import ClusterModel, check_health, cluster_table
from samplemix_core.diversity.sampling import stratified_positions
from samplemix_core.diversity.statistics import ClusterSums
from samplemix_core.errors import CorpusError, SampleMixError, ServiceError
from samplemix_core.objects.open import open_store
from samplemix_core.pipeline.context import Progress, RunContext
from samplemix_core.pipeline.fit_sample import fit_spec, scored_shards, shard_counts
from samplemix_core.pipeline.handoff import ClusterModelRef, Registered
from samplemix_core.worker.jobs import AssignTask, FitResult, FitTask


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
    """The clusters that the corpus has for this encoder and these settings; fitted on a stratified sample if it has none."""
    with run.alone("fit_diversity", registered.corpus_id, registered.encoder_id):
        return _find_or_fit(run, registered)


def _find_or_fit(run: RunContext, registered: Registered) -> ClusterModelRef:
    database, diversity = run.settings.require("database_url"), run.config.diversity
    with transaction(database) as cursor:
        states = ledger.shard_states(cursor, registered.scope)
        spec = fit_spec(states, diversity)
        record = clusters.find_cluster_model(
            cursor, corpus_id=registered.corpus_id, encoder_id=registered.encoder_id, spec=spec, refit=diversity.refit
        )
    if not scored_shards(states):
        raise CorpusError("No shard of the run's snapshots is scored.", "See 'samplemix quarantine' for what became of them.")
    message = ""
    if record is not None:
        # Its gates may have been others when it was fitted.
        check_health(_load(run, record), diversity)
        message = ", fitted before" + ("" if record.spec == spec else " on other shards; diversity.refit fits again")
    else:
        fitted = _fit(run, registered, states)
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
    message = f"{record.n_clusters} clusters from {record.fit_rows:,} documents, noise {record.fit_noise_share:.1%}{message}"
    run.report(Progress("fit_diversity", 1, 1, message=message, unit="models"))
    return ClusterModelRef(
        cluster_model_id=record.cluster_model_id, cluster_model_key=record.cluster_model_key, clusters=record.n_clusters
    )


def _load(run: RunContext, record: clusters.ClusterModelRecord) -> ClusterModel:
    return ClusterModel.from_bytes(open_store(run.settings.state_root, run.settings).get(record.artifact_key)[0])


def _fit(run: RunContext, registered: Registered, states: Sequence[ShardState]) -> FitResult:
    """Draw the sample here, and fit on a worker, which has the memory and the threads set for it."""
    run.report(Progress("fit_diversity", 0, 1, message="fitting on a sample", unit="models"))
    diversity = run.config.diversity
    positions = stratified_positions(shard_counts(states, run.config.reader), diversity.sample_size, diversity.seed)
    files = {state.shard.path: str(state.embedding_key) for state in states}
    task = FitTask(
        sample=tuple((files[path], chosen) for path, chosen in positions.items()),
        encoder_key=registered.encoder_key,
        diversity=diversity,
    )
    with connect(run.settings) as client:
        (outcome,) = fan_out(client, "samplemix_core.worker.fit:fit_model", [Work("the fit", (task,))], run.cancelled)
    if outcome.error is not None:
        raise outcome.error
    result: FitResult = outcome.result
    return result


def assign_clusters(
    run: RunContext, registered: Registered, model: ClusterModelRef, group: tuple[int, int] = WHOLE
) -> AssignCounts:
    """Assign the scored shards of a group to clusters; those that are assigned already are skipped."""
    with run.alone("assign", model.cluster_model_id, *registered.snapshot_ids, group):
        return _assign(run, registered, model, group)


def _assign(run: RunContext, registered: Registered, model: ClusterModelRef, group: tuple[int, int]) -> AssignCounts:
    database = run.settings.require("database_url")
    with transaction(database) as cursor:
        record = clusters.load_cluster_model(cursor, model.cluster_model_id)
        clusters.prepare_assignment(cursor, model.cluster_model_id, registered.snapshot_ids)
        shards = len(scored_shards(ledger.shard_states(cursor, registered.scope, group)))
        todo = clusters.unassigned_shards(cursor, model.cluster_model_id, registered.scope, group)
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
    done, documents, failed = shards - len(todo), 0, list[Outcome]()
    run.report(Progress("assign", done, shards))
    if work:
        with connect(run.settings) as client:
            for outcome in fan_out(client, "samplemix_core.worker.assign:assign_shard", work, run.cancelled):
                done += 1
                if outcome.error is None:
                    documents += outcome.result
                    run.report(Progress("assign", done, shards, documents=documents))
                else:
                    failed.append(outcome)
                    shard: Shard = outcome.work.arguments[0].shard
                    with transaction(database) as cursor:
                        clusters.fail_assignment(cursor, record.cluster_model_id, shard, repr(outcome.error))
    for outcome in failed:
        if isinstance(outcome.error, SampleMixError) and not outcome.error.may_pass:
            raise outcome.error
    if failed:
        raise ServiceError(
            f"{len(failed)} of {shards} shards were not assigned, the first is {failed[0].work.name}: {failed[0].error!r}.",
            "Mend the cause and run again: the shards that are done are kept.",
        ) from failed[0].error
    return AssignCounts(shards=shards, skipped=shards - len(todo), documents=documents)


def measure_clusters(run: RunContext, registered: Registered, model: ClusterModelRef) -> MeasuredClusters:
    """Compactness, separation and diversity of each cluster, from the sums that assigning left in the ledger.

    A model is measured once; from then on its figures stay, so that a later crawl changes no earlier document's diversity.
    """
    with transaction(run.settings.require("database_url")) as cursor:
        record = clusters.load_cluster_model(cursor, model.cluster_model_id)
        if record.state != "measured":
            totals = clusters.cluster_totals(cursor, record, registered.scope)
            fitted = _load(run, record)
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
