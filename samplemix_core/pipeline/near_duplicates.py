"""Find texts of a corpus that share most of their wording: signatures of new shards, matched with all, compared in full.

What is done for a shard is done once. A new crawl is signed, its signatures are matched with those that are there, and only texts
that match are read again.
"""

from collections.abc import Sequence
from itertools import pairwise

from distributed import Client

from samplemix_core.compute.fanout import Outcome, Work, connect, fan_out, require_all
from samplemix_core.database import near_duplicates
from samplemix_core.database.connection import transaction
from samplemix_core.database.ledger import shard_states
from samplemix_core.database.scope import ShardState
from samplemix_core.deployment import Prefix
from samplemix_core.errors import SampleMixError
from samplemix_core.overlap.recipe import BANDS, RECIPE
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.handoff import NearDuplicateCounts, Registered
from samplemix_core.pipeline.score import storable_name
from samplemix_core.worker.jobs import CompareTextsTask, MatchTask, ShingleTask, SignTask

TEXTS_AT_ONCE = 4_000_000
"""New signatures in a task that matches them, counted once for each of its bands: 25 bytes each, and as much to sort."""

PAIRS_AT_ONCE = 50_000
"""Pairs that a task compares, approximately."""


def find_near_duplicates(run: RunContext, registered: Registered) -> NearDuplicateCounts:
    """Sign the scored shards of the run and compare their texts with all signed ones of the corpus; what is done is skipped.

    Does nothing where the run leaves out no near-duplicates.
    """
    if not run.config.near_duplicates.drop:
        run.tell(0, 0, "not asked for: near_duplicates.drop is false")
        return NearDuplicateCounts(shards=0, skipped=0, texts=0, candidates=0, pairs=0)
    with run.alone("near_duplicates", registered.corpus_id):
        return _find(run, registered)


def _find(run: RunContext, registered: Registered) -> NearDuplicateCounts:
    with run.deployment.transaction() as cursor:
        scored = [state for state in shard_states(cursor, registered.scope) if state.is_scored]
        todo = near_duplicates.unsigned_shards(cursor, scored)
    skipped = len(scored) - len(todo)
    run.tell(skipped, len(scored), f"{skipped} of {len(scored)} shards are signed already" if skipped else "")
    if todo:
        with connect(run.deployment) as client:
            _sign(run, registered, client, scored, todo)
    with run.deployment.transaction() as cursor:
        near_duplicates.begin_comparison(cursor, registered.corpus_id)
        files = near_duplicates.signature_files(cursor, registered.corpus_id)
    texts, candidates = sum(file.texts for file in files if not file.compared), 0
    if not all(file.compared for file in files):
        with connect(run.deployment) as client:
            candidates = _compare(run, registered, client, texts)
    with run.deployment.transaction() as cursor:
        pairs = near_duplicates.finish_comparison(cursor, registered.corpus_id)
    run.tell(
        len(scored), len(scored), f"{texts:,} new texts, {candidates:,} pairs compared; {pairs:,} pairs of the corpus are alike"
    )
    return NearDuplicateCounts(shards=len(scored), skipped=skipped, texts=texts, candidates=candidates, pairs=pairs)


def _sign(
    run: RunContext, registered: Registered, client: Client, scored: Sequence[ShardState], todo: Sequence[ShardState]
) -> None:
    prefix = f"{Prefix.SIGNATURES}/{RECIPE}/{registered.corpus_key}"
    work = [
        Work(
            state.shard.path,
            (SignTask(run.name, run.config.corpus_uri, run.config.reader, state.shard, f"{prefix}/{storable_name(state.shard)}"),),
            cost=state.shard.size_bytes,
        )
        for state in todo
    ]
    _do(run, client, "sign_shard", work, "signing", len(scored) - len(todo))


def _compare(run: RunContext, registered: Registered, client: Client, texts: int) -> int:
    corpus_id, database = registered.corpus_id, run.deployment.database
    _do(run, client, "match_bands", _matching(run.name, corpus_id, texts), "matching signatures")
    while True:
        with transaction(database) as cursor:
            wanted = list(near_duplicates.wanted_texts(cursor, corpus_id, registered.snapshot_ids))
            candidates = near_duplicates.count_candidates(cursor, corpus_id)
        work = [
            Work(
                each.shard.path,
                (ShingleTask(run.name, run.config.corpus_uri, run.config.reader, corpus_id, each.shard, each.rows),),
                cost=each.rows.size,
            )
            for each in wanted
        ]
        if not _forget_unreadable(run, registered, _outcomes(run, client, "fetch_shingles", work, "reading the texts that match")):
            break
    _do(run, client, "compare_texts", _comparing(run.name, corpus_id, candidates), "comparing texts")
    return candidates


def _matching(run: str, corpus_id: int, texts: int) -> list[Work]:
    """Tasks that match so many new texts in all bands: of several bands each, or of a part of one."""
    parts = -(-texts // TEXTS_AT_ONCE)
    width = max(1, min(BANDS, TEXTS_AT_ONCE // max(texts, 1)))
    return [
        Work(f"bands {first} to {min(first + width, BANDS) - 1}", (MatchTask(run, corpus_id, numbers, part, max(parts, 1)),))
        for first in range(0, BANDS, width)
        for numbers in [tuple(range(first, min(first + width, BANDS)))]
        for part in range(max(parts, 1))
    ]


def _comparing(run: str, corpus_id: int, candidates: int) -> list[Work]:
    """Tasks that compare all candidates, each those in a range of content hashes, which are spread evenly."""
    count = -(-candidates // PAIRS_AT_ONCE)
    bounds = [2**128 * i // max(count, 1) for i in range(count + 1)]
    return [
        Work(f"pairs {i + 1} of {count}", (CompareTextsTask(run, corpus_id, f"{first:032x}", f"{end - 1:032x}"),))
        for i, (first, end) in enumerate(pairwise(bounds))
    ]


def _do(run: RunContext, client: Client, call: str, work: Sequence[Work], what: str, before: int = 0) -> None:
    """Have workers do all of it."""
    require_all(
        _outcomes(run, client, call, work, what, before), "tasks", f"failed while {what}", "the shards that are signed stay so"
    )


def _outcomes(run: RunContext, client: Client, call: str, work: Sequence[Work], what: str, before: int = 0) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for outcome in fan_out(client, f"samplemix_core.worker.near_duplicates:{call}", work, run.cancelled):
        outcomes.append(outcome)
        run.tell(before + len(outcomes), before + len(work), what, unit="shards" if call == "sign_shard" else "tasks")
    return outcomes


def _forget_unreadable(run: RunContext, registered: Registered, outcomes: Sequence[Outcome]) -> bool:
    """Forget the signatures of shards of other snapshots whose files are gone or changed; returns whether there are any.

    Their texts are compared again once a run scores them again. Raises if another shard failed.
    """
    others = [
        outcome
        for outcome in outcomes
        if isinstance(outcome.error, SampleMixError)
        and not outcome.error.may_pass
        and outcome.work.arguments[0].shard.snapshot_id not in registered.snapshot_ids
    ]
    require_all([each for each in outcomes if each not in others], "shards", "were not read", "the shards that are signed stay so")
    with run.deployment.transaction() as cursor:
        for outcome in others:
            near_duplicates.forget_signatures(cursor, outcome.work.arguments[0].shard.shard_id)
    if others:
        run.tell(
            0, 1, f"{len(others)} files of other snapshots are gone or changed, such as {others[0].work.name}: not compared with"
        )
    return bool(others)
