"""Quality models: their specifications, where their artifacts are, and how good the trained ones were found to be."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from psycopg2.extras import Json

from samplemix_core.database.connection import Cursor, rows_as, scalar
from samplemix_core.database.registration import ensure_quality_model
from samplemix_core.errors import AccountingError, ConfigError
from samplemix_core.identity import hash_range
from samplemix_core.policies.policy import Ranks

if TYPE_CHECKING:
    from samplemix_core.scorers.scorer import ScorerSpec

LEAST_OF_A_KEY = 8
"""Fewest hex digits of a key by which a model may be named."""


@dataclass(frozen=True)
class QualityModel:
    """A quality model: `spec` is everything that decides its scores, `key` its identity, low..high the range normalised to 0..1.

    A model without an artifact is code alone. `report` is that of its training.
    """

    quality_model_id: int
    name: str
    key: str
    spec: dict[str, Any]
    low: float
    high: float
    artifact_key: str | None
    artifact_sha256: str | None
    report: dict[str, Any] | None
    created_at: datetime

    @property
    def specification(self) -> "ScorerSpec":
        """`spec` as an object of its kind; raise ModelError if the kind isn't known here."""
        from samplemix_core.scorers.registry import read_spec

        return read_spec(self.name, self.spec)


_MODELS = """
    SELECT quality_model_id, name, quality_model_key AS key, spec, q_low AS low, q_high AS high, artifact_key, artifact_sha256,
           report, created_at
    FROM quality_model
    WHERE (%(name)s IS NULL OR name = %(name)s) AND (%(ids)s::int[] IS NULL OR quality_model_id = ANY(%(ids)s))
        AND (%(keys)s::text[] IS NULL OR quality_model_key = ANY(%(keys)s))
    ORDER BY name, quality_model_id
"""


def list_quality_models(cursor: Cursor, name: str | None = None) -> list[QualityModel]:
    """All quality models, or the versions of one, by name and age."""
    cursor.execute(_MODELS, {"name": name, "ids": None, "keys": None})
    return rows_as(cursor, QualityModel)


def quality_models(
    cursor: Cursor, *, ids: Collection[int] | None = None, keys: Collection[str] | None = None
) -> dict[int, QualityModel]:
    """Return, by id, the quality models with these ids or keys; raise AccountingError if one is missing."""
    cursor.execute(_MODELS, {"name": None, "ids": None if ids is None else list(ids), "keys": None if keys is None else list(keys)})
    found = {model.quality_model_id: model for model in rows_as(cursor, QualityModel)}
    missing = set(ids or ()).difference(found), set(keys or ()).difference(model.key for model in found.values())
    if any(missing):
        raise AccountingError(f"There are no quality models {sorted(map(str, set().union(*missing)))}.")
    return found


def find_quality_model(cursor: Cursor, name: str) -> QualityModel:
    """Return the newest quality model with a name, or the one with this key or key prefix; raise ConfigError if there is none.

    An earlier version is known by its key, alone or as name@key.
    """
    named = list_quality_models(cursor, name)
    of, at, key = name.rpartition("@")
    keyed = [
        model
        for model in ([] if named or len(key) < LEAST_OF_A_KEY else list_quality_models(cursor, of if at else None))
        if model.key.startswith(key)
    ]
    if not named and len(keyed) != 1:
        raise ConfigError(f"There is no quality model {name!r}.", "See 'samplemix quality models'.")
    return [*named, *keyed][-1]


def save_quality_model(
    cursor: Cursor,
    name: str,
    spec: "ScorerSpec",
    *,
    low: float = 0.0,
    high: float,
    rubric_key: str | None = None,
    artifact: tuple[str, str] | None = None,
    report: Mapping[str, Any] | None = None,
) -> int:
    """Store a model with scores from low to high, and its artifact's key and SHA-256 if it has one. Repeating it changes nothing.

    Raises ConfigError if the same model exists under another name.
    """
    model_id = ensure_quality_model(cursor, spec.key, spec.identity(), q_low=low, q_high=high, name=name)
    cursor.execute("SELECT name FROM quality_model WHERE quality_model_id = %s", (model_id,))
    if (known := scalar(cursor)) != name:
        raise ConfigError(f"This model exists already as {known!r}.", f"Use that name instead of {name!r}.")
    cursor.execute(
        "UPDATE quality_model SET rubric_id = (SELECT rubric_id FROM rubric WHERE rubric_key = %s), artifact_key = %s,"
        " artifact_sha256 = %s, report = %s WHERE quality_model_id = %s AND artifact_key IS NULL",
        (rubric_key, *(artifact or (None, None)), None if report is None else Json(dict(report)), model_id),
    )
    return model_id


MOST_RANKED = 2_000_000
"""Most scores that are sorted for quantiles; if there are more, a sample of about this many is."""


def _ranked(cursor: Cursor, quality_model_id: int, corpus: str, points: int) -> dict[str, Any]:
    """Return the parameters of statements on quantiles: model, corpus, shares, and the range of content hashes to examine."""
    values = {"model": quality_model_id, "corpus": corpus, "shares": [i / (points - 1) for i in range(points)]}
    cursor.execute(
        "SELECT coalesce(sum(documents), 0)::bigint FROM score_rollup JOIN snapshot USING (snapshot_id)"
        " WHERE quality_model_id = %(model)s AND corpus_id = corpus_of(%(corpus)s)",
        values,
    )
    first, last = map(str, hash_range(MOST_RANKED / max(1, scalar(cursor))))
    return values | {"first": first, "last": last}


def score_quantiles(cursor: Cursor, quality_model_id: int, corpus: str, points: int) -> list[float] | None:
    """Return evenly spaced quantiles, lowest to highest, of a model's scores for a corpus (name or URI); None if there are none.

    Raises QueryError for an unknown corpus.
    """
    cursor.execute(
        """
        SELECT percentile_cont(%(shares)s::float8[]) WITHIN GROUP (ORDER BY quality)
        FROM quality_score
        JOIN sample USING (snapshot_id, shard_id, row)
        WHERE quality_model_id = %(model)s AND content_hash BETWEEN %(first)s::uuid AND %(last)s::uuid
            AND snapshot_id IN (SELECT snapshot_id FROM snapshot WHERE corpus_id = corpus_of(%(corpus)s))
        """,
        _ranked(cursor, quality_model_id, corpus, points),
    )
    found: list[float] | None = scalar(cursor)
    return found


@dataclass(frozen=True)
class CellQuantiles:
    """Quantiles of a quality model's scores for documents of a content type and language; either is empty if it stands for all."""

    content_type: str
    language: str
    documents: int
    quantiles: list[float]


def cell_quantiles(cursor: Cursor, quality_model_id: int, corpus: str, points: int) -> list[CellQuantiles]:
    """Return evenly spaced quantiles of a model's scores for a corpus: by content type and language, by content type, and of all.

    Samples of earlier releases have neither, and are left out. Raises QueryError for an unknown corpus.
    """
    cursor.execute(
        """
        SELECT coalesce(content_type, '') AS content_type, coalesce(language, '') AS language, count(*) AS documents,
               percentile_cont(%(shares)s::float8[]) WITHIN GROUP (ORDER BY quality) AS quantiles
        FROM quality_score
        JOIN sample USING (snapshot_id, shard_id, row)
        WHERE quality_model_id = %(model)s AND content_type IS NOT NULL
            AND content_hash BETWEEN %(first)s::uuid AND %(last)s::uuid
            AND snapshot_id IN (SELECT snapshot_id FROM snapshot WHERE corpus_id = corpus_of(%(corpus)s))
        GROUP BY GROUPING SETS ((content_type, language), (content_type), ())
        ORDER BY 1, 2
        """,
        _ranked(cursor, quality_model_id, corpus, points),
    )
    return [found for found in rows_as(cursor, CellQuantiles) if found.documents]


def quality_rows(models: Sequence[QualityModel]) -> list[dict[str, Any]]:
    """Return a table row for each quality model: what it is and, if it was trained, its measures on unseen documents."""
    rows = []
    for model in models:
        report = model.report or {}
        kept = report["scores"][-1]["methods"][report["method"]] if report else {}
        measured = {name: value["value"] for name, value in kept.items()}
        rows.append(
            {
                "model": model.name,
                "key": model.key[:12],
                "kind": model.spec.get("kind"),
                "made": model.created_at.date(),
                "range": f"{model.low:g} to {model.high:g}",
                "labels": report.get("documents"),
                **{name: measured.get(name) for name in ("mae", "cacc", "kappa")},
            }
        )
    return rows


def quality_ranks(cursor: Cursor, corpus_id: int, quality_model_id: int) -> Ranks | None:
    """The ranks of a quality model's scores in a corpus; None if no mixture has asked for them."""
    cursor.execute(
        "SELECT quality, place FROM quality_ranks WHERE corpus_id = %s AND quality_model_id = %s", (corpus_id, quality_model_id)
    )
    return next((Ranks(tuple(quality), tuple(place)) for quality, place in cursor.fetchall()), None)


def fix_quality_ranks(cursor: Cursor, corpus_id: int, quality_model_id: int, ranks: Ranks, documents: int) -> Ranks:
    """Fix the ranks of a quality model's scores in a corpus, unless they are; returns those that hold."""
    cursor.execute(
        "INSERT INTO quality_ranks (corpus_id, quality_model_id, documents, quality, place) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (corpus_id, quality_model_id, documents, list(ranks.values), list(ranks.places)),
    )
    return quality_ranks(cursor, corpus_id, quality_model_id) or ranks
