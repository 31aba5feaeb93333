"""The ledger: corpora, their snapshots and shards, and what became of each shard under each pair of models."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2.extras import Json

from samplemix_core.errors import CorpusError
from samplemix_core.identity import fingerprint
from samplemix_core.store.object_store import ObjectInfo
from samplemix_core.store.partitions import ensure_partition
from samplemix_core.store.postgres import Cursor

_ROWS_PER_INSERT = 10_000
_NAMED = 10
"""How many shards an error names, at most."""


@dataclass(frozen=True)
class Corpus:
    """A registered corpus. `corpus_key` is its identity; `corpus_id` is the database's own."""

    corpus_id: int
    corpus_key: str
    current_quality_model: int | None
    current_cluster_model: int | None


@dataclass(frozen=True)
class Shard:
    """A registered shard: its place, and the content it had when it was registered."""

    shard_id: int
    snapshot_id: int
    snapshot: str
    path: str
    etag: str
    size_bytes: int


@dataclass(frozen=True)
class ScoreVersion:
    """The pair of models that scores are made with."""

    encoder_id: int
    quality_model_id: int


@dataclass(frozen=True)
class ShardState:
    """A shard and what the ledger says of it under one version; `pending` with zero attempts where it says nothing yet."""

    shard: Shard
    state: str
    attempts: int
    error: str | None
    documents: int
    scored: int
    quarantined: int
    tokens: int
    embedding_key: str | None
    embedding_sha256: str | None


def register_corpus(cursor: Cursor, *, uri: str, reader: dict[str, Any], tokenizer_id: str) -> Corpus:
    """Enter a corpus; one with the same location, reader and tokenizer is the same corpus."""
    key = fingerprint({"uri": uri, "reader": reader, "tokenizer_id": tokenizer_id})
    cursor.execute(
        "INSERT INTO corpus (corpus_key, uri, reader, tokenizer_id) VALUES (%s, %s, %s, %s) ON CONFLICT (corpus_key) DO NOTHING",
        (key, uri, Json(reader), tokenizer_id),
    )
    cursor.execute(
        "SELECT corpus_id, corpus_key, current_quality_model, current_cluster_model FROM corpus WHERE corpus_key = %s", (key,)
    )
    return Corpus(*cursor.fetchone())


def register_snapshot(cursor: Cursor, corpus_id: int, name: str, entries: Iterable[ObjectInfo]) -> int:
    """Enter a snapshot and its shards (keys relative to the corpus URI), with its partitions; returns the snapshot's id.

    Shards that are new are added. Raises CorpusError, naming them, for shards that were registered and now are gone or
    have another etag or size: what was scored from them would no longer be true.
    """
    cursor.execute(
        "INSERT INTO snapshot (corpus_id, name) VALUES (%s, %s) ON CONFLICT (corpus_id, name) DO NOTHING", (corpus_id, name)
    )
    # The lock lets one registration of this snapshot at a time compare and add.
    cursor.execute("SELECT snapshot_id FROM snapshot WHERE corpus_id = %s AND name = %s FOR UPDATE", (corpus_id, name))
    (snapshot_id,) = cursor.fetchone()
    for parent in ("sample", "quality_score"):
        ensure_partition(cursor, parent, f"{parent}_s{snapshot_id}", snapshot_id)
    found = {entry.key: entry for entry in entries}
    cursor.execute("SELECT path, etag, size_bytes FROM shard WHERE snapshot_id = %s", (snapshot_id,))
    registered = {path: (etag, size) for path, etag, size in cursor.fetchall()}
    vanished = sorted(path for path in registered if path not in found)
    changed = sorted(path for path, was in registered.items() if path in found and was != (found[path].etag, found[path].size))
    if vanished or changed:
        trouble = [
            f"{len(paths)} {what}: {_some(paths)}" for what, paths in (("vanished", vanished), ("changed", changed)) if paths
        ]
        raise CorpusError(
            f"Shards of snapshot {name!r} are not what was registered; {'; '.join(trouble)}.",
            "Restore the files, or put the new ones into a snapshot of another name.",
        )
    new = [found[path] for path in sorted(found) if path not in registered]
    for start in range(0, len(new), _ROWS_PER_INSERT):
        part = new[start : start + _ROWS_PER_INSERT]
        cursor.execute(
            "INSERT INTO shard (snapshot_id, path, etag, size_bytes)"
            " SELECT %s, * FROM unnest(%s::text[], %s::text[], %s::bigint[])",
            (snapshot_id, [entry.key for entry in part], [entry.etag for entry in part], [entry.size for entry in part]),
        )
    return int(snapshot_id)


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(paths[:_NAMED]) + more


def ensure_encoder(cursor: Cursor, encoder_key: str, spec: dict[str, Any]) -> int:
    """The id of an encoder, entered if it is new."""
    cursor.execute(
        "INSERT INTO encoder (encoder_key, spec) VALUES (%s, %s) ON CONFLICT (encoder_key) DO NOTHING", (encoder_key, Json(spec))
    )
    cursor.execute("SELECT encoder_id FROM encoder WHERE encoder_key = %s", (encoder_key,))
    return int(cursor.fetchone()[0])


def ensure_quality_model(
    cursor: Cursor, quality_model_key: str, spec: dict[str, Any], *, q_low: float = 0.0, q_high: float = 10.0
) -> int:
    """The id of a quality model, entered if it is new; q_low..q_high is the range that is normalised to 0..1."""
    cursor.execute(
        "INSERT INTO quality_model (quality_model_key, spec, q_low, q_high) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (quality_model_key) DO NOTHING",
        (quality_model_key, Json(spec), q_low, q_high),
    )
    cursor.execute("SELECT quality_model_id FROM quality_model WHERE quality_model_key = %s", (quality_model_key,))
    return int(cursor.fetchone()[0])


def set_current_models(cursor: Cursor, corpus_id: int, *, quality_model_id: int, cluster_model_id: int) -> None:
    """Choose the models that view sample_scores shows for a corpus."""
    cursor.execute(
        "UPDATE corpus SET current_quality_model = %s, current_cluster_model = %s WHERE corpus_id = %s",
        (quality_model_id, cluster_model_id, corpus_id),
    )


def shard_states(cursor: Cursor, snapshots: Sequence[int], version: ScoreVersion) -> list[ShardState]:
    """Every shard of the snapshots (ids) with its state under a version, in the order of snapshot name and path."""
    cursor.execute(
        """
        SELECT shard.shard_id, snapshot_id, snapshot.name, path, shard.etag, size_bytes,
               coalesce(state, 'pending'), coalesce(attempts, 0), error,
               coalesce(documents, 0), coalesce(scored, 0), coalesce(quarantined, 0), coalesce(tokens, 0),
               embedding_key, embedding_sha256
        FROM shard
        JOIN snapshot USING (snapshot_id)
        LEFT JOIN shard_score
            ON shard_score.shard_id = shard.shard_id AND shard_score.etag = shard.etag
            AND encoder_id = %(encoder)s AND quality_model_id = %(quality)s
        WHERE snapshot_id = ANY(%(snapshots)s)
        ORDER BY snapshot.name COLLATE "C", path COLLATE "C"
        """,
        {"encoder": version.encoder_id, "quality": version.quality_model_id, "snapshots": list(snapshots)},
    )
    return [ShardState(Shard(*row[:6]), *row[6:]) for row in cursor.fetchall()]


def pending_shards(cursor: Cursor, snapshots: Sequence[int], version: ScoreVersion, *, retry_refused: bool = False) -> list[Shard]:
    """The shards still to be scored, in the order of snapshot name and path.

    Refused and poison shards are left out, because the same bytes end the same way, unless `retry_refused`.
    """
    settled = {"done"} if retry_refused else {"done", "refused", "poison"}
    return [item.shard for item in shard_states(cursor, snapshots, version) if item.state not in settled]


def begin_shard(cursor: Cursor, shard: Shard, version: ScoreVersion) -> int:
    """Note that scoring a shard begins, unless it is done; returns how many times it has been begun."""
    cursor.execute(
        """
        INSERT INTO shard_score (shard_id, encoder_id, quality_model_id, state, etag, attempts)
        VALUES (%s, %s, %s, 'pending', %s, 1)
        ON CONFLICT (shard_id, encoder_id, quality_model_id) DO UPDATE SET
            attempts = shard_score.attempts + 1,
            state = CASE WHEN shard_score.state = 'done' THEN 'done' ELSE 'pending' END,
            error = NULL, updated_at = now()
        RETURNING attempts
        """,
        (shard.shard_id, version.encoder_id, version.quality_model_id, shard.etag),
    )
    return int(cursor.fetchone()[0])


def list_quarantine(cursor: Cursor, corpus_uri: str | None = None) -> list[dict[str, Any]]:
    """Every quarantined record (row -1: the whole shard), of one corpus or of all, in the order of corpus, snapshot, path, row."""
    cursor.execute(
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
    )
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
