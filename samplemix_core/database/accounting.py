"""Nothing is lost silently: what came in, what became of it, and which samples are copies of others."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from samplemix_core.database.columns import RowSet
from samplemix_core.database.connection import Cursor, stream_rows
from samplemix_core.database.ledger import Scope, ShardState, shard_states
from samplemix_core.errors import AccountingError


@dataclass(frozen=True)
class Totals:
    """Counts over the shards that are done: documents = scored + quarantined."""

    shards: int
    documents: int
    scored: int
    quarantined: int
    tokens: int


def totals(states: Sequence[ShardState]) -> Totals:
    """Add up the done shards of `ledger.shard_states`."""
    done = [item for item in states if item.state == "done"]
    return Totals(
        shards=len(done),
        documents=sum(item.documents for item in done),
        scored=sum(item.scored for item in done),
        quarantined=sum(item.quarantined for item in done),
        tokens=sum(item.tokens for item in done),
    )


def check_accounts(cursor: Cursor, scope: Scope) -> Totals:
    """Count the rows of every done shard and compare them with its ledger row; returns the totals.

    Raises AccountingError naming the first shard where samples, quality scores or quarantined records are not as many as
    the ledger says, or their tokens not as many.
    """
    states = shard_states(cursor, scope)
    counted: dict[str, dict[int, tuple[int, ...]]] = {}
    for name, query in _COUNTS.items():
        cursor.execute(query, {"snapshots": list(scope.snapshots), "quality": scope.version.quality_model_id})
        counted[name] = {row[0]: tuple(row[1:]) for row in cursor.fetchall()}
    for item in states:
        if item.state != "done":
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


def find_duplicates(cursor: Cursor, scope: Scope) -> dict[int, RowSet]:
    """The samples that repeat the text of an earlier one: shard id -> their rows, for shards that have any.

    Among samples of one content hash in the done shards of the scope, the first by snapshot name, path (both in
    byte order) and row is kept; all others are duplicates. Postgres sorts only samples that have a double, on disk where
    they are many; memory here is a bit for each row of a shard that has duplicates, and the duplicates of one shard.
    """
    found = stream_rows(
        cursor,
        """
        WITH repeated AS MATERIALIZED (
            SELECT content_hash FROM sample WHERE snapshot_id = ANY(%(snapshots)s) GROUP BY content_hash HAVING count(*) > 1
        ), ranked AS (
            SELECT shard_id, row_number() OVER (ORDER BY snapshot.name COLLATE "C", path COLLATE "C") AS rank
            FROM shard
            JOIN snapshot USING (snapshot_id)
            JOIN shard_score USING (shard_id, etag)
            WHERE snapshot_id = ANY(%(snapshots)s) AND superseded_at IS NULL AND shard_id <= %(last)s AND state = 'done'
                AND encoder_id = %(encoder)s AND quality_model_id = %(quality)s
        ), numbered AS (
            SELECT shard_id, row, row_number() OVER (PARTITION BY content_hash ORDER BY rank, row) AS number
            FROM sample JOIN repeated USING (content_hash) JOIN ranked USING (shard_id)
            WHERE snapshot_id = ANY(%(snapshots)s)
        )
        SELECT shard_id, row FROM numbered WHERE number > 1 ORDER BY shard_id, row
        """,
        {
            "snapshots": list(scope.snapshots),
            "last": scope.last_shard_id,
            "encoder": scope.version.encoder_id,
            "quality": scope.version.quality_model_id,
        },
    )
    by_shard = itertools.groupby(found, key=itemgetter(0))
    return {shard_id: RowSet.of(np.fromiter((row for _, row in rows), dtype=np.int64)) for shard_id, rows in by_shard}
