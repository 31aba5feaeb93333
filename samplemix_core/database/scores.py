"""Scores of a block, stored with the ledger row that accounts for them or not at all; and shards that are done or given up."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from samplemix_core.corpus.records import UNREADABLE, Block
from samplemix_core.database.connection import Cursor, Named, one
from samplemix_core.database.copy import copy_in, without_nul
from samplemix_core.database.registration import domain_ids
from samplemix_core.database.removal import delete_block, delete_shard
from samplemix_core.database.rollups import add_scores
from samplemix_core.database.scope import ScoredCounts, ScoreState, ScoreVersion, Shard
from samplemix_core.embedding.vectors import add_digests
from samplemix_core.errors import AccountingError, CorpusError, ShardRefusedError

REFUSED_ROW = -1
"""Row of the quarantine entry that stands for a whole shard."""


@dataclass(frozen=True)
class BlockScores:
    """The result of scoring one block: schemas.SAMPLES, QUALITY and QUARANTINE, each in row order, and the embedding file.

    `embedding_digest` is embedding.vectors.VectorDigest of its vectors. `records` is how many records the reader met, counted as it
    met them. `reused` documents took existing vectors. `encoder_tokens` is the documents' tokens by the encoder's own tokenizer.
    `run` is the run that took the time.
    """

    samples: pa.Table
    quality: pa.Table
    quarantine: pa.Table
    embedding_key: str
    embedding_sha256: str
    embedding_digest: str
    embedding_dim: int
    seconds: float
    records: int
    reused: int = 0
    encoder_tokens: int = 0
    run: str | None = None


def commit_block(cursor: Cursor, shard: Shard, version: ScoreVersion, block: Block, scores: BlockScores) -> ScoredCounts:
    """Store a block's scores and its ledger row, in the cursor's transaction; returns its counts. Repeating it changes nothing.

    With the last block the shard is done. Samples and quarantine are facts of the file: they are written once, by whichever version
    is first. If several workers commit the same block, the first one counts and the others change nothing. Raises CorpusError if
    another file has replaced the shard meanwhile, ShardRefusedError if it has been refused meanwhile or no record of it can be
    read, and AccountingError if samples and scores disagree with each other, with the records that the reader met, or with what
    another version found.
    """
    _lock(cursor, shard)
    where = f"{shard.path}, block {block.block}"
    if scores.samples["row"] != scores.quality["row"]:
        raise AccountingError(
            f"{where}: {scores.samples.num_rows} samples, {scores.quality.num_rows} quality scores, or other rows."
        )
    counts = ScoredCounts(
        scored=scores.samples.num_rows,
        quarantined=scores.quarantine.num_rows,
        tokens=pc.sum(scores.samples["n_tokens"]).as_py() or 0,
        text_bytes=pc.sum(scores.samples["n_bytes"]).as_py() or 0,
        reused=scores.reused,
    )
    if scores.records != counts.scored + counts.quarantined:
        raise AccountingError(
            f"{where}: {scores.records} records were read, {counts.scored} scored and {counts.quarantined} set aside."
        )
    if block.rows is not None and scores.records > block.rows:
        raise AccountingError(f"{where}: {scores.records} records were read of {block.rows} rows.")
    done = _committed(cursor, shard, version, block)
    for found in done.values():
        if found != counts:
            raise AccountingError(f"{where}: {counts}; another version counted {found}.")
    if version not in done:
        _enter_block(cursor, shard, version, block, scores, counts)
    _close_if_done(cursor, shard, version, scores.quarantine)
    if version not in done:
        _store(cursor, shard, version, block, scores, done.keys())
    return counts


def _committed(cursor: Cursor, shard: Shard, version: ScoreVersion, block: Block) -> dict[ScoreVersion, ScoredCounts]:
    """What each version counted of a block, in one statement; raise ShardRefusedError if the shard is refused."""
    cursor.execute(
        """
        SELECT NULL AS error, encoder_id, quality_model_id, scored, quarantined, tokens, text_bytes
        FROM block_score WHERE shard_id = %(shard)s AND block = %(block)s
        UNION ALL
        SELECT error, NULL, NULL, NULL, NULL, NULL, NULL FROM shard_score
        WHERE shard_id = %(shard)s AND encoder_id = %(encoder)s AND quality_model_id = %(quality)s AND state = 'refused'
        """,
        {
            "shard": shard.shard_id,
            "block": block.block,
            "encoder": version.encoder_id,
            "quality": version.quality_model_id,
        },
    )
    rows = cursor.fetchall()
    for error, *_ in rows:
        if error is not None:
            raise ShardRefusedError(error)
    return {ScoreVersion(*row[1:3]): ScoredCounts(*row[3:]) for row in rows}


def _store(
    cursor: Cursor, shard: Shard, version: ScoreVersion, block: Block, scores: BlockScores, done: Collection[ScoreVersion]
) -> None:
    """Write what no other version has written; roll-ups last, because other transactions on the snapshot wait for them."""
    samples = _sample_rows(cursor, shard, scores.samples)
    new_quality = version.quality_model_id not in {other.quality_model_id for other in done}
    if not done or new_quality:
        delete_block(cursor, shard, block, None if not done else version.quality_model_id)
    if not done:
        copy_in(cursor, f"sample_s{shard.snapshot_id}", samples)
        if scores.quarantine.num_rows:
            shards = _constant(shard.shard_id, scores.quarantine.num_rows)
            copy_in(cursor, "quarantine", scores.quarantine.append_column("shard_id", shards))
    if new_quality:
        copy_in(cursor, f"quality_score_s{shard.snapshot_id}", _quality_rows(shard, version, scores.quality))
        add_scores(cursor, shard, version.quality_model_id, samples, scores.quality)


def _enter_block(
    cursor: Cursor, shard: Shard, version: ScoreVersion, block: Block, scores: BlockScores, counts: ScoredCounts
) -> None:
    cursor.execute(
        """
        INSERT INTO block_score (shard_id, encoder_id, quality_model_id, block, scored, quarantined, tokens, text_bytes, reused,
                                 embedding_key, embedding_sha256, embedding_digest, embedding_dim, encoder_tokens, seconds, run)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        (
            *(shard.shard_id, version.encoder_id, version.quality_model_id, block.block),
            *(counts.scored, counts.quarantined, counts.tokens, counts.text_bytes, counts.reused),
            *(scores.embedding_key, scores.embedding_sha256, scores.embedding_digest, scores.embedding_dim),
            *(scores.encoder_tokens, scores.seconds, scores.run),
        ),
    )


def _require_readable(cursor: Cursor, shard: Shard, quarantine: pa.Table, records: int) -> None:
    """Raise ShardRefusedError if every record of a shard was set aside because of the file; `quarantine` is not stored yet."""
    cursor.execute(
        "SELECT row, reason, detail FROM quarantine WHERE shard_id = %s AND row <> %s ORDER BY row", (shard.shard_id, REFUSED_ROW)
    )
    found = cursor.fetchall() + list(zip(*(quarantine[name].to_pylist() for name in ("row", "reason", "detail")), strict=True))
    if all(reason in UNREADABLE for _, reason, _ in found):
        row, reason, detail = min(found)
        raise ShardRefusedError(
            f"No record of {shard.path!r} can be read, of {records:,}; the first, row {row}, for {reason}: {detail}.",
            "Look at what the file holds, and at the reader's fields; upload it as it should be under the same name.",
        )


def _close_if_done(cursor: Cursor, shard: Shard, version: ScoreVersion, quarantine: pa.Table) -> None:
    """Close the shard's ledger row, with the sums over its blocks, if no block is missing."""
    key = (shard.shard_id, version.encoder_id, version.quality_model_id)
    cursor.execute(
        """
        SELECT (SELECT count(*) FROM block WHERE block.shard_id = block_score.shard_id) - count(*) AS missing,
               sum(scored)::bigint AS scored, sum(quarantined)::bigint AS quarantined, sum(tokens)::bigint AS tokens,
               sum(text_bytes)::bigint AS text_bytes, sum(reused)::bigint AS reused,
               array_agg(embedding_digest) AS digests, min(embedding_dim) AS embedding_dim, sum(seconds) AS seconds
        FROM block_score WHERE shard_id = %s AND encoder_id = %s AND quality_model_id = %s GROUP BY shard_id
        """,
        key,
    )
    found = one(cursor, Named)
    if found["missing"]:
        return
    if found["quarantined"] and not found["scored"]:
        _require_readable(cursor, shard, quarantine, found["quarantined"])
    cursor.execute("DELETE FROM quarantine WHERE shard_id = %s AND row = %s", (shard.shard_id, REFUSED_ROW))
    cursor.execute(
        """
        INSERT INTO shard_score (shard_id, encoder_id, quality_model_id, state, etag, attempts, documents, scored, quarantined,
                                 tokens, text_bytes, reused, embedding_digest, embedding_rows, embedding_dim, seconds)
        VALUES (%s, %s, %s, 'done', %s, 1, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (shard_id, encoder_id, quality_model_id) DO UPDATE SET
            state = 'done', etag = EXCLUDED.etag, error = NULL, documents = EXCLUDED.documents, scored = EXCLUDED.scored,
            quarantined = EXCLUDED.quarantined, tokens = EXCLUDED.tokens, text_bytes = EXCLUDED.text_bytes,
            reused = EXCLUDED.reused, embedding_digest = EXCLUDED.embedding_digest,
            embedding_rows = EXCLUDED.embedding_rows, embedding_dim = EXCLUDED.embedding_dim, seconds = EXCLUDED.seconds,
            updated_at = now()
        WHERE shard_score.state <> 'done'
        """,
        (
            *(*key, shard.etag),
            *(found["scored"] + found["quarantined"], found["scored"], found["quarantined"], found["tokens"]),
            *(found["text_bytes"], found["reused"]),
            *(add_digests(found["digests"]), found["scored"], found["embedding_dim"], found["seconds"]),
        ),
    )


def refuse_shard(cursor: Cursor, shard: Shard, version: ScoreVersion, error: str) -> None:
    """Close a shard's ledger row as refused, with one quarantine entry for the whole shard and no samples."""
    _give_up(cursor, shard, version, ScoreState.REFUSED, error)


def poison_shard(cursor: Cursor, shard: Shard, version: ScoreVersion, error: str) -> None:
    """Close a shard's ledger row as poison, because it killed its workers, with one quarantine entry for the whole shard.

    Blocks that are done stay, so that only the others are tried again.
    """
    _give_up(cursor, shard, version, ScoreState.POISON, error)


def fail_shard(cursor: Cursor, shard: Shard, version: ScoreVersion, error: str) -> None:
    """Record an error that may pass; the shard is pending again in the next run. A done shard stays done."""
    _lock(cursor, shard)
    _close(cursor, shard, version, ScoreState.FAILED, error)


def _give_up(cursor: Cursor, shard: Shard, version: ScoreVersion, state: ScoreState, error: str) -> None:
    _lock(cursor, shard)
    cursor.execute(
        "SELECT FROM shard_score WHERE shard_id = %s AND encoder_id = %s AND quality_model_id = %s AND state = %s",
        (shard.shard_id, version.encoder_id, version.quality_model_id, state),
    )
    if cursor.rowcount:
        # Another block has already said why.
        return
    _close(cursor, shard, version, state, error)
    cursor.execute("SELECT FROM shard_score WHERE shard_id = %s AND state = 'done'", (shard.shard_id,))
    if cursor.rowcount == 0:
        if state is ScoreState.REFUSED:
            delete_shard(cursor, shard)
        cursor.execute(
            "INSERT INTO quarantine (shard_id, row, byte_offset, reason, detail) VALUES (%s, %s, -1, %s, %s)"
            " ON CONFLICT (shard_id, row) DO UPDATE SET reason = EXCLUDED.reason, detail = EXCLUDED.detail",
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
