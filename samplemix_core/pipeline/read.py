"""Read the samples that may be mixed, as constraints leave them: without duplicates, and without what is left out."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from samplemix_core.config.run import RunConfig
from samplemix_core.database import columns, ledger, registration, selection
from samplemix_core.database.benchmarks import Benchmark, find_benchmarks, leave_out_contaminated
from samplemix_core.database.clusters import NOISE, cluster_table, diversity_ranks, leave_out_noise, load_cluster_model
from samplemix_core.database.connection import Cursor
from samplemix_core.database.near_duplicates import Alike, find_alike
from samplemix_core.database.quality_models import QualityModel, quality_ranks
from samplemix_core.database.scope import SETTLED, Scope, ShardState
from samplemix_core.deployment import Deployment
from samplemix_core.errors import CancelledRunError, ConfigError, CorpusError
from samplemix_core.manifest.format import Counts
from samplemix_core.mixing.shard_samples import Float32Array, RowSet
from samplemix_core.mixing.source import Source
from samplemix_core.overlap.pairs import settle
from samplemix_core.policies.policy import Ranks, Scale


class ReadSource(NamedTuple):
    """A source, what became of every document, what is left out, and ranks of all documents' quality, where asked for.

    `near_duplicates` says for whom documents are left out; None where it is not asked for. `benchmarks` are kept out.
    """

    source: Source
    counts: Counts
    left_out: list[selection.LeftOut]
    ranks: Ranks | None
    near_duplicates: pa.Table | None
    benchmarks: list[Benchmark]


def read_source(
    cursor: Cursor,
    deployment: Deployment,
    config: RunConfig,
    scope: Scope,
    cluster_model_id: int,
    states: Sequence[ShardState],
    labels: Iterable[str],
    held_out: Sequence[str],
    cancelled: threading.Event,
    directory: Path | None = None,
) -> ReadSource:
    """Read the scored samples of these shards in the cursor's transaction, with these columns of labels.

    Benchmarks that are `held_out` are kept out as those of the configuration are.

    The columns of a large source go into the directory: see Source.

    Raises CorpusError if a shard is still to be scored or none is, and ConfigError if constraints leave nothing.
    """
    left_out, without, alike = list[selection.LeftOut](), dict[int, RowSet](), None
    benchmarks = find_benchmarks(cursor, [*config.decontaminate, *held_out])
    without_noise = config.diversity.noise == "drop"
    if config.constraints.selects or benchmarks or without_noise:
        selection.open_left_out(cursor)
        rules = list[str]()
        if config.constraints.selects:
            reader = deployment.require("reader_database_url")
            rules += selection.leave_out(cursor, reader, scope.version, cluster_model_id, states, config.constraints)
        rules += leave_out_contaminated(cursor, selection.LEFT_OUT, benchmarks, states, len(rules))
        if without_noise:
            leave_out_noise(cursor, selection.LEFT_OUT, cluster_model_id, states, len(rules))
            rules.append(NOISE)
        left_out = selection.count_left_out(cursor, rules, states)
        without = selection.left_out_rows(cursor)
    table = selection.LEFT_OUT if without else None
    duplicates = columns.find_duplicates(cursor, scope, table)
    domains = registration.domain_names(cursor)
    if config.near_duplicates.drop:
        alike = _settled(find_alike(cursor, scope, states, config.near_duplicates, table), domains)
        left_out = [*left_out, *alike.left_out]
    counts = _count(states, ledger.check_accounts(cursor, scope, states), duplicates, left_out)
    diversity = cluster_table(cursor, cluster_model_id)["diversity"].to_numpy().astype(np.float32)
    model = load_cluster_model(cursor, cluster_model_id)
    bounds = model.diversity_low or 0.0, model.diversity_high or 0.0
    names = columns.label_names(cursor, scope.snapshot_ids, labels)
    source = Source(counts.eligible, domains, diversity, config.seed, bounds, names, directory)
    qualities: list[Float32Array] = []
    for shard, samples in columns.stream_samples(cursor, scope.version, cluster_model_id, states, names):
        if cancelled.is_set():
            raise CancelledRunError("Cancelled while scores were read.", "Run again to continue.")
        if config.normalise == "ranks":
            # Of all documents: what this mixture leaves out is no reason to rank others differently.
            qualities.append(samples.quality)
        for leaving in (duplicates, without, {} if alike is None else alike.rows):
            rows = leaving.get(shard.shard_id)
            samples = samples if rows is None else samples.without(rows)
        source.add(samples)
    ranks = Ranks.over(np.concatenate(qualities)) if qualities else None
    return ReadSource(source.finish(), counts, left_out, ranks, None if alike is None else alike.table, benchmarks)


RULE = "near_duplicates"
"""The rule by which near-duplicates are left out, beside those of constraints."""


class _NearDuplicates(NamedTuple):
    """Documents that are left out for others: rows by shard, numbers by domain, and columns of mixture_near_duplicate."""

    rows: dict[int, RowSet]
    left_out: list[selection.LeftOut]
    table: pa.Table


def _settled(alike: Alike, domains: Mapping[int, str]) -> _NearDuplicates:
    """Which of the documents that are alike are left out: see overlap.pairs.settle."""
    by = settle(alike.first, alike.second, alike.similarity, alike.row.size)
    gone = np.flatnonzero(by >= 0)
    gone = gone[np.lexsort((alike.row[gone], alike.shard_id[gone]))]
    kept = alike.first[by[gone]]
    shards, rows = alike.shard_id[gone], alike.row[gone]
    columns = {
        **{"shard_id": shards, "row": rows, "kept_shard_id": alike.shard_id[kept], "kept_row": alike.row[kept]},
        "similarity": alike.similarity[by[gone]],
    }
    numbers, starts = np.unique(shards, return_index=True)
    by_shard = {shard: RowSet.of(part) for shard, part in zip(numbers.tolist(), np.split(rows, starts[1:]), strict=False)}
    counts = zip(*(found.tolist() for found in np.unique(alike.domain_id[gone], return_counts=True)), strict=True)
    left_out = sorted(selection.LeftOut(RULE, domains[number], count) for number, count in counts)
    return _NearDuplicates(by_shard, left_out, pa.table(columns))


def _count(
    states: Sequence[ShardState],
    totals: ledger.Totals,
    duplicates: dict[int, RowSet],
    left_out: Sequence[selection.LeftOut],
) -> Counts:
    """Count what became of every document; raise CorpusError if a shard is still to be scored, or no document is scored."""
    waiting = [state for state in states if state.state not in SETTLED]
    if waiting:
        raise CorpusError(
            f"{len(waiting)} of {len(states)} shards are not scored, the first is {waiting[0].shard.path} ({waiting[0].state}).",
            "Run the scoring step again.",
        )
    repeated = sum(rows.size for rows in duplicates.values())
    scored = totals.scored - repeated
    if scored == 0:
        raise CorpusError("No document of the run's snapshots is scored.", "See 'samplemix quarantine' for the reasons.")
    by_rule: dict[str, int] = {}
    for item in left_out:
        by_rule[item.rule] = by_rule.get(item.rule, 0) + item.documents
    eligible = scored - sum(by_rule.values())
    if not eligible:
        said = ", ".join(f"{rule} {documents:,}" for rule, documents in by_rule.items())
        raise ConfigError(
            f"All {scored:,} documents are left out: {said}.",
            "Loosen what leaves out most: constraints.exclude and include, decontaminate, drawn targets, or diversity.noise.",
        )
    return Counts(
        documents=totals.documents,
        scored=scored,
        quarantined=totals.quarantined,
        duplicates=repeated,
        eligible=eligible,
        left_out=by_rule,
        refused_shards=len(states) - totals.shards,
    )


def read_scale(
    cursor: Cursor, config: RunConfig, corpus_id: int, model: QualityModel, cluster_model_id: int, found: ReadSource
) -> Scale:
    """How quality and diversity become 0..1. Ranks of quality are the corpus's fixed ones, else those of what was read."""
    scale = Scale(model.low, model.high)
    if config.normalise == "range":
        return scale
    quality = quality_ranks(cursor, corpus_id, model.quality_model_id) or found.ranks
    return scale._replace(quality_ranks=quality, diversity_ranks=diversity_ranks(cursor, cluster_model_id))
