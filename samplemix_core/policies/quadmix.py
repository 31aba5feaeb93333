"""A curve over percentiles of quality, domain by domain."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from samplemix_core.policies.policy import Columns, Policy, Scale, Slider, Survey, Weigh, registered

if TYPE_CHECKING:
    from samplemix_core.policies.policy import Float64Array


@registered
class QuaDMix(Policy):
    """w = (2 / (1 + exp(-lambda (omega - r))))^eta + epsilon if r <= omega, else epsilon (Liu et al. 2025, QuaDMix).

    r is the percentile of quality within the domain, by tokens: 0 is the best, 1 the worst.
    """

    summary = "a curve over percentiles of quality in each domain"
    when = "You can search its parameters with proxy models; without, it takes little but the best."
    reads_diversity = False
    alone = False
    FIRST_FIELDS = frozenset({"name", "steepness", "omega", "eta", "epsilon"})

    name: Literal["quadmix"] = "quadmix"
    steepness: Annotated[float, Slider(0, 1000, 1, "of the fall towards omega")] = Field(
        500.0,
        ge=0,
        le=10_000,
        title="Lambda",
        description="lambda: how steeply weights fall towards omega; the paper searches to 1000",
    )
    omega: Annotated[float, Slider(0.001, 1, 0.001, "the best part of a domain")] = Field(
        0.05, gt=0, le=1, title="Omega", description="The best part of each domain, by tokens; the paper searches 0 to 0.1"
    )
    eta: Annotated[float, Slider(0, 1, 0.01, "0 weighs that part alike")] = Field(
        0.5, ge=0, le=10, title="Eta", description="Power of the curve; the paper searches 0 to 1"
    )
    epsilon: Annotated[float, Slider(0.0, 0.1, 0.0001, "of all the rest")] = Field(
        0.0005, ge=0, le=1, title="Epsilon", description="Weight of everything else; the paper searches 0 to 0.001"
    )

    def surveyed(self, scale: Scale, survey: Survey) -> Weigh:
        """See Policy.surveyed."""
        import numpy as np

        from samplemix_core.policies.exponential import MAX_ARGUMENT, exact_exp, exact_log

        rank = survey.ranks()
        fall = np.minimum(self.steepness * np.maximum(self.omega - rank, 0.0), MAX_ARGUMENT)
        curve = exact_exp(self.eta * exact_log(2.0 / (1.0 + exact_exp(-fall))))
        table = np.where(rank <= self.omega, curve, 0.0) + self.epsilon

        def weigh(columns: Columns) -> "Float64Array":
            assert columns.domain is not None
            return np.asarray(table[columns.domain, survey.levels(columns, scale)])

        return weigh
