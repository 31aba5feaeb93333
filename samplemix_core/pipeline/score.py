"""Score and embed every shard that isn't done in the ledger, one Dask task per block."""

import time
from collections import Counter
from collections.abc import Sequence

from samplemix_core.compute.fanout import Outcome, Work, connect, fan_out
from samplemix_core.config.reader import ReaderConfig
from samplemix_core.corpus.records import Block
from samplemix_core.corpus.shards import parse_shard_path
from samplemix_core.database import ledger, scores
from samplemix_core.database.connection import transaction
from samplemix_core.database.rollups import count_domains
from samplemix_core.database.scope import LEFT_OUT, SETTLED, WHOLE, Group, ScoredCounts, ScoreState, ScoreVersion, Shard, ShardState
from samplemix_core.deployment import Prefix
from samplemix_core.errors import CorpusError, LossError, PoisonShardError, SampleMixError, ServiceError, ShardRefusedError
from samplemix_core.identity import fingerprint
from samplemix_core.mixing.shard_samples import MAX_DOMAINS, too_many_domains
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.handoff import LossCounts, Registered, ScoreCounts
from samplemix_core.worker.jobs import PlanTask, ScoreTask

_REASONS, _DOMAINS = 10, 12


def score(run: RunContext, registered: Registered, group: Group = WHOLE) -> ScoreCounts:
    """Score the shards of a group; those that are done are skipped.

    A refused or poison shard does not stop the run. Any other failure is raised at the end, when all others are done.
    """
    with run.alone("score", *registered.snapshot_ids, *registered.versions, group):
        return _score(run, registered, group)


def _score(run: RunContext, registered: Registered, group: Group) -> ScoreCounts:
    database = run.deployment.database
    pending: dict[int, Shard] = {}
    with transaction(database) as cursor:
        for scope in registered.scopes:
            states = ledger.shard_states(cursor, scope, group)
            todo_of_version = ledger.pending_shards(states, retry_refused=run.config.retry_refused)
            ledger.begin_shards(cursor, todo_of_version, scope.version)
            pending |= {shard.shard_id: shard for shard in todo_of_version}
    # In the order of snapshot and path, as the ledger gives them.
    todo = [state.shard for state in states if state.shard.shard_id in pending]
    progress = _ScoreProgress(run, len(states), len(states) - len(todo))
    if not todo:
        return progress.counts()
    resources = run.config.embedding.worker_resources
    with connect(run.deployment) as client:
        plans = [Work(task.shard.path, (task,), cost=task.shard.size_bytes) for task in plan_tasks(run, registered, todo)]
        progress.plan(len(plans))
        for outcome in fan_out(client, "samplemix_core.worker.score:plan_shard", plans, run.cancelled):
            _enter(database, outcome)
            progress.take_plan(outcome)
        tasks = score_tasks(run, registered, todo)
        progress.begin(tasks)
        work = [Work(_named(task), (task,), cost=task.shard.size_bytes, resources=resources) for task in tasks]
        blocks = fan_out(client, "samplemix_core.worker.score:score_block", work, run.cancelled, partly=progress.take_part)
        looked = time.monotonic()
        for outcome in blocks:
            _enter(database, outcome)
            progress.take(outcome)
            if time.monotonic() - looked > LOOK_SECONDS:
                _require_few_domains(database, registered)
                looked = time.monotonic()
    _require_few_domains(database, registered)
    return progress.counts()


LOOK_SECONDS = 30.0
"""How often to check, during scoring, that the scored documents can still be mixed."""


def _require_few_domains(database: str, registered: Registered) -> None:
    """Raise CorpusError as soon as there are more domains than can be mixed, not only when everything is scored."""
    with transaction(database) as cursor:
        if count_domains(cursor, registered.scope) > MAX_DOMAINS:
            raise too_many_domains()


def _named(task: ScoreTask) -> str:
    first, rows = task.block.first_row, task.block.rows
    return task.shard.path if rows is None else f"{task.shard.path}, rows {first:,} to {first + max(rows, 1) - 1:,}"


def _work(task: ScoreTask) -> int:
    """A block's approximate work in bytes: for a whole shard from an old plan, the size of its file."""
    return task.shard.size_bytes if task.block.n_bytes is None else task.block.n_bytes


def check_loss(run: RunContext, registered: Registered) -> LossCounts:
    """Gate between scoring and mixing: raise LossError, with the reasons, if more than config.max_loss was set aside.

    The limit applies to the share of documents, of files and of their bytes. Losing all files of a domain or a snapshot is too much
    at any limit below 1. Raises CorpusError, with the reasons, if no document is scored.
    """
    with run.deployment.transaction() as cursor:
        states = ledger.shard_states(cursor, registered.scope)
        reasons = ledger.quarantine_reasons(cursor, registered.scope)
    counts = _loss(states)
    listed = "".join(f"\n  {count:>9,}  {reason}, as {example[:200]}" for reason, count, example in reasons[:_REASONS])
    found = (
        f"{counts.quarantined:,} of {counts.documents:,} records, {counts.refused} refused and {counts.poison} poison shards were"
        f" set aside ({counts.share:.2%} of the documents, {counts.share_of_files:.2%} of the files,"
        f" {counts.share_of_bytes:.2%} of their bytes){':' if listed else ''}{listed}"
    )
    if counts.documents == counts.quarantined and all(state.state in SETTLED for state in states):
        raise CorpusError(
            f"No document of the run's snapshots could be scored. {found}\n",
            "Check the reader's text_field and the files; 'samplemix quarantine' lists every record.",
        )
    remedy = "Upload corrected files under the same names and run again, or go on without them: --accept-loss, or max_loss = 1."
    if max(counts.share, counts.share_of_files, counts.share_of_bytes) > run.config.max_loss:
        raise LossError(f"More was set aside than max_loss = {run.config.max_loss:.2%}. {found}\n", remedy)
    if run.config.max_loss < 1 and (gone := _gone(states, run.config.reader)):
        raise LossError(
            f"Nothing is left of {', '.join(gone[:_DOMAINS])}{', ...' if len(gone) > _DOMAINS else ''}. {found}\n", remedy
        )
    run.tell(1, 1, found.partition(":\n")[0], unit="checks")
    return counts


def _loss(states: Sequence[ShardState]) -> LossCounts:
    """Count what was set aside of these shards."""
    by_state = {name: [state for state in states if state.state == name] for name in SETTLED}
    left_out = by_state[ScoreState.REFUSED] + by_state[ScoreState.POISON]
    documents = sum(state.documents for state in by_state[ScoreState.DONE])
    quarantined = sum(state.quarantined for state in by_state[ScoreState.DONE])
    read, unread = (sum(state.shard.size_bytes for state in some) for some in (by_state[ScoreState.DONE], left_out))
    # Assume as many documents per byte as in the shards that could be read; if there are none, everything is lost.
    lost = quarantined + (unread * documents / read if documents else unread)
    return LossCounts(
        documents=documents,
        quarantined=quarantined,
        refused=len(by_state[ScoreState.REFUSED]),
        poison=len(by_state[ScoreState.POISON]),
        share=lost / (documents + lost - quarantined) if lost else 0.0,
        share_of_files=len(left_out) / max(1, len(states)),
        share_of_bytes=unread / max(1, read + unread),
    )


def _gone(states: Sequence[ShardState], reader: ReaderConfig) -> list[str]:
    """Snapshots, and domains named by paths, that had records and have none left."""
    left: dict[str, int] = {}
    had: set[str] = set()
    for state in states:
        snapshot, domain = parse_shard_path(state.shard.path, reader)
        for name in (f"snapshot {snapshot!r}", *([f"domain {domain!r}"] if domain is not None else [])):
            left[name] = left.get(name, 0) + state.scored
            if state.documents or state.state in LEFT_OUT:
                had.add(name)
    return sorted(name for name in had if not left[name])


def plan_tasks(run: RunContext, registered: Registered, shards: Sequence[Shard]) -> list[PlanTask]:
    """One task for each of these shards that is not cut into blocks yet."""
    with run.deployment.transaction() as cursor:
        planned = ledger.open_blocks(cursor, shards, registered.version)
    return [
        PlanTask(
            run=run.name,
            corpus_uri=run.config.corpus_uri,
            reader=run.config.reader,
            blocks=run.config.blocks,
            shard=shard,
            versions=registered.versions,
        )
        for shard in shards
        if shard.shard_id not in planned
    ]


def score_tasks(run: RunContext, registered: Registered, shards: Sequence[Shard]) -> list[ScoreTask]:
    """One task for each block of these shards that any model still has to score, shard by shard, in order of rows."""
    versions: dict[tuple[int, Block], list[ScoreVersion]] = {}
    with run.deployment.transaction() as cursor:
        for version in registered.versions:
            for shard_id, blocks in ledger.open_blocks(cursor, shards, version).items():
                for block in blocks:
                    versions.setdefault((shard_id, block), []).append(version)
    places = {shard.shard_id: place for place, shard in enumerate(shards)}
    by_id = {shard.shard_id: shard for shard in shards}
    chosen = {"device": registered.device, "precision": registered.precision, "batch_tokens": registered.batch_tokens}
    embedding = run.config.embedding.model_copy(update=chosen)
    return [
        ScoreTask(
            run=run.name,
            corpus_uri=run.config.corpus_uri,
            reader=run.config.reader,
            embedding=embedding,
            tokenizer=run.config.tokenizer,
            shard=by_id[shard_id],
            block=block,
            versions=tuple(versions[shard_id, block]),
            encoder_key=registered.encoder_key,
            tokenizer_id=registered.tokenizer_id,
            embedding_prefix=f"{Prefix.EMBEDDINGS}/{registered.encoder_key}/{registered.corpus_key}/{storable_name(by_id[shard_id])}",
        )
        for shard_id, block in sorted(versions, key=lambda item: (places[item[0]], item[1].block))
    ]


MOST_PATH_BYTES, MOST_NAME_BYTES = 640, 160
"""Longest path of a shard, and name in it, that a store's key can hold with additions: keys have up to 1,024 bytes, names 255."""


def storable_name(shard: Shard) -> str:
    """Return the name for files made from a shard: its path, or a hash of it if a store would not keep the path as it is."""
    names = shard.path.encode().split(b"/")
    # Some stores turn a backslash, or several slashes in a row, into one slash, and refuse relative names.
    kept = all(len(name) <= MOST_NAME_BYTES and name not in (b"", b".", b"..") and b"\\" not in name for name in names)
    return shard.path if kept and len(shard.path.encode()) <= MOST_PATH_BYTES else fingerprint(shard.path)


def _enter(database: str, outcome: Outcome) -> None:
    """Enter a failure into the ledger, under each pair of models; a refused shard is already entered."""
    if outcome.error is None or isinstance(outcome.error, ShardRefusedError):
        return
    task: PlanTask | ScoreTask = outcome.work.arguments[0]
    with transaction(database) as cursor:
        for version in task.versions:
            if isinstance(outcome.error, PoisonShardError):
                scores.poison_shard(cursor, task.shard, version, str(outcome.error))
            else:
                scores.fail_shard(cursor, task.shard, version, repr(outcome.error))


class _ScoreProgress:
    """Counts outcomes and reports them."""

    def __init__(self, run: RunContext, shards: int, skipped: int) -> None:
        self._run, self._shards, self._skipped = run, shards, skipped
        self._done = self._blocks = self._work = self._work_done = 0
        self._documents = self._quarantined = self._tokens = self._text_bytes = self._reused = 0
        self._under_way = 0
        self._failed: list[Outcome] = []
        self._domains: Counter[str] = Counter()
        self._tell(f"{skipped} of {shards} shards are done already" if skipped else "")

    def plan(self, shards: int) -> None:
        """Report that shards are about to be cut into blocks."""
        if shards:
            self._tell(f"cutting {shards} shards into blocks")

    def take_plan(self, outcome: Outcome) -> None:
        """Note a shard that was cut, or could not be."""
        if outcome.error is not None:
            self._failed.append(outcome)
            self._tell(f"{outcome.work.name}: {outcome.error}")

    def begin(self, tasks: Sequence[ScoreTask]) -> None:
        """Note that these blocks are about to be scored."""
        self._blocks, self._work = len(tasks), sum(map(_work, tasks))
        self._tell("")

    def take(self, outcome: Outcome) -> None:
        """Note a block that was scored, or could not be."""
        self._done += 1
        self._work_done += _work(outcome.work.arguments[0])
        if outcome.error is None:
            result: ScoredCounts = outcome.result
            self._documents += result.scored
            self._under_way = max(0, self._under_way - result.scored)
            self._quarantined += result.quarantined
            self._tokens += result.tokens
            self._text_bytes += result.text_bytes
            self._reused += result.reused
            domain = parse_shard_path(outcome.work.arguments[0].shard.path, self._run.config.reader)[1]
            self._domains.update({domain: result.scored} if domain else {})
            self._tell(self._summary() if self._done == self._blocks else "")
        else:
            self._failed.append(outcome)
            self._tell(f"{outcome.work.name}: {outcome.error}")

    def take_part(self, documents: int) -> None:
        """Note how many documents are done in unfinished blocks."""
        self._under_way = documents
        self._tell("")

    def _summary(self) -> str:
        said = [f"{self._reused:,} of them exact duplicates of texts that were embedded before"] if self._reused else []
        if len(self._domains) > 1:
            largest = ", ".join(f"{domain} {documents:,}" for domain, documents in self._domains.most_common(_DOMAINS))
            said.append(f"by domain: {largest}" + (" and others" if len(self._domains) > _DOMAINS else ""))
        return "; ".join(said)

    def _tell(self, message: str) -> None:
        documents, share = self._documents + self._under_way, None
        if self._work:
            # Assume that a document under way is as much work as those already done.
            done = self._work_done * documents / self._documents if self._documents else 0
            share = min(1.0 if self._done == self._blocks else 0.99, done / self._work)
        self._run.tell(
            self._done,
            self._blocks,
            message,
            unit="blocks",
            documents=documents,
            tokens=self._tokens,
            text_bytes=self._text_bytes,
            share=share,
        )

    def counts(self) -> ScoreCounts:
        """Return the totals. Raises a shard's lasting error, or ServiceError if shards failed in ways that may pass."""
        named = {
            kind: tuple(sorted({item.work.arguments[0].shard.path for item in self._failed if isinstance(item.error, kind)}))
            for kind in (ShardRefusedError, PoisonShardError)
        }
        others = [item for item in self._failed if not isinstance(item.error, ShardRefusedError | PoisonShardError)]
        for item in others:
            if isinstance(item.error, SampleMixError) and not item.error.may_pass:
                raise item.error
        if others:
            raise ServiceError(
                f"{len({item.work.arguments[0].shard.path for item in others})} of {self._shards} shards failed, the first is"
                f" {others[0].work.name}: {others[0].error!r}.",
                "Fix the cause and run again: the blocks that are done are kept.",
            ) from others[0].error
        return ScoreCounts(
            shards=self._shards,
            skipped=self._skipped,
            documents=self._documents,
            quarantined=self._quarantined,
            tokens=self._tokens,
            reused=self._reused,
            refused=named[ShardRefusedError],
            poison=named[PoisonShardError],
        )
