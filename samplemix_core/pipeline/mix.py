"""Turn scores into weights and copies, written as a draft that publish can make a version."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

import samplemix_core
from samplemix_core.corpus.shards import JSON_LINES, format_of
from samplemix_core.corpus.streams import is_compressed
from samplemix_core.database import ledger, registration
from samplemix_core.database.connection import repeatable_read
from samplemix_core.database.drift import drifted
from samplemix_core.database.embeddings import files_by_path
from samplemix_core.database.quality_models import fix_quality_ranks, quality_models
from samplemix_core.database.rollups import unknown_words
from samplemix_core.database.scope import Shard
from samplemix_core.errors import CorpusError, ManifestError, ObjectStoreError
from samplemix_core.manifest.format import (
    BenchmarkRecord,
    Lineage,
    ManifestDraft,
    ReplacedFile,
    SnapshotLineage,
    TokenizerRecord,
    copies_in,
    domain_shares,
    held_back,
    shards_digest,
    unmet,
)
from samplemix_core.manifest.parts import write_parts
from samplemix_core.manifest.sources import SourceShard, write_sources
from samplemix_core.mixing.plan import Plan, planned
from samplemix_core.mixing.rollup import LABELS, MixtureRollup
from samplemix_core.mixing.source import Source
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.drafts import Draft, write_draft
from samplemix_core.pipeline.handoff import ClusterModelRef, DraftRef, Registered
from samplemix_core.pipeline.read import ReadSource, read_scale, read_source
from samplemix_core.pipeline.semantic import compare_meanings
from samplemix_core.pipeline.solve import Solved, budget_tokens, solve
from samplemix_core.policies.policy import Scale

_STAGES = 4
"""Reading, solving, writing, done."""

UNKNOWN_SHARE = 0.01
"""Share of a domain's tokens. If more belong to words that the tokenizer doesn't know, the count means little."""

_DOMAINS_NAMED = 5
_SHARDS_AT_ONCE = 10_000


def mix(run: RunContext, registered: Registered, cluster_model: ClusterModelRef) -> DraftRef:
    """Solve the run's mixture over all scored samples of its snapshots and write it as a draft.

    Raises BudgetError if no copies meet the budget, AccountingError if counts do not add up.
    """
    with run.deployment.scratch() as directory:
        return _mix(run, registered, cluster_model, directory)


def _mix(run: RunContext, registered: Registered, cluster_model: ClusterModelRef, directory: Path) -> DraftRef:
    config = run.config
    run.tell(0, _STAGES, "reading scores", unit="stages")
    found, scale, shards, lineage = _read(run, registered, cluster_model, directory)
    source, counts, left_out = found.source, found.counts, found.left_out
    if any(policy.reads_closest for policy in config.policies):
        _compare_meanings(run, registered, source, directory)
    warnings = [*_unknown_words(run, registered), *_drifted(run, registered, cluster_model)]
    budget = budget_tokens(config, source, scale)
    read = f"{counts.eligible:,} samples, {source.total_tokens:,} tokens of {registered.tokenizer}"
    run.tell(1, _STAGES, f"{read}; solving", unit="stages")
    solved = solve(config, source, scale, budget)
    if scale.quality_ranks is not None:
        with run.deployment.transaction() as cursor:
            fixed = fix_quality_ranks(
                cursor, registered.corpus_id, registered.quality_model_id, scale.quality_ranks, counts.scored + counts.duplicates
            )
        if fixed != scale.quality_ranks:
            raise CorpusError("Another mixture of the corpus fixed its ranks meanwhile.", "Run again: they are used then.")
    run.tell(2, _STAGES, f"{solved.realised_tokens:,} of {budget:,} tokens; writing parts", unit="stages")
    in_phases = {copies_in(name): copies for name, copies in solved.in_phases.items()}
    parts = write_parts(source.rows(solved.copies, in_phases), directory, phases=list(solved.in_phases))
    sources = write_sources(_sources(run, shards), directory)
    manifest = ManifestDraft(
        name=config.mixture_name,
        corpus_root=config.corpus_uri,
        seed=config.seed,
        policy=solved.policy,
        solver=solved.solver,
        phases=solved.phases,
        constraints=config.constraints,
        decontaminated=tuple(
            BenchmarkRecord(name=each.name, key=each.benchmark_key, parts=each.parts) for each in found.benchmarks
        ),
        near_duplicates=config.near_duplicates if config.near_duplicates.drop else None,
        tokenizer=TokenizerRecord(name=registered.tokenizer, id=registered.tokenizer_id),
        reader=config.reader,
        sources=sources,
        licenses=config.licenses,
        budget_tokens=budget,
        realised_tokens=solved.realised_tokens,
        samples=int(np.count_nonzero(solved.copies)),
        copies=int(solved.copies.sum(dtype=np.int64)),
        counts=counts,
        domains=domain_shares(source.domains, **source.domain_sums(solved.copies).as_lists()),
        lineage=lineage,
    )
    draft = Draft(
        manifest=manifest,
        parts=parts,
        registered=registered,
        cluster_model=cluster_model,
        left_out=tuple(left_out),
        plan=_plan(run, source, solved, budget) if config.approval else None,
    )
    rollup = MixtureRollup.of(source, solved.copies, registered.quality_low, registered.quality_high)
    store = run.deployment.state
    key = write_draft(store, draft, rollup, found.near_duplicates, directory, datetime.now(UTC).date())
    warnings += [*unmet(manifest), *held_back(manifest)]
    said = "".join(f". Warning: {warning}" for warning in warnings)
    run.tell(4, _STAGES, f"{manifest.samples:,} samples, {manifest.copies:,} copies in {len(parts)} parts{said}", unit="stages")
    return DraftRef(
        draft=key,
        content_digest=draft.content_digest,
        realised_tokens=manifest.realised_tokens,
        samples=manifest.samples,
        warnings=tuple(warnings),
    )


def _plan(run: RunContext, source: Source, solved: Solved, budget: int) -> Plan:
    """The mixture as a plan, compared with the current version if there is one."""
    try:
        current = run.deployment.mixtures.open(run.config.mixture_name)
        copies = source.copies_in(current.rows())
    except (ManifestError, ObjectStoreError):
        # There is none, or it is damaged, which is no reason against the next one.
        return planned(source, solved.copies, budget)
    return planned(source, solved.copies, budget, copies, current.manifest.realised_tokens)


def _compare_meanings(run: RunContext, registered: Registered, source: Source, directory: Path) -> None:
    """Give the source the column `closest`, telling how far that is."""
    with run.deployment.transaction() as cursor:
        embeddings = files_by_path(cursor, registered.version, ledger.shard_states(cursor, registered.scope))

    def tell(done: int, parts: int) -> None:
        run.tell(0, _STAGES, f"comparing documents by their vectors: {done} of {parts} parts", unit="stages")

    compare_meanings(run.deployment, run.name, source, registered.encoder_key, embeddings, directory, run.cancelled, tell)


def _unknown_words(run: RunContext, registered: Registered) -> list[str]:
    """A warning, if there is one, that names domains with too many tokens from words that the tokenizer doesn't know."""
    with run.deployment.transaction() as cursor:
        found = unknown_words(cursor, registered.scope, UNKNOWN_SHARE)
    if not found:
        return []
    named = ", ".join(f"{domain!r} ({share:.1%})" for domain, share in found[:_DOMAINS_NAMED])
    more = f" and {len(found) - _DOMAINS_NAMED:,} more" if len(found) > _DOMAINS_NAMED else ""
    return [
        f"over {UNKNOWN_SHARE:.0%} of the tokens of {named}{more} are of words that the tokenizer {registered.tokenizer} does not"
        " know, so their number is a rough guess; count by the tokenizer of the model to be trained (--tokenizer)"
    ]


def _drifted(run: RunContext, registered: Registered, model: ClusterModelRef) -> list[str]:
    """A warning for each crawl that is far from what the clusters were fitted on."""
    with run.deployment.transaction() as cursor:
        found = drifted(cursor, model.cluster_model_id, registered.snapshot_ids)
    return [
        f"crawl {snapshot!r} drifts from what the clusters were fitted on: {'; '.join(over)}; diversity.refit fits them again"
        for snapshot, over in found
    ]


def _sources(run: RunContext, shards: Sequence[Shard]) -> Iterator[SourceShard]:
    """Yield the shards as the version names them, sorted by path, with the rows where plain JSON lines can be read from."""
    in_order = sorted(shards, key=lambda shard: shard.path)
    for start in range(0, len(in_order), _SHARDS_AT_ONCE):
        part = in_order[start : start + _SHARDS_AT_ONCE]
        plain = [shard.shard_id for shard in part if format_of(shard.path) is JSON_LINES and not is_compressed(shard.path)]
        with run.deployment.transaction() as cursor:
            starts = ledger.block_starts(cursor, plain)
        for shard in part:
            yield SourceShard(shard.path, shard.etag, shard.size_bytes, *starts.get(shard.shard_id, ([], [])))


class _Read(NamedTuple):
    """What may be mixed, how its scores become 0..1, the shards, and the lineage."""

    found: ReadSource
    scale: Scale
    shards: list[Shard]
    lineage: Lineage


def _read(run: RunContext, registered: Registered, cluster_model: ClusterModelRef, directory: Path) -> _Read:
    """Read the samples that may be mixed, and all about them, as of one moment."""
    scope, model_id = registered.scope, cluster_model.cluster_model_id
    with run.deployment.transaction() as cursor:
        repeatable_read(cursor)
        states = ledger.shard_states(cursor, scope)
        registered.require_unreplaced(states)
        out, stop = registered.held_out, run.cancelled
        found = read_source(cursor, run.deployment, run.config, scope, model_id, states, LABELS, out, stop, directory)
        replaced = {
            name: registration.replaced_shards(cursor, snapshot_id)
            for name, snapshot_id in zip(registered.snapshots, registered.snapshot_ids, strict=True)
        }
    with run.deployment.transaction() as cursor:
        model = quality_models(cursor, ids=[registered.quality_model_id])[registered.quality_model_id]
        scale = read_scale(cursor, run.config, registered.corpus_id, model, model_id, found)
    shards = [state.shard for state in states]
    return _Read(found, scale, shards, _lineage(run, registered, cluster_model, shards, replaced))


def _lineage(
    run: RunContext,
    registered: Registered,
    model: ClusterModelRef,
    shards: Sequence[Shard],
    replaced: dict[str, list[registration.ReplacedShard]],
) -> Lineage:
    by_snapshot: dict[str, list[tuple[str, str, int]]] = {}
    for shard in shards:
        by_snapshot.setdefault(shard.snapshot, []).append((shard.path, shard.etag, shard.size_bytes))
    return Lineage(
        corpus=registered.corpus_key,
        snapshots=tuple(
            SnapshotLineage(
                name=name,
                shards=len(entries),
                shards_digest=shards_digest(entries),
                replaced=tuple(ReplacedFile(**asdict(shard)) for shard in replaced[name]),
            )
            for name, entries in sorted(by_snapshot.items())
        ),
        quality_model=registered.quality_model_key,
        encoder=registered.encoder_key,
        cluster_model=model.cluster_model_key,
        code_version=samplemix_core.__version__,
        config_fingerprint=run.config.fingerprint,
        airflow_run_id=run.run_id,
    )
