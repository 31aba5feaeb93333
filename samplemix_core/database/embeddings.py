"""Where vectors are stored: the embedding files of a shard's blocks, and the vectors of texts that a corpus already has."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from samplemix_core.database.connection import Cursor
from samplemix_core.database.scope import ScoreVersion, Shard, ShardState


@dataclass(frozen=True)
class EmbeddingFile:
    """The vectors of one block: a file below the state root, its SHA-256, and how many there are."""

    key: str
    sha256: str
    rows: int


def embedding_files(cursor: Cursor, version: ScoreVersion, states: Sequence[ShardState]) -> dict[int, tuple[EmbeddingFile, ...]]:
    """Return, by shard id, the embedding files of these shards' blocks, in order."""
    cursor.execute(
        "SELECT shard_id, embedding_key, embedding_sha256, scored FROM block_score"
        " WHERE encoder_id = %s AND quality_model_id = %s AND shard_id = ANY(%s) ORDER BY shard_id, block",
        (version.encoder_id, version.quality_model_id, [item.shard.shard_id for item in states]),
    )
    found: dict[int, tuple[EmbeddingFile, ...]] = {}
    for shard_id, *file in cursor.fetchall():
        found[shard_id] = (*found.get(shard_id, ()), EmbeddingFile(*file))
    return found


def files_by_path(cursor: Cursor, version: ScoreVersion, states: Sequence[ShardState]) -> dict[str, tuple[EmbeddingFile, ...]]:
    """Return, by path, the embedding files of those of the shards that are scored."""
    scored = [item for item in states if item.is_scored]
    found = embedding_files(cursor, version, scored)
    return {item.shard.path: found.get(item.shard.shard_id, ()) for item in scored}


def files_of_snapshot(cursor: Cursor, snapshot_id: int) -> dict[str, list[EmbeddingFile]]:
    """Return, by shard path, the embedding files of a snapshot's blocks, whatever encoder made them."""
    cursor.execute(
        "SELECT DISTINCT path, embedding_key, embedding_sha256, scored FROM block_score JOIN shard USING (shard_id)"
        " WHERE snapshot_id = %s AND superseded_at IS NULL ORDER BY path, embedding_key",
        (snapshot_id,),
    )
    found: dict[str, list[EmbeddingFile]] = {}
    for path, *file in cursor.fetchall():
        found.setdefault(path, []).append(EmbeddingFile(*file))
    return found


@dataclass(frozen=True)
class KnownVector:
    """A vector in an embedding file: the file's key and SHA-256, and the row it has there."""

    key: str
    sha256: str
    row: int


def known_vectors(cursor: Cursor, shard: Shard | None, encoder_id: int, hashes: Collection[bytes]) -> dict[bytes, KnownVector]:
    """Return, by content hash, a vector of each of these texts that the encoder has embedded anywhere in the shard's corpus.

    Corpora that differ only in their tokenizer count as one. Without a shard, any corpus will do.
    """
    cursor.execute(
        """
        SELECT DISTINCT ON (content_hash) content_hash::text, embedding_key, embedding_sha256, sample.row
        FROM sample
        JOIN block ON block.shard_id = sample.shard_id
            AND sample.row >= first_row AND (rows IS NULL OR sample.row < first_row + rows)
        JOIN block_score ON block_score.shard_id = block.shard_id AND block_score.block = block.block AND encoder_id = %(encoder)s
        WHERE content_hash = ANY(%(hashes)s::uuid[])
            AND (%(snapshot)s IS NULL OR snapshot_id IN (
                SELECT snapshot_id FROM snapshot JOIN corpus USING (corpus_id)
                WHERE (uri, reader) = (
                    SELECT uri, reader FROM snapshot JOIN corpus USING (corpus_id) WHERE snapshot_id = %(snapshot)s
                )
            ))
        ORDER BY content_hash, sample.shard_id, sample.row
        """,
        {"encoder": encoder_id, "hashes": [item.hex() for item in hashes], "snapshot": shard and shard.snapshot_id},
    )
    return {bytes.fromhex(text.replace("-", "")): KnownVector(*place) for text, *place in cursor.fetchall()}
