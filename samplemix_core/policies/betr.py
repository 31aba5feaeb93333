"""What is most similar to examples of a target, until the budget is met."""

from typing import Literal

from samplemix_core.policies.policy import registered
from samplemix_core.policies.topk import TopK


@registered
class Betr(TopK):
    """order = similarity to the nearest example of a target: the nearest first, each once, until the budget is met (BETR, 2025).

    The run's first scorer says how similar: one from 'samplemix quality add similarity'.
    """

    summary = "what is most similar to a target"
    when = "You have examples of what the model should be good at, and will train mainly for that."
    FIRST_FIELDS = frozenset({"name"})

    name: Literal["betr"] = "betr"  # type: ignore[assignment]  # a policy has one name
