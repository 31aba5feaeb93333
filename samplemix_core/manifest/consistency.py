"""Whether a manifest agrees with itself. What it says about its parts is checked in verify.py."""

from collections.abc import Iterator
from dataclasses import dataclass

from samplemix_core.manifest.model import Manifest, content_digest

SHARE_TOLERANCE = 1e-9
"""Shares are rounded quotients."""


@dataclass(frozen=True)
class Problem:
    """Something that disagrees: where, and what."""

    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


def manifest_problems(manifest: Manifest) -> list[Problem]:
    """Every figure of a manifest that its other figures contradict; none in a sound one."""
    return [
        *_sums(manifest),
        *_budget(manifest),
        *_shares(manifest),
    ]


def _sums(manifest: Manifest) -> Iterator[Problem]:
    counts, domains, parts = manifest.counts, manifest.domains, manifest.parts
    claims = {
        "content_digest": (manifest.content_digest, content_digest(parts), "its parts' hashes"),
        "samples": (manifest.samples, sum(part.rows for part in parts), "its parts' rows"),
        "realised_tokens": (manifest.realised_tokens, sum(part.tokens for part in parts), "its parts' tokens"),
        "counts.documents": (
            counts.documents,
            counts.scored + counts.quarantined + counts.duplicates,
            "scored + quarantined + duplicates",
        ),
        "counts.eligible": (counts.eligible, sum(row.source_samples for row in domains), "the domains' source samples"),
        "domains, samples": (sum(row.samples for row in domains), manifest.samples, "samples"),
        "domains, copies": (sum(row.copies for row in domains), manifest.copies, "copies"),
        "domains, mixture tokens": (sum(row.mixture_tokens for row in domains), manifest.realised_tokens, "realised_tokens"),
    }
    for place, (claimed, expected, source) in claims.items():
        if claimed != expected:
            yield Problem(place, f"{claimed}, but {source}: {expected}")
    if counts.eligible > counts.scored:
        yield Problem("counts.eligible", f"{counts.eligible}, more than the {counts.scored} scored")
    for kind, names in (("parts", [part.path for part in parts]), ("domains", [row.domain for row in domains])):
        if len(set(names)) != len(names):
            yield Problem(kind, f"a name comes twice: {', '.join(names)}")


def _budget(manifest: Manifest) -> Iterator[Problem]:
    missing, next_tokens = manifest.budget_tokens - manifest.realised_tokens, manifest.solver.next_tokens
    if missing and not 0 < missing < next_tokens:
        yield Problem(
            "realised_tokens",
            f"{manifest.realised_tokens}, not within one document ({next_tokens} tokens) of the budget of {manifest.budget_tokens}",
        )


def _shares(manifest: Manifest) -> Iterator[Problem]:
    source_tokens = max(1, sum(row.source_tokens for row in manifest.domains))
    for row in manifest.domains:
        expected = {
            "source_share": row.source_tokens / source_tokens,
            "mixture_share": row.mixture_tokens / manifest.realised_tokens,
            "mean_copies": row.copies / max(1, row.source_samples),
        }
        for field, value in expected.items():
            if abs(getattr(row, field) - value) > SHARE_TOLERANCE * max(1.0, value):
                yield Problem(f"domains, {row.domain}, {field}", f"{getattr(row, field)}, but its counts give {value}")
        if row.samples > row.source_samples:
            yield Problem(f"domains, {row.domain}, samples", f"{row.samples}, more than its {row.source_samples} source samples")
