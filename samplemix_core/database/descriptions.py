"""What clusters are about: map positions and distinctive words, stored with their measures; and the documents these come from."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from samplemix_core.database.connection import Cursor, scalar
from samplemix_core.database.copy import copy_out
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
