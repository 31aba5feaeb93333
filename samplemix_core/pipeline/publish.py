"""Steps 7 and 8: a draft becomes the next version, in the object store and then in Postgres; the version is read back."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from samplemix_core.database import ledger
from samplemix_core.database import mixtures as recorded
from samplemix_core.database.connection import transaction
from samplemix_core.database.ledger import Shard
from samplemix_core.errors import ManifestError
from samplemix_core.manifest.catalogue import Version
from samplemix_core.manifest.publish import publish as publish_version
from samplemix_core.pipeline.context import Progress, RunContext
from samplemix_core.pipeline.drafts import Draft, read_draft
from samplemix_core.pipeline.handoff import DraftRef, PublishedRef
from samplemix_core.pipeline.mixtures import open_version, own_mixtures, verify_version


def publish(run: RunContext, ref: DraftRef) -> PublishedRef:
    """Publish a draft as the next version of its mixture and record it in Postgres, where SQL finds it.

    The manifest is the commit: killed before it, nothing is published; killed after it, running again records the version
    that is there. Content that is published already stays the version it is.
    """
    mixtures = own_mixtures(run.settings)
    draft = read_draft(mixtures.store, ref.draft)
    published = publish_version(
        mixtures,
        draft.manifest,
        draft.parts,
        lambda part: mixtures.store.get(f"{ref.draft}/{part.path}")[0],
        datetime.now(UTC),
    )
    version, manifest = published.version, published.version.manifest
    _record(run, draft, version)
    message = f"{version.uri}, {'new' if published.created else 'the same content as before'}"
    run.report(Progress("publish", 1, 1, unit="versions", message=message))
    return PublishedRef(
        name=manifest.name,
        version=manifest.version,
        manifest_uri=version.uri,
        content_digest=manifest.content_digest,
        created=published.created,
        registered=draft.registered,
    )


def _record(run: RunContext, draft: Draft, version: Version) -> None:
    """Enter a published version into Postgres and make its models the corpus's current ones. Again changes nothing."""
    registered, manifest = draft.registered, version.manifest
    counts = manifest.counts
    with transaction(run.settings.require("database_url")) as cursor:
        states = ledger.shard_states(cursor, registered.scope)
        recorded.save_mixture(
            cursor,
            recorded.Mixture(
                name=manifest.name,
                version=manifest.version,
                corpus_id=registered.corpus_id,
                manifest_uri=version.uri,
                content_digest=manifest.content_digest,
                config=run.config.model_dump(mode="json"),
                policy=manifest.policy.name,
                seed=manifest.seed,
                budget_tokens=manifest.budget_tokens,
                realised_tokens=manifest.realised_tokens,
                samples=manifest.samples,
                copies=manifest.copies,
                documents=counts.documents,
                scored=counts.scored,
                quarantined=counts.quarantined,
                duplicates=counts.duplicates,
                eligible=counts.eligible,
                quality_model_id=registered.quality_model_id,
                encoder_id=registered.encoder_id,
                cluster_model_id=draft.cluster_model.cluster_model_id,
                parent_version=manifest.parent_version,
                airflow_run_id=manifest.lineage.airflow_run_id,
            ),
            snapshots=registered.snapshot_ids,
            domains=[
                recorded.MixtureDomain(
                    domain=domain.domain,
                    source_samples=domain.source_samples,
                    source_tokens=domain.source_tokens,
                    source_share=domain.source_share,
                    mixture_tokens=domain.mixture_tokens,
                    mixture_share=domain.mixture_share,
                    mean_copies=domain.mean_copies,
                )
                for domain in manifest.domains
            ],
            rows=_mixture_rows(version.rows(), {state.shard.path: state.shard for state in states}),
        )
        ledger.set_current_models(
            cursor,
            registered.corpus_id,
            quality_model_id=registered.quality_model_id,
            cluster_model_id=draft.cluster_model.cluster_model_id,
        )


def _mixture_rows(parts: Iterator[pa.Table], shards: dict[str, Shard]) -> Iterator[recorded.MixtureRows]:
    """The published rows, a piece of one shard at a time."""
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
            )


def verify(run: RunContext, ref: PublishedRef) -> dict[str, Any]:
    """Read a published version back and add it up; ManifestError if anything disagrees.

    The corpus's files are compared with those of the run: what has landed since is for the next.
    """
    with transaction(run.settings.require("database_url")) as cursor:
        paths = {state.shard.path for state in ledger.shard_states(cursor, ref.registered.scope)}
    report = verify_version(run.settings, open_version(run.settings, ref.name, ref.version), check_corpus=True, among=paths)
    if report.problems:
        raise ManifestError(
            f"{ref.manifest_uri} does not verify: {'; '.join(map(str, report.problems))}.",
            "Do not train on it; restore what changed, or publish again.",
        )
    message = f"{report.rows:,} samples, {report.copies:,} copies, {report.tokens:,} tokens: all agree"
    run.report(Progress("verify", report.parts, report.parts, unit="parts", message=message))
    return {"rows": report.rows, "copies": report.copies, "tokens": report.tokens, "manifest_uri": ref.manifest_uri}
