"""A mixture's samples, and all documents it was chosen from: filtered, a page at a time, each continuing where the last one ended.

A page examines a limited number of samples in the order of an index, whatever its filter lets through, so it is as fast for a
billion samples as for a million. A page that finds few says where to continue.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from psycopg2 import sql
from pydantic import ConfigDict, Field, StringConstraints, model_validator

from samplemix_core.corpus.records import Block
from samplemix_core.database.connection import Cursor, Named, one, rows_as, transaction
from samplemix_core.database.query import run_query
from samplemix_core.errors import QueryError
from samplemix_core.frozen import FrozenModel

Order = Literal["copies", "weight", "quality", "distance", "place"]

PAGE_ROWS = 50
LOOK_SECONDS = 0.4
"""After this long, no more samples are examined for a page that isn't full."""

TIMEOUT_SECONDS = 20.0

Name = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=4000)]
"""Text that can be sent to Postgres: without NUL."""


class SampleFilter(FrozenModel):
    """What to look for, and in which order.

    By copies, most first, or by weight, least first: the mixture's samples. By quality, highest first, by distance from a cluster's
    centroid, or by place: all scored documents of the mixture's snapshots, with copies 0 for those that it left out. Limits are
    inclusive.
    """

    model_config = ConfigDict(defer_build=False)  # FastAPI, which reads it from a query, warns about a model that isn't built.

    order: Order = "copies"
    snapshot: Name | None = None
    shard: Name | None = Field(None, description="Path, relative to the corpus")
    domain: Name | None = None
    cluster: int | None = Field(None, ge=0, lt=2**31)
    quality_from: float | None = None
    quality_to: float | None = None
    diversity_from: float | None = None
    diversity_to: float | None = None
    copies_from: int | None = Field(None, ge=0, lt=2**31)
    copies_to: int | None = Field(None, ge=0, lt=2**31)
    after: str | None = Field(None, max_length=200, description="Where an answer before said that the next begins")

    @model_validator(mode="before")
    @classmethod
    def _left_empty(cls, values: Any) -> Any:
        """Drop empty strings, which a form sends for fields that are left empty."""
        return {name: value for name, value in values.items() if value != ""} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _distance_of(self) -> Self:
        if self.order == "distance" and self.cluster is None:
            raise ValueError("the order by distance is that of one cluster: give its number")
        return self


@dataclass(frozen=True)
class _Walk:
    """An order of samples: the indexed table to walk, the key to walk it by, and how many rows to examine at a time."""

    table: str
    key: tuple[tuple[str, str], ...]
    where: str
    descending: bool = False
    looks: int = 20_000


_SNAPSHOT, _PLACE = ("snapshot_id", "int"), (("shard_id", "int"), ("row", "bigint"))
_MIXED = "mixture_id = %(mixture)s"

_WALKS: dict[Order, _Walk] = {
    "copies": _Walk(
        "mixture_sample",
        (("copies", "int"), ("weight", "float8"), _SNAPSHOT, *_PLACE),
        f"{_MIXED} AND (%(copies_to)s IS NULL OR copies <= %(copies_to)s)",
        descending=True,
        looks=200_000,
    ),
    "weight": _Walk("mixture_sample", (("weight", "float8"), _SNAPSHOT, *_PLACE), _MIXED, looks=200_000),
    "quality": _Walk(
        "quality_score",
        (("quality", "real"), *_PLACE),
        "quality_model_id = %(quality_model)s AND (%(quality_to)s IS NULL OR quality <= %(quality_to)s::real)",
        descending=True,
    ),
    "distance": _Walk(
        "diversity_score", (("distance", "real"), *_PLACE), "cluster_model_id = %(cluster_model)s AND cluster = %(cluster)s"
    ),
    "place": _Walk("sample", (_SNAPSHOT, *_PLACE), "(%(rows)s::bigint[] IS NULL OR row = ANY(%(rows)s))"),
}

_WITHIN = "snapshot_id = ANY(%(snapshots)s) AND (%(shard_id)s IS NULL OR shard_id = %(shard_id)s)"

_WALKED = """
FROM {table}
WHERE {within} AND {where} AND {beyond}
ORDER BY {order}
"""

_OWN_FACTS = """
SELECT snapshot_id, shard_id, row, domain_id, n_tokens, copies, weight, quality, diversity, cluster, NULL::real AS distance,
       NULL::boolean AS is_noise {walked} LIMIT {looks}
"""

_JOINED_FACTS = """
SELECT snapshot_id, shard_id, row, sample.domain_id, sample.n_tokens, coalesce(held.copies, 0) AS copies, held.weight,
       score.quality, coalesce(assigned.diversity, cluster.diversity) AS diversity, assigned.cluster, assigned.distance, is_noise
FROM (SELECT snapshot_id, shard_id, row {walked} LIMIT {looks}) AS walked
JOIN sample USING (snapshot_id, shard_id, row)
JOIN (SELECT * FROM quality_score WHERE quality_model_id = %(quality_model)s) AS score USING (snapshot_id, shard_id, row)
LEFT JOIN (SELECT * FROM diversity_score WHERE cluster_model_id = %(cluster_model)s) AS assigned USING (snapshot_id, shard_id, row)
LEFT JOIN cluster ON cluster.cluster_model_id = assigned.cluster_model_id AND cluster.cluster = assigned.cluster
LEFT JOIN (SELECT * FROM mixture_sample WHERE mixture_id = %(mixture)s) AS held USING (snapshot_id, shard_id, row)
"""

_PAGE = """
SELECT snapshot.name AS snapshot, path AS shard, row, doc_id, domain.name AS domain, n_tokens, copies, weight, quality, diversity,
       cluster, distance, is_noise, snapshot_id, shard_id
FROM (
    SELECT * FROM ({facts}) AS facts
    WHERE snapshot_id = ANY(%(snapshots)s)
        AND (%(domain)s IS NULL OR domain_id = (SELECT domain_id FROM domain WHERE name = %(domain)s))
        AND (%(cluster)s IS NULL OR cluster = %(cluster)s)
        AND (%(quality_from)s IS NULL OR quality >= %(quality_from)s::real)
        AND (%(quality_to)s IS NULL OR quality <= %(quality_to)s::real)
        AND (%(diversity_from)s IS NULL OR diversity >= %(diversity_from)s)
        AND (%(diversity_to)s IS NULL OR diversity <= %(diversity_to)s)
        AND (%(copies_from)s IS NULL OR copies >= %(copies_from)s) AND (%(copies_to)s IS NULL OR copies <= %(copies_to)s)
    ORDER BY {order}
    LIMIT {rows}
) AS found
JOIN snapshot USING (snapshot_id)
JOIN shard USING (snapshot_id, shard_id)
LEFT JOIN domain USING (domain_id)
LEFT JOIN LATERAL (
    SELECT doc_id FROM sample
    WHERE sample.snapshot_id = found.snapshot_id AND sample.shard_id = found.shard_id AND sample.row = found.row
) AS document ON true
ORDER BY {order}
"""


@dataclass(frozen=True)
class SamplePage:
    """Samples in order; `more` is the next page's `after`, None at the end; `looked` is how many were examined for a short page."""

    samples: list[Named]
    more: str | None
    looked: int | None


def find_samples(reader_url: str, mixture_id: int, wanted: SampleFilter, *, rows: Sequence[int] | None = None) -> SamplePage:
    """Return a page of a mixture's samples, or of the documents it was chosen from; `rows` limits an order by place to these rows.

    Raises QueryError for a snapshot or shard that the mixture was not made from, and as run_query does.
    """
    deadline = time.monotonic() + LOOK_SECONDS
    with transaction(reader_url) as cursor:
        values = _values(cursor, mixture_id, wanted)
    walk = _WALKS[wanted.order]
    names = [name for name, _ in walk.key]
    values |= {"rows": None if rows is None else list(rows)}
    facts = _OWN_FACTS if walk.table == "mixture_sample" else _JOINED_FACTS
    found: list[Named] = []
    after, looked = wanted.after, 0
    while True:
        values |= {f"after_{name}": value for name, value in zip(names, _read_key(walk, after), strict=True)}
        parts = _parts(walk, after=after is not None, in_shard=wanted.shard is not None)
        page = sql.SQL(_PAGE).format(
            facts=sql.SQL(facts).format(**parts, looks=sql.Literal(walk.looks)),
            order=parts["order"],
            rows=sql.Literal(PAGE_ROWS - len(found) + 1),
        )
        found += run_query(reader_url, page, values, timeout_seconds=TIMEOUT_SECONDS)
        if len(found) > PAGE_ROWS:
            found.pop()
            return SamplePage(_shown(found), _key_of(found[-1], names), None)
        end = sql.SQL("SELECT {} {} OFFSET {} LIMIT 1").format(
            sql.SQL(", ").join(map(sql.Identifier, names)), parts["walked"], sql.Literal(walk.looks - 1)
        )
        last = run_query(reader_url, end, values, timeout_seconds=TIMEOUT_SECONDS)
        if not last:
            return SamplePage(_shown(found), None, None)
        after, looked = _key_of(last[0], names), looked + walk.looks
        if time.monotonic() > deadline:
            return SamplePage(_shown(found), after, looked)


def _parts(walk: _Walk, *, after: bool, in_shard: bool) -> dict[str, sql.Composable]:
    """Return the parts of the statements that depend on the walk."""
    order = sql.SQL(", ").join(sql.SQL("{} DESC" if walk.descending else "{}").format(sql.Identifier(name)) for name, _ in walk.key)
    columns = sql.SQL(", ").join(sql.Identifier(name) for name, _ in walk.key)
    limits = sql.SQL(", ").join(sql.SQL("%({})s::{}").format(sql.SQL(f"after_{name}"), sql.SQL(kind)) for name, kind in walk.key)
    compare = sql.SQL("({}) < ({})" if walk.descending else "({}) > ({})")
    walked = sql.SQL(_WALKED).format(
        table=sql.Identifier(walk.table),
        # No index of a mixture's samples begins with the snapshot: it is left to the outer filter, so that few rows are examined.
        within=sql.SQL("true" if walk.table == "mixture_sample" and not in_shard else _WITHIN),
        where=sql.SQL(walk.where),
        beyond=compare.format(columns, limits) if after else sql.SQL("true"),
        order=order,
    )
    return {"order": order, "walked": walked}


def _values(cursor: Cursor, mixture_id: int, wanted: SampleFilter) -> Named:
    """Return the statements' parameters, with names resolved to database ids."""
    cursor.execute("SELECT quality_model_id, cluster_model_id FROM mixture WHERE mixture_id = %s", (mixture_id,))
    models = one(cursor, Named)
    cursor.execute(
        "SELECT snapshot_id FROM mixture_snapshot JOIN snapshot USING (snapshot_id)"
        " WHERE mixture_id = %(mixture)s AND (%(name)s IS NULL OR name = %(name)s)",
        {"mixture": mixture_id, "name": wanted.snapshot},
    )
    snapshots = [snapshot_id for (snapshot_id,) in cursor.fetchall()]
    if not snapshots:
        raise QueryError(
            f"The mixture was not made from a snapshot {str(wanted.snapshot)[:100]!r}.", "See its page for its crawls."
        )
    shard_id = None
    if wanted.shard is not None:
        cursor.execute(
            "SELECT shard_id FROM shard WHERE snapshot_id = ANY(%s) AND path = %s ORDER BY shard_id DESC LIMIT 1",
            (snapshots, wanted.shard),
        )
        if (found := cursor.fetchone()) is None:
            raise QueryError(f"The mixture's snapshots have no shard {wanted.shard[:200]!r}.", "Copy its path from a sample.")
        (shard_id,) = found
    return {
        **wanted.model_dump(exclude={"order", "snapshot", "shard", "after"}),
        "mixture": mixture_id,
        "quality_model": models["quality_model_id"],
        "cluster_model": models["cluster_model_id"],
        "snapshots": snapshots,
        "shard_id": shard_id,
    }


_HIDDEN = ("snapshot_id", "shard_id")


def _shown(found: list[Named]) -> list[Named]:
    return [{name: value for name, value in row.items() if name not in _HIDDEN} for row in found]


def _key_of(row: Named, names: Sequence[str]) -> str:
    return ",".join(repr(row[name]) for name in names)


def _read_key(walk: _Walk, after: str | None) -> list[int | float | None]:
    """The values of a key that _key_of wrote."""
    if after is None:
        return [None] * len(walk.key)
    values = after.split(",")
    try:
        if len(values) == len(walk.key):
            kinds = (float if kind in ("real", "float8") else int for _, kind in walk.key)
            return [kind(value) for kind, value in zip(kinds, values, strict=True)]
    except ValueError:
        pass
    raise QueryError(f"{after[:100]!r} is not the end of an earlier answer in this order.", "Start again without 'after'.")


@dataclass(frozen=True)
class SamplePlace:
    """Where a sample's text is, by the ledger: the corpus, how to read it, and the shard's block that holds the row."""

    uri: str
    reader: dict[str, Any]
    path: str
    block: Block
    content_hash: str | None


def sample_place(cursor: Cursor, corpus_id: int, path: str, row: int) -> SamplePlace | None:
    """The place of a row, which need not be a sample's; None if the corpus has no such shard, or it is not planned yet."""
    cursor.execute(
        """
        SELECT uri, reader, path, block, first_row, rows, byte_offset, n_bytes,
               (SELECT content_hash::text FROM sample
                WHERE sample.snapshot_id = shard.snapshot_id AND sample.shard_id = shard.shard_id AND row = %(row)s) AS content_hash
        FROM corpus JOIN snapshot USING (corpus_id) JOIN shard USING (snapshot_id) JOIN block USING (shard_id)
        WHERE corpus_id = %(corpus)s AND path = %(path)s AND superseded_at IS NULL AND first_row <= %(row)s
        ORDER BY first_row DESC LIMIT 1
        """,
        {"corpus": corpus_id, "path": path, "row": row},
    )
    for found in rows_as(cursor, Named):
        block = Block(**{name: found.pop(name) for name in ("block", "first_row", "rows", "byte_offset", "n_bytes")})
        return SamplePlace(block=block, **found)
    return None
