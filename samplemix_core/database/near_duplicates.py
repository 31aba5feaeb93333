"""Near-duplicates: signatures of shards, pairs of alike texts, and the documents that a mixture leaves out for others.

Texts are known by their content hashes, wherever they are: exact duplicates are one text, and a text that an earlier crawl had
brings no new pair.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from psycopg2 import sql

from samplemix_core.config.constraints import NearDuplicatesConfig
from samplemix_core.corpus.records import Block
from samplemix_core.database.columns import RANKED, not_in, ranked_parameters
from samplemix_core.database.connection import Cursor, rows_as, scalar
from samplemix_core.database.copy import copy_in, copy_out
from samplemix_core.database.scope import Scope, Shard, ShardState
from samplemix_core.errors import CorpusError, ServiceError
from samplemix_core.overlap.recipe import RECIPE

Int64Array = npt.NDArray[np.int64]


class Texts(NamedTuple):
    """Texts by the two halves of their content hashes, uint64 (n,) each: ordered by both, as Postgres orders them."""

    high: npt.NDArray[np.uint64]
    low: npt.NDArray[np.uint64]

    def take(self, at: npt.NDArray[Any]) -> "Texts":
        """Some of them."""
        return Texts(self.high[at], self.low[at])

    def as_arrow(self) -> pa.Array:
        """binary(16) (n,)."""
        halves = np.ascontiguousarray(np.stack([self.high, self.low], axis=1)).astype(">u8")
        return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(self.high), [None, pa.py_buffer(halves.tobytes())])

    def as_uuids(self) -> list[str]:
        """As hexadecimal digits, which Postgres reads as uuid."""
        return [f"{high:016x}{low:016x}" for high, low in zip(self.high.tolist(), self.low.tolist(), strict=True)]


_HALVES = ", ".join(f"('x' || encode(substring(uuid_send({{0}}) FROM {first} FOR 8), 'hex'))::bit(64)::bigint" for first in (1, 9))


def _texts(high: npt.NDArray[Any], low: npt.NDArray[Any]) -> Texts:
    return Texts(high.astype(np.int64).view(np.uint64), low.astype(np.int64).view(np.uint64))


def unsigned_shards(cursor: Cursor, states: Sequence[ShardState]) -> list[ShardState]:
    """Return the scored shards without signatures of this RECIPE, in the order given."""
    cursor.execute(
        "SELECT shard_id FROM near_shard WHERE shard_id = ANY(%s) AND recipe = %s",
        ([item.shard.shard_id for item in states], RECIPE),
    )
    signed = {shard_id for (shard_id,) in cursor.fetchall()}
    return [item for item in states if item.is_scored and item.shard.shard_id not in signed]


def shard_texts(cursor: Cursor, shard: Shard) -> tuple[Int64Array, Texts]:
    """The first row of each different text of a scored shard, ascending, and the texts."""
    halves = _HALVES.format("content_hash")
    query = (
        f"SELECT row, {halves} FROM (SELECT content_hash, min(row) AS row FROM sample"  # noqa: S608 constants
        " WHERE snapshot_id = %(snapshot)s AND shard_id = %(shard)s GROUP BY content_hash) AS text ORDER BY row"
    )
    found = copy_out(
        cursor, query, {"snapshot": shard.snapshot_id, "shard": shard.shard_id}, dict.fromkeys(("row", "high", "low"), "int64")
    )
    return found["row"], _texts(found["high"], found["low"])


def require_texts(cursor: Cursor, shard: Shard, texts: int) -> None:
    """Lock a shard, and raise CorpusError unless it is scored and has so many different texts: it may have been forgotten."""
    cursor.execute(
        "SELECT FROM shard WHERE shard_id = %s AND superseded_at IS NULL"
        " AND EXISTS (SELECT FROM shard_score WHERE shard_score.shard_id = shard.shard_id AND state = 'done') FOR NO KEY UPDATE",
        (shard.shard_id,),
    )
    if cursor.rowcount:
        cursor.execute(
            "SELECT count(DISTINCT content_hash) FROM sample WHERE snapshot_id = %s AND shard_id = %s",
            (shard.snapshot_id, shard.shard_id),
        )
        if scalar(cursor) == texts:
            return
    raise CorpusError(f"{shard.path} was replaced or forgotten meanwhile, or is scored again.", "Run again.")


def row_blocks(cursor: Cursor, shard: Shard) -> list[Block]:
    """A shard's blocks, in order."""
    cursor.execute(
        "SELECT block, first_row, rows, byte_offset, n_bytes FROM block WHERE shard_id = %s ORDER BY block", (shard.shard_id,)
    )
    return rows_as(cursor, Block)


class SignatureFile(NamedTuple):
    """The signatures of a shard: a file below the state root, its SHA-256, how many texts, and whether all were compared."""

    shard_id: int
    key: str
    sha256: str
    texts: int
    compared: bool


def save_signatures(cursor: Cursor, file: SignatureFile, run: str, seconds: float) -> None:
    """Enter a shard's signatures, which are still to be compared."""
    cursor.execute(
        "INSERT INTO near_shard (shard_id, recipe, signature_key, signature_sha256, texts, run, seconds)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (shard_id) DO UPDATE SET recipe = EXCLUDED.recipe, signature_key = EXCLUDED.signature_key,"
        " signature_sha256 = EXCLUDED.signature_sha256, texts = EXCLUDED.texts, run = EXCLUDED.run, seconds = EXCLUDED.seconds,"
        " compared = false, comparing = false, signed_at = clock_timestamp()",
        (file.shard_id, RECIPE, file.key, file.sha256, file.texts, run, seconds),
    )


def forget_signatures(cursor: Cursor, shard_id: int) -> None:
    """Delete the entry of a shard's signatures, so that they are made again."""
    cursor.execute("DELETE FROM near_shard WHERE shard_id = %s", (shard_id,))


def begin_comparison(cursor: Cursor, corpus_id: int) -> None:
    """Mark the signed shards that are to be compared with all: what is signed from now on waits for the next comparison."""
    cursor.execute(
        "UPDATE near_shard SET comparing = NOT compared FROM shard JOIN snapshot USING (snapshot_id)"
        " WHERE shard.shard_id = near_shard.shard_id AND corpus_id = %s AND recipe = %s AND comparing = compared",
        (corpus_id, RECIPE),
    )
    cursor.execute("DELETE FROM near_candidate WHERE corpus_id = %s", (corpus_id,))


def signature_files(cursor: Cursor, corpus_id: int) -> list[SignatureFile]:
    """Return the signatures of a corpus's shards that are compared or being compared, in the order of their keys."""
    cursor.execute(
        "SELECT shard_id, signature_key AS key, signature_sha256 AS sha256, texts, compared FROM near_shard"
        " JOIN shard USING (shard_id) JOIN snapshot USING (snapshot_id) WHERE corpus_id = %s AND recipe = %s"
        " AND (compared OR comparing) AND superseded_at IS NULL ORDER BY signature_key",
        (corpus_id, RECIPE),
    )
    return rows_as(cursor, SignatureFile)


def _insert_new(cursor: Cursor, table: str, rows: pa.Table) -> None:
    """Insert the rows that aren't there yet: a task that is tried again finds what its first try left."""
    own = sql.Identifier(f"new_{table}")
    cursor.execute(sql.SQL("CREATE TEMP TABLE {} (LIKE {}) ON COMMIT DROP").format(own, sql.Identifier(table)))
    copy_in(cursor, f"new_{table}", rows)
    cursor.execute(sql.SQL("INSERT INTO {} SELECT * FROM {} ON CONFLICT DO NOTHING").format(sql.Identifier(table), own))
    cursor.execute(sql.SQL("DROP TABLE {}").format(own))


def add_candidates(cursor: Cursor, corpus_id: int, a: Texts, b: Texts) -> None:
    """Enter pairs that are to be compared, a before b."""
    corpus = np.full(a.high.size, corpus_id, dtype=np.int32)
    _insert_new(cursor, "near_candidate", pa.table({"corpus_id": corpus, "a": a.as_arrow(), "b": b.as_arrow()}))


def count_candidates(cursor: Cursor, corpus_id: int) -> int:
    """How many pairs are to be compared."""
    cursor.execute("SELECT count(*) FROM near_candidate WHERE corpus_id = %s", (corpus_id,))
    return int(scalar(cursor))


class Wanted(NamedTuple):
    """Rows (k,) of a shard whose shingles are wanted, ascending."""

    shard: Shard
    rows: Int64Array


def wanted_texts(cursor: Cursor, corpus_id: int, snapshot_ids: Sequence[int]) -> Iterator[Wanted]:
    """Yield, by shard, a place of each candidate whose shingles aren't stored yet: in these snapshots, if there is one."""
    cursor.execute("DROP TABLE IF EXISTS wanted_text")
    cursor.execute("CREATE TEMP TABLE wanted_text (shard_id int NOT NULL, row bigint NOT NULL) ON COMMIT DROP")
    cursor.execute(
        """
        INSERT INTO wanted_text
        SELECT DISTINCT ON (content_hash) shard_id, row
        FROM (SELECT a AS content_hash FROM near_candidate WHERE corpus_id = %(corpus)s
              UNION SELECT b FROM near_candidate WHERE corpus_id = %(corpus)s) AS candidate
        JOIN sample USING (content_hash)
        JOIN near_shard USING (shard_id)
        WHERE snapshot_id IN (SELECT snapshot_id FROM snapshot WHERE corpus_id = %(corpus)s) AND recipe = %(recipe)s
            AND NOT EXISTS (SELECT FROM near_text WHERE corpus_id = %(corpus)s AND near_text.content_hash = candidate.content_hash)
            AND (compared OR comparing)
        ORDER BY content_hash, snapshot_id <> ALL(%(snapshots)s), shard_id, row
        """,
        {"corpus": corpus_id, "recipe": RECIPE, "snapshots": list(snapshot_ids)},
    )
    cursor.execute(
        "SELECT DISTINCT shard_id, snapshot_id, snapshot.name AS snapshot, path, etag, size_bytes, stamp"
        " FROM wanted_text JOIN shard USING (shard_id) JOIN snapshot USING (snapshot_id) ORDER BY shard_id"
    )
    for shard in rows_as(cursor, Shard):
        rows = copy_out(
            cursor,
            "SELECT row FROM wanted_text WHERE shard_id = %(shard)s ORDER BY row",
            {"shard": shard.shard_id},
            {"row": "int64"},
        )
        yield Wanted(shard, rows["row"])


def texts_at(cursor: Cursor, shard: Shard, rows: Int64Array) -> Texts:
    """The texts at some rows of a shard, ascending."""
    query = (
        f"SELECT row, {_HALVES.format('content_hash')} FROM sample"  # noqa: S608 constants
        " WHERE snapshot_id = %(snapshot)s AND shard_id = %(shard)s AND row = ANY(%(rows)s) ORDER BY row"
    )
    parameters = {"snapshot": shard.snapshot_id, "shard": shard.shard_id, "rows": rows.tolist()}
    found = copy_out(cursor, query, parameters, dict.fromkeys(("row", "high", "low"), "int64"))
    return _texts(found["high"], found["low"])


def save_shingles(cursor: Cursor, corpus_id: int, texts: Texts, hashes: npt.NDArray[np.uint64], begins: Int64Array) -> None:
    """Store the sets of shingles of texts (n,), as overlap.words.shingle_sets() gives them, until all pairs are compared."""
    data = hashes.astype("<u8").tobytes()
    sets = [data[8 * first : 8 * end] for first, end in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True)]
    corpus = np.full(len(sets), corpus_id, dtype=np.int32)
    rows = pa.table({"corpus_id": corpus, "content_hash": texts.as_arrow(), "shingles": pa.array(sets, pa.large_binary())})
    _insert_new(cursor, "near_text", rows)


class Candidates(NamedTuple):
    """Pairs a, b (k,) to compare, as numbers of texts (n,), and these texts' sets of shingles. is_last: no pairs come after."""

    texts: list[str]
    a: Int64Array
    b: Int64Array
    hashes: npt.NDArray[np.uint64]
    begins: Int64Array
    is_last: bool


def candidates_between(
    cursor: Cursor, corpus_id: int, first: str, last: str, after: tuple[str, str], most: int, most_bytes: int
) -> Candidates:
    """Pairs whose first text is in a range of content hashes, after a pair, in order: so many and so many bytes at most.

    One pair is given whatever its size. A text that is gone from the corpus has no shingles; raises ServiceError if another hasn't.
    """
    cursor.execute(
        "SELECT a::text, b::text, coalesce(octet_length(one.shingles), 0), coalesce(octet_length(other.shingles), 0)"
        " FROM near_candidate AS pair"
        " LEFT JOIN near_text AS one ON one.corpus_id = pair.corpus_id AND one.content_hash = a"
        " LEFT JOIN near_text AS other ON other.corpus_id = pair.corpus_id AND other.content_hash = b"
        " WHERE pair.corpus_id = %s AND a BETWEEN %s AND %s AND (a, b) > (%s::uuid, %s::uuid) ORDER BY a, b LIMIT %s",
        (corpus_id, first, last, *after, most),
    )
    found = cursor.fetchall()
    sizes: dict[str, int] = {}
    pairs: list[tuple[str, str]] = []
    for a, b, size, other_size in found:
        sizes |= {a: size, b: other_size}
        if pairs and sum(sizes.values()) > most_bytes:
            break
        pairs.append((a, b))
    names = sorted({name for pair in pairs for name in pair})
    numbers = {name: number for number, name in enumerate(names)}
    cursor.execute(
        "SELECT content_hash::text, shingles FROM near_text WHERE corpus_id = %s AND content_hash = ANY(%s::uuid[])",
        (corpus_id, names),
    )
    known = {name: bytes(shingles) for name, shingles in cursor.fetchall()}
    _require_gone(cursor, corpus_id, [name for name in names if name not in known])
    sets = [known.get(name, b"") for name in names]
    return Candidates(
        names,
        np.array([numbers[a] for a, _ in pairs], dtype=np.int64),
        np.array([numbers[b] for _, b in pairs], dtype=np.int64),
        np.frombuffer(b"".join(sets), dtype="<u8").astype(np.uint64),
        np.concatenate([[0], np.cumsum([len(each) // 8 for each in sets], dtype=np.int64)]),
        len(pairs) == len(found) < most,
    )


def _require_gone(cursor: Cursor, corpus_id: int, names: Sequence[str]) -> None:
    if not names:
        return
    cursor.execute(
        "SELECT count(*) FROM sample JOIN near_shard USING (shard_id)"
        " WHERE content_hash = ANY(%s::uuid[]) AND snapshot_id IN (SELECT snapshot_id FROM snapshot WHERE corpus_id = %s)"
        " AND recipe = %s AND (compared OR comparing)",
        (list(names), corpus_id, RECIPE),
    )
    if left := scalar(cursor):
        raise ServiceError(f"{left} texts that are to be compared weren't read, or what was read is lost.", "Run again.")


def save_pairs(cursor: Cursor, corpus_id: int, pairs: Sequence[tuple[str, str, float]]) -> None:
    """Enter pairs of texts that are alike."""
    columns = list(zip(*pairs, strict=True)) or [(), (), ()]
    cursor.execute(
        "INSERT INTO near_pair (corpus_id, a, b, similarity)"
        " SELECT %s, * FROM unnest(%s::uuid[], %s::uuid[], %s::real[]) ON CONFLICT DO NOTHING",
        (corpus_id, *map(list, columns)),
    )


def finish_comparison(cursor: Cursor, corpus_id: int) -> int:
    """Mark a corpus's shards that were being compared, and drop what was only there for it; returns the number of its pairs."""
    cursor.execute(
        "UPDATE near_shard SET compared = true, comparing = false FROM shard JOIN snapshot USING (snapshot_id)"
        " WHERE shard.shard_id = near_shard.shard_id AND corpus_id = %s AND recipe = %s AND comparing",
        (corpus_id, RECIPE),
    )
    for table in ("near_candidate", "near_text"):
        cursor.execute(sql.SQL("DELETE FROM {} WHERE corpus_id = %s").format(sql.Identifier(table)), (corpus_id,))
    cursor.execute("SELECT count(*) FROM near_pair WHERE corpus_id = %s", (corpus_id,))
    return int(scalar(cursor))


class Alike(NamedTuple):
    """Documents (n,) whose texts are like others', in the order of their right to stay, and pairs (k,) of their numbers.

    first < second.
    """

    shard_id: npt.NDArray[np.int32]
    row: Int64Array
    domain_id: npt.NDArray[np.int32]
    first: Int64Array
    second: Int64Array
    similarity: npt.NDArray[np.float32]


_FIRST: dict[str, str] = {"earliest": "", "quality": "quality DESC, ", "longest": "n_bytes DESC, "}
"""Who stays, by NearDuplicatesConfig.keep: of equals, the earliest."""


def find_alike(
    cursor: Cursor, scope: Scope, states: Sequence[ShardState], config: NearDuplicatesConfig, left_out: str | None = None
) -> Alike:
    """Find the documents of a scope whose texts are alike, by the pairs that are stored.

    Only documents that may be mixed count: neither exact duplicates, nor those in the table `left_out`. Raises CorpusError if
    shards of the scope haven't been compared.
    """
    _require_compared(cursor, states)
    cursor.execute(
        """
        CREATE TEMP TABLE near_place ON COMMIT DROP AS
        WITH pair AS MATERIALIZED (
            SELECT a, b FROM near_pair
            WHERE corpus_id = (SELECT corpus_id FROM snapshot WHERE snapshot_id = %(one)s) AND similarity >= %(similarity)s::real
        ), {ranked}, placed AS (
            SELECT DISTINCT ON (content_hash) content_hash, snapshot_id, shard_id, row, domain_id, n_bytes, rank
            FROM (SELECT a AS content_hash FROM pair UNION SELECT b FROM pair) AS alike
            JOIN sample USING (content_hash)
            JOIN ranked USING (shard_id)
            WHERE snapshot_id = ANY(%(snapshots)s){counted}
            ORDER BY content_hash, rank, row
        )
        SELECT content_hash, shard_id, row, domain_id, row_number() OVER (ORDER BY {first}rank, row) - 1 AS number
        FROM placed
        JOIN quality_score USING (snapshot_id, shard_id, row)
        WHERE quality_model_id = %(quality)s
        """.replace("{ranked}", RANKED)
        .replace("{counted}", not_in(left_out))
        .replace("{first}", _FIRST[config.keep]),
        {**ranked_parameters(scope), "one": scope.snapshot_ids[0], "similarity": config.similarity},
    )
    cursor.execute("ANALYZE near_place")
    places = copy_out(
        cursor,
        "SELECT shard_id, row, domain_id FROM near_place ORDER BY number",
        {},
        {"shard_id": "int32", "row": "int64", "domain_id": "int32"},
    )
    pairs = copy_out(
        cursor,
        "SELECT least(x.number, y.number), greatest(x.number, y.number), similarity"
        " FROM near_pair JOIN near_place AS x ON x.content_hash = a JOIN near_place AS y ON y.content_hash = b"
        " WHERE corpus_id = (SELECT corpus_id FROM snapshot WHERE snapshot_id = %(one)s) AND similarity >= %(similarity)s::real",
        {"one": scope.snapshot_ids[0], "similarity": config.similarity},
        {"first": "int64", "second": "int64", "similarity": "float32"},
    )
    return Alike(**places, **pairs)


def _require_compared(cursor: Cursor, states: Sequence[ShardState]) -> None:
    scored = [item for item in states if item.is_scored]
    cursor.execute(
        "SELECT shard_id FROM near_shard WHERE shard_id = ANY(%s) AND recipe = %s AND compared",
        ([item.shard.shard_id for item in scored], RECIPE),
    )
    compared = {shard_id for (shard_id,) in cursor.fetchall()}
    if missing := [item.shard.path for item in scored if item.shard.shard_id not in compared]:
        raise CorpusError(
            f"{len(missing)} of {len(scored)} shards haven't been compared with the others, the first is {missing[0]}.",
            "Run the step near_duplicates, or set near_duplicates.drop=false.",
        )
