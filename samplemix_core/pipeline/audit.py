"""Audit whether a run's quality models tell good from bad, before a mixture is made with one."""

from collections.abc import Sequence

from samplemix_core.config.run import AuditConfig
from samplemix_core.database.audits import Place, read_sampled, save_audit
from samplemix_core.database.quality_models import QualityModel, quality_models
from samplemix_core.deployment import Deployment
from samplemix_core.errors import QualityAuditError
from samplemix_core.frozen import FrozenModel
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.handoff import Registered
from samplemix_core.quality.audit import ModelAudit, Verdict, audit_models


class AuditVerdict(FrozenModel):
    """Verdicts on a run's quality models, the mixture's first: fine, warn or stop. The findings are lines of text."""

    documents: int
    verdicts: tuple[Verdict, ...]
    findings: tuple[str, ...]


def audit_quality(run: RunContext, registered: Registered) -> AuditVerdict:
    """Gate before a mixture is made: raise QualityAuditError if its quality model is beyond a limit that stops.

    Warnings, and findings about the other models, are reported and kept.
    """
    with run.deployment.transaction() as cursor:
        found = quality_models(cursor, ids=[version.quality_model_id for version in registered.versions])
    models = [found[version.quality_model_id] for version in registered.versions]
    audits, _ = audit_and_keep(
        run.deployment, registered.corpus_id, registered.snapshots, registered.snapshot_ids, models, run.config.audit, run.name
    )
    lines = [f"{finding.level}: {audit.model}: {finding.said}" for audit in audits for finding in audit.findings]
    documents = audits[0].documents
    if audits[0].verdict is Verdict.STOP:
        said = "".join(f"\n  {line}" for line in lines)
        raise QualityAuditError(
            f"The quality model {audits[0].model} should not decide a mixture. {documents:,} documents were looked at:{said}\n",
            "See 'samplemix quality audit'; choose another scorer or, if this is intended, set its limit's stop to null, such as"
            " audit.source_r2.stop=null.",
        )
    message = f"{documents:,} documents looked at; " + ("; ".join(lines) if lines else "nothing found")
    run.tell(1, 1, message, unit="checks")
    return AuditVerdict(documents=documents, verdicts=tuple(audit.verdict for audit in audits), findings=tuple(lines))


def audit_and_keep(
    deployment: Deployment,
    corpus_id: int,
    snapshots: Sequence[str],
    snapshot_ids: Sequence[int],
    models: Sequence[QualityModel],
    config: AuditConfig,
    run: str | None,
) -> tuple[list[ModelAudit], list[Place]]:
    """Audit models on a sample of snapshots, and keep the findings; `run` is the run that asked, if one did.

    Returns the findings, and where each audited document lies.
    """
    names = [model.name for model in models]
    names = [model.name if names.count(model.name) == 1 else f"{model.name}@{model.key[:8]}" for model in models]
    with deployment.transaction() as cursor:
        sampled, places = read_sampled(cursor, snapshot_ids, models, names, config)
    audits = audit_models(sampled, config)
    with deployment.transaction() as cursor:
        for model, found in zip(models, audits, strict=True):
            save_audit(cursor, corpus_id, snapshots, model, found, places, run)
    return audits, places
