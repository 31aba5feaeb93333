"""Quality models that were trained: what they are, where their weights lie, and how good they were found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2.extras import Json

from samplemix_core.database.connection import Cursor, rows_as, scalar
from samplemix_core.database.registration import ensure_quality_model
from samplemix_core.errors import ConfigError


@dataclass(frozen=True)
class QualityModel:
    """A quality model: `spec` is all that decides its scores, `key` the identity of that, low..high what is normalised to 0..1.

    Without an artifact the code is all of it. The report is of its training.
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


_MODELS = """
    SELECT quality_model_id, name, quality_model_key AS key, spec, q_low AS low, q_high AS high, artifact_key, artifact_sha256,
           report, created_at
    FROM quality_model WHERE %(name)s IS NULL OR name = %(name)s ORDER BY name, quality_model_id
"""


def list_quality_models(cursor: Cursor, name: str | None = None) -> list[QualityModel]:
    """All quality models, or the versions of one, by name and age."""
    cursor.execute(_MODELS, {"name": name})
    return rows_as(cursor, QualityModel)


def find_quality_model(cursor: Cursor, name: str) -> QualityModel:
    """The newest quality model of a name, or the one with this key or beginning of one; raise ConfigError if there is none."""
    named = list_quality_models(cursor, name)
    keyed = [] if named or len(name) < 8 else [model for model in list_quality_models(cursor) if model.key.startswith(name)]
    if not named and len(keyed) != 1:
        raise ConfigError(f"There is no quality model {name!r}.", "See 'samplemix quality models'.")
    return [*named, *keyed][-1]


def save_quality_model(
    cursor: Cursor,
    name: str,
    key: str,
    spec: Mapping[str, Any],
    *,
    highest: float,
    rubric_key: str,
    artifact: tuple[str, str],
    report: Mapping[str, Any],
) -> int:
    """Enter a trained model, scores from 0 to `highest`, with its artifact's key and SHA-256. Again changes nothing.

    Raises ConfigError if the same model has another name.
    """
    model_id = ensure_quality_model(cursor, key, dict(spec), q_low=0.0, q_high=highest, name=name)
    cursor.execute("SELECT name FROM quality_model WHERE quality_model_id = %s", (model_id,))
    if (known := scalar(cursor)) != name:
        raise ConfigError(f"This very model is there already as {known!r}.", f"Use that name instead of {name!r}.")
    cursor.execute(
        "UPDATE quality_model SET rubric_id = (SELECT rubric_id FROM rubric WHERE rubric_key = %s), artifact_key = %s,"
        " artifact_sha256 = %s, report = %s WHERE quality_model_id = %s AND artifact_key IS NULL",
        (rubric_key, *artifact, Json(dict(report)), model_id),
    )
    return model_id


def quality_rows(models: Sequence[QualityModel]) -> list[dict[str, Any]]:
    """Quality models for a table: what each is, and its measures on documents that it had not seen, if it was trained."""
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
