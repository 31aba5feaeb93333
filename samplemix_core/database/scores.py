"""Scores of a shard: all of them and the ledger row that accounts for them, or nothing."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from samplemix_core.database.connection import Cursor
from samplemix_core.database.copy import copy_in
from samplemix_core.database.scope import ScoredCounts, ScoreVersion, Shard
from samplemix_core.errors import AccountingError, CorpusError

REFUSED_ROW = -1
"""Row of the quarantine entry that stands for a whole shard."""


@dataclass(frozen=True)
class ShardScores:
    """What scoring one shard gave, each table in row order: schemas.SAMPLES, QUALITY and QUARANTINE, and the embedding file.

    `records` is how many the reader met, counted as it met them.
    """

    samples: pa.Table
    quality: pa.Table
    quarantine: pa.Table
    embedding_key: str
    embedding_sha256: str
    embedding_dim: int
    seconds: float
    records: int


def commit_shard(cursor: Cursor, shard: Shard, version: ScoreVersion, scores: ShardScores) -> ScoredCounts:
    """Store a shard's scores and close its ledger row, in the cursor's transaction; returns its counts. Again changes nothing.

    Samples and quarantine are facts of the file: they are written once, by whichever version is first. Of workers that
    commit the same shard, the first is right and the others change nothing. Raises CorpusError if another file has taken the
    shard's place by now, and AccountingError if samples and scores disagree with each other, with the records that the reader
    met, or with what another version found.
    """
    _lock(cursor, shard)
    if scores.samples["row"] != scores.quality["row"]:
        raise AccountingError(
            f"{shard.path}: {scores.samples.num_rows} samples, {scores.quality.num_rows} quality scores, or other rows."
        )
    scored, quarantined = scores.samples.num_rows, scores.quarantine.num_rows
    if scores.records != scored + quarantined:
        raise AccountingError(f"{shard.path}: {scores.records} records were read, {scored} scored and {quarantined} set aside.")
    tokens = pc.sum(scores.samples["n_tokens"]).as_py() or 0
    counts = ScoredCounts(scored, quarantined, tokens)
    cursor.execute(
        """
        SELECT scored, quarantined, tokens, encoder_id, quality_model_id
        FROM shard_score WHERE shard_id = %s AND state = 'done'
        """,
        (shard.shard_id,),
    )
    done = cursor.fetchall()
    if any(found[:3] != (scored, quarantined, tokens) for found in done):
        raise AccountingError(
            f"{shard.path}: {scored} samples, {quarantined} quarantined, {tokens} tokens; another version counted {done[0][:3]}."
        )
    if (version.encoder_id, version.quality_model_id) in {row[3:5] for row in done}:
        return counts
    if not done:
        _delete_samples(cursor, shard)
        copy_in(cursor, f"sample_s{shard.snapshot_id}", _sample_rows(cursor, shard, scores.samples))
        copy_in(cursor, "quarantine", scores.quarantine.append_column("shard_id", _constant(shard.shard_id, quarantined)))
    if version.quality_model_id not in {row[4] for row in done}:
        _delete_quality(cursor, shard, version)
        copy_in(cursor, f"quality_score_s{shard.snapshot_id}", _quality_rows(shard, version, scores.quality))
    cursor.execute(
        """
        INSERT INTO shard_score (shard_id, encoder_id, quality_model_id, state, etag, attempts, documents, scored, quarantined,
                                 tokens, embedding_key, embedding_sha256, embedding_rows, embedding_dim, seconds)
        VALUES (%s, %s, %s, 'done', %s, 1, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (shard_id, encoder_id, quality_model_id) DO UPDATE SET
            state = 'done', etag = EXCLUDED.etag, error = NULL, documents = EXCLUDED.documents, scored = EXCLUDED.scored,
            quarantined = EXCLUDED.quarantined, tokens = EXCLUDED.tokens, embedding_key = EXCLUDED.embedding_key,
            embedding_sha256 = EXCLUDED.embedding_sha256, embedding_rows = EXCLUDED.embedding_rows,
            embedding_dim = EXCLUDED.embedding_dim, seconds = EXCLUDED.seconds, updated_at = now()
        """,
        (
            *(shard.shard_id, version.encoder_id, version.quality_model_id, shard.etag),
            *(scored + quarantined, scored, quarantined, tokens),
            *(scores.embedding_key, scores.embedding_sha256, scored, scores.embedding_dim, scores.seconds),
        ),
    )
    return counts


def refuse_shard(cursor: Cursor, shard: Shard, version: ScoreVersion, error: str) -> None:
    """Close a shard's ledger row as refused, with one quarantine entry for the whole of it and no samples."""
    _give_up(cursor, shard, version, "refused", error)


def poison_shard(cursor: Cursor, shard: Shard, version: ScoreVersion, error: str) -> None:
    """Close a shard's ledger row as poison, because it killed its workers, with one quarantine entry for the whole of it."""
    _give_up(cursor, shard, version, "poison", error)


def fail_shard(cursor: Cursor, shard: Shard, version: ScoreVersion, error: str) -> None:
    """Note an error that may pass; the shard is pending again at the next run. A shard that is done stays done."""
    _lock(cursor, shard)
    _close(cursor, shard, version, "failed", error)


def _give_up(cursor: Cursor, shard: Shard, version: ScoreVersion, state: str, error: str) -> None:
    _lock(cursor, shard)
    _close(cursor, shard, version, state, error)
    cursor.execute("SELECT FROM shard_score WHERE shard_id = %s AND state = 'done'", (shard.shard_id,))
    if cursor.rowcount == 0:
        _delete_samples(cursor, shard)
        cursor.execute(
            "INSERT INTO quarantine (shard_id, row, byte_offset, reason, detail) VALUES (%s, %s, -1, %s, %s)",
            (shard.shard_id, REFUSED_ROW, f"shard_{state}", without_nul(error)),
        )


def _close(cursor: Cursor, shard: Shard, version: ScoreVersion, state: str, error: str) -> None:
    cursor.execute(
        """
        INSERT INTO shard_score (shard_id, encoder_id, quality_model_id, state, etag, attempts, error)
        VALUES (%s, %s, %s, %s, %s, 1, %s)
        ON CONFLICT (shard_id, encoder_id, quality_model_id) DO UPDATE SET
            state = EXCLUDED.state, error = EXCLUDED.error, updated_at = now()
        WHERE shard_score.state <> 'done'
        """,
        (shard.shard_id, version.encoder_id, version.quality_model_id, state, shard.etag, without_nul(error)),
    )


def _lock(cursor: Cursor, shard: Shard) -> None:
    cursor.execute(
        "SELECT FROM shard WHERE shard_id = %s AND etag = %s AND superseded_at IS NULL FOR NO KEY UPDATE",
        (shard.shard_id, shard.etag),
    )
    if cursor.rowcount == 0:
        raise CorpusError(
            f"{shard.path} has been replaced by another file since this run registered it (etag {shard.etag!r} then).",
            "Run again: the new file is scored.",
        )


def _delete_samples(cursor: Cursor, shard: Shard) -> None:
    cursor.execute("DELETE FROM sample WHERE snapshot_id = %s AND shard_id = %s", (shard.snapshot_id, shard.shard_id))
    cursor.execute("DELETE FROM quarantine WHERE shard_id = %s", (shard.shard_id,))


def _delete_quality(cursor: Cursor, shard: Shard, version: ScoreVersion) -> None:
    cursor.execute(
        "DELETE FROM quality_score WHERE snapshot_id = %s AND quality_model_id = %s AND shard_id = %s",
        (shard.snapshot_id, version.quality_model_id, shard.shard_id),
    )


def _sample_rows(cursor: Cursor, shard: Shard, samples: pa.Table) -> pa.Table:
    names = samples["domain"].combine_chunks().dictionary_encode()
    ids = domain_ids(cursor, names.dictionary.to_pylist())
    by_code = np.array([ids[name] for name in names.dictionary.to_pylist()], dtype=np.int32)
    domains = by_code[names.indices.to_numpy()]
    return (
        samples.drop_columns("domain")
        .append_column("domain_id", pa.array(domains))
        .append_column("snapshot_id", _constant(shard.snapshot_id, samples.num_rows))
        .append_column("shard_id", _constant(shard.shard_id, samples.num_rows))
    )


def _quality_rows(shard: Shard, version: ScoreVersion, quality: pa.Table) -> pa.Table:
    return (
        quality.append_column("snapshot_id", _constant(shard.snapshot_id, quality.num_rows))
        .append_column("shard_id", _constant(shard.shard_id, quality.num_rows))
        .append_column("quality_model_id", _constant(version.quality_model_id, quality.num_rows))
    )


def _constant(value: int, rows: int) -> pa.Array:
    return pa.array(np.full(rows, value, dtype=np.int32))


def domain_ids(cursor: Cursor, names: Iterable[str]) -> dict[str, int]:
    """Name -> id of domains, entered if they are new. Every name given is a key of the result."""
    stored = {name: without_nul(name) for name in names}
    wanted = sorted(set(stored.values()))
    cursor.execute("SELECT name, domain_id FROM domain WHERE name = ANY(%s)", (wanted,))
    ids: dict[str, int] = dict(cursor.fetchall())
    if missing := [name for name in wanted if name not in ids]:
        # Sorted, so that two shards that bring the same new domains wait for each other instead of deadlocking.
        cursor.execute("INSERT INTO domain (name) SELECT unnest(%s::text[]) ON CONFLICT (name) DO NOTHING", (missing,))
        cursor.execute("SELECT name, domain_id FROM domain WHERE name = ANY(%s)", (missing,))
        ids |= dict(cursor.fetchall())
    return {name: ids[clean] for name, clean in stored.items()}


def domain_names(cursor: Cursor) -> dict[int, str]:
    """Id -> name of every domain."""
    cursor.execute("SELECT domain_id, name FROM domain")
    return dict(cursor.fetchall())


def without_nul(text: str) -> str:
    """The text as Postgres can hold it: NUL becomes U+FFFD, as in copy_in."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
