"""Better documents more often, on a curve of their percentiles that each domain has for itself."""

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from samplemix_core.errors import BudgetError
from samplemix_core.policies.fixed import Shares, shares_of
from samplemix_core.policies.policy import Columns, Policy, Scale, Slider, Survey, Targets, Weigh, registered

if TYPE_CHECKING:
    from samplemix_core.policies.policy import Float64Array

BUCKET = 0.05
"""Share of a domain's tokens in a bucket."""

_POWERS = 20, 0.01, 2.0
"""How many powers are tried, the first and the last one."""

_STEEPEST, _HALVINGS = 2.0, 50
"""The largest lambda, and how often its range is halved."""

_TERMS = 40
"""Of the series of exp(x) up to x = 2: more than a double can tell apart."""


def copies_by_bucket(wanted: float, kept: float, most: float) -> "Float64Array | None":
    """Copies of a domain's buckets from the best down, float64 (B,): B = kept / 5 %, rounded up, and the last may be narrower.

    wanted: tokens of the domain in the mixture over those that it has. kept: its share that isn't dropped, in (0, 1]. most: copies
    of the best bucket at most. None if even the same number of copies of all that is kept would be more.
    """
    import numpy as np

    from samplemix_core.policies.exponential import exact_exp, exact_log

    buckets = math.ceil(kept / BUCKET - 1e-9)
    edges = np.maximum(kept - BUCKET * np.arange(buckets + 1), 0.0)
    edges[-1] = 0.0
    width = edges[:-1] - edges[1:]
    if wanted / kept > most * (1 + 1e-9):
        return None

    def means(power: float, steep: float) -> "Float64Array":
        # The integral of x^p exp(lambda x) is the sum of lambda^k x^(p + k + 1) / (k! (p + k + 1)).
        x = np.maximum(edges, 1e-90)
        term, total = exact_exp((power + 1) * exact_log(x)), np.zeros(x.size)
        for k in range(_TERMS):
            total += term / (power + k + 1)
            term = term * (steep / (k + 1)) * x
        total[edges == 0] = 0.0
        return np.asarray(wanted / total[0] * (total[:-1] - total[1:]) / width)

    count, first, last = _POWERS
    powers = [first + (last - first) * step / (count - 1) for step in range(count)]
    fitting = [power for power in powers if means(power, 0.0)[0] <= most]
    if not fitting:
        return np.full(buckets, wanted / kept)
    low, high = 0.0, _STEEPEST
    if means(fitting[-1], high)[0] <= most:
        return means(fitting[-1], high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if means(fitting[-1], middle)[0] <= most else (low, middle)
    return means(fitting[-1], low)


@registered
class Olmo3(Policy):
    """w = mean of C x^p exp(lambda x) over the document's bucket, x its percentile above what is dropped (Olmo 3, 2025, Dolma 3).

    A bucket has 5 % of its domain's tokens; the worst `drop_worst` of them get nothing. C makes the domain's tokens what they are
    to be: its natural share, or that in `shares`. Of 20 powers p up to 2, the largest for which the best bucket has at most
    `best_copies` on average, and with it the largest lambda up to 2.
    """

    summary = "quality-aware upsampling in each domain"
    when = "Domains are to keep their shares, the worst documents to go, and the best to be repeated."
    reads_diversity = False
    alone = False
    FIRST_FIELDS = frozenset({"name", "drop_worst", "best_copies", "shares"})

    name: Literal["olmo3"] = "olmo3"
    drop_worst: Annotated[float, Slider(0, 0.95, 0.05, "of each domain")] = Field(
        0.4, ge=0, le=0.99, title="Drop worst", description="Share of each domain's tokens, the worst, that get no copy"
    )
    best_copies: Annotated[float, Slider(1, 20, 0.5, "copies of the best")] = Field(
        7.0, gt=0, le=1000, title="Best copies", description="Most copies of the best 5 % on average; at most max_copies"
    )
    shares: Shares = Field({}, title="Shares", description="Each domain's share of the mixture's tokens; if empty, its natural one")

    def surveyed(self, scale: Scale, survey: Survey) -> Weigh:
        """See Policy.surveyed."""
        import numpy as np

        rank, kept = survey.ranks(), 1.0 - self.drop_worst
        table = np.zeros(rank.shape)
        cap, tokens = min(self.best_copies, float(survey.max_copies)), self.targets(survey).tokens
        # A domain that isn't told apart by quality is kept as a whole.
        best = rank.shape[1] - 1 - np.argmax(survey.level_tokens[:, ::-1] > 0, axis=1)
        known: dict[float, Float64Array | None] = {}
        for domain in np.flatnonzero((survey.domain_tokens > 0) & (tokens > 0)).tolist():
            wanted = float(tokens[domain]) / float(survey.domain_tokens[domain])
            if wanted not in known:
                known[wanted] = copies_by_bucket(wanted, kept, cap)
            curve = known[wanted]
            if curve is None:
                raise BudgetError(
                    f"Policy 'olmo3' would need {wanted / kept:.3g} copies of all that it keeps of domain"
                    f" {survey.domains[domain]!r}, and may give {cap:g}.",
                    "Lower the budget or its share, drop_worst, or raise best_copies and max_copies.",
                )
            bucket = np.minimum((rank[domain] / BUCKET).astype(np.int64), curve.size - 1)
            table[domain] = np.where(rank[domain] < kept, curve[bucket], 0.0)
            table[domain, best[domain]] = max(table[domain, best[domain]], curve[0])

        def weigh(columns: Columns) -> "Float64Array":
            assert columns.domain is not None
            return np.asarray(table[columns.domain, survey.levels(columns, scale)])

        return weigh

    def targets(self, survey: Survey) -> Targets:
        """See Policy.targets."""
        return Targets(("domain",), shares_of(self, self.shares, survey))
