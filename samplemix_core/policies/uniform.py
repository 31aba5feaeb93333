"""What policies share that only say how much each domain or cluster is to have."""

from typing import TYPE_CHECKING, ClassVar

from samplemix_core.policies.policy import Columns, Scale, Survey, Weigh

if TYPE_CHECKING:
    from samplemix_core.policies.policy import Float64Array


class Uniform:
    """A policy's weights of 1, within targets that it gives."""

    reads_scale: ClassVar[bool] = False
    reads_diversity: ClassVar[bool] = False
    alone: ClassVar[bool] = False

    def surveyed(self, scale: Scale, survey: Survey) -> Weigh:
        """See Policy.surveyed."""

        def ones(columns: Columns) -> "Float64Array":
            import numpy as np

            return np.ones(columns.quality.size)

        return ones
