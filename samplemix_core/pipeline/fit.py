"""Fit clusters on a stratified sample of the scored shards, unless the corpus already has matching ones."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from samplemix_core.compute.fanout import Work, call_one, connect
from samplemix_core.config.reader import ReaderConfig
from samplemix_core.config.run import DiversityConfig
from samplemix_core.corpus.shards import parse_shard_path
from samplemix_core.database import clusters
from samplemix_core.database.connection import transaction
from samplemix_core.database.embeddings import EmbeddingFile, embedding_files
from samplemix_core.database.ledger import shard_states
from samplemix_core.database.scope import Shard, ShardState
from samplemix_core.database.upkeep import hold_file
from samplemix_core.diversity.cluster_model import ClusterModel
from samplemix_core.diversity.health import check_health
from samplemix_core.diversity.lineage import Change, inherits
from samplemix_core.diversity.sampling import ShardCount, stratified_positions
from samplemix_core.errors import CancelledRunError, CorpusError, DiversityHealthError, ModelError, SampleMixError, ServiceError
from samplemix_core.identity import fingerprint
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.handoff import ClusterModelRef, Registered
from samplemix_core.worker.artifacts import load_cluster_model
from samplemix_core.worker.jobs import CompareTask, FitTask

if TYPE_CHECKING:
    # They need torch and UMAP, which are for workers: importing them would cost Airflow's tasks seconds.
    from samplemix_core.worker.clusters import FitResult
    from samplemix_core.worker.compare import Comparison

METHOD, ONE_CLUSTER = "clusters-3", "one-cluster-2"
"""Names of the ways to fit clusters. A different way gets a different name, so that its models are different models."""


def fit_diversity(run: RunContext, registered: Registered) -> ClusterModelRef:
    """Return the corpus's clusters for this encoder and these settings, fitted on a stratified sample if it has none.

    Raises DiversityHealthError if they are degenerate. If the policy doesn't read diversity, one cluster is used instead.
    """
    with run.alone("fit_diversity", registered.corpus_id, registered.encoder_id):
        record, note = _find_or_fit(run, registered)
        said = _comparison(run, registered, record, fitted=not note)
    if not note and record.change is not None:
        note = f"; {Change.of(record.change['against_parent'])}"
    if not note and record.health is not None:
        goes = ", ".join(f"{factor['name'].replace('_', ' ')} {factor['correlation']:.2f}" for factor in record.health["factors"])
        note = f"; d goes with {goes}{note}"
    message = f"{record.n_clusters} clusters from {record.fit_rows:,} documents, noise {record.fit_noise_share:.1%}{note}{said}"
    run.tell(1, 1, message, unit="models")
    return ClusterModelRef(
        cluster_model_id=record.cluster_model_id, cluster_model_key=record.cluster_model_key, clusters=record.n_clusters
    )


def _find_or_fit(run: RunContext, registered: Registered) -> tuple[clusters.ClusterModelRecord, str]:
    """Return the model, and a note for people on where it comes from."""
    if any(policy.reads_diversity for policy in run.config.policies):
        return _find_or_fit_by(METHOD, run, registered)
    try:
        return _find_or_fit_by(METHOD, run, registered)
    except DiversityHealthError as error:
        record, note = _find_or_fit_by(ONE_CLUSTER, run, registered)
        names = ", ".join(policy.name for policy in run.config.policies)
        return record, f"{note}; all documents are one, which policy {names} does not mind: {error.what}"


def _find_or_fit_by(method: str, run: RunContext, registered: Registered) -> tuple[clusters.ClusterModelRecord, str]:
    database, diversity = run.deployment.database, run.config.diversity
    of = {"corpus_id": registered.corpus_id, "encoder_id": registered.encoder_id}
    with transaction(database) as cursor:
        scored = [state for state in shard_states(cursor, registered.scope) if state.is_scored]
        spec = fit_spec(scored, diversity, method)
        record = clusters.find_cluster_model(cursor, **of, spec=spec, refit=diversity.refit)
    if not scored:
        raise CorpusError("No shard of the run's snapshots is scored.", "See 'samplemix quarantine' for the reasons.")
    if record is not None:
        try:
            fitted_before = load_model(run, record)
        except ModelError as error:
            if not diversity.refit:
                raise
            run.tell(0, 1, f"fitting again: {error.what}", unit="models")
        else:
            # The gates may have been different when it was fitted.
            if method == METHOD:
                check_health(fitted_before, diversity)
            same = record.spec["vectors"] == spec["vectors"]
            return record, ", fitted before" + ("" if same else " on other shards; diversity.refit fits again")
    parent = _parent(run, of, spec, record) if method == METHOD else None
    if parent is not None and inherits(load_model(run, parent), diversity):
        spec["parent"] = parent.artifact_sha256
    found = _fit(run, registered, scored, parent, one_cluster=method == ONE_CLUSTER)
    fitted = replace(found.model, parent_id=None if parent is None else parent.cluster_model_id)
    profiles = {
        "snapshots": sorted({state.shard.snapshot_id for state in scored}),
        "languages": {language: profile.to_json() for language, profile in found.profiles.items()},
    }
    with transaction(database) as cursor:
        hold_file(cursor, fitted.artifact_key)
        if run.deployment.state.head(fitted.artifact_key) is None:
            raise ServiceError(f"{fitted.artifact_key} vanished right after it was written.", "Run again.")
        record = clusters.save_cluster_model(
            cursor, **of, spec=spec, fitted=fitted, profiles=profiles if method == METHOD else None, heirs=found.heirs
        )
    return record, ""


def _parent(
    run: RunContext, of: dict[str, int], spec: dict[str, Any], lost: clusters.ClusterModelRecord | None
) -> clusters.ClusterModelRecord | None:
    """The model whose clusters a new fit carries on, if its file is there; a `lost` model that is fitted again keeps its own."""
    with run.deployment.transaction() as cursor:
        if lost is None:
            found = clusters.find_parent(cursor, **of, spec=spec)
        else:
            found = None if lost.parent_id is None else clusters.load_cluster_model(cursor, lost.parent_id)
    if found is not None:
        try:
            load_model(run, found)
        except ModelError as error:
            run.tell(0, 1, f"clusters get new names: {error.what}", unit="models")
            return None
    return found


def _fit(
    run: RunContext,
    registered: Registered,
    scored: Sequence[ShardState],
    parent: clusters.ClusterModelRecord | None,
    *,
    one_cluster: bool,
) -> "FitResult":
    """Draw the sample here, and fit on a worker, which has the memory and the threads set for it."""
    run.tell(0, 1, "fitting on a sample", unit="models")
    diversity = run.config.diversity
    task = FitTask(
        run=run.name,
        sample=draw_sample(run, registered, scored, diversity.sample_size),
        encoder_key=registered.encoder_key,
        diversity=diversity,
        one_cluster=one_cluster,
        parent=None if parent is None else (parent.artifact_key, parent.artifact_sha256),
    )
    with connect(run.deployment) as client:
        work = Work("the fit", (task,))
        found: FitResult = call_one(client, "samplemix_core.worker.clusters:fit_model", work, run.cancelled)
    return found


Sample = tuple[tuple[Shard, EmbeddingFile, npt.NDArray[np.int64]], ...]


def draw_sample(run: RunContext, registered: Registered, scored: Sequence[ShardState], documents: int) -> Sample:
    """Draw a stratified sample of so many documents: embedding files, each with its shard and the positions drawn from it.

    Raises CorpusError if these shards have no scored document.
    """
    if not any(state.scored for state in scored):
        raise CorpusError("No document of the run's snapshots is scored.", "See 'samplemix quarantine' for the reasons.")
    positions = stratified_positions(shard_counts(scored, run.config.reader), documents, run.config.diversity.seed)
    with run.deployment.transaction() as cursor:
        files = embedding_files(cursor, registered.version, scored)
    shards = {state.shard.path: state.shard for state in scored}
    return tuple(
        (shards[path], *part)
        for path, chosen in positions.items()
        for part in positions_in_files(files[shards[path].shard_id], chosen)
    )


COMPARED_DOCUMENTS = 2000


def _comparison(run: RunContext, registered: Registered, record: clusters.ClusterModelRecord, *, fitted: bool) -> str:
    """Return a note for people on how the encoder compares with another; a missing comparison, if wanted, is made and kept.

    The run is the same without the figures, so a SampleMixError goes into the note and doesn't stop it.
    """
    wanted, known = run.config.diversity.compare_with, record.comparison
    named = wanted not in ("auto", "none")
    if (fitted and wanted == "auto") or (named and (known is None or known["reference"] not in (wanted, Path(wanted).name))):
        run.tell(0, 1, "comparing encoders on a sample", unit="models")
        try:
            found = _compare(run, registered, wanted if named else None)
        except CancelledRunError:
            raise
        except SampleMixError as error:
            return f"; not compared: {error}"
        if found is None:
            return ""
        known = {"summary": str(found), **asdict(found)}
        with run.deployment.transaction() as cursor:
            clusters.save_comparison(cursor, record.cluster_model_id, known)
    return f"; {known['summary']}" if known else ""


def _compare(run: RunContext, registered: Registered, reference: str | None) -> "Comparison | None":
    """A comparison on documents of the run's shards; None if there is nothing to compare with."""
    with run.deployment.transaction() as cursor:
        scored = [state.shard for state in shard_states(cursor, registered.scope) if state.is_scored]
    embedding = run.config.embedding.model_copy(update={"device": registered.device, "precision": registered.precision})
    task = CompareTask(
        corpus_uri=run.config.corpus_uri,
        paths=tuple(shard.path for shard in scored),
        reader=run.config.reader,
        embedding=embedding,
        reference=reference,
        diversity=run.config.diversity,
        documents=COMPARED_DOCUMENTS,
    )
    with connect(run.deployment) as client:
        work = Work("the comparison", (task,), resources=run.config.embedding.worker_resources)
        found: Comparison | None = call_one(client, "samplemix_core.worker.compare:compare", work, run.cancelled)
    return found


def positions_in_files(
    files: Sequence[EmbeddingFile], positions: npt.NDArray[np.int64]
) -> Iterator[tuple[EmbeddingFile, npt.NDArray[np.int64]]]:
    """Convert ascending positions among a shard's vectors to positions in its blocks' files, which hold them in order."""
    start = 0
    for file in files:
        inside = positions[(positions >= start) & (positions < start + file.rows)]
        if inside.size:
            yield file, inside - start
        start += file.rows


def load_model(run: RunContext, record: clusters.ClusterModelRecord) -> ClusterModel:
    """Load a fitted model from its artifact, which is checked against its SHA-256."""
    return load_cluster_model(run.deployment.state, record.artifact_key, record.artifact_sha256)


def shard_counts(scored: Sequence[ShardState], reader: ReaderConfig) -> list[ShardCount]:
    """The number of vectors of each scored shard, with the stratum its path puts it in."""
    return [
        ShardCount(state.shard.snapshot, state.shard.path, parse_shard_path(state.shard.path, reader)[1] or "", state.scored)
        for state in scored
    ]


def fit_spec(scored: Sequence[ShardState], config: DiversityConfig, method: str = METHOD) -> dict[str, Any]:
    """Everything that decides a fit: the method, its settings, and the vectors that it draws from."""
    vectors = [[state.shard.snapshot, state.shard.path, state.embedding_digest] for state in scored]
    return {"method": method, "diversity": config.identity(), "vectors": fingerprint(vectors)}
