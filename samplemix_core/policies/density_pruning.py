"""Dense clusters pruned, and what stays of each the farthest from its centroid."""

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from samplemix_core.policies.policy import Columns, Policy, Scale, Slider, Survey, Targets, Weigh, in_order, registered

if TYPE_CHECKING:
    from samplemix_core.policies.policy import Float64Array

_FARTHEST = 20_000
"""Of a distance: cosine distance 2, in ten-thousandths."""


def documents_by_cluster(total: float, parts: "Float64Array", least: "Float64Array", most: "Float64Array") -> "Float64Array":
    """Documents x of K clusters, float64 (K,), least <= x <= most: of all that add up to `total`, those nearest to total * parts.

    That is the quadratic programme: minimise 1/2 |x|^2 - total * parts . x. Its solution is total * parts + mu, cut off at both
    ends, with the one mu for which it adds up. total lies between the sums of `least` and `most`.
    """
    import numpy as np
    from scipy.optimize import brentq

    wanted = total * parts

    def at(mu: float) -> "Float64Array":
        return np.minimum(np.maximum(wanted + mu, least), most)

    low, high = float((least - wanted).min()), float((most - wanted).max())
    if low >= high:
        return least.copy()

    def missing(mu: float) -> float:
        return math.fsum(at(mu)) - total

    if missing(low) >= 0 or missing(high) <= 0:
        return at(low if missing(low) >= 0 else high)
    return at(float(brentq(missing, low, high, xtol=1e-12 * max(1.0, total), rtol=1e-15, maxiter=500)))


@registered
class DensityPruning(Policy):
    """documents of a cluster = QP(N P), P = softmax(d / tau), d = compactness * separation; farthest first (Abbas et al. 2024).

    The quadratic programme stays near N P, between a least number, which is `density_least` of an equal part, and all documents of
    a cluster. N is the number of documents whose tokens meet the budget. Over one epoch, all have copies, the rest goes by this.
    """

    summary = "dense clusters pruned, nearest to the centroid first"
    when = "The crawl repeats itself in meaning, and you want fewer documents of each topic."
    reads_scale = False
    alone = False
    chance = False
    reads_distance = True
    FIRST_FIELDS = frozenset({"name", "density_tau", "density_least"})

    name: Literal["density_pruning"] = "density_pruning"
    density_tau: Annotated[float, Slider(0.02, 2, 0.01, "small prunes dense clusters more")] = Field(
        0.5, ge=0.002, le=100, title="Density tau", description="Temperature of the softmax over d"
    )
    density_least: Annotated[float, Slider(0, 1, 0.05, "of an equal part")] = Field(
        0.5, ge=0, le=1, title="Density least", description="Least documents of a cluster, as a share of N / clusters"
    )

    def surveyed(self, scale: Scale, survey: Survey) -> Weigh:
        """See Policy.surveyed."""

        def weigh(columns: Columns) -> "Float64Array":
            assert columns.distance is not None
            return in_order(columns.distance.astype("float64") / _FARTHEST, survey.max_copies)

        return weigh

    def targets(self, survey: Survey) -> Targets:
        """See Policy.targets."""
        import numpy as np
        from scipy.optimize import brentq

        from samplemix_core.policies.exponential import exact_exp

        known = survey.cluster_tokens > 0
        tokens, room = survey.cluster_tokens[known].astype(np.float64), survey.cluster_room[known]
        documents = survey.cluster_documents[known].astype(np.float64)
        epochs = np.zeros(tokens.size)
        left = float(survey.budget_tokens)
        while left >= (once := math.fsum(np.minimum(tokens, room - epochs))) > 0:
            epochs += np.minimum(tokens, room - epochs)
            left -= once
        able = np.minimum(tokens, room - epochs)
        of_one = tokens / documents
        low, high = survey.diversity_bounds
        d = low + survey.cluster_diversity[known].astype(np.float64) * (high - low)
        spread = exact_exp((d - d.max()) / self.density_tau)
        parts, most = spread / math.fsum(spread), able / of_one

        def wanted(total: float) -> "Float64Array":
            floor = np.minimum(self.density_least * total / tokens.size, np.maximum(most - 1, 0.0))
            return documents_by_cluster(total, parts, floor, most)

        def missing(total: float) -> float:
            return math.fsum(wanted(total) * of_one) - left

        found = np.zeros(tokens.size)
        if left > 0 and (every := math.fsum(most)) > 0:
            total = every if missing(every) <= 0 else float(brentq(missing, 0.0, every, xtol=1e-9 * every, rtol=1e-15, maxiter=500))
            found = wanted(total) * of_one
            found *= min(1.0, left / math.fsum(found)) if found.any() else 1.0
        targets = np.zeros(known.size)
        targets[known] = epochs + found
        return Targets(("cluster",), targets)
