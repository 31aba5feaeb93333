"""Registration of corpora, their snapshots and shards, domains, and models."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from psycopg2 import sql
from psycopg2.extras import Json

from samplemix_core.config.run import COMPOSITE
from samplemix_core.corpus.records import RULES
from samplemix_core.corpus.shards import Selection
from samplemix_core.database.connection import Cursor, ensure_partition, one, rows_as, scalar
from samplemix_core.database.copy import without_nul
from samplemix_core.database.rollups import subtract_assignments, subtract_scores
from samplemix_core.database.scope import ScoreVersion
from samplemix_core.errors import CorpusError
from samplemix_core.identity import fingerprint
from samplemix_core.objects.interface import ObjectInfo

_ROWS_PER_INSERT = 10_000
_NAMED = 10
"""How many shards a message names, at most."""


@dataclass(frozen=True)
class Corpus:
    """A registered corpus. `corpus_key` is its identity; `corpus_id` is the database's own."""

    corpus_id: int
    corpus_key: str
    current_quality_model: int | None
    current_cluster_model: int | None


@dataclass(frozen=True)
class RegisteredSnapshot:
    """A snapshot in the ledger, its newest shard, and the paths of the shards that this registration replaced."""

    snapshot_id: int
    last_shard_id: int
    replaced: tuple[str, ...]


@dataclass(frozen=True)
class ReplacedShard:
    """A file that was replaced by the one now at its path."""

    path: str
    etag: str
    size_bytes: int


def corpus_key(uri: str, reader: Mapping[str, Any], tokenizer_id: str) -> str:
    """Identity of a corpus: its location, its reader's identity(), its tokenizer, and the rules that records are read by."""
    return fingerprint({"uri": uri, "reader": reader, "tokenizer_id": tokenizer_id, "rules": RULES})


def register_corpus(cursor: Cursor, *, uri: str, reader: dict[str, Any], tokenizer: str, tokenizer_id: str) -> Corpus:
    """Register a corpus; one with the same location, reader and tokenizer, whatever the tokenizer's name, is the same corpus."""
    key = corpus_key(uri, reader, tokenizer_id)
    cursor.execute(
        "INSERT INTO corpus (corpus_key, uri, reader, tokenizer, tokenizer_id, rules) VALUES (%s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (corpus_key) DO UPDATE SET registered_at = now()",
        (key, uri, Json(reader), tokenizer, tokenizer_id, RULES),
    )
    cursor.execute(
        "SELECT corpus_id, corpus_key, current_quality_model, current_cluster_model FROM corpus WHERE corpus_key = %s", (key,)
    )
    return one(cursor, Corpus)


def register_snapshot(cursor: Cursor, corpus_id: int, name: str, entries: Iterable[ObjectInfo]) -> RegisteredSnapshot:
    """Register a snapshot and its shards (keys relative to the corpus URI), with its partitions.

    New shards are added. A shard whose etag or size has changed is a different shard: the earlier one is superseded, and everything
    stored for it is deleted. An entry with unchanged size and stamp isn't asked for its etag. Raises CorpusError, naming the
    shards, if any are gone.
    """
    cursor.execute(
        "INSERT INTO snapshot (corpus_id, name) VALUES (%s, %s) ON CONFLICT (corpus_id, name) DO NOTHING", (corpus_id, name)
    )
    # Only one registration of this snapshot at a time may compare and add.
    cursor.execute("SELECT snapshot_id FROM snapshot WHERE corpus_id = %s AND name = %s FOR UPDATE", (corpus_id, name))
    snapshot_id = scalar(cursor)
    for parent in ("sample", "quality_score"):
        ensure_partition(cursor, parent, f"{parent}_s{snapshot_id}", snapshot_id)
    found = {entry.key: entry for entry in entries}
    cursor.execute(
        "SELECT path, etag, size_bytes, stamp FROM shard WHERE snapshot_id = %s AND superseded_at IS NULL", (snapshot_id,)
    )
    registered = {path: (etag, size, stamp) for path, etag, size, stamp in cursor.fetchall()}
    vanished = sorted(path for path in registered if path not in found)
    if vanished:
        raise CorpusError(
            f"{len(vanished)} shards of snapshot {name!r} that were registered are gone: {some_of(vanished)}.",
            "Restore the files, or put the others into a snapshot of another name.",
        )
    changed, touched = [], []
    for path, (etag, size, stamp) in sorted(registered.items()):
        entry = found[path]
        if stamp is not None and (size, stamp) == (entry.size, entry.stamp):
            continue
        if (etag, size) != (entry.etag, entry.size):
            changed.append(path)
        elif stamp != entry.stamp:
            touched.append(path)
    _supersede(cursor, snapshot_id, changed)
    cursor.execute(
        "UPDATE shard SET stamp = entry.stamp FROM unnest(%s::text[], %s::text[]) AS entry (path, stamp)"
        " WHERE snapshot_id = %s AND shard.path = entry.path AND superseded_at IS NULL",
        (touched, [found[path].stamp for path in touched], snapshot_id),
    )
    new = [found[path] for path in sorted((found.keys() - registered.keys()).union(changed))]
    for start in range(0, len(new), _ROWS_PER_INSERT):
        part = new[start : start + _ROWS_PER_INSERT]
        cursor.execute(
            "INSERT INTO shard (snapshot_id, path, etag, size_bytes, stamp)"
            " SELECT %s, * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::text[])",
            (snapshot_id, *map(list, zip(*((e.key, e.etag, e.size, e.stamp) for e in part), strict=True))),
        )
    cursor.execute("SELECT max(shard_id) FROM shard WHERE snapshot_id = %s", (snapshot_id,))
    return RegisteredSnapshot(snapshot_id, scalar(cursor), tuple(changed))


def register_unread(cursor: Cursor, corpus_id: int, listing: Selection) -> None:
    """Record the files of a listing that are not read, replacing what was recorded for its snapshots before."""
    cursor.execute(
        "DELETE FROM unread_file WHERE corpus_id = %s AND (snapshot = ANY(%s) OR %s)",
        (corpus_id, list(listing.snapshots), listing.whole),
    )
    rows = [(file.path.rpartition("/")[0].partition("/")[0], *astuple(file)) for file in listing.unread]
    for start in range(0, len(rows), _ROWS_PER_INSERT):
        cursor.execute(
            "INSERT INTO unread_file (corpus_id, snapshot, path, size_bytes, reason)"
            " SELECT %s, nullif(snapshot, ''), path, size_bytes, reason"
            " FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::text[]) AS file (snapshot, path, size_bytes, reason)",
            (corpus_id, *map(list, zip(*rows[start : start + _ROWS_PER_INSERT], strict=True))),
        )


def unread_files(cursor: Cursor, corpus_id: int, limit: int) -> list[dict[str, Any]]:
    """Return at most `limit` of a corpus's files that are not read: path, size in bytes and reason, sorted by path."""
    cursor.execute(
        "SELECT path, size_bytes AS bytes, reason FROM unread_file WHERE corpus_id = %s ORDER BY path LIMIT %s", (corpus_id, limit)
    )
    return rows_as(cursor, dict)


def unread_entries(cursor: Cursor, corpus_id: int, name: str, entries: Iterable[ObjectInfo]) -> list[ObjectInfo]:
    """Return the snapshot's entries that will be read for their etag when it is registered: files that are new or were touched."""
    cursor.execute(
        "SELECT path, size_bytes, stamp FROM shard JOIN snapshot USING (snapshot_id)"
        " WHERE corpus_id = %s AND name = %s AND superseded_at IS NULL AND stamp IS NOT NULL",
        (corpus_id, name),
    )
    known = {path: (size, stamp) for path, size, stamp in cursor.fetchall()}
    return [entry for entry in entries if not isinstance(entry.content, str) and known.get(entry.key) != (entry.size, entry.stamp)]


def hold_snapshots(cursor: Cursor, snapshot_ids: Sequence[int]) -> None:
    """Keep these snapshots' files from being registered as replaced until the transaction ends; waits if that is happening now."""
    # In the order in which register_snapshot locks them one by one, so that neither waits for the other forever.
    cursor.execute(
        'SELECT FROM snapshot WHERE snapshot_id = ANY(%s) ORDER BY corpus_id, name COLLATE "C" FOR SHARE', (list(snapshot_ids),)
    )


def forget_scores(cursor: Cursor, snapshot_id: int) -> None:
    """Delete everything stored for a snapshot's files; if they come back, they count as different files."""
    cursor.execute("SELECT FROM snapshot WHERE snapshot_id = %s FOR UPDATE", (snapshot_id,))
    cursor.execute("SELECT path FROM shard WHERE snapshot_id = %s AND superseded_at IS NULL", (snapshot_id,))
    _supersede(cursor, snapshot_id, [path for (path,) in cursor.fetchall()])


def _supersede(cursor: Cursor, snapshot_id: int, paths: Sequence[str]) -> None:
    """Mark the current shards at these paths as replaced, and delete everything stored for them."""
    if not paths:
        return
    cursor.execute(
        "UPDATE shard SET superseded_at = now() WHERE snapshot_id = %s AND path = ANY(%s) AND superseded_at IS NULL"
        " RETURNING shard_id",
        (snapshot_id, list(paths)),
    )
    _delete_scores(cursor, snapshot_id, [shard_id for (shard_id,) in cursor.fetchall()])


def forget_shards(cursor: Cursor, corpus_uri: str, paths: Sequence[str]) -> list[str]:
    """Delete everything stored for a corpus's shards at these paths, so that they are scored again; returns the paths found."""
    cursor.execute(
        "SELECT snapshot_id, array_agg(shard_id), array_agg(path) FROM shard JOIN snapshot USING (snapshot_id)"
        " JOIN corpus USING (corpus_id) WHERE uri = %s AND path = ANY(%s) AND superseded_at IS NULL GROUP BY snapshot_id",
        (corpus_uri, list(paths)),
    )
    found: list[str] = []
    for snapshot_id, shards, its_paths in cursor.fetchall():
        cursor.execute("SELECT FROM shard WHERE shard_id = ANY(%s) ORDER BY shard_id FOR NO KEY UPDATE", (shards,))
        _delete_scores(cursor, snapshot_id, shards)
        found += its_paths
    return sorted(set(found))


def _delete_scores(cursor: Cursor, snapshot_id: int, shards: Sequence[int]) -> None:
    """Delete everything stored for these shards of a snapshot."""
    shards = list(shards)
    subtract_scores(cursor, snapshot_id, shards)
    subtract_assignments(cursor, snapshot_id, shards)
    in_partition = sql.SQL("DELETE FROM {} WHERE snapshot_id = %s AND shard_id = ANY(%s)")
    for table in ("sample", "quality_score", "diversity_score", "sample_map"):
        cursor.execute(in_partition.format(sql.Identifier(table)), (snapshot_id, shards))
    for table in (
        "quarantine",
        "shard_assignment",
        "shard_score",
        "block_score",
        "block",
        "near_shard",
        "benchmark_shard",
    ):
        cursor.execute(sql.SQL("DELETE FROM {} WHERE shard_id = ANY(%s)").format(sql.Identifier(table)), (shards,))


def replaced_shards(cursor: Cursor, snapshot_id: int) -> list[ReplacedShard]:
    """Return a snapshot's files that were replaced by others of the same name, in the order of path and time."""
    cursor.execute(
        "SELECT path, etag, size_bytes FROM shard WHERE snapshot_id = %s AND superseded_at IS NOT NULL"
        ' ORDER BY path COLLATE "C", shard_id',
        (snapshot_id,),
    )
    return rows_as(cursor, ReplacedShard)


@dataclass(frozen=True)
class ScoredSnapshot:
    """A registered snapshot: its shards, the newest of them, and how many are neither scored nor set aside as a whole."""

    snapshot_id: int
    name: str
    shards: int
    unsettled: int
    last_shard_id: int


def scored_snapshots(cursor: Cursor, corpus_id: int, version: ScoreVersion) -> list[ScoredSnapshot]:
    """Return a corpus's snapshots, in the order of their names, with how far a pair of models has scored them."""
    cursor.execute(
        """
        SELECT snapshot_id, name, count(*) AS shards, max(shard_id) AS last_shard_id,
               count(*) FILTER (WHERE state IS NULL OR state NOT IN ('done', 'refused', 'poison')) AS unsettled
        FROM snapshot
        JOIN shard USING (snapshot_id)
        LEFT JOIN (SELECT shard_id, etag, state FROM shard_score WHERE encoder_id = %s AND quality_model_id = %s) AS score
            USING (shard_id, etag)
        WHERE corpus_id = %s AND superseded_at IS NULL
        GROUP BY snapshot_id, name ORDER BY name COLLATE "C"
        """,
        (version.encoder_id, version.quality_model_id, corpus_id),
    )
    return rows_as(cursor, ScoredSnapshot)


def some_of(paths: Sequence[str]) -> str:
    """The first of these paths, for a message, and how many more there are."""
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(paths[:_NAMED]) + more


def domain_ids(cursor: Cursor, names: Iterable[str]) -> dict[str, int]:
    """Return name -> id of domains, adding new ones. Every name given is a key of the result."""
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


def ensure_encoder(cursor: Cursor, encoder_key: str, spec: dict[str, Any]) -> int:
    """Return the id of an encoder, added if new."""
    cursor.execute(
        "INSERT INTO encoder (encoder_key, spec) VALUES (%s, %s) ON CONFLICT (encoder_key) DO NOTHING", (encoder_key, Json(spec))
    )
    cursor.execute("SELECT encoder_id FROM encoder WHERE encoder_key = %s", (encoder_key,))
    return int(scalar(cursor))


def known_encoders(cursor: Cursor, corpus_uri: str | None = None) -> list[dict[str, Any]]:
    """Return the specs of all encoders: first those that scored the corpus, most recent first; then the others, in order of entry.

    So a platform's first choice stays, whatever somebody asks for later in a single run.
    """
    cursor.execute(
        """
        SELECT spec FROM encoder LEFT JOIN (
            SELECT encoder_id, max(updated_at) AS used_at
            FROM shard_score JOIN shard USING (shard_id) JOIN snapshot USING (snapshot_id) JOIN corpus USING (corpus_id)
            WHERE uri = %s AND state = 'done' GROUP BY encoder_id
        ) AS used USING (encoder_id)
        ORDER BY used_at DESC NULLS LAST, encoder_id
        """,
        (corpus_uri,),
    )
    return [spec for (spec,) in cursor.fetchall()]


def ensure_quality_model(
    cursor: Cursor,
    quality_model_key: str,
    spec: dict[str, Any],
    *,
    q_low: float = 0.0,
    q_high: float = 10.0,
    name: str = COMPOSITE,
) -> int:
    """Return the id of a quality model, added if new; q_low..q_high is the range that is normalised to 0..1."""
    cursor.execute(
        "INSERT INTO quality_model (quality_model_key, spec, q_low, q_high, name) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT (quality_model_key) DO NOTHING",
        (quality_model_key, Json(spec), q_low, q_high, name),
    )
    cursor.execute("SELECT quality_model_id FROM quality_model WHERE quality_model_key = %s", (quality_model_key,))
    return int(scalar(cursor))


def set_current_models(cursor: Cursor, corpus_id: int, *, quality_model_id: int, cluster_model_id: int) -> None:
    """Make view sample_scores show this corpus with these models, and no other corpus at its URI.

    Clusters that were chosen for the next version stay chosen, unless those of this one were fitted later.
    """
    cursor.execute(
        "UPDATE corpus SET current_quality_model = %(quality)s, current_cluster_model = %(clusters)s,"
        " next_cluster_model = CASE WHEN next_cluster_model = %(clusters)s OR clusters_chosen_at <"
        " (SELECT created_at FROM cluster_model WHERE cluster_model_id = %(clusters)s) THEN NULL ELSE next_cluster_model END,"
        " published_at = clock_timestamp()"
        " WHERE corpus_id = %(corpus)s",
        {"quality": quality_model_id, "clusters": cluster_model_id, "corpus": corpus_id},
    )
