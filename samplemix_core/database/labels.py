"""Labels: rubrics, annotators, the texts they judged, and their scores. An annotation is of a text, not of a place."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from psycopg2 import sql
from psycopg2.extras import Json

from samplemix_core import schemas
from samplemix_core.database.connection import Cursor, rows_as, scalar
from samplemix_core.database.copy import copy_in
from samplemix_core.errors import ConfigError
from samplemix_core.frozen import load_config
from samplemix_core.quality.rubric import Rubric


@dataclass(frozen=True)
class Annotator:
    """An annotator: its name, rubric and specification, and how many texts it has judged."""

    annotator_id: int
    name: str
    rubric: Rubric
    spec: dict[str, Any]
    annotations: int


_ANNOTATORS = """
    SELECT annotator_id, annotator.name, rubric.spec AS rubric, annotator.spec,
           (SELECT count(*) FROM annotation WHERE annotation.annotator_id = annotator.annotator_id) AS annotations
    FROM annotator JOIN rubric USING (rubric_id)
    WHERE %(names)s IS NULL OR annotator.name = ANY(%(names)s)
    ORDER BY annotator.name
"""


def list_annotators(cursor: Cursor, names: Sequence[str] | None = None) -> list[Annotator]:
    """Return all annotators, or those with these names, by name. Raises ConfigError for a name that nobody has."""
    cursor.execute(_ANNOTATORS, {"names": None if names is None else list(names)})
    found = rows_as(
        cursor,
        lambda rubric, name, **row: Annotator(name=name, rubric=load_config(Rubric, rubric, f"rubric of annotator {name}"), **row),
    )
    missing = sorted(set(names or ()) - {annotator.name for annotator in found})
    if missing:
        raise ConfigError(f"There is no annotator {missing[0]!r}.", "See 'samplemix quality annotators'.")
    return found


def ensure_annotator(cursor: Cursor, name: str, rubric: Rubric, spec: dict[str, Any]) -> int:
    """Return the id of an annotator, added if new. Raises ConfigError if the name belongs to one with another rubric or spec."""
    key = rubric.rubric_key
    cursor.execute(
        "INSERT INTO rubric (rubric_key, name, spec) VALUES (%s, %s, %s) ON CONFLICT (rubric_key) DO NOTHING",
        (key, rubric.name, Json(rubric.model_dump(mode="json"))),
    )
    cursor.execute(
        "INSERT INTO annotator (name, rubric_id, spec) SELECT %s, rubric_id, %s FROM rubric WHERE rubric_key = %s"
        " ON CONFLICT (name) DO NOTHING",
        (name, Json(spec), key),
    )
    cursor.execute(
        "SELECT CASE WHEN rubric_key = %s AND annotator.spec = %s::jsonb THEN annotator_id END"
        " FROM annotator JOIN rubric USING (rubric_id) WHERE annotator.name = %s",
        (key, Json(spec), name),
    )
    found = scalar(cursor)
    if found is None:
        raise ConfigError(
            f"The annotator {name!r} is there already, with another rubric or another way to judge.", "Give this one another name."
        )
    return int(found)


@dataclass(frozen=True)
class Added:
    """The result of adding annotations: how many were new, and the hashes of texts that already had a different one."""

    new: int
    differing: frozenset[bytes]


def add_annotations(cursor: Cursor, annotator_id: int, labels: pa.Table) -> Added:
    """Add annotations of distinct texts, schemas.LABELS, and the texts that are new. Existing rows are left unchanged."""
    cursor.execute(
        "CREATE TEMPORARY TABLE arriving (content_hash uuid, text text, doc_id text, source text, language text, split_group text,"
        " scores text, rationale text) ON COMMIT DROP"
    )
    scores = pa.array(["{" + ",".join(map(str, row)) + "}" for row in labels["scores"].to_pylist()], pa.string())
    copy_in(cursor, "arriving", labels.set_column(labels.column_names.index("scores"), "scores", scores))
    cursor.execute(
        "INSERT INTO labelled_text (content_hash, text, doc_id, source, language, split_group)"
        " SELECT content_hash, text, doc_id, source, language, split_group FROM arriving ORDER BY content_hash"
        " ON CONFLICT (content_hash) DO NOTHING"
    )
    cursor.execute(
        "INSERT INTO annotation (annotator_id, content_hash, scores, overall, rationale)"
        " SELECT %s, content_hash, scores::smallint[], (SELECT sum(score) FROM unnest(scores::smallint[]) AS score), rationale"
        " FROM arriving ORDER BY content_hash ON CONFLICT (annotator_id, content_hash) DO NOTHING",
        (annotator_id,),
    )
    new = cursor.rowcount
    cursor.execute(
        "SELECT content_hash::text FROM arriving JOIN annotation USING (content_hash)"
        " WHERE annotator_id = %s AND annotation.scores <> arriving.scores::smallint[]",
        (annotator_id,),
    )
    differing = frozenset(bytes.fromhex(text.replace("-", "")) for (text,) in cursor.fetchall())
    cursor.execute("DROP TABLE arriving")
    return Added(new, differing)


def read_labels(cursor: Cursor, annotator_ids: Sequence[int], after: bytes = b"", limit: int | None = None) -> pa.Table:
    """Return these annotators' labels, schemas.LABELS, in the order of hashes: of at most `limit` texts with a hash beyond `after`.

    For a text that several judged, each dimension is the mean, rounded half up; the rationale is one of theirs.
    """
    cursor.execute(
        """
        WITH chosen AS (
            SELECT DISTINCT content_hash FROM annotation
            WHERE annotator_id = ANY(%(annotators)s) AND (%(after)s IS NULL OR content_hash > %(after)s::uuid)
            ORDER BY content_hash LIMIT %(limit)s
        ), judged AS (
            SELECT content_hash, dimension, round(avg(score))::smallint AS score
            FROM chosen JOIN annotation USING (content_hash), unnest(scores) WITH ORDINALITY AS each (score, dimension)
            WHERE annotator_id = ANY(%(annotators)s) GROUP BY content_hash, dimension
        ), combined AS (
            SELECT content_hash, array_agg(score ORDER BY dimension) AS scores FROM judged GROUP BY content_hash
        )
        SELECT content_hash::text, text, doc_id, source, language, split_group, scores,
               (SELECT min(rationale) FROM annotation
                WHERE annotation.content_hash = combined.content_hash AND annotator_id = ANY(%(annotators)s)) AS rationale
        FROM combined JOIN labelled_text USING (content_hash) ORDER BY content_hash
        """,
        {"annotators": list(annotator_ids), "after": after.hex() or None, "limit": limit},
    )
    columns = list(zip(*cursor.fetchall(), strict=True)) or [()] * len(schemas.LABELS)
    columns[0] = tuple(bytes.fromhex(text.replace("-", "")) for text in columns[0])
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schemas.LABELS, strict=True)]
    return pa.table(arrays, schema=schemas.LABELS)


def read_vectors(cursor: Cursor, encoder_id: int, hashes: Collection[bytes]) -> dict[bytes, npt.NDArray[np.float16]]:
    """Return, by content hash, the stored vectors of these labelled texts."""
    cursor.execute(
        "SELECT content_hash::text, vector FROM labelled_vector WHERE encoder_id = %s AND content_hash = ANY(%s::uuid[])",
        (encoder_id, [item.hex() for item in hashes]),
    )
    return {bytes.fromhex(text.replace("-", "")): np.frombuffer(vector, dtype="<f2") for text, vector in cursor.fetchall()}


def keep_vectors(cursor: Cursor, encoder_id: int, hashes: Sequence[bytes], vectors: npt.NDArray[np.float16]) -> None:
    """Store the vectors (n, dim) of n labelled texts. Existing ones are left unchanged."""
    cursor.executemany(
        sql.SQL("INSERT INTO labelled_vector (encoder_id, content_hash, vector) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"),
        [
            (encoder_id, content_hash.hex(), vector.astype("<f2").tobytes())
            for content_hash, vector in zip(hashes, vectors, strict=True)
        ],
    )
