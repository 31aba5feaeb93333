"""What clusters are about: places on a map and telling words, with their measures; and documents on a map of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.database.connection import Cursor, scalar
from samplemix_core.database.copy import copy_in, copy_out
from samplemix_core.database.scope import Shard


@dataclass(frozen=True, eq=False)
class Description:
    """Clusters described for people: positions on a map, float32 (K, 2), and the words that tell each from the others.

    coherence: float32 (K,), see diversity.describe.coherence; NaN for a cluster with too few texts.
    """

    places: npt.NDArray[np.float32]
    terms: list[list[str]]
    coherence: npt.NDArray[np.float32]


def assigned_rows(cursor: Cursor, cluster_model_id: int, shard: Shard, rows: int) -> dict[str, npt.NDArray[Any]]:
    """Return row, cluster and distance of a shard's first `rows` documents, in row order."""
    return copy_out(
        cursor,
        "SELECT row, cluster, distance FROM diversity_score WHERE cluster_model_id = %(model)s AND snapshot_id = %(snapshot)s"
        " AND shard_id = %(shard)s ORDER BY row LIMIT %(rows)s",
        {"model": cluster_model_id, "snapshot": shard.snapshot_id, "shard": shard.shard_id, "rows": rows},
        {"row": "int64", "cluster": "int32", "distance": "float32"},
    )


def is_described(cursor: Cursor, cluster_model_id: int) -> bool:
    """Whether a measured model's clusters have been described."""
    cursor.execute("SELECT bool_and(terms IS NOT NULL) FROM cluster WHERE cluster_model_id = %s", (cluster_model_id,))
    return bool(scalar(cursor))


def save_description(cursor: Cursor, cluster_model_id: int, description: Description) -> None:
    """Store what the clusters of a measured model are about."""
    cursor.execute(
        """
        UPDATE cluster SET x = described.x, y = described.y, terms = described.terms::text[], coherence = described.coherence
        FROM unnest(%(x)s::real[], %(y)s::real[], %(terms)s::text[], %(coherence)s::real[])
            WITH ORDINALITY AS described (x, y, terms, coherence, number)
        WHERE cluster_model_id = %(model)s AND cluster = number - 1
        """,
        {
            "model": cluster_model_id,
            "x": description.places[:, 0].tolist(),
            "y": description.places[:, 1].tolist(),
            "coherence": [None if np.isnan(value) else value for value in description.coherence.tolist()],
            # An array of arrays would have to be rectangular.
            "terms": ["{" + ",".join(f'"{term}"' for term in terms) + "}" for terms in description.terms],
        },
    )


@dataclass(frozen=True, eq=False)
class MappedDocuments:
    """Documents of a shard on a map: row, int64 (n,), ascending; place, float32 (n, 2); and the beginnings of their texts."""

    shard: Shard
    row: npt.NDArray[np.int64]
    place: npt.NDArray[np.float32]
    beginnings: list[str]


def is_mapped(cursor: Cursor, cluster_model_id: int, of: str) -> bool:
    """Whether a model's map of documents was made from shards with this digest."""
    cursor.execute("SELECT mapped IS NOT DISTINCT FROM %s FROM cluster_model WHERE cluster_model_id = %s", (of, cluster_model_id))
    return bool(scalar(cursor))


def assigned_shards(cursor: Cursor, cluster_model_id: int) -> dict[int, int]:
    """Return the snapshots of the shards that are assigned to a model's clusters, by shard."""
    cursor.execute(
        "SELECT shard_id, snapshot_id FROM shard_assignment JOIN shard USING (shard_id)"
        " WHERE cluster_model_id = %s AND state = 'done' AND superseded_at IS NULL",
        (cluster_model_id,),
    )
    return dict(cursor.fetchall())


def mapped_places(cursor: Cursor, cluster_model_id: int, shard: Shard) -> dict[str, npt.NDArray[Any]]:
    """Return row, x and y of a shard's documents on a model's map, in row order."""
    return copy_out(
        cursor,
        "SELECT row, x, y FROM sample_map WHERE cluster_model_id = %(model)s AND snapshot_id = %(snapshot)s"
        " AND shard_id = %(shard)s ORDER BY row",
        {"model": cluster_model_id, "snapshot": shard.snapshot_id, "shard": shard.shard_id},
        {"row": "int64", "x": "float32", "y": "float32"},
    )


def save_map(cursor: Cursor, cluster_model_id: int, documents: Sequence[MappedDocuments], of: str) -> None:
    """Store a model's map of documents in place of the one before, without shards that are not assigned to it any more.

    `of` is the digest of what it was made from.
    """
    # In the order in which others lock them. One map of this model at a time may replace the other.
    snapshots, shards = (sorted({getattr(own.shard, name) for own in documents}) for name in ("snapshot_id", "shard_id"))
    cursor.execute("SELECT FROM snapshot WHERE snapshot_id = ANY(%s) ORDER BY snapshot_id FOR KEY SHARE", (snapshots,))
    cursor.execute("SELECT FROM shard WHERE shard_id = ANY(%s) ORDER BY shard_id FOR KEY SHARE", (shards,))
    cursor.execute("SELECT FROM cluster_model WHERE cluster_model_id = %s FOR NO KEY UPDATE", (cluster_model_id,))
    there = assigned_shards(cursor, cluster_model_id)
    cursor.execute("DELETE FROM sample_map WHERE cluster_model_id = %s", (cluster_model_id,))
    for own in documents:
        n = own.row.size
        if not n or own.shard.shard_id not in there:
            continue
        copy_in(
            cursor,
            "sample_map",
            pa.table(
                {
                    "cluster_model_id": np.full(n, cluster_model_id, dtype=np.int32),
                    "snapshot_id": np.full(n, own.shard.snapshot_id, dtype=np.int32),
                    "shard_id": np.full(n, own.shard.shard_id, dtype=np.int32),
                    "row": own.row,
                    "x": own.place[:, 0],
                    "y": own.place[:, 1],
                    "beginning": own.beginnings,
                }
            ),
        )
    cursor.execute("UPDATE cluster_model SET mapped = %s WHERE cluster_model_id = %s", (of, cluster_model_id))
