"""A manifest by itself, where it is its record that is tested and not its parts."""

from datetime import UTC, datetime
from typing import Any

from samplemix_core.manifest.format import (
    Counts,
    DomainShare,
    Lineage,
    Manifest,
    ManifestDraft,
    PartFile,
    PolicyRecord,
    SolverRecord,
    publishable,
)

LINEAGE = Lineage(
    corpus="c", snapshots=(), quality_model="q", encoder="e", cluster_model="k", code_version="0", config_fingerprint="f"
)


def manifest_of(version: int, domains: tuple[DomainShare, ...], content: str = "1", **facts: Any) -> Manifest:
    """A version of a mixture of 8 samples; `facts` replace fields of its draft, `content` its part's digest."""
    draft = ManifestDraft(
        name="demo",
        corpus_root="s3://bucket/corpus",
        seed=42,
        policy=PolicyRecord(name="samplemix", parameters={"alpha": 0.8, "tau": 0.2, "q_low": 0, "q_high": 10}),
        solver=SolverRecord(max_copies=4, kappa=1.0, next_tokens=0),
        budget_tokens=20,
        realised_tokens=21,
        samples=8,
        copies=12,
        counts=Counts(documents=15, scored=9, quarantined=1, duplicates=5, eligible=9),
        domains=domains,
        lineage=LINEAGE,
    ).model_copy(update=facts)
    part = PartFile(path="part-00000.parquet", rows=draft.samples, tokens=draft.realised_tokens, sha256=content * 64)
    return publishable(draft, version, version - 1 or None, (part,), datetime(2026, 1, 1, tzinfo=UTC))
