"""Annotation of a corpus's documents: choosing them, skipping those asked about before, and storing the answers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from psycopg2.extras import execute_values

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.corpus.records import Block
from samplemix_core.database.connection import Cursor, rows_as
from samplemix_core.database.copy import without_nul
from samplemix_core.frozen import load_config
from samplemix_core.quality.labels import Reject


@dataclass(frozen=True)
class ScoredShard:
    """A scored shard: where it is, how to read it, and how many samples it has."""

    shard_id: int
    snapshot_id: int
    snapshot: str
    uri: str
    path: str
    reader: ReaderConfig
    etag: str
    samples: int


def scored_shards(cursor: Cursor, corpus: str, snapshots: Sequence[str]) -> list[ScoredShard]:
    """Return a corpus's scored shards, of these snapshots or of all. The corpus is a name or URI; QueryError if it is unknown."""
    cursor.execute(
        """
        SELECT shard_id, snapshot_id, snapshot.name AS snapshot, uri, path, reader, shard.etag,
               (SELECT max(scored) FROM shard_score WHERE shard_score.shard_id = shard.shard_id AND state = 'done') AS samples
        FROM shard JOIN snapshot USING (snapshot_id) JOIN corpus USING (corpus_id)
        WHERE corpus_id = corpus_of(%(corpus)s) AND superseded_at IS NULL
            AND (%(snapshots)s = '{}' OR snapshot.name = ANY(%(snapshots)s))
        ORDER BY snapshot.name COLLATE "C", path COLLATE "C"
        """,
        {"corpus": corpus, "snapshots": list(snapshots)},
    )
    found = rows_as(cursor, lambda reader, samples, **row: (load_config(ReaderConfig, reader, "stored reader"), samples, row))
    return [ScoredShard(reader=reader, samples=samples, **row) for reader, samples, row in found if samples]


@dataclass(frozen=True)
class ChosenSample:
    """A sample to ask about: its row and block, its text's hash and tokens."""

    row: int
    block: Block
    content_hash: bytes
    n_tokens: int


def chosen_samples(cursor: Cursor, shard: ScoredShard, positions: npt.NDArray[np.int64]) -> list[ChosenSample]:
    """Return the samples at these 0-based positions within a shard, in row order."""
    cursor.execute(
        """
        SELECT sample.row, block, first_row, rows, byte_offset, n_bytes, content_hash::text, n_tokens
        FROM (
            SELECT row, content_hash, n_tokens, row_number() OVER (ORDER BY row) - 1 AS position
            FROM sample WHERE snapshot_id = %(snapshot)s AND shard_id = %(shard)s
        ) AS sample
        JOIN block ON shard_id = %(shard)s AND sample.row >= first_row AND (rows IS NULL OR sample.row < first_row + rows)
        WHERE position = ANY(%(positions)s) ORDER BY sample.row
        """,
        {"snapshot": shard.snapshot_id, "shard": shard.shard_id, "positions": positions.tolist()},
    )
    return [
        ChosenSample(row, Block(*block), bytes.fromhex(content_hash.replace("-", "")), n_tokens)
        for row, *block, content_hash, n_tokens in cursor.fetchall()
    ]


def asked_before(
    cursor: Cursor, annotator_id: int, hashes: Collection[bytes], again: Collection[str]
) -> tuple[set[bytes], set[bytes]]:
    """Return which of these texts the annotator has judged, and which it has refused for a reason not in `again`."""
    parameters = {"annotator": annotator_id, "hashes": [item.hex() for item in hashes], "again": list(again)}
    cursor.execute(
        "SELECT content_hash::text FROM annotation WHERE annotator_id = %(annotator)s AND content_hash = ANY(%(hashes)s::uuid[])",
        parameters,
    )
    judged = {bytes.fromhex(text.replace("-", "")) for (text,) in cursor.fetchall()}
    cursor.execute(
        "SELECT content_hash::text FROM annotation_refusal WHERE annotator_id = %(annotator)s"
        " AND content_hash = ANY(%(hashes)s::uuid[]) AND reason <> ALL(%(again)s)",
        parameters,
    )
    return judged, {bytes.fromhex(text.replace("-", "")) for (text,) in cursor.fetchall()}


@dataclass(frozen=True)
class Document:
    """A document to ask about."""

    content_hash: bytes
    text: str
    doc_id: str | None
    source: str


@dataclass(frozen=True)
class Judged:
    """A usable answer, and what it cost."""

    document: Document
    scores: tuple[int, ...]
    rationale: str | None
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Refused:
    """A document without a usable answer, and how many attempts were made."""

    document: Document
    reason: Reject
    detail: str
    attempts: int


def save_answers(cursor: Cursor, annotator_id: int, answers: Sequence[Judged | Refused]) -> None:
    """Store answers, and texts that are new. A judgement replaces a refusal; nothing replaces a judgement."""
    texts = {answer.document.content_hash: answer.document for answer in answers}
    execute_values(
        cursor,
        "INSERT INTO labelled_text (content_hash, text, doc_id, source) VALUES %s ON CONFLICT (content_hash) DO NOTHING",
        [(key.hex(), without_nul(document.text), document.doc_id, document.source) for key, document in sorted(texts.items())],
    )
    judged = [answer for answer in answers if isinstance(answer, Judged)]
    execute_values(
        cursor,
        "INSERT INTO annotation (annotator_id, content_hash, scores, overall, rationale, input_tokens, output_tokens)"
        " VALUES %s ON CONFLICT (annotator_id, content_hash) DO NOTHING",
        [
            (
                *(annotator_id, answer.document.content_hash.hex(), list(answer.scores), sum(answer.scores), answer.rationale),
                *(answer.input_tokens, answer.output_tokens),
            )
            for answer in judged
        ],
        template="(%s, %s, %s::smallint[], %s, %s, %s, %s)",
    )
    cursor.execute(
        "DELETE FROM annotation_refusal WHERE annotator_id = %s AND content_hash = ANY(%s::uuid[])",
        (annotator_id, [answer.document.content_hash.hex() for answer in judged]),
    )
    execute_values(
        cursor,
        "INSERT INTO annotation_refusal (annotator_id, content_hash, reason, detail, attempts) VALUES %s"
        " ON CONFLICT (annotator_id, content_hash) DO UPDATE SET reason = EXCLUDED.reason, detail = EXCLUDED.detail,"
        " attempts = annotation_refusal.attempts + EXCLUDED.attempts, created_at = now()",
        [
            (annotator_id, answer.document.content_hash.hex(), answer.reason, without_nul(answer.detail[:1000]), answer.attempts)
            for answer in answers
            if isinstance(answer, Refused)
        ],
    )


def both_judged(cursor: Cursor, one: int, other: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return two annotators' scores for the texts that both judged, (n, dimensions) each."""
    cursor.execute(
        "SELECT one.scores, other.scores FROM annotation AS one JOIN annotation AS other USING (content_hash)"
        " WHERE one.annotator_id = %s AND other.annotator_id = %s ORDER BY content_hash",
        (one, other),
    )
    rows = cursor.fetchall()
    mine, theirs = (np.array([row[side] for row in rows], dtype=np.int64) for side in (0, 1))
    return mine, theirs
