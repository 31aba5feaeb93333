"""Drawn without replacement, the better the likelier."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from samplemix_core.policies.policy import Columns, Policy, Scale, Slider, Survey, Weigh, drawn_order, registered

if TYPE_CHECKING:
    from samplemix_core.policies.policy import Float64Array


@registered
class QuRating(Policy):
    """order = z / tau + Gumbel, z = (q - mean) / deviation: drawn without replacement, p ~ exp(z / tau) (Wettig et al. 2024).

    The Gumbel number is the sample's own, so it doesn't depend on the order of files, and the mixture ends within the budget.
    """

    summary = "drawn without replacement, the better the likelier"
    when = "Quality should count, and you don't want to lose all of the rest."
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

            z = (np.clip(columns.quality.astype(np.float64), scale.low, scale.high) - mean) / (spread or 1.0)
            return drawn_order(z / self.temperature, columns, survey.max_copies)

        return weigh
