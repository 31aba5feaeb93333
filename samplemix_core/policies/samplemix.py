"""The policy of the SampleMix paper: quality and diversity together; and two that comparisons of mixtures made of it."""

from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from samplemix_core.policies.policy import Columns, Policy, Scale, Slider, registered

if TYPE_CHECKING:
    from samplemix_core.policies.policy import Float64Array

Alpha = Annotated[
    float,
    Slider(0, 1, 0.01, "diversity against quality"),
    Field(ge=0, le=1, title="Alpha", description="Weight of diversity against quality; 0.8 in the paper"),
]
# A smaller tau leaves the range that exact_exp and the solver work in.
Tau = Annotated[
    float,
    Slider(0.02, 2, 0.01, "small sharpens, large flattens"),
    Field(ge=0.002, le=100, title="Tau", description="Temperature: small sharpens, large flattens; 0.2 in the paper"),
]
Brevity = Annotated[
    float,
    Slider(0, 1, 0.05, "above 0, short documents gain"),
    Field(
        ge=0,
        le=1,
        title="Brevity",
        description="Weights are divided by a document's tokens to this power. With 0, as in the paper, a document gets its copies"
        " whatever they take of the budget; with 1, by what it is worth a token",
    ),
]


@registered
class SampleMix(Policy):
    """w = exp(p / tau) with p = alpha * d + (1 - alpha) * q (Xi et al. 2025, arXiv 2503.01506).

    d is diversity and q quality, each as 0..1: by the range that belongs to its model, or by ranks. With budget_unit documents, the
    budget's share of the source is one of documents, as in the paper: |D| T / T_source copies in all, whatever their tokens.
    With brevity, w is divided by tokens^brevity.
    """

    summary = "by quality and diversity"
    when = "Quality and diversity should both count, and domains follow from them."
    FIRST_FIELDS = frozenset({"name", "alpha", "tau"})

    name: Literal["samplemix"] = "samplemix"
    alpha: Alpha = 0.8
    tau: Tau = 0.2
    budget_unit: Literal["tokens", "documents"] = Field(
        "tokens",
        title="Budget unit",
        description="documents: as many copies as the budget's share of the source's documents, as in the paper, whose tokens are"
        " then more or fewer where length goes with weight",
    )
    brevity: Brevity = 0.0

    @property
    def counts_documents(self) -> bool:
        """See Policy.counts_documents."""
        return self.budget_unit == "documents"

    def weights(self, columns: Columns, scale: Scale) -> "Float64Array":
        """See Policy.weights."""
        from samplemix_core.policies.exponential import exact_exp, exact_log

        p = (self.alpha * columns.unit_diversity(scale) + (1 - self.alpha) * columns.unit_quality(scale)) / self.tau
        return exact_exp(p - self.brevity * exact_log(columns.known_tokens()) if self.brevity else p)


_ALL = frozenset({"name", "alpha", "tau", "brevity"})


@registered
class SampleMixSafe(SampleMix):
    """w = exp(p / tau) / tokens^brevity as in samplemix, d and q by ranks, where content types keep their natural shares.

    Where comparisons on a web crawl end up that give away as little as can be measured on text like the source: docs/evidence.md.
    """

    summary = "softly by the ranks of quality and diversity, short documents first, content types held"
    when = "You want what quality and diversity gain, and lose next to nothing on text like your source."
    brings = MappingProxyType({"normalise": "ranks", "constraints": MappingProxyType({"hold": ("content_type",)})})
    FIRST_FIELDS = _ALL

    name: Literal["samplemix_safe"] = "samplemix_safe"  # type: ignore[assignment]  # a policy has one name
    alpha: Alpha = 0.5
    tau: Tau = 0.5
    brevity: Brevity = 0.5


@registered
class SampleMixCalibrated(SampleMixSafe):
    """w = exp(p / tau) / tokens^brevity as in samplemix_safe, but sharper.

    Where comparisons end up that may lose as much on text like the source as samplemix loses, and gain the most elsewhere.
    """

    summary = "sharply by the ranks of quality and diversity, short documents first, content types held"
    when = "You would pay on text like your source what samplemix costs there, and want the most for it."

    name: Literal["samplemix_calibrated"] = "samplemix_calibrated"  # type: ignore[assignment]  # a policy has one name
    tau: Tau = 0.27
