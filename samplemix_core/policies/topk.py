"""The best documents until the budget is met."""

from typing import Literal

from samplemix_core.policies.policy import Policy, Scale, Survey, Weigh, in_order, registered


@registered
class TopK(Policy):
    """order = quality: the best first, each once, until the budget is met; over one epoch, all again (DCLM, FineWeb-Edu)."""

    summary = "the best until the budget is met"
    when = "You trust your quality model, and have much more than you need."
    reads_diversity = False
    alone = False
    chance = False
    FIRST_FIELDS = frozenset({"name"})

    name: Literal["topk"] = "topk"

    def surveyed(self, scale: Scale, survey: Survey) -> Weigh:
        """See Policy.surveyed."""
        return lambda columns: in_order(columns.unit_quality(scale), survey.max_copies)
