"""What a picture of a mixture shows: a heading, its domains, and tokens binned by quality and diversity."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

QUALITY_RANGE, DIVERSITY_RANGE = (0.0, 10.0), (0.0, 1.0)


@dataclass(frozen=True)
class Heading:
    """What the picture's title says. `policy` may name its parameters."""

    name: str
    version: int
    policy: str
    budget_tokens: int
    realised_tokens: int


@dataclass(frozen=True)
class DomainPoint:
    """One domain: tokens before and after, and the means of quality (0..10) and diversity (0..1) over its documents."""

    domain: str
    source_tokens: int
    mixture_tokens: int
    quality: float
    diversity: float

    @property
    def mean_copies(self) -> float:
        """Mean copies of a token of the domain."""
        return self.mixture_tokens / max(self.source_tokens, 1)


@dataclass(frozen=True)
class SampleHistogram:
    """Tokens by quality and diversity, so that a picture's memory does not grow with the corpus. Histograms of parts add up.

    quality_edges (m + 1,) and diversity_edges (k + 1,) ascend; source_tokens and mixture_tokens are (m, k).
    """

    quality_edges: FloatArray
    diversity_edges: FloatArray
    source_tokens: FloatArray
    mixture_tokens: FloatArray

    @classmethod
    def count(
        cls,
        quality: npt.NDArray[np.floating],
        diversity: npt.NDArray[np.floating],
        tokens: npt.NDArray[np.integer],
        copies: npt.NDArray[np.integer],
        bins: tuple[int, int] = (40, 25),
    ) -> Self:
        """Bin n samples, given as four arrays (n,); values outside 0..10 and 0..1 count in the outermost bins."""
        edges = [np.linspace(low, high, n + 1) for (low, high), n in zip((QUALITY_RANGE, DIVERSITY_RANGE), bins, strict=True)]
        cell = [
            np.clip(np.searchsorted(edge, values, side="right") - 1, 0, n - 1)
            for edge, values, n in zip(edges, (quality, diversity), bins, strict=True)
        ]
        index = np.ravel_multi_index((cell[0], cell[1]), bins)
        before, after = (
            np.bincount(index, weights=weights, minlength=bins[0] * bins[1]).astype(np.float64).reshape(bins)
            for weights in (tokens.astype(np.float64), tokens.astype(np.float64) * copies)
        )
        return cls(edges[0], edges[1], before, after)

    def __add__(self, other: Self) -> Self:
        if not (
            np.array_equal(self.quality_edges, other.quality_edges) and np.array_equal(self.diversity_edges, other.diversity_edges)
        ):
            raise ValueError("histograms with different edges do not add up")
        return type(self)(
            self.quality_edges,
            self.diversity_edges,
            self.source_tokens + other.source_tokens,
            self.mixture_tokens + other.mixture_tokens,
        )
