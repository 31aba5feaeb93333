"""The last step: what the published version changed against its parent, for people and for consumers that wait for new versions."""

from samplemix_core.database.changes import version_changes
from samplemix_core.errors import ManifestError
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.handoff import PublishedRef, ReportedChanges, VerifiedCounts


def report_changes(run: RunContext, published: PublishedRef, verified: VerifiedCounts) -> ReportedChanges:
    """Count, record and report what a version changed. If this database doesn't know its parent, only the version is reported."""
    try:
        with run.deployment.transaction() as cursor:
            changes = version_changes(cursor, published.name, published.version)
        said = "\n  ".join(changes.lines())
    except ManifestError as error:
        changes, said = None, str(error)
    run.tell(1, 1, said, unit="versions")
    return ReportedChanges(
        name=published.name,
        version=published.version,
        created=published.created,
        manifest_uri=published.manifest_uri,
        content_digest=published.content_digest,
        snapshots=published.registered.snapshots,
        samples=verified.rows,
        copies=verified.copies,
        tokens=verified.tokens,
        changes=changes,
    )
