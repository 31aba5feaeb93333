"""The ledger: how each shard is cut into blocks, what became of both under each pair of models, and whether it all adds up."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from psycopg2.extras import RealDictCursor

from samplemix_core.corpus.records import Block
from samplemix_core.database.connection import Cursor, Named, rows_as, stream_rows
from samplemix_core.database.scope import SETTLED, WHOLE, Group, Scope, ScoredCounts, ScoreState, ScoreVersion, Shard, ShardState
from samplemix_core.errors import AccountingError

_SHARD = [field.name for field in fields(Shard)]


def shard_states(cursor: Cursor, scope: Scope, group: Group = WHOLE) -> list[ShardState]:
    """The shards of a scope, or of a group of it, with their states, in the order of snapshot name and path."""
    cursor.execute(
        """
        SELECT shard.shard_id, snapshot_id, snapshot.name AS snapshot, path, shard.etag, size_bytes, stamp,
               coalesce(state, 'pending') AS state, coalesce(attempts, 0) AS attempts, error,
               coalesce(documents, 0) AS documents, coalesce(scored, 0) AS scored, coalesce(quarantined, 0) AS quarantined,
               coalesce(tokens, 0) AS tokens, embedding_digest
        FROM shard
        JOIN snapshot USING (snapshot_id)
        LEFT JOIN shard_score
            ON shard_score.shard_id = shard.shard_id AND shard_score.etag = shard.etag
            AND encoder_id = %(encoder)s AND quality_model_id = %(quality)s
        WHERE snapshot_id = ANY(%(snapshots)s) AND superseded_at IS NULL
            AND shard.shard_id <= %(last)s AND shard.shard_id %% %(groups)s = %(group)s
        ORDER BY snapshot.name COLLATE "C", path COLLATE "C"
        """,
        {
            "encoder": scope.version.encoder_id,
            "quality": scope.version.quality_model_id,
            "snapshots": list(scope.snapshot_ids),
            "last": scope.last_shard_id,
            "group": group.index,
            "groups": group.count,
        },
    )
    return [
        ShardState(shard=Shard(**{name: row.pop(name) for name in _SHARD}), state=ScoreState(row.pop("state")), **row)
        for row in rows_as(cursor, Named)
    ]


def registered_shards(cursor: Cursor, scope: Scope) -> list[Shard]:
    """Return the shards of a scope as they were registered for it, including those replaced since."""
    cursor.execute(
        """
        SELECT DISTINCT ON (snapshot_id, path) shard_id, snapshot_id, snapshot.name AS snapshot, path, etag, size_bytes, stamp
        FROM shard JOIN snapshot USING (snapshot_id)
        WHERE snapshot_id = ANY(%s) AND shard_id <= %s
        ORDER BY snapshot_id, path, shard_id DESC
        """,
        (list(scope.snapshot_ids), scope.last_shard_id),
    )
    return rows_as(cursor, Shard)


def pending_shards(states: Sequence[ShardState], *, retry_refused: bool = False) -> list[Shard]:
    """Return the shards still to be scored, in the order given.

    Refused and poison shards are left out, because the same bytes end the same way, unless `retry_refused`.
    """
    settled = (ScoreState.DONE,) if retry_refused else SETTLED
    return [item.shard for item in states if item.state not in settled]


def begin_shards(cursor: Cursor, shards: Sequence[Shard], version: ScoreVersion) -> None:
    """Record that scoring of these shards begins, or begins again; done shards stay done."""
    cursor.execute(
        """
        INSERT INTO shard_score (shard_id, encoder_id, quality_model_id, state, etag, attempts)
        SELECT shard_id, %s, %s, 'pending', etag, 1 FROM unnest(%s::int[], %s::text[]) AS begun (shard_id, etag)
        ON CONFLICT (shard_id, encoder_id, quality_model_id) DO UPDATE SET
            attempts = shard_score.attempts + 1, state = 'pending', error = NULL, updated_at = now()
        WHERE shard_score.state <> 'done'
        """,
        (
            *(version.encoder_id, version.quality_model_id),
            *([shard.shard_id for shard in shards], [shard.etag for shard in shards]),
        ),
    )


def save_plan(cursor: Cursor, shard: Shard, blocks: Sequence[Block]) -> None:
    """Store the blocks that a shard is cut into. It is cut only once: an existing plan is left unchanged."""
    cursor.execute("SELECT FROM shard WHERE shard_id = %s FOR NO KEY UPDATE", (shard.shard_id,))
    cursor.execute("SELECT FROM block WHERE shard_id = %s LIMIT 1", (shard.shard_id,))
    if cursor.rowcount == 0:
        columns = zip(*((item.block, item.first_row, item.rows, item.byte_offset, item.n_bytes) for item in blocks), strict=True)
        cursor.execute(
            """
            INSERT INTO block (shard_id, block, first_row, rows, byte_offset, n_bytes)
            SELECT %s, * FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
            """,
            (shard.shard_id, *map(list, columns)),
        )


def open_blocks(cursor: Cursor, shards: Sequence[Shard], version: ScoreVersion) -> dict[int, list[Block]]:
    """Return, by shard id, the blocks still to be scored of the shards that have a plan, in order."""
    cursor.execute(
        """
        SELECT shard_id, block, first_row, rows, byte_offset, n_bytes, embedding_key IS NULL
        FROM block
        LEFT JOIN (SELECT shard_id, block, embedding_key FROM block_score WHERE encoder_id = %s AND quality_model_id = %s) AS done
            USING (shard_id, block)
        WHERE shard_id = ANY(%s)
        ORDER BY shard_id, block
        """,
        (version.encoder_id, version.quality_model_id, [shard.shard_id for shard in shards]),
    )
    found: dict[int, list[Block]] = {}
    for shard_id, *block, is_open in cursor.fetchall():
        blocks = found.setdefault(shard_id, [])
        if is_open:
            blocks.append(Block(*block))
    return found


def block_starts(cursor: Cursor, shard_ids: Sequence[int]) -> dict[int, tuple[list[int], list[int]]]:
    """Return, by shard id, the first rows of a shard's blocks and the bytes where they begin, for the shards that have a plan."""
    cursor.execute(
        """
        SELECT shard_id, array_agg(first_row ORDER BY block), array_agg(byte_offset ORDER BY block)
        FROM block WHERE shard_id = ANY(%s) GROUP BY shard_id
        """,
        (list(shard_ids),),
    )
    return {shard_id: (rows, offsets) for shard_id, rows, offsets in cursor.fetchall()}


def block_counts(cursor: Cursor, shard: Shard, version: ScoreVersion, block: Block) -> ScoredCounts | None:
    """Return the counts of a scored block; None if it isn't scored."""
    cursor.execute(
        "SELECT scored, quarantined, tokens, text_bytes, reused FROM block_score"
        " WHERE shard_id = %s AND encoder_id = %s AND quality_model_id = %s AND block = %s",
        (shard.shard_id, version.encoder_id, version.quality_model_id, block.block),
    )
    return next(iter(rows_as(cursor, ScoredCounts)), None)


def list_shards(
    cursor: Cursor, corpus_uri: str | None = None, snapshot: str | None = None, states: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Yield the shards of one corpus or of all, under each pair of models that has begun them, by corpus, snapshot and path.

    `states` keeps only shards in one of these states; a shard that hasn't been begun is pending.
    """
    return stream_rows(
        cursor,
        """
        SELECT uri AS corpus, name AS snapshot, path AS shard, coalesce(state, 'pending') AS state,
               coalesce(attempts, 0) AS attempts, size_bytes,
               (SELECT count(*) FROM block WHERE block.shard_id = shard.shard_id) AS blocks,
               (SELECT count(*) FROM block_score AS b WHERE b.shard_id = shard.shard_id
                AND b.encoder_id = shard_score.encoder_id AND b.quality_model_id = shard_score.quality_model_id) AS blocks_done,
               documents, scored, quarantined, tokens, reused,
               round(seconds::numeric, 1)::float8 AS seconds, error
        FROM shard
        JOIN snapshot USING (snapshot_id)
        JOIN corpus USING (corpus_id)
        LEFT JOIN shard_score USING (shard_id)
        WHERE superseded_at IS NULL
            AND (%(uri)s::text IS NULL OR uri = %(uri)s) AND (%(snapshot)s::text IS NULL OR name = %(snapshot)s)
            AND (%(states)s::text[] = '{}' OR coalesce(state, 'pending') = ANY(%(states)s))
        ORDER BY uri COLLATE "C", corpus_id, name, path, encoder_id, quality_model_id
        """,
        {"uri": corpus_uri, "snapshot": snapshot, "states": list(states)},
        RealDictCursor,
    )


def retry_shards(cursor: Cursor, corpus_uri: str, paths: Sequence[str] = ()) -> list[str]:
    """Make refused and poison shards of a corpus pending again, all or those with these paths; returns the paths, sorted."""
    cursor.execute(
        """
        UPDATE shard_score SET state = 'pending', error = NULL, updated_at = now()
        FROM shard JOIN snapshot USING (snapshot_id) JOIN corpus USING (corpus_id)
        WHERE shard.shard_id = shard_score.shard_id AND superseded_at IS NULL AND uri = %(uri)s
            AND state IN ('refused', 'poison') AND (%(paths)s::text[] = '{}' OR path = ANY(%(paths)s))
        RETURNING path, shard.shard_id
        """,
        {"uri": corpus_uri, "paths": list(paths)},
    )
    found = cursor.fetchall()
    cursor.execute("DELETE FROM quarantine WHERE row = -1 AND shard_id = ANY(%s)", ([shard_id for _, shard_id in found],))
    return sorted({path for path, _ in found})


def list_quarantine(cursor: Cursor, corpus_uri: str | None = None) -> Iterator[dict[str, Any]]:
    """Every quarantined record (row -1: the whole shard), of one corpus or of all, in the order of corpus, snapshot, path, row."""
    return stream_rows(
        cursor,
        """
        SELECT uri AS corpus, name AS snapshot, path AS shard, row, byte_offset, reason, detail
        FROM quarantine
        JOIN shard USING (shard_id)
        JOIN snapshot USING (snapshot_id)
        JOIN corpus USING (corpus_id)
        WHERE %(uri)s::text IS NULL OR uri = %(uri)s
        ORDER BY uri COLLATE "C", corpus_id, name, path, row
        """,
        {"uri": corpus_uri},
        RealDictCursor,
    )


def scoring_progress(cursor: Cursor, corpus_uri: str | None = None) -> list[dict[str, Any]]:
    """Return the rows of view scoring_progress, for one corpus or all: how far scoring is, by snapshot and domain."""
    cursor.execute(
        """
        SELECT corpus, snapshot, domain, encoder, encoder_key, quality_model, blocks_done, blocks, documents, tokens, tokenizer,
               encoder_tokens, text_bytes, core_seconds, documents_per_core_second, core_seconds_left
        FROM scoring_progress WHERE %(uri)s::text IS NULL OR corpus = %(uri)s
        ORDER BY corpus COLLATE "C", snapshot COLLATE "C", domain COLLATE "C", encoder, encoder_key, quality_model, tokenizer
        """,
        {"uri": corpus_uri},
    )
    return rows_as(cursor, dict)


def run_cost(cursor: Cursor, run: str) -> list[dict[str, Any]]:
    """Return the rows of view run_cost for one run: tasks, core-seconds and GPU-seconds of each step that used workers."""
    cursor.execute("SELECT step, tasks, core_seconds, gpu_seconds FROM run_cost WHERE run = %s ORDER BY core_seconds DESC", (run,))
    return rows_as(cursor, dict)


def quarantine_reasons(cursor: Cursor, scope: Scope) -> list[tuple[str, int, str]]:
    """Return (reason, number of records set aside for it, one of them with its detail), the most frequent first."""
    cursor.execute(
        """
        SELECT reason, count(*), min(path || CASE WHEN row >= 0 THEN ', row ' || row ELSE '' END || ': ' || detail)
        FROM quarantine JOIN shard USING (shard_id)
        WHERE snapshot_id = ANY(%s) AND superseded_at IS NULL AND shard_id <= %s
        GROUP BY reason ORDER BY count(*) DESC, reason
        """,
        (list(scope.snapshot_ids), scope.last_shard_id),
    )
    return [(reason, count, example) for reason, count, example in cursor.fetchall()]


@dataclass(frozen=True)
class Totals:
    """Counts over the shards that are done: documents = scored + quarantined."""

    shards: int
    documents: int
    scored: int
    quarantined: int
    tokens: int


def totals(states: Sequence[ShardState]) -> Totals:
    """Add up the shards that are done."""
    done = [item for item in states if item.is_scored]
    return Totals(
        shards=len(done),
        documents=sum(item.documents for item in done),
        scored=sum(item.scored for item in done),
        quarantined=sum(item.quarantined for item in done),
        tokens=sum(item.tokens for item in done),
    )


def check_accounts(cursor: Cursor, scope: Scope, states: Sequence[ShardState]) -> Totals:
    """Count the rows of every done shard and compare them with its state in the ledger; returns the totals.

    Raises AccountingError naming the first shard whose number of samples, quality scores, quarantined records or tokens differs
    from the ledger's.
    """
    counted: dict[str, dict[int, tuple[int, ...]]] = {}
    for name, query in _COUNTS.items():
        cursor.execute(query, {"snapshots": list(scope.snapshot_ids), "quality": scope.version.quality_model_id})
        counted[name] = {row[0]: tuple(row[1:]) for row in cursor.fetchall()}
    for item in states:
        if not item.is_scored:
            continue
        shard_id = item.shard.shard_id
        for name, expected in (
            ("samples and tokens", (item.scored, item.tokens)),
            ("quality scores", (item.scored,)),
            ("quarantined records", (item.quarantined,)),
        ):
            found = counted[name].get(shard_id, (0,) * len(expected))
            if found != expected:
                raise AccountingError(f"{item.shard.path}: the ledger says {expected} {name}, the tables hold {found}.")
    return totals(states)


_COUNTS = {
    "samples and tokens": (
        "SELECT shard_id, count(*), sum(n_tokens)::bigint FROM sample WHERE snapshot_id = ANY(%(snapshots)s) GROUP BY shard_id"
    ),
    "quality scores": (
        "SELECT shard_id, count(*) FROM quality_score"
        " WHERE snapshot_id = ANY(%(snapshots)s) AND quality_model_id = %(quality)s GROUP BY shard_id"
    ),
    "quarantined records": (
        "SELECT shard_id, count(*) FROM quarantine JOIN shard USING (shard_id)"
        " WHERE snapshot_id = ANY(%(snapshots)s) GROUP BY shard_id"
    ),
}
