"""The manifest, format version 1, as a validated model. docs/manifest.schema.json is this model's JSON schema."""

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, Field, ValidationError

from samplemix_core.config import FrozenModel
from samplemix_core.errors import ManifestError
from samplemix_core.identity import canonical_json
from samplemix_core.manifest.lineage import SHA256, Lineage
from samplemix_core.mixing.domain_share import DomainShare

FORMAT_VERSION: Literal[1] = 1


class PolicyRecord(FrozenModel):
    """The policy that gave the weights."""

    name: str
    parameters: dict[str, float]


class SolverRecord(FrozenModel):
    """How the copies met the budget: copies = min(max_copies, floor(kappa * weight + u))."""

    max_copies: int = Field(ge=1)
    kappa: float = Field(gt=0)
    next_tokens: int = Field(
        ge=0, description="Tokens of the next copy in line, which did not fit: the budget is missed by less; 0 if there is none"
    )


class Counts(FrozenModel):
    """What became of every input document: documents = scored + quarantined + duplicates."""

    documents: int = Field(ge=0, description="Documents read")
    scored: int = Field(ge=0, description="Documents with scores, duplicates apart")
    quarantined: int = Field(ge=0, description="Records that could not be read as documents")
    duplicates: int = Field(ge=0, description="Exact duplicates of a document that is kept")
    eligible: int = Field(ge=0, description="Scored documents that the policy could choose from")
    refused_shards: int = Field(0, ge=0, description="Shards left out as a whole, whose documents nobody could count")


class PartFile(FrozenModel):
    """One Parquet file of the mixture."""

    path: str = Field(pattern=r"^part-\d{5,}\.parquet$", description="Name, relative to the manifest's directory")
    rows: int = Field(ge=1)
    tokens: int = Field(ge=0, description="Tokens of all copies of its rows: sum of copies * n_tokens")
    sha256: str = Field(pattern=SHA256)


class ManifestDraft(FrozenModel):
    """A mixture's facts before it has a version."""

    name: str = Field(min_length=1, pattern=r"^[^/]+$")
    corpus_root: str = Field(description="URI below which the shards' paths lie")
    seed: int = Field(ge=0)
    policy: PolicyRecord
    solver: SolverRecord
    budget_tokens: int = Field(ge=1)
    realised_tokens: int = Field(ge=1)
    samples: int = Field(ge=1, description="Rows of all parts")
    copies: int = Field(ge=1, description="Copies of all rows")
    counts: Counts
    domains: tuple[DomainShare, ...]
    lineage: Lineage

    def version_identity(self, digest: str) -> str:
        """What makes a version with parts of this content digest the version it is, as hex: also where its documents are.

        The same rows of another corpus, or of one whose files have changed, are another version.
        """
        snapshots = [[item.name, item.shards, item.shards_digest] for item in self.lineage.snapshots]
        return hashlib.sha256(canonical_json([digest, self.corpus_root, snapshots])).hexdigest()


class Manifest(ManifestDraft):
    """A published version of a mixture."""

    format_version: Literal[1] = FORMAT_VERSION
    version: int = Field(ge=1)
    parent_version: int | None = Field(
        ge=1, description="The newest version that was published when this one was begun; null for the first"
    )
    created_at: Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]
    content_digest: str = Field(pattern=SHA256, description="SHA-256 of the parts' hex SHA-256, in order, joined by newlines")
    parts: tuple[PartFile, ...] = Field(min_length=1)


def content_digest(parts: Iterable[PartFile]) -> str:
    """Identity of a mixture's content: SHA-256 (hex) of the parts' hex SHA-256, in order, joined by newlines."""
    return hashlib.sha256("\n".join(part.sha256 for part in parts).encode()).hexdigest()


def publishable(draft: ManifestDraft, version: int, parent: int | None, parts: tuple[PartFile, ...], now: datetime) -> Manifest:
    """The draft as a version."""
    return Manifest(
        **dict(draft),
        version=version,
        parent_version=parent,
        created_at=now,
        content_digest=content_digest(parts),
        parts=parts,
    )


def manifest_bytes(manifest: Manifest) -> bytes:
    """The text of manifest.json, validated once more as a reader would. Raises ManifestError if it does not read back."""
    fields = manifest.model_dump(mode="json")
    first = {key: fields[key] for key in ("format_version", "name", "version", "parent_version", "created_at", "content_digest")}
    data = json.dumps({**first, **fields}, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    parse_manifest(data, f"{manifest.name} version {manifest.version}")
    return data


def parse_manifest(data: bytes, place: str) -> Manifest:
    """Read a manifest.json found at `place`; ManifestError if it is no manifest of a format this version knows."""
    fields = parse_json(data, place)
    if fields.get("format_version") != FORMAT_VERSION:
        raise ManifestError(
            f"{place} has format version {fields.get('format_version')!r}; this SampleMix reads version {FORMAT_VERSION}.",
            "Open it with the SampleMix that wrote it, or a newer one.",
        )
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ManifestError(
            f"{place} is not a valid manifest: {problems}.", "Restore the object; published ones never change."
        ) from None


def parse_json(data: bytes, place: str) -> dict[str, Any]:
    """A JSON object found at `place`; ManifestError if it is not one."""
    try:
        value = json.loads(data)
    except ValueError as error:
        raise ManifestError(f"{place} is not JSON: {error}.", "Restore the object; published ones never change.") from None
    if not isinstance(value, dict):
        raise ManifestError(f"{place} is not a JSON object.", "Restore the object; published ones never change.")
    return value


def schema_json() -> str:
    """The JSON schema of manifest.json, as committed in docs/manifest.schema.json."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Manifest.model_json_schema(mode="serialization")}
    return json.dumps(schema, indent=2) + "\n"
