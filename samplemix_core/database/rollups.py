"""Roll-ups in Postgres: kept up to date by the transactions that load or delete what they add up, and verified by check.py."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from psycopg2 import sql

from samplemix_core.corpus.records import Block
from samplemix_core.database.connection import Cursor, Named, one, scalar
from samplemix_core.database.copy import copy_in, copy_out
from samplemix_core.database.scope import Scope, Shard
from samplemix_core.errors import AccountingError
from samplemix_core.manifest.format import Manifest
from samplemix_core.mixing.rollup import LABELS, QUALITY_BANDS, added_up, quality_bands
from samplemix_core.mixing.shard_samples import SCALE, scaled

KEYS = {
    "score_rollup": ("snapshot_id", "quality_model_id", "domain_id", "quality_band"),
    "cluster_rollup": ("cluster_model_id", "snapshot_id", "domain_id", "cluster"),
}
SUMS = {
    "score_rollup": ("documents", "tokens", "unknown_tokens", "bytes", "quality_sum", "quality_square_sum"),
    "cluster_rollup": ("documents", "tokens", "noise", "distance_sum", "distance_square_sum", "diversity_sum"),
}


def band_sql(quality: str) -> str:
    """Return SQL for the band of a quality column, as in mixing.rollup.quality_bands; uses the q_low and q_high of its model."""
    share = f"({quality}::float8 - q_low::float8) / (q_high::float8 - q_low::float8)"
    return f"least({QUALITY_BANDS - 1}, greatest(0, floor({share} * {QUALITY_BANDS})))::int"


def scaled_sql(column: str) -> str:
    """Return SQL for a quality or distance column in the units that roll-ups add up, as in mixing.source.scaled."""
    return f"round({column}::float8 * {SCALE})::bigint"


COUNTED = {
    "score_rollup": f"""
        SELECT snapshot_id, quality_model_id, domain_id, quality_band, count(*) AS documents, sum(n_tokens)::bigint AS tokens,
               sum(unknown_tokens)::bigint AS unknown_tokens, sum(n_bytes)::bigint AS bytes,
               sum(scaled)::bigint AS quality_sum, sum(scaled * scaled)::bigint AS quality_square_sum
        FROM (
            SELECT snapshot_id, quality_model_id, domain_id, n_tokens, unknown_tokens, n_bytes,
                   {scaled_sql("quality")} AS scaled,
                   {band_sql("quality")} AS quality_band
            FROM quality_score AS score
            JOIN sample USING (snapshot_id, shard_id, row)
            JOIN quality_model USING (quality_model_id)
            WHERE sample.snapshot_id = ANY(%(snapshots)s) AND score.snapshot_id = ANY(%(snapshots)s)
                AND (%(shards)s::int[] IS NULL OR sample.shard_id = ANY(%(shards)s::int[]))
                AND (%(shards)s::int[] IS NULL OR score.shard_id = ANY(%(shards)s::int[]))
                AND (%(model)s::int IS NULL OR quality_model_id = %(model)s)
                AND row >= %(first)s AND (%(end)s::bigint IS NULL OR row < %(end)s)
        ) AS scored
        GROUP BY 1, 2, 3, 4
    """,  # noqa: S608 constants
    "cluster_rollup": f"""
        SELECT cluster_model_id, snapshot_id, domain_id, cluster, count(*) AS documents, sum(n_tokens)::bigint AS tokens,
               count(*) FILTER (WHERE is_noise) AS noise, sum(scaled)::bigint AS distance_sum,
               sum(scaled * scaled)::bigint AS distance_square_sum, sum(diversity)::bigint AS diversity_sum
        FROM (
            SELECT cluster_model_id, snapshot_id, domain_id, cluster, n_tokens, is_noise,
                   {scaled_sql("distance")} AS scaled,
                   {scaled_sql("coalesce(score.diversity, cluster.diversity, 0)")} AS diversity
            FROM diversity_score AS score
            JOIN sample USING (snapshot_id, shard_id, row)
            LEFT JOIN cluster USING (cluster_model_id, cluster)
            WHERE sample.snapshot_id = ANY(%(snapshots)s) AND score.snapshot_id = ANY(%(snapshots)s)
                AND (%(shards)s::int[] IS NULL OR sample.shard_id = ANY(%(shards)s::int[]))
                AND (%(shards)s::int[] IS NULL OR score.shard_id = ANY(%(shards)s::int[]))
                AND (%(model)s::int IS NULL OR cluster_model_id = %(model)s)
        ) AS assigned
        GROUP BY 1, 2, 3, 4
    """,  # noqa: S608 constants
}
"""What a roll-up adds up, from the rows of some shards or all, and of one model or all.

Snapshots and shards are given for both tables, because Postgres doesn't infer one from the other and would plan for all partitions.
"""


def _adding(table: str, rows: sql.Composable) -> sql.Composable:
    """Return the statement that adds rows, times a sign, to a roll-up.

    It adds them in the order of the key, so that two transactions that add to the same rows wait for each other instead of
    deadlocking. It should come last in a transaction, because others wait for its end.
    """
    keys, sums = KEYS[table], SUMS[table]
    return sql.SQL(
        "INSERT INTO {table} AS kept ({keys}, {sums}) SELECT {keys}, {signed} FROM ({rows}) AS new ORDER BY {keys}"
        " ON CONFLICT ({keys}) DO UPDATE SET {added}"
    ).format(
        table=sql.Identifier(table),
        keys=_names(keys),
        sums=_names(sums),
        signed=sql.SQL(", ").join(sql.SQL("%(sign)s * {}").format(sql.Identifier(name)) for name in sums),
        rows=rows,
        added=sql.SQL(", ").join(sql.SQL("{0} = kept.{0} + EXCLUDED.{0}").format(sql.Identifier(name)) for name in sums),
    )


def _names(names: Sequence[str]) -> sql.Composable:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def add_scores(cursor: Cursor, shard: Shard, quality_model_id: int, samples: pa.Table, quality: pa.Table) -> None:
    """Add the scores of a block: its samples (schemas.SAMPLES, with domain_id for domain) and their quality (schemas.QUALITY)."""
    if not samples.num_rows:
        return
    cursor.execute("SELECT q_low, q_high FROM quality_model WHERE quality_model_id = %s", (quality_model_id,))
    bounds = one(cursor, Named)
    q = quality["quality"].to_numpy()
    ten_thousandths = scaled(q)
    added = added_up(
        pa.table(
            {
                "domain_id": samples["domain_id"],
                "quality_band": quality_bands(q, bounds["q_low"], bounds["q_high"]),
                "documents": np.ones(q.size, dtype=np.int64),
                "tokens": samples["n_tokens"],
                "unknown_tokens": samples["unknown_tokens"],
                "bytes": samples["n_bytes"],
                "quality_sum": ten_thousandths,
                "quality_square_sum": ten_thousandths * ten_thousandths,
            }
        ),
        ["domain_id", "quality_band"],
    )
    _add_table(cursor, "score_rollup", added, {"snapshot_id": shard.snapshot_id, "quality_model_id": quality_model_id})


def count_domains(cursor: Cursor, scope: Scope) -> int:
    """How many domains the scored documents of a scope have."""
    cursor.execute(
        "SELECT count(DISTINCT domain_id) FROM score_rollup WHERE snapshot_id = ANY(%s) AND quality_model_id = %s",
        (list(scope.snapshot_ids), scope.version.quality_model_id),
    )
    found: int = scalar(cursor)
    return found


def unknown_words(cursor: Cursor, scope: Scope, above: float) -> list[tuple[str, float]]:
    """Return a scope's domains where words unknown to the tokenizer have more than this share of the tokens, with that share.

    Largest share first; duplicates count too.
    """
    cursor.execute(
        """
        SELECT domain.name, sum(unknown_tokens)::float8 / sum(tokens) AS share
        FROM score_rollup JOIN domain USING (domain_id)
        WHERE snapshot_id = ANY(%s) AND quality_model_id = %s
        GROUP BY domain.name HAVING sum(unknown_tokens) > %s * sum(tokens)
        ORDER BY share DESC, domain.name
        """,
        (list(scope.snapshot_ids), scope.version.quality_model_id, above),
    )
    return cursor.fetchall()


def sum_assignments(cursor: Cursor, shard: Shard, assignments: pa.Table, first: int, sums: pa.Table | None) -> pa.Table:
    """Add up some of a shard's assignments (schemas.ASSIGNMENTS, ascending by row) by domain and cluster, on top of earlier sums.

    Raises AccountingError unless they are of exactly the samples that are stored from row `first` to the last of them.
    """
    rows = assignments["row"].to_numpy()
    kinds = {"row": "int64", "domain_id": "int32", "n_tokens": "int32"}
    samples = copy_out(
        cursor,
        "SELECT row, domain_id, n_tokens FROM sample WHERE snapshot_id = %(snapshot)s AND shard_id = %(shard)s"
        " AND row BETWEEN %(first)s AND %(last)s ORDER BY row",
        {"snapshot": shard.snapshot_id, "shard": shard.shard_id, "first": first, "last": int(rows[-1])},
        kinds,
    )
    if not np.array_equal(samples["row"], rows):
        raise AccountingError(f"{shard.path}: {rows.size} rows were assigned, {samples['row'].size} are stored, or other ones.")
    distance = scaled(assignments["distance"].to_numpy())
    added = added_up(
        pa.table(
            {
                "domain_id": samples["domain_id"],
                "cluster": assignments["cluster"],
                "documents": np.ones(distance.size, dtype=np.int64),
                "tokens": samples["n_tokens"],
                "noise": assignments["is_noise"].cast(pa.int64()),
                "distance_sum": distance,
                "distance_square_sum": distance * distance,
                "diversity_sum": scaled(assignments["diversity"].to_numpy()),
            }
        ),
        _OF_ASSIGNMENT,
    )
    return added if sums is None else added_up(pa.concat_tables([sums, added]), _OF_ASSIGNMENT)


_OF_ASSIGNMENT = ["domain_id", "cluster"]


def add_assignment(cursor: Cursor, cluster_model_id: int, shard: Shard, sums: pa.Table) -> None:
    """Add a shard's assignments, given as their sums."""
    _add_table(cursor, "cluster_rollup", sums, {"cluster_model_id": cluster_model_id, "snapshot_id": shard.snapshot_id})


def _add_table(cursor: Cursor, table: str, added: pa.Table, same: Mapping[str, int]) -> None:
    """Add rows that have the key columns in `same` in common."""
    statement = _adding_arrays(table, tuple(same), tuple(added.column_names))
    cursor.execute(statement, {"sign": 1, **same, **{name: added[name].to_pylist() for name in added.column_names}})


@cache
def _adding_arrays(table: str, same: Sequence[str], columns: Sequence[str]) -> sql.Composable:
    """Return the statement for arrays of rows; composed only once, because a block is added in a millisecond."""
    rows = sql.SQL("SELECT {}, added.* FROM unnest({}) AS added ({})").format(
        sql.SQL(", ").join(sql.SQL("{}::int AS {}").format(sql.Placeholder(name), sql.Identifier(name)) for name in same),
        sql.SQL(", ").join(sql.SQL("{}::bigint[]").format(sql.Placeholder(name)) for name in columns),
        _names(columns),
    )
    return _adding(table, rows)


def _subtract(cursor: Cursor, table: str, parameters: Mapping[str, Any]) -> None:
    """Subtract rows from a roll-up; its rows that come to nothing are deleted."""
    cursor.execute(_adding(table, sql.SQL(COUNTED[table])), {**parameters, "sign": -1})
    if cursor.rowcount:
        cursor.execute(sql.SQL("DELETE FROM {} WHERE documents = 0").format(sql.Identifier(table)))


def subtract_scores(
    cursor: Cursor, snapshot_id: int, shards: Sequence[int], quality_model_id: int | None = None, block: Block | None = None
) -> None:
    """Subtract the scores of shards, or of one block of a shard, before they are deleted: of one quality model, or of all."""
    rows = counted_of([snapshot_id], shards, quality_model_id)
    if block is not None:
        rows |= {"first": block.first_row, "end": None if block.rows is None else block.first_row + block.rows}
    _subtract(cursor, "score_rollup", rows)


def subtract_assignments(cursor: Cursor, snapshot_id: int, shards: Sequence[int], cluster_model_id: int | None = None) -> None:
    """Subtract the assignments of shards before they are deleted: of one cluster model, or of all."""
    _subtract(cursor, "cluster_rollup", counted_of([snapshot_id], shards, cluster_model_id))


def counted_of(snapshots: Sequence[int], shards: Sequence[int] | None = None, model: int | None = None) -> dict[str, Any]:
    """Return parameters for COUNTED: snapshots, some of their shards or all, one model or all."""
    return {
        "snapshots": list(snapshots),
        "shards": None if shards is None else list(shards),
        "model": model,
        "first": 0,
        "end": None,
    }


def add_mixture(cursor: Cursor, mixture_id: int, manifest: Manifest, cells: pa.Table, copy_counts: pa.Table) -> None:
    """Store a mixture's roll-up: schemas.CELLS and schemas.COPY_COUNTS, with domain_id and snapshot_id instead of the names.

    Raises AccountingError unless both add up to what the manifest says.
    """
    chosen = copy_counts["copies"].to_numpy().astype(np.int64)
    samples, tokens = copy_counts["samples"].to_numpy(), copy_counts["tokens"].to_numpy()
    wanted = (manifest.counts.eligible, manifest.samples, manifest.copies, manifest.realised_tokens)
    for name, found in {
        "cells": tuple(int(cells[column].to_numpy().sum()) for column in ("documents", "samples", "copies", "mixture_tokens")),
        "copy counts": (
            *(int(samples.sum()), int(samples[chosen > 0].sum()), int((samples * chosen).sum()), int((tokens * chosen).sum())),
        ),
    }.items():
        if found != wanted:
            raise AccountingError(
                f"The {name} of mixture {manifest.name!r} version {manifest.version} come to {found} eligible documents, samples,"
                f" copies and tokens, the manifest says {wanted}."
            )
    for table, rows in (("mixture_rollup", cells), ("mixture_copy_count", copy_counts)):
        # Analyzed after loading: the planner took thousands of cells that it had no statistics on for a few, and a query took
        # minutes.
        copy_in(cursor, table, rows.append_column("mixture_id", pa.array(np.full(rows.num_rows, mixture_id, dtype=np.int32))))
        cursor.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))


def load_cells(cursor: Cursor, mixture_id: int) -> pa.Table:
    """Return the columns of a mixture's schemas.CELLS that an estimate needs; no rows if it has no roll-up."""
    kinds = {
        "domain_id": "int32",
        "cluster": "int32",
        "quality_band": "int32",
        **dict.fromkeys(("diversity", "diversity_spread"), "float32"),
        **dict.fromkeys(LABELS, "int32"),
    }
    kinds |= dict.fromkeys(_SUMS, "int64")
    names: dict[str, list[str]] = {}
    for label in LABELS:
        query = sql.SQL("SELECT DISTINCT {} FROM mixture_rollup WHERE mixture_id = %s").format(sql.Identifier(label))
        cursor.execute(query, (mixture_id,))
        names[label] = sorted(name for (name,) in cursor.fetchall())
    columns = copy_out(cursor, _CELLS, {"mixture": mixture_id, **names}, kinds)
    cursor.execute("SELECT domain_id, name FROM domain")
    domains = dict(cursor.fetchall())
    codes, places = np.unique(columns.pop("domain_id"), return_inverse=True)
    encoded = {"domain": _encoded(places, [domains[code] for code in codes.tolist()])}
    encoded |= {label: _encoded(columns.pop(label), names[label]) for label in LABELS}
    return pa.table({**encoded, **columns})


def _encoded(codes: npt.NDArray[np.integer], names: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(codes.astype(np.int32), pa.array(names, pa.string()))


_SUMS = "documents", "tokens", "quality_sum", "quality_square_sum", "distance_sum", "distance_square_sum", "mixture_tokens"
_CELLS = """
SELECT domain_id, cluster, quality_band, diversity, diversity_spread, array_position(%(language)s, language) - 1,
       array_position(%(content_type)s, content_type) - 1, documents, tokens, quality_sum, quality_square_sum, distance_sum,
       distance_square_sum, mixture_tokens
FROM mixture_rollup WHERE mixture_id = %(mixture)s
"""


def bytes_by_domain(cursor: Cursor, snapshot_ids: Sequence[int]) -> dict[str, int]:
    """Bytes of scored documents in each domain of some snapshots; by whichever quality model scored most of them."""
    cursor.execute(
        """
        WITH model AS (
            SELECT quality_model_id FROM score_rollup WHERE snapshot_id = ANY(%(snapshots)s)
            GROUP BY 1 ORDER BY sum(documents) DESC, 1 LIMIT 1
        )
        SELECT domain.name, sum(bytes)::bigint FROM score_rollup JOIN model USING (quality_model_id) JOIN domain USING (domain_id)
        WHERE snapshot_id = ANY(%(snapshots)s) GROUP BY 1 HAVING sum(bytes) > 0 ORDER BY 1
        """,
        {"snapshots": sorted(set(snapshot_ids))},
    )
    return dict(cursor.fetchall())
