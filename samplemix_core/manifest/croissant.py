"""MLCommons Croissant 1.0 metadata of a mixture, for catalogues and loaders that know nothing of SampleMix.

The specification: https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

import json
from datetime import datetime
from typing import Any

from samplemix_core.manifest.format import COLUMNS, ManifestDraft, PartFile, content_digest

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context of the specification's appendix 1, which readers compare with."""

_PARQUET = "application/x-parquet"
"""The type under which the reference loader, mlcroissant, reads Parquet."""


def croissant_bytes(draft: ManifestDraft, version: int, parts: tuple[PartFile, ...], url: str, now: datetime) -> bytes:
    """The text of croissant.json for the version at `url`, its parts named relative to it.

    It names no licence: that of a mixture is its corpus's, which SampleMix does not know.
    """
    by = f" of {draft.tokenizer.name}" if draft.tokenizer else ""
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": draft.name,
        "identifier": draft.version_identity(content_digest(parts)),
        "description": (
            f"Training mixture {draft.name}, version {version}: {draft.samples} samples of {draft.corpus_root} in {draft.copies} "
            f"copies, {draft.realised_tokens} tokens{by}, chosen by the policy {draft.policy.name}. The rows name samples of the "
            "corpus and how often each is repeated; the texts stay in the corpus."
        ),
        "version": f"{version}.0.0",
        "url": url,
        "datePublished": now.date().isoformat(),
        "creator": {"@type": "sc:Organization", "name": "SampleMix", "description": f"SampleMix {draft.lineage.code_version}"},
        "distribution": [*map(_file_object, parts), _FILE_SET],
        "recordSet": [_RECORD_SET],
    }
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


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

_RECORD_SET = {
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
        }
        for column in COLUMNS
    ],
}
