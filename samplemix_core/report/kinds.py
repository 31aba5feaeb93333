"""What the database adds to a comparison of versions: languages and content types."""

from samplemix_core.database.query import Answer, answer
from samplemix_core.deployment import Deployment
from samplemix_core.errors import SampleMixError
from samplemix_core.manifest.diff import Amount, GroupChange, VersionDiff, by_gain

_SECONDS = 600.0


def with_kinds(deployment: Deployment, found: VersionDiff) -> tuple[VersionDiff, str]:
    """The comparison with languages and content types; as it is, with the reason, if Postgres doesn't have both versions."""
    (older_mixture, older), (newer_mixture, newer) = (name.rsplit("@", 1) for name in (found.before, found.after))
    values = {"mixture": newer_mixture, "older": older, "newer": newer, "older_mixture": older_mixture}
    try:
        rows = answer(deployment.require("reader_database_url"), "kind_changes", values, _SECONDS)
    except SampleMixError as error:
        return found, f"languages and content types are not compared: {error}"
    tables = {"languages": _of(rows, "language"), "content_types": _of(rows, "content_type")}
    return found.model_copy(update=tables), ""


def _of(rows: Answer, kind: str) -> tuple[GroupChange, ...]:
    return by_gain(
        GroupChange(
            group=row["name"],
            before=Amount(documents=row["documents_before"], copies=row["copies_before"], tokens=row["tokens_before"]),
            after=Amount(documents=row["documents"], copies=row["copies"], tokens=row["tokens"]),
        )
        for row in rows
        if row["kind"] == kind
    )
