"""A picture of a published mixture, from what Postgres knows of it."""

from pathlib import Path

import numpy as np

from samplemix_core.database.connection import transaction
from samplemix_core.database.mixtures import mixture_profile
from samplemix_core.manifest.format import Manifest
from samplemix_core.report.picture import draw_mixture
from samplemix_core.report.record import DIVERSITY_RANGE, QUALITY_RANGE, DomainPoint, Heading, SampleHistogram
from samplemix_core.settings import Settings

QUALITY_BINS, DIVERSITY_BINS = 40, 25


def draw_picture(settings: Settings, manifest: Manifest, path: Path) -> Path:
    """Draw a version's domains before and after, and quality against diversity, into a .png or .svg file; returns it."""
    with transaction(settings.require("database_url")) as cursor:
        cells = mixture_profile(
            cursor,
            manifest.name,
            manifest.version,
            quality_high=QUALITY_RANGE[1],
            quality_bins=QUALITY_BINS,
            diversity_bins=DIVERSITY_BINS,
        )
    source = np.zeros((QUALITY_BINS, DIVERSITY_BINS))
    mixture = np.zeros((QUALITY_BINS, DIVERSITY_BINS))
    sums: dict[str, list[float]] = {}
    for cell in cells:
        source[cell.quality_bin, cell.diversity_bin] += cell.source_tokens
        mixture[cell.quality_bin, cell.diversity_bin] += cell.mixture_tokens
        total = sums.setdefault(cell.domain, [0.0, 0.0, 0.0])
        for i, value in enumerate((cell.documents, cell.quality_sum, cell.diversity_sum)):
            total[i] += value
    points = [
        DomainPoint(
            domain=domain.domain,
            source_tokens=domain.source_tokens,
            mixture_tokens=domain.mixture_tokens,
            quality=sums[domain.domain][1] / sums[domain.domain][0],
            diversity=sums[domain.domain][2] / sums[domain.domain][0],
        )
        for domain in manifest.domains
    ]
    parameters = ", ".join(f"{name} {value:g}" for name, value in sorted(manifest.policy.parameters.items()) if name[:2] != "q_")
    heading = Heading(
        name=manifest.name,
        version=manifest.version,
        policy=f"{manifest.policy.name} ({parameters})" if parameters else manifest.policy.name,
        budget_tokens=manifest.budget_tokens,
        realised_tokens=manifest.realised_tokens,
    )
    histogram = SampleHistogram(
        np.linspace(*QUALITY_RANGE, QUALITY_BINS + 1), np.linspace(*DIVERSITY_RANGE, DIVERSITY_BINS + 1), source, mixture
    )
    draw_mixture(path, heading, points, histogram)
    return path
