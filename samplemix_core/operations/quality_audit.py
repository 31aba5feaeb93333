"""Audit whether quality models tell good from bad, on request."""

from collections.abc import Sequence
from dataclasses import dataclass

from samplemix_core.config.run import AuditConfig
from samplemix_core.database.audits import Place, audited_scope
from samplemix_core.database.quality_models import find_quality_model, list_quality_models
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError
from samplemix_core.pipeline.audit import audit_and_keep
from samplemix_core.quality.audit import ModelAudit


@dataclass(frozen=True)
class AuditedCorpus:
    """The findings about quality models on a corpus, and where each audited document lies."""

    corpus: str
    snapshots: tuple[str, ...]
    models: tuple[ModelAudit, ...]
    places: tuple[Place, ...]


def audit_corpus(
    deployment: Deployment, corpus: str, config: AuditConfig, names: Sequence[str] = (), snapshots: Sequence[str] = ()
) -> AuditedCorpus:
    """Audit quality models on a corpus, given by name or URI: those named, or all that scored it. The findings are kept.

    Raises QueryError for an unknown corpus, ConfigError for missing models or snapshots, or models that scored none of it.
    """
    with deployment.transaction() as cursor:
        scope = audited_scope(cursor, corpus, snapshots)
        if names:
            models = [find_quality_model(cursor, name) for name in names]
        else:
            models = [model for model in list_quality_models(cursor) if model.quality_model_id in scope.quality_model_ids]
    missing = [model.name for model in models if model.quality_model_id not in scope.quality_model_ids]
    if missing or not models:
        what = ", ".join(missing) if missing else "No quality model"
        raise ConfigError(
            f"{what} has not scored any document of {corpus}.", "Run it with that scorer first: samplemix run --scorer."
        )
    audits, places = audit_and_keep(deployment, scope.corpus_id, scope.snapshots, scope.snapshot_ids, models, config, None)
    return AuditedCorpus(corpus, scope.snapshots, tuple(audits), tuple(places))
