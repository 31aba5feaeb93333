"""Drawn without replacement by importance for a target."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from samplemix_core.policies.policy import Policy, Scale, Slider, Survey, Weigh, drawn_order, registered

if TYPE_CHECKING:
    from samplemix_core.policies.policy import Columns, Float64Array


@registered
class Importance(Policy):
    """order = s / tau + Gumbel: drawn without replacement, p ~ exp(s / tau), s a log-ratio per token (Xie et al. 2023, DSIR).

    s is the score of the run's first scorer, one from 'samplemix quality add importance'. DSIR itself draws by the sum over a
    document, which only long ones win.
    """

    summary = "drawn by importance for a target"
    when = "You have examples of a target, and want its mix of words without losing variety."
    reads_diversity = False
    alone = False
    chance = False
    draws = True
    FIRST_FIELDS = frozenset({"name", "importance_tau"})

    name: Literal["importance"] = "importance"
    importance_tau: Annotated[float, Slider(0.01, 2, 0.01, "small takes what is nearest to the target")] = Field(
        0.1, ge=0.001, le=100, title="Importance tau", description="Temperature: a small one takes the most important"
    )

    def surveyed(self, scale: Scale, survey: Survey) -> Weigh:
        """See Policy.surveyed."""

        def weigh(columns: "Columns") -> "Float64Array":
            import numpy as np

            score = np.clip(columns.finite_quality(), scale.low, scale.high)
            return drawn_order(score / self.importance_tau, columns, survey.max_copies)

        return weigh
