"""Audits of quality models: drawing the sample of documents to examine, and storing the findings."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from psycopg2.extras import Json, execute_values

from samplemix_core.config.run import AuditConfig
from samplemix_core.database.connection import Cursor, scalar
from samplemix_core.database.quality_models import QualityModel
from samplemix_core.errors import ConfigError
from samplemix_core.identity import hash_range
from samplemix_core.quality.audit import ModelAudit, Sampled


@dataclass(frozen=True)
class Place:
    """Where a document is: what is needed to read its text."""

    snapshot: str
    shard: str
    row: int
    doc_id: str | None


@dataclass(frozen=True)
class AuditedScope:
    """A corpus, the snapshots to audit, and the quality models that scored any of them."""

    corpus_id: int
    snapshots: tuple[str, ...]
    snapshot_ids: tuple[int, ...]
    quality_model_ids: frozenset[int]


def audited_scope(cursor: Cursor, corpus: str, snapshots: Sequence[str] = ()) -> AuditedScope:
    """Return what to audit in a corpus (name or URI): these snapshots, or all of them.

    Raises QueryError for an unknown corpus, ConfigError for a snapshot that it doesn't have.
    """
    cursor.execute(
        """
        SELECT corpus_id, snapshot.name, snapshot_id,
               ARRAY(SELECT DISTINCT quality_model_id FROM score_rollup WHERE score_rollup.snapshot_id = snapshot.snapshot_id)
        FROM snapshot WHERE corpus_id = corpus_of(%s) ORDER BY snapshot.name COLLATE "C"
        """,
        (corpus,),
    )
    rows = [row for row in cursor.fetchall() if not snapshots or row[1] in snapshots]
    missing = sorted(set(snapshots).difference(row[1] for row in rows))
    if missing or not rows:
        raise ConfigError(f"{corpus} has no snapshot {', '.join(missing)}.", "See 'samplemix corpus list'.")
    scored: frozenset[int] = frozenset().union(*(row[3] for row in rows))
    return AuditedScope(rows[0][0], tuple(row[1] for row in rows), tuple(row[2] for row in rows), scored)


def read_sampled(
    cursor: Cursor, snapshot_ids: Sequence[int], models: Sequence[QualityModel], names: Sequence[str], config: AuditConfig
) -> tuple[Sampled, list[Place]]:
    """Return about config.documents documents that all models scored, with quality under these names, and each one's place.

    Both are empty if there are no such documents.
    """
    ids = [model.quality_model_id for model in models]
    values: dict[str, Any] = {"snapshots": list(snapshot_ids), "models": ids}
    cursor.execute(
        "SELECT coalesce(sum(documents), 0)::bigint FROM score_rollup"
        " WHERE snapshot_id = ANY(%(snapshots)s) AND quality_model_id = (%(models)s)[1]",
        values,
    )
    first, last = map(str, hash_range(config.documents / max(1, scalar(cursor)), config.seed))
    cursor.execute(
        """
        SELECT domain.name, snapshot.name, coalesce(language, 'und'), coalesce(content_type, 'unknown'), n_tokens,
               path, row, doc_id, qualities
        FROM (
            SELECT *, ARRAY(
                SELECT quality FROM quality_score AS score
                WHERE score.snapshot_id = sample.snapshot_id AND score.shard_id = sample.shard_id AND score.row = sample.row
                    AND quality_model_id = ANY(%(models)s)
                ORDER BY array_position(%(models)s, quality_model_id)
            ) AS qualities
            FROM sample
            WHERE snapshot_id = ANY(%(snapshots)s) AND content_hash BETWEEN %(first)s::uuid AND %(last)s::uuid
        ) AS looked
        JOIN domain USING (domain_id)
        JOIN snapshot USING (snapshot_id)
        JOIN shard USING (shard_id)
        WHERE cardinality(qualities) = cardinality(%(models)s)
        ORDER BY snapshot.name COLLATE "C", path COLLATE "C", row
        """,
        values | {"first": first, "last": last},
    )
    rows = cursor.fetchall()
    columns = list(zip(*rows, strict=True)) or [()] * 9
    scores = np.array(columns[8], dtype=np.float64).reshape(len(rows), len(models))
    low, width = (np.array([getattr(model, end) for model in models], dtype=np.float64) for end in ("low", "high"))
    normalised = np.clip((scores - low) / (width - low), 0.0, 1.0)
    sampled = Sampled(
        groups=dict(zip(("domain", "snapshot", "language", "content_type"), map(_coded, columns[:4]), strict=True)),
        tokens=np.array(columns[4], dtype=np.int64),
        quality={name: normalised[:, i] for i, name in enumerate(names)},
    )
    return sampled, [Place(row[1], row[5], row[6], row[7]) for row in rows]


def _coded(values: Sequence[str]) -> tuple[list[str], np.ndarray]:
    names, codes = np.unique(np.array(values, dtype=np.str_), return_inverse=True)
    return names.tolist(), codes.astype(np.int64)


def save_audit(
    cursor: Cursor,
    corpus_id: int,
    snapshots: Sequence[str],
    model: QualityModel,
    found: ModelAudit,
    places: Sequence[Place],
    run: str | None,
) -> int:
    """Store a model's audit; returns the audit's id."""
    extremes = [{**asdict(item), **asdict(places[item.document])} for item in found.extremes]
    for item in extremes:
        del item["document"]
    cursor.execute(
        "INSERT INTO quality_audit (corpus_id, quality_model_id, snapshots, documents, verdict, sources, agreement, findings,"
        " extremes, run) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING audit_id",
        (
            *(corpus_id, model.quality_model_id, list(snapshots), found.documents, found.verdict),
            *(Json([asdict(item) for item in found.sources]), Json(dict(found.agreement))),
            *(Json([asdict(item) for item in found.findings]), Json(extremes), run),
        ),
    )
    audit_id = int(scalar(cursor))
    groups = [tuple({"audit_id": audit_id, **asdict(group)}.values()) for group in found.groups]
    execute_values(
        cursor,
        "INSERT INTO quality_audit_group (audit_id, grouping, name, documents, mean, spread, lowest_tenth, median, highest_tenth,"
        " constant_share, length_correlation) VALUES %s",
        groups,
    )
    return audit_id
