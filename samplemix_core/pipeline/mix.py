"""Step 6: scores to weights to copies, written as a draft that publish can make a version of."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import samplemix_core
from samplemix_core.database import accounting, clusters, ledger
from samplemix_core.database.columns import RowSet, ShardColumns, stream_columns
from samplemix_core.database.connection import transaction
from samplemix_core.database.ledger import ReplacedShard, Shard, ShardState
from samplemix_core.database.scores import domain_names
from samplemix_core.errors import AccountingError, BudgetError, CancelledRunError, CorpusError
from samplemix_core.manifest.format import (
    MIXTURE_PART,
    Counts,
    Lineage,
    ManifestDraft,
    PolicyRecord,
    ReplacedFile,
    SnapshotLineage,
    SolverRecord,
    domain_shares,
    shards_digest,
)
from samplemix_core.manifest.parts import write_parts
from samplemix_core.mixing.policies import Columns, policy_parameters, policy_weights
from samplemix_core.mixing.solver import Solution, solve_copies
from samplemix_core.mixing.summary import domain_sums
from samplemix_core.objects.open import open_store
from samplemix_core.pipeline.context import Progress, RunContext
from samplemix_core.pipeline.drafts import Draft, write_draft
from samplemix_core.pipeline.handoff import ClusterModelRef, DraftRef, Registered
from samplemix_core.sample_key import keys_to_bytes, sample_keys, uniforms

MAX_DOMAINS = 2**15 - 1
_ROWS_AT_ONCE = 2**20


@dataclass(frozen=True)
class Slice:
    """The entries of one shard's eligible samples, start to stop, and which rows of the shard they are."""

    shard: Shard
    start: int
    stop: int
    rows: RowSet


@dataclass(frozen=True)
class Source:
    """The eligible samples of a run, one entry each, in the order of snapshot, path and row.

    20 bytes a sample, 22 with more than 65,536 clusters, and a bit for its row. While copies are solved for, its uniform number
    and its copies are 10 more; everything else in memory does not grow with the samples.
    """

    domain: npt.NDArray[np.int16]
    tokens: npt.NDArray[np.int32]
    quality: npt.NDArray[np.float32]
    cluster: npt.NDArray[np.unsignedinteger[Any]]
    weight: npt.NDArray[np.float64]
    slices: list[Slice]

    @classmethod
    def empty(cls, samples: int, clusters: int) -> "Source":
        """Room for that many samples."""
        return cls(
            domain=np.empty(samples, dtype=np.int16),
            tokens=np.empty(samples, dtype=np.int32),
            quality=np.empty(samples, dtype=np.float32),
            cluster=np.empty(samples, dtype=np.min_scalar_type(max(clusters - 1, 2**8))),
            weight=np.empty(samples, dtype=np.float64),
            slices=[],
        )


def mix(run: RunContext, registered: Registered, model: ClusterModelRef) -> DraftRef:
    """Solve the run's mixture over all scored samples of its snapshots and write it as a draft.

    Raises BudgetError if no copies meet the budget, AccountingError if counts do not add up.
    """
    config = run.config
    scope = registered.scope
    run.report(Progress("mix", 0, 4, unit="stages", message="reading scores"))
    with transaction(run.settings.require("database_url")) as cursor:
        states = ledger.shard_states(cursor, scope)
        if len(states) != registered.shards:
            raise CorpusError(
                f"{registered.shards - len(states)} of the run's {registered.shards} shards were replaced while it was on.",
                "Run again: the new files are scored.",
            )
        replaced = {name: ledger.replaced_shards(cursor, i) for name, i in zip(registered.snapshots, scope.snapshots, strict=True)}
        duplicates = accounting.find_duplicates(cursor, scope)
        counts = _count(states, accounting.check_accounts(cursor, scope), duplicates)
        names = domain_names(cursor)
        diversity = clusters.cluster_table(cursor, model.cluster_model_id)["diversity"].to_numpy().astype(np.float32)
    codes = _DomainCodes(names)
    parameters = policy_parameters(
        config.policy,
        {"alpha": config.alpha, "tau": config.tau, "q_low": registered.quality_low, "q_high": registered.quality_high},
    )
    source = Source.empty(counts.eligible, diversity.size)
    uniform = np.empty(counts.eligible, dtype=np.float64)
    with transaction(run.settings.require("database_url")) as cursor:
        for shard_columns in stream_columns(cursor, scope, model.cluster_model_id):
            if run.cancelled.is_set():
                raise CancelledRunError("Cancelled while scores were read.", "Run again to go on.")
            kept = _without(shard_columns, duplicates.get(shard_columns.shard.shard_id))
            if not kept.row.size:
                continue
            start, stop = _append(source, kept, codes)
            scored = Columns(quality=kept.quality, diversity=diversity[kept.cluster])
            source.weight[start:stop] = policy_weights(config.policy, parameters, scored)
            uniform[start:stop] = uniforms(config.seed, sample_keys(kept.shard.snapshot, kept.shard.path, kept.row))
    filled = source.slices[-1].stop if source.slices else 0
    if filled != counts.eligible:
        raise AccountingError(f"{filled} samples were read, {counts.eligible} are eligible.")
    domains = codes.sort(source.domain)
    source_tokens = int(source.tokens.sum(dtype=np.int64))
    budget = config.parsed_budget.resolve(source_tokens)
    if budget < 1:
        raise BudgetError(
            f"The budget {config.budget} of {source_tokens:,} source tokens is less than one token.", "Ask for a larger budget."
        )
    run.report(Progress("mix", 1, 4, unit="stages", message=f"{filled:,} samples, {source_tokens:,} tokens; solving"))
    solution = solve_copies(source.weight, source.tokens, uniform, budget, config.max_copies)
    del uniform
    run.report(Progress("mix", 2, 4, unit="stages", message=f"{solution.realised_tokens:,} of {budget:,} tokens; writing parts"))
    with run.settings.scratch() as directory:
        sums = domain_sums(source.domain, len(domains), source.tokens, solution.copies).as_lists()
        parts = write_parts(_rows(source, solution, domains, diversity), directory)
        draft = Draft(
            manifest=ManifestDraft(
                name=config.mixture_name,
                corpus_root=config.corpus_uri,
                seed=config.seed,
                policy=PolicyRecord(name=config.policy, parameters=parameters),
                solver=SolverRecord(max_copies=config.max_copies, kappa=solution.kappa, next_tokens=solution.next_tokens),
                budget_tokens=budget,
                realised_tokens=solution.realised_tokens,
                samples=int(np.count_nonzero(solution.copies)),
                copies=int(solution.copies.sum(dtype=np.int64)),
                counts=counts,
                domains=domain_shares(domains, **sums),
                lineage=_lineage(run, registered, model, states, replaced),
            ),
            parts=parts,
            registered=registered,
            cluster_model=model,
        )
        key = write_draft(open_store(run.settings.state_root, run.settings), draft, directory, datetime.now(UTC).date())
    message = f"{draft.manifest.samples:,} samples, {draft.manifest.copies:,} copies in {len(parts)} parts"
    run.report(Progress("mix", 4, 4, unit="stages", message=message))
    return DraftRef(
        draft=key,
        content_digest=draft.content_digest,
        realised_tokens=solution.realised_tokens,
        samples=draft.manifest.samples,
    )


def _count(states: list[ShardState], totals: accounting.Totals, duplicates: dict[int, RowSet]) -> Counts:
    """What became of every document; raise CorpusError if a shard is still to be scored."""
    waiting = [state for state in states if state.state not in ("done", "refused", "poison")]
    if waiting:
        raise CorpusError(
            f"{len(waiting)} of {len(states)} shards are not scored, the first is {waiting[0].shard.path} ({waiting[0].state}).",
            "Run the scoring step again.",
        )
    repeated = sum(rows.size for rows in duplicates.values())
    scored = totals.scored - repeated
    if scored == 0:
        raise CorpusError("No document of the run's snapshots is scored.", "See 'samplemix quarantine' for what became of them.")
    return Counts(
        documents=totals.documents,
        scored=scored,
        quarantined=totals.quarantined,
        duplicates=repeated,
        eligible=scored,
        refused_shards=len(states) - totals.shards,
    )


class _DomainCodes:
    """Small numbers for the domains that a run meets: what other corpora have does not count."""

    def __init__(self, names: dict[int, str]) -> None:
        self._names = names
        self._code = np.full(max(names, default=0) + 1, -1, dtype=np.int16)
        self._met: list[str] = []

    def of(self, domain_ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int16]:
        """The codes of the database's ids; CorpusError if there are too many."""
        for domain_id in np.unique(domain_ids[self._code[domain_ids] < 0]).tolist():
            if len(self._met) == MAX_DOMAINS:
                raise CorpusError(
                    f"The run's snapshots have more than {MAX_DOMAINS:,} domains, the most that can be mixed.",
                    "Set the reader's domain_field to a coarser field.",
                )
            self._code[domain_id] = len(self._met)
            self._met.append(self._names[domain_id])
        return self._code[domain_ids]

    def sort(self, codes: npt.NDArray[np.int16]) -> list[str]:
        """Turn codes, in place, into places among the sorted names, which are returned."""
        order = sorted(range(len(self._met)), key=self._met.__getitem__)
        place = np.empty(len(order), dtype=np.int16)
        place[order] = np.arange(len(order), dtype=np.int16)
        for start in range(0, codes.size, _ROWS_AT_ONCE):
            part = codes[start : start + _ROWS_AT_ONCE]
            part[:] = place[part]
        return [self._met[code] for code in order]


def _without(shard: ShardColumns, rows: RowSet | None) -> ShardColumns:
    """A shard's samples but for those rows."""
    if rows is None:
        return shard
    keep = np.isin(shard.row, rows.rows(), assume_unique=True, invert=True)
    return ShardColumns(
        shard=shard.shard,
        row=shard.row[keep],
        domain_id=shard.domain_id[keep],
        n_tokens=shard.n_tokens[keep],
        quality=shard.quality[keep],
        cluster=shard.cluster[keep],
    )


def _append(source: Source, shard: ShardColumns, codes: "_DomainCodes") -> tuple[int, int]:
    """Take in a shard's samples, weights apart; returns where they are."""
    start = source.slices[-1].stop if source.slices else 0
    stop = start + shard.row.size
    if stop > source.tokens.size:
        raise AccountingError(f"{shard.shard.path}: more samples than the {source.tokens.size} that are eligible.")
    source.domain[start:stop] = codes.of(shard.domain_id)
    source.tokens[start:stop] = shard.n_tokens
    source.quality[start:stop] = shard.quality
    source.cluster[start:stop] = shard.cluster
    source.slices.append(Slice(shard.shard, start, stop, RowSet.of(shard.row)))
    return start, stop


def _rows(source: Source, solution: Solution, domains: list[str], diversity: npt.NDArray[np.float32]) -> Iterator[pa.Table]:
    """The samples that have copies, a table a shard, sorted by path and row."""
    names = pa.array(domains, pa.string())
    for part in sorted(source.slices, key=lambda item: item.shard.path):
        shard = part.shard
        within = np.flatnonzero(solution.copies[part.start : part.stop])
        if not within.size:
            continue
        chosen, row = part.start + within, part.rows.rows()[within]
        keys = keys_to_bytes(sample_keys(shard.snapshot, shard.path, row))
        columns: list[Any] = [
            _constant(shard.snapshot, chosen.size),
            _constant(shard.path, chosen.size),
            row,
            pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), chosen.size, [None, pa.py_buffer(keys)]),
            pa.DictionaryArray.from_arrays(source.domain[chosen].astype(np.int32), names),
            source.tokens[chosen],
            solution.copies[chosen].astype(np.int32),
            source.weight[chosen],
            source.quality[chosen],
            diversity[source.cluster[chosen]],
            source.cluster[chosen].astype(np.int32),
        ]
        yield pa.table(columns, schema=MIXTURE_PART)


def _constant(value: str, n: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(np.zeros(n, dtype=np.int32), pa.array([value], pa.string()))


def _lineage(
    run: RunContext,
    registered: Registered,
    model: ClusterModelRef,
    states: list[ShardState],
    replaced: dict[str, list[ReplacedShard]],
) -> Lineage:
    by_snapshot: dict[str, list[tuple[str, str, int]]] = {}
    for state in states:
        shard = state.shard
        by_snapshot.setdefault(shard.snapshot, []).append((shard.path, shard.etag, shard.size_bytes))
    return Lineage(
        corpus=registered.corpus_key,
        snapshots=tuple(
            SnapshotLineage(
                name=name,
                shards=len(shards),
                shards_digest=shards_digest(shards),
                replaced=tuple(ReplacedFile(**asdict(shard)) for shard in replaced[name]),
            )
            for name, shards in sorted(by_snapshot.items())
        ),
        quality_model=registered.quality_model_key,
        encoder=registered.encoder_key,
        cluster_model=model.cluster_model_key,
        code_version=samplemix_core.__version__,
        config_fingerprint=run.config.fingerprint,
        airflow_run_id=run.run_id,
    )
