"""Weights of the user's own."""

from typing import TYPE_CHECKING, Literal

from samplemix_core.errors import ConfigError
from samplemix_core.policies.policy import Columns, Policy, Scale, registered

if TYPE_CHECKING:
    from samplemix_core.policies.policy import Float64Array


@registered
class Weights(Policy):
    """w = the score of the run's first scorer, as it is: weights of your own, entered with 'samplemix quality add external'.

    0 gives no copy.
    """

    summary = "your own weights, entered as scores"
    when = "You compute weights of your own."
    reads_scale = False
    reads_diversity = False
    FIRST_FIELDS = frozenset({"name"})

    name: Literal["weights"] = "weights"

    def weights(self, columns: Columns, scale: Scale) -> "Float64Array":
        """See Policy.weights."""
        import numpy as np

        weights = columns.finite_quality()
        bad = np.flatnonzero(weights < 0)
        if bad.size:
            raise ConfigError(f"The weight of sample {bad[0]} is {weights[bad[0]]:g}.", "Give weights of 0 and more.")
        return weights
