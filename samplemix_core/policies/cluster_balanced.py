"""The same for every cluster."""

from typing import Literal

from samplemix_core.policies.policy import Policy, Survey, Targets, filled, registered
from samplemix_core.policies.uniform import Uniform


@registered
class ClusterBalanced(Uniform, Policy):
    """tokens of a cluster = budget / clusters, every sample of it alike; what a small one can't have, the others share.

    Balanced sampling from clusters, as in Vo et al. 2024 (Automatic data curation for self-supervised learning), on one level.
    """

    summary = "clusters alike"
    when = "Rare topics matter as much as common ones, and clusters are good."
    reads_diversity = True
    FIRST_FIELDS = frozenset({"name"})

    name: Literal["cluster_balanced"] = "cluster_balanced"

    def targets(self, survey: Survey) -> Targets:
        """See Policy.targets."""
        import numpy as np

        alike = (survey.cluster_tokens > 0).astype(np.float64)
        return Targets(("cluster",), filled(alike, survey.cluster_room, survey.budget_tokens))
