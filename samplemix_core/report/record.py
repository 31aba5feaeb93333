"""One record of a published version, for any way to show it: its manifest, and its profile from Postgres."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from samplemix_core.database.mixtures import ProfileCell, mixture_profile, quality_range
from samplemix_core.deployment import Deployment
from samplemix_core.manifest.format import DomainShare, Manifest

FloatArray = npt.NDArray[np.float64]

QUALITY_BINS, DIVERSITY_BINS = 40, 25


class DomainPoint(DomainShare):
    """A domain's part of the mixture, and the means of quality and diversity over its documents."""

    quality: float = Field(description="In the range of the quality model")
    diversity: float = Field(description="0 to 1")

    @property
    def token_copies(self) -> float:
        """Mean copies of a token of the domain."""
        return self.mixture_tokens / max(self.source_tokens, 1)


@dataclass(frozen=True, eq=False)
class SampleHistogram:
    """Tokens by quality and diversity, so that a picture's memory does not grow with the corpus.

    quality_edges (m + 1,) and diversity_edges (k + 1,) ascend; source_tokens and mixture_tokens are (m, k).
    """

    quality_edges: FloatArray
    diversity_edges: FloatArray
    source_tokens: FloatArray
    mixture_tokens: FloatArray


@dataclass(frozen=True, eq=False)
class MixtureRecord:
    """A published version as it is shown."""

    manifest: Manifest
    domains: tuple[DomainPoint, ...]
    histogram: SampleHistogram


def load_record(deployment: Deployment, manifest: Manifest) -> MixtureRecord:
    """The record of a version, with its profile from the database."""
    with deployment.transaction() as cursor:
        cells = mixture_profile(
            cursor,
            manifest.name,
            manifest.version,
            quality_bins=QUALITY_BINS,
            diversity_bins=DIVERSITY_BINS,
        )
        known = quality_range(cursor, manifest.name, manifest.version)
    return record_of(manifest, cells, known)


def record_of(manifest: Manifest, cells: Sequence[ProfileCell], quality_range: tuple[float, float] = (0.0, 10.0)) -> MixtureRecord:
    """Return a version's record from its profile, which has QUALITY_BINS bins over the range of quality by DIVERSITY_BINS."""
    source = np.zeros((QUALITY_BINS, DIVERSITY_BINS))
    mixture = np.zeros((QUALITY_BINS, DIVERSITY_BINS))
    sums = {domain.domain: np.zeros(3) for domain in manifest.domains}
    for cell in cells:
        source[cell.quality_bin, cell.diversity_bin] += cell.source_tokens
        mixture[cell.quality_bin, cell.diversity_bin] += cell.mixture_tokens
        # A domain whose documents all repeat others' is in the profile, but not in the mixture's source.
        if cell.domain in sums:
            sums[cell.domain] += (cell.documents, cell.quality_sum, cell.diversity_sum)
    points = tuple(
        DomainPoint(**domain.model_dump(), quality=quality / max(documents, 1), diversity=diversity / max(documents, 1))
        for domain in manifest.domains
        for documents, quality, diversity in [sums[domain.domain].tolist()]
    )
    edges = np.linspace(*quality_range, QUALITY_BINS + 1), np.linspace(0.0, 1.0, DIVERSITY_BINS + 1)
    return MixtureRecord(manifest, points, SampleHistogram(*edges, source, mixture))
