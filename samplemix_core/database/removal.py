"""Removal of scores: their rows, and what roll-ups added up from them, in one transaction."""

from collections.abc import Mapping
from typing import Any

from psycopg2 import sql

from samplemix_core.corpus.records import Block
from samplemix_core.database.connection import Cursor
from samplemix_core.database.rollups import subtract_scores
from samplemix_core.database.scope import Shard


def delete_block(cursor: Cursor, shard: Shard, block: Block, quality_model_id: int | None) -> None:
    """Delete what remains of a block whose ledger row is gone: all of it, or its scores by one quality model."""
    place = {
        "snapshot": shard.snapshot_id,
        "shard": shard.shard_id,
        "model": quality_model_id,
        "first": block.first_row,
        "end": None if block.rows is None else block.first_row + block.rows,
    }
    # Usually there is nothing, and one statement finds that out.
    left = _met(cursor, place)
    if "quality_score" in left:
        subtract_scores(cursor, shard.snapshot_id, [shard.shard_id], quality_model_id, block)
        of_model = "DELETE FROM {table} WHERE {place} AND {block} AND (%(model)s::int IS NULL OR quality_model_id = %(model)s)"
        cursor.execute(_in_block(of_model, "quality_score"), place)
    if quality_model_id is None:
        for table in sorted(left - {"quality_score"}):
            cursor.execute(_in_block("DELETE FROM {table} WHERE {place} AND {block}", table), place)


def _met(cursor: Cursor, place: Mapping[str, Any]) -> set[str]:
    """Return the tables that have rows of a block, by querying the snapshot's own partitions."""
    asked = [
        _in_block("(SELECT {name} WHERE EXISTS (SELECT FROM {table} WHERE {block}))", partition, name=table)
        for table, partition in (
            ("quality_score", f"quality_score_s{place['snapshot']}"),
            ("sample", f"sample_s{place['snapshot']}"),
            ("quarantine", "quarantine"),
        )
    ]
    cursor.execute(sql.SQL(" UNION ALL ").join(asked), place)
    return {table for (table,) in cursor.fetchall()}


def _in_block(statement: str, table: str, name: str = "") -> sql.Composed:
    return sql.SQL(statement).format(
        table=sql.Identifier(table),
        name=sql.Literal(name),
        place=sql.SQL("true" if table == "quarantine" else "snapshot_id = %(snapshot)s"),
        block=sql.SQL("shard_id = %(shard)s AND row >= %(first)s AND (%(end)s::bigint IS NULL OR row < %(end)s)"),
    )


def delete_shard(cursor: Cursor, shard: Shard) -> None:
    """Delete a refused shard's samples, their scores, its quarantined records, and its blocks' ledger rows."""
    subtract_scores(cursor, shard.snapshot_id, [shard.shard_id])
    for table in ("sample", "quality_score"):
        in_partition = sql.SQL("DELETE FROM {} WHERE snapshot_id = %s AND shard_id = %s").format(sql.Identifier(table))
        cursor.execute(in_partition, (shard.snapshot_id, shard.shard_id))
    for table in ("quarantine", "block_score"):
        cursor.execute(sql.SQL("DELETE FROM {} WHERE shard_id = %s").format(sql.Identifier(table)), (shard.shard_id,))
