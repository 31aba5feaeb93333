"""MLCommons Croissant 1.1 metadata of a mixture, for catalogues and loaders that know nothing of SampleMix.

Provenance is by PROV-O: the crawls and the parent version that the mixture is derived from, and the models that decided it. The
specification: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
"""

import json
from datetime import datetime
from typing import Any

from samplemix_core.manifest.format import ManifestDraft, PartFile, columns, content_digest

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "annotation": "cr:annotation",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "excludes": "cr:excludes",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "readLines": "cr:readLines",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "sdVersion": "cr:sdVersion",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
    "unArchive": "cr:unArchive",
    "value": "cr:value",
}
"""The context of the specification's appendix 1, which readers compare with."""

_PARQUET = "application/x-parquet"
"""The type under which the reference loader, mlcroissant, reads Parquet."""


def croissant_bytes(
    draft: ManifestDraft, version: int, parts: tuple[PartFile, ...], url: str, now: datetime, parent_url: str | None = None
) -> bytes:
    """The text of croissant.json for the version at `url`, its parts named relative to it.

    Licences are the corpus's, as its configuration names them; none is named if that doesn't.
    """
    by = f" of {draft.tokenizer.name}" if draft.tokenizer else ""
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": draft.name,
        "identifier": draft.version_identity(content_digest(parts)),
        "description": (
            f"Training mixture {draft.name}, version {version}: {draft.samples} samples of {draft.corpus_root} in {draft.copies} "
            f"copies, {draft.realised_tokens} tokens{by}, chosen by {_policies(draft)}. The rows name samples of the "
            "corpus and how often each is repeated; the texts stay in the corpus."
        ),
        "version": f"{version}.0.0",
        "url": url,
        "datePublished": now.date().isoformat(),
        "creator": {"@type": "sc:Organization", "name": "SampleMix", "description": f"SampleMix {draft.lineage.code_version}"},
        **({"license": list(draft.licenses)} if draft.licenses else {}),
        "prov:wasDerivedFrom": [*_crawls(draft), *_parent(draft, parent_url)],
        "prov:wasGeneratedBy": _mixing(draft),
        "distribution": [*map(_file_object, parts), _FILE_SET],
        "recordSet": [_record_set(draft)],
    }
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def _policies(draft: ManifestDraft) -> str:
    if not draft.phases:
        return f"the policy {draft.policy.name}"
    return "phases " + ", ".join(f"{phase.name} by the policy {phase.policy.name}" for phase in draft.phases)


def described_version(data: bytes) -> str | None:
    """The identity (ManifestDraft.version_identity) of the version that a croissant.json describes; None if it names none."""
    try:
        identifier = json.loads(data)["identifier"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return identifier if isinstance(identifier, str) else None


def described_content(data: bytes) -> str | None:
    """The content digest of the parts that a croissant.json describes; None if it describes none."""
    try:
        objects = [item for item in json.loads(data)["distribution"] if item["@type"] == "cr:FileObject"]
        parts = [PartFile(path=item["@id"], rows=1, tokens=0, sha256=item["sha256"]) for item in objects]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return content_digest(parts)


def _file_object(part: PartFile) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": part.path,
        "name": part.path,
        "contentUrl": part.path,
        "encodingFormat": _PARQUET,
        "sha256": part.sha256,
    }


_FILE_SET = {
    "@type": "cr:FileSet",
    "@id": "parts",
    "name": "parts",
    "description": "All parts, in order",
    "encodingFormat": _PARQUET,
    "includes": "part-*.parquet",
}


def _crawls(draft: ManifestDraft) -> list[dict[str, Any]]:
    """The corpus's crawls, with the digests of their files."""
    return [
        {
            "@id": f"{draft.corpus_root}/{crawl.name}",
            "@type": "prov:Entity",
            "prov:label": f"crawl {crawl.name}: {crawl.shards} shards, digest {crawl.shards_digest}",
        }
        for crawl in draft.lineage.snapshots
    ]


def _parent(draft: ManifestDraft, url: str | None) -> list[dict[str, Any]]:
    return [] if url is None else [{"@id": url, "@type": "prov:Entity", "prov:label": f"the version of {draft.name} before it"}]


def _mixing(draft: ManifestDraft) -> dict[str, Any]:
    """How the mixture came about: the policy, and the models that it used."""
    used = {
        "quality model": draft.lineage.quality_model,
        "encoder": draft.lineage.encoder,
        "cluster model": draft.lineage.cluster_model,
        **({"tokenizer": f"{draft.tokenizer.name} {draft.tokenizer.id}"} if draft.tokenizer else {}),
    }
    return {
        "@type": "prov:Activity",
        "prov:label": f"mixing by {_policies(draft)}, configuration {draft.lineage.config_fingerprint}",
        "prov:used": [_model(kind, key) for kind, key in used.items()],
        "prov:wasAssociatedWith": {"@type": "prov:SoftwareAgent", "prov:label": f"SampleMix {draft.lineage.code_version}"},
    }


def _model(kind: str, key: str) -> dict[str, Any]:
    return {"@type": "prov:Entity", "prov:label": f"{kind} {key}"}


def _record_set(draft: ManifestDraft) -> dict[str, Any]:
    """The rows; columns that a model gave say which."""
    lineage = draft.lineage
    given = {
        "quality": _model("quality model", lineage.quality_model),
        "diversity": _model("cluster model", lineage.cluster_model),
        "cluster": _model("cluster model", lineage.cluster_model),
        **({"n_tokens": _model("tokenizer", draft.tokenizer.name)} if draft.tokenizer else {}),
    }
    return {
        "@type": "cr:RecordSet",
        "@id": "samples",
        "name": "samples",
        "description": "The samples of the mixture, sorted by shard and row",
        "key": [{"@id": "samples/shard"}, {"@id": "samples/row"}],
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"samples/{column.name}",
                "name": column.name,
                "description": column.meaning,
                "dataType": column.croissant,
                "source": {"fileSet": {"@id": "parts"}, "extract": {"column": column.name}},
                **({"prov:wasDerivedFrom": given[column.name]} if column.name in given else {}),
            }
            for column in columns(draft.phase_names)
        ],
    }
