"""Make a draft the next version, in the object store and then in Postgres, and read the version back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

import numpy as np
import pyarrow as pa

from samplemix_core.database import mixtures as recorded
from samplemix_core.database.evaluations import name_version
from samplemix_core.database.ledger import registered_shards, run_cost, shard_states
from samplemix_core.database.registration import hold_snapshots, set_current_models
from samplemix_core.database.scope import Shard
from samplemix_core.errors import ManifestError
from samplemix_core.manifest.catalogue import Version
from samplemix_core.manifest.format import copies_in
from samplemix_core.manifest.publish import publish as publish_version
from samplemix_core.mixing.rollup import MixtureRollup
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.drafts import Draft, read_draft, read_near_duplicates, read_rollup
from samplemix_core.pipeline.gate import passed
from samplemix_core.pipeline.handoff import DraftRef, PublishedRef, Registered, VerifiedCounts
from samplemix_core.progress import describe_cost
from samplemix_core.reading.versions import open_version, verify_version


def publish(run: RunContext, draft: DraftRef) -> PublishedRef:
    """Publish a draft as the next version of its mixture and record it in Postgres, where SQL finds it.

    Writing the manifest is the commit. If killed before it, nothing is published; if killed after it, running again records the
    existing version, whatever became of its files. Content that is already published keeps its version. Raises CorpusError, and
    publishes nothing, if a file was replaced after the draft was mixed; ManifestError if the draft has not passed the gate that the
    configuration asks for.
    """
    mixtures = run.deployment.mixtures
    read, gated = read_draft(mixtures.store, draft.draft), passed(run, draft)
    lineage = read.manifest.lineage.model_copy(update={"evaluation": gated.record})
    published = publish_version(
        mixtures,
        read.manifest.model_copy(update={"lineage": lineage}),
        read.parts,
        lambda file: mixtures.store.get(f"{draft.draft}/{file}")[0],
        datetime.now(UTC),
        partial(_files_held, run, read.registered),
    )
    version, manifest = published.version, published.version.manifest
    alike = read_near_duplicates(mixtures.store, draft.draft)
    _record(run, read, version, read_rollup(mixtures.store, draft.draft), alike)
    with run.deployment.transaction() as cursor:
        if gated.comparison is not None:
            name_version(cursor, gated.comparison, manifest.version)
        cost = describe_cost(run_cost(cursor, run.name))
    message = f"{version.uri}, {'new' if published.created else 'the same content as before'}; {cost}"
    run.tell(1, 1, message, unit="versions")
    return PublishedRef(
        name=manifest.name,
        version=manifest.version,
        manifest_uri=version.uri,
        content_digest=manifest.content_digest,
        created=published.created,
        registered=read.registered,
    )


@contextmanager
def _files_held(run: RunContext, registered: Registered) -> Iterator[None]:
    """Hold the draft's files during the commit: they are the registered ones, and none is replaced before it is over."""
    with run.deployment.transaction() as cursor:
        hold_snapshots(cursor, registered.snapshot_ids)
        registered.require_unreplaced(shard_states(cursor, registered.scope))
        yield


def _record(run: RunContext, draft: Draft, version: Version, rollup: MixtureRollup, alike: pa.Table | None) -> None:
    """Enter a published version into Postgres and make its models the corpus's current ones. Repeating it changes nothing."""
    registered, cluster_model_id = draft.registered, draft.cluster_model.cluster_model_id
    provenance = recorded.Provenance(
        corpus_id=registered.corpus_id,
        snapshot_ids=registered.snapshot_ids,
        quality_model_id=registered.quality_model_id,
        other_quality_model_ids=registered.other_quality_model_ids,
        encoder_id=registered.encoder_id,
        cluster_model_id=cluster_model_id,
        manifest_uri=version.uri,
        manifest_sha256=version.sha256,
    )
    with run.deployment.transaction() as cursor:
        shards = {shard.path: shard for shard in registered_shards(cursor, registered.scope)}
        rows = _mixture_rows(version.rows(), shards, [copies_in(name) for name in version.manifest.phase_names])
        settings = run.config.model_dump(mode="json")
        recorded.save_mixture(cursor, version.manifest, provenance, settings, rows, rollup, draft.left_out, alike)
        set_current_models(
            cursor,
            registered.corpus_id,
            quality_model_id=registered.quality_model_id,
            cluster_model_id=cluster_model_id,
        )


def _mixture_rows(parts: Iterator[pa.Table], shards: dict[str, Shard], phases: Sequence[str]) -> Iterator[recorded.MixtureRows]:
    """Yield the published rows, a piece of one shard at a time; `phases` are the columns with their copies."""
    for part in parts:
        shard = part["shard"].combine_chunks()
        codes = shard.indices.to_numpy()
        starts = np.flatnonzero(np.diff(codes, prepend=-1))
        for start, stop in zip(starts, [*starts[1:], codes.size], strict=True):
            piece = part.slice(int(start), int(stop - start))
            yield recorded.MixtureRows(
                shard=shards[shard.dictionary[int(codes[start])].as_py()],
                row=piece["row"].to_numpy(),
                copies=piece["copies"].to_numpy(),
                weight=piece["weight"].to_numpy(),
                domain=piece["domain"].to_pylist(),
                n_tokens=piece["n_tokens"].to_numpy(),
                quality=piece["quality"].to_numpy(),
                diversity=piece["diversity"].to_numpy(),
                cluster=piece["cluster"].to_numpy(),
                phase_copies=np.stack([piece[name].to_numpy() for name in phases], axis=1) if phases else None,
            )


def verify(run: RunContext, published: PublishedRef) -> VerifiedCounts:
    """Read a published version back and add it up; raise ManifestError if anything disagrees.

    The corpus's files are compared with those of the run. Files that have landed since are left to the next run.
    """
    with run.deployment.transaction() as cursor:
        paths = {state.shard.path for state in shard_states(cursor, published.registered.scope)}
    report = verify_version(
        run.deployment, open_version(run.deployment, published.name, published.version), check_corpus=True, among=paths
    )
    if report.problems:
        raise ManifestError(
            f"{published.manifest_uri} does not verify: {'; '.join(map(str, report.problems))}.",
            "Do not train on it; restore what changed, or publish again.",
        )
    message = f"{report.rows:,} samples, {report.copies:,} copies, {report.tokens:,} tokens: all agree"
    run.tell(report.parts, report.parts, message, unit="parts")
    return VerifiedCounts(rows=report.rows, copies=report.copies, tokens=report.tokens, manifest_uri=published.manifest_uri)
