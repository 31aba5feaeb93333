"""Documents that repeat others in meaning left out."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from samplemix_core.policies.policy import Columns, Policy, Scale, Slider, Survey, Weigh, registered

if TYPE_CHECKING:
    from samplemix_core.policies.policy import Float64Array

_ONE = 10_000
"""Of a cosine, in ten-thousandths."""


@registered
class SemDeDup(Policy):
    """w = 0 for c > 1 - eps, else 1; c the highest cosine to a document of its cluster farther from the centre (Abbas et al. 2023).

    As in the authors' code, the farther document counts whether it stays or not. Only documents that may be mixed are compared,
    exact duplicates and near-duplicates not among them. Of a cluster of more than 65,536, each document is compared with as many
    that are next to it by their distance to the centroid.
    """

    summary = "what repeats another document in meaning left out, all else alike"
    when = "The crawl says the same in other words, and you want it once."
    reads_scale = False
    alone = False
    reads_closest = True
    FIRST_FIELDS = frozenset({"name", "semdedup_eps"})

    name: Literal["semdedup"] = "semdedup"
    semdedup_eps: Annotated[float, Slider(0, 0.1, 0.005, "large leaves out more")] = Field(
        0.05, ge=0, le=0.1, title="Semantic eps", description="Documents with a cosine over 1 - eps are the same"
    )

    def surveyed(self, scale: Scale, survey: Survey) -> Weigh:
        """See Policy.surveyed."""
        most = round((1 - self.semdedup_eps) * _ONE)

        def weigh(columns: Columns) -> "Float64Array":
            assert columns.closest is not None
            return (columns.closest <= most).astype("float64")

        return weigh
