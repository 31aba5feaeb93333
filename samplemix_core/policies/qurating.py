"""Drawn without replacement, the better the likelier."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from samplemix_core.policies.policy import Columns, Policy, Scale, Slider, Survey, Weigh, in_order, registered

if TYPE_CHECKING:
    from samplemix_core.policies.policy import Float64Array

_FARTHEST = 600.0
"""Of an order's key from 0: it is cut off beyond, and scaled to 0..1."""


@registered
class QuRating(Policy):
    """order = z / tau + Gumbel, z = (q - mean) / deviation: drawn without replacement, p ~ exp(z / tau) (Wettig et al. 2024).

    The Gumbel number is the sample's own, so it doesn't depend on the order of files, and the mixture ends within the budget.
    """

    summary = "drawn without replacement, the better the likelier"
    reads_diversity = False
    alone = False
    chance = False
    draws = True
    FIRST_FIELDS = frozenset({"name", "temperature", "standardise"})

    name: Literal["qurating"] = "qurating"
    temperature: Annotated[float, Slider(0.1, 10, 0.1, "small is top-k, large is natural")] = Field(
        2.0, ge=0.01, le=1000, title="Temperature", description="tau: a small one takes the best, a large one draws uniformly"
    )
    standardise: bool = Field(True, title="Standardise", description="Divide quality by its deviation; else it counts as it is")

    def surveyed(self, scale: Scale, survey: Survey) -> Weigh:
        """See Policy.surveyed."""
        mean, spread = (survey.quality_mean, survey.quality_spread) if self.standardise else (0.0, 1.0)

        def weigh(columns: Columns) -> "Float64Array":
            import numpy as np

            from samplemix_core.policies.exponential import exact_log

            assert columns.uniform is not None
            z = (np.clip(columns.quality.astype(np.float64), scale.low, scale.high) - mean) / (spread or 1.0)
            # Inside (0, 1), both logarithms are numbers.
            gumbel = -exact_log(-exact_log(np.clip(columns.uniform, 2.0**-54, 1 - 2.0**-53)))
            key = np.clip(z / self.temperature + gumbel, -_FARTHEST, _FARTHEST)
            return in_order((key + _FARTHEST) / (2 * _FARTHEST), survey.max_copies)

        return weigh
