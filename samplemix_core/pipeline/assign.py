"""Assign every document to a cluster, count the clusters over the corpus, and find words for them."""

import numpy as np

from samplemix_core.compute.fanout import Outcome, Work, call_one, connect, fan_out, require_all
from samplemix_core.database import clusters, descriptions
from samplemix_core.database.connection import transaction
from samplemix_core.database.embeddings import embedding_files
from samplemix_core.database.ledger import shard_states
from samplemix_core.database.scope import WHOLE, Group, Scope, Shard
from samplemix_core.database.upkeep import index_scores
from samplemix_core.diversity.cluster_model import cluster_table
from samplemix_core.errors import CancelledRunError, SampleMixError
from samplemix_core.identity import fingerprint
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.fit import load_model
from samplemix_core.pipeline.handoff import AssignCounts, ClusterModelRef, MeasuredClusters, Registered
from samplemix_core.worker.jobs import AssignTask, DescribeTask, MapTask


def assign_clusters(run: RunContext, registered: Registered, cluster_model: ClusterModelRef, group: Group = WHOLE) -> AssignCounts:
    """Assign the scored shards of a group to clusters; those already assigned are skipped."""
    with run.alone("assign", cluster_model.cluster_model_id, *registered.snapshot_ids, group):
        return _assign(run, registered, cluster_model, group)


def _assign(run: RunContext, registered: Registered, model: ClusterModelRef, group: Group) -> AssignCounts:
    database = run.deployment.database
    with transaction(database) as cursor:
        record = clusters.load_cluster_model(cursor, model.cluster_model_id)
        clusters.prepare_assignment(cursor, model.cluster_model_id, registered.snapshot_ids)
        scored = [state for state in shard_states(cursor, registered.scope, group) if state.is_scored]
        todo = clusters.unassigned_shards(cursor, model.cluster_model_id, scored)
        files = embedding_files(cursor, registered.version, todo)
    shards = len(scored)
    work = [
        Work(
            state.shard.path,
            (
                AssignTask(
                    run=run.name,
                    shard=state.shard,
                    encoder_key=registered.encoder_key,
                    embeddings=files[state.shard.shard_id],
                    embedding_digest=str(state.embedding_digest),
                    cluster_model_id=record.cluster_model_id,
                    artifact_key=record.artifact_key,
                    artifact_sha256=record.artifact_sha256,
                ),
            ),
            cost=state.scored,
        )
        for state in todo
    ]
    done, documents, outcomes = shards - len(todo), 0, list[Outcome]()
    run.tell(done, shards)
    if work:
        with connect(run.deployment) as client:
            for outcome in fan_out(client, "samplemix_core.worker.clusters:assign_shard", work, run.cancelled):
                done += 1
                outcomes.append(outcome)
                if outcome.error is None:
                    documents += outcome.result
                    run.tell(done, shards, documents=documents)
                else:
                    shard: Shard = outcome.work.arguments[0].shard
                    with transaction(database) as cursor:
                        clusters.fail_assignment(cursor, record.cluster_model_id, shard, repr(outcome.error))
    require_all(outcomes, "shards", "were not assigned", "the shards that are done are kept")
    return AssignCounts(shards=shards, skipped=shards - len(todo), documents=documents)


def measure_clusters(run: RunContext, registered: Registered, cluster_model: ClusterModelRef) -> MeasuredClusters:
    """Enter each cluster's size, compactness, separation and diversity.

    A model is measured once. All figures but the sizes are those of its fit, so a later crawl changes no document's diversity.
    Rows scored and assigned so far are indexed, and the clusters are described and documents mapped for the pages.
    """
    with run.deployment.transaction() as cursor:
        record = clusters.load_cluster_model(cursor, cluster_model.cluster_model_id)
        if record.state != "measured":
            sizes = clusters.cluster_sizes(cursor, record, shard_states(cursor, registered.scope))
            fitted = load_model(run, record)
            clusters.finish_cluster_model(cursor, record.cluster_model_id, cluster_table(sizes, fitted), fitted.first.bounds)
        sizes = clusters.cluster_table(cursor, cluster_model.cluster_model_id)["size"].to_numpy()
    for snapshot_id in registered.snapshot_ids:
        with run.deployment.transaction() as cursor:
            index_scores(cursor, snapshot_id, cluster_model.cluster_model_id)
    said = _describe(run, registered, record) + _map(run, registered, record)
    measured = MeasuredClusters(clusters=len(sizes), documents=int(sizes.sum()), largest=int(sizes.max()))
    message = f"the largest holds {measured.largest / max(1, measured.documents):.1%} of {measured.documents:,} documents{said}"
    run.tell(len(sizes), len(sizes), message, unit="clusters")
    return measured


DESCRIBED_SHARDS = 64


def _describe(run: RunContext, registered: Registered, record: clusters.ClusterModelRecord) -> str:
    """Have the clusters described, once, for the pages. Returns a note for people.

    The run is the same without it, so a SampleMixError goes into the note and doesn't stop it. The next run tries again.
    """
    database = run.deployment.database
    with transaction(database) as cursor:
        if descriptions.is_described(cursor, record.cluster_model_id):
            return ""
        shards = [state.shard for state in shard_states(cursor, registered.scope) if state.is_scored]
    count = min(DESCRIBED_SHARDS, len(shards))
    task = DescribeTask(
        corpus_uri=run.config.corpus_uri,
        reader=run.config.reader,
        shards=tuple(shards[i * len(shards) // count] for i in range(count)),
        cluster_model_id=record.cluster_model_id,
        artifact_key=record.artifact_key,
        artifact_sha256=record.artifact_sha256,
    )
    run.tell(0, 1, "finding words that tell the clusters apart", unit="models")
    try:
        with connect(run.deployment) as client:
            work = Work("what the clusters are about", (task,))
            described = call_one(client, "samplemix_core.worker.clusters:describe_clusters", work, run.cancelled)
    except CancelledRunError:
        raise
    except SampleMixError as error:
        return f"; not described: {error}"
    with transaction(database) as cursor:
        descriptions.save_description(cursor, record.cluster_model_id, described)
    known = described.coherence[np.isfinite(described.coherence)]
    return f"; words tell an intruder from its documents in {known.mean():.0%} of trials" if known.size else ""


def _map(run: RunContext, registered: Registered, record: clusters.ClusterModelRecord) -> str:
    """Have documents put on a map for the pages, again once there are other shards. Returns a note, as _describe does.

    The map is of all that is assigned to the clusters, so runs over some of the crawls don't make each other's again.
    """
    with run.deployment.transaction() as cursor:
        assigned = descriptions.assigned_shards(cursor, record.cluster_model_id)
        scope = Scope(tuple(sorted(set(assigned.values()))), registered.version, 2**31 - 1)
        scored = [state for state in shard_states(cursor, scope) if state.is_scored and state.shard.shard_id in assigned]
        # By chance, but mostly the same ones when there are more.
        some = sorted(scored, key=lambda state: fingerprint(state.shard.path))[:DESCRIBED_SHARDS]
        of = fingerprint([[state.shard.shard_id, state.embedding_digest] for state in some])
        if descriptions.is_mapped(cursor, record.cluster_model_id, of):
            return ""
        files = embedding_files(cursor, registered.version, some)
    task = MapTask(
        run=run.name,
        corpus_uri=run.config.corpus_uri,
        reader=run.config.reader,
        encoder_key=registered.encoder_key,
        cluster_model_id=record.cluster_model_id,
        shards=tuple((state.shard, files[state.shard.shard_id]) for state in some),
        of=of,
    )
    run.tell(0, 1, "putting documents on a map", unit="models")
    try:
        with connect(run.deployment) as client:
            mapped = call_one(client, "samplemix_core.worker.clusters:map_shards", Work("the map", (task,)), run.cancelled)
    except CancelledRunError:
        raise
    except SampleMixError as error:
        return f"; no map: {error}"
    return f"; {mapped:,} documents on the map"
