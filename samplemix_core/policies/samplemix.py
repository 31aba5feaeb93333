"""The policy of the SampleMix paper: quality and diversity together."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from samplemix_core.policies.policy import Columns, Policy, Scale, Slider, registered

if TYPE_CHECKING:
    from samplemix_core.policies.policy import Float64Array


@registered
class SampleMix(Policy):
    """w = exp(p / tau) with p = alpha * d + (1 - alpha) * q (Xi et al. 2025, arXiv 2503.01506).

    d is diversity and q quality, each as 0..1: by the range that belongs to its model, or by ranks. With budget_unit documents, the
    budget's share of the source is one of documents, as in the paper: |D| T / T_source copies in all, whatever their tokens.
    """

    summary = "by quality and diversity"
    when = "Quality and diversity should both count, and domains follow from them."
    FIRST_FIELDS = frozenset({"name", "alpha", "tau"})

    name: Literal["samplemix"] = "samplemix"
    alpha: Annotated[float, Slider(0, 1, 0.01, "diversity against quality")] = Field(
        0.8, ge=0, le=1, title="Alpha", description="Weight of diversity against quality; 0.8 in the paper"
    )
    # A smaller tau leaves the range that exact_exp and the solver work in.
    tau: Annotated[float, Slider(0.02, 2, 0.01, "small sharpens, large flattens")] = Field(
        0.2, ge=0.002, le=100, title="Tau", description="Temperature: small sharpens, large flattens; 0.2 in the paper"
    )

    budget_unit: Literal["tokens", "documents"] = Field(
        "tokens",
        title="Budget unit",
        description="documents: as many copies as the budget's share of the source's documents, as in the paper, whose tokens are"
        " then more or fewer where length goes with weight",
    )

    @property
    def counts_documents(self) -> bool:
        """See Policy.counts_documents."""
        return self.budget_unit == "documents"

    def weights(self, columns: Columns, scale: Scale) -> "Float64Array":
        """See Policy.weights."""
        from samplemix_core.policies.exponential import exact_exp

        p = self.alpha * columns.unit_diversity(scale) + (1 - self.alpha) * columns.unit_quality(scale)
        return exact_exp(p / self.tau)
