"""The baseline: the corpus as it is."""

from typing import TYPE_CHECKING, Literal

from samplemix_core.policies.policy import Columns, Policy, Scale, registered

if TYPE_CHECKING:
    from samplemix_core.policies.policy import Float64Array


@registered
class Natural(Policy):
    """w = 1: every sample once, or uniformly thinned or repeated to the budget."""

    summary = "every sample alike, the baseline"
    when = "As the baseline of every comparison."
    reads_scale = False
    reads_diversity = False
    FIRST_FIELDS = frozenset({"name"})

    name: Literal["natural"] = "natural"

    def weights(self, columns: Columns, scale: Scale) -> "Float64Array":
        """See Policy.weights."""
        import numpy as np

        return np.ones(columns.quality.size)
