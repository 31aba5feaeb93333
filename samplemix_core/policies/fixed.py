"""Shares of domains that the user gives."""

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from samplemix_core.errors import ConfigError
from samplemix_core.policies.policy import Policy, Survey, Targets, registered
from samplemix_core.policies.uniform import Uniform

if TYPE_CHECKING:
    from samplemix_core.policies.policy import Float64Array

_TOLERANCE = 1e-3
"""By how much shares may miss 1: they count as parts of their sum."""


def _add_up(shares: dict[str, float]) -> dict[str, float]:
    for domain, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"the share of {domain} is {share:g}, not from 0 to 1")
    total = math.fsum(shares.values())
    if shares and abs(total - 1) > _TOLERANCE:
        raise ValueError(f"the shares add up to {total:g}, not to 1")
    return shares


Shares = Annotated[dict[str, float], AfterValidator(_add_up)]
"""Each domain's share of a mixture."""


def shares_of(policy: Policy, shares: dict[str, float], survey: Survey) -> "Float64Array":
    """Tokens of each domain, float64 (D,), by these shares; or by its natural share, if there are none.

    Raises ConfigError for a domain that the source doesn't have.
    """
    import numpy as np

    if unknown := sorted(shares.keys() - set(survey.domains)):
        raise ConfigError(
            f"The source has no domain {', '.join(map(repr, unknown))}, which {policy.name!r} gives a share.",
            f"Its domains are {', '.join(survey.domains)}.",
        )
    parts = np.array([shares.get(domain, 0.0) for domain in survey.domains]) if shares else survey.domain_tokens.astype(np.float64)
    return np.asarray(parts / math.fsum(parts) * survey.budget_tokens)


@registered
class Fixed(Uniform, Policy):
    """share of a domain = as given, and every sample of it alike: how the weights of DoReMi, RegMix, DoGE or olmix come in.

    Domains without a share get nothing (Xie et al. 2023; Liu et al. 2024).
    """

    summary = "shares of domains as given"
    when = "You have domain shares from elsewhere: DoReMi, RegMix, olmix, or experience."
    FIRST_FIELDS = frozenset({"name", "shares"})

    name: Literal["fixed"] = "fixed"
    shares: Shares = Field(
        {},
        title="Shares",
        description="Each domain's share of the mixture's tokens, such as web: 0.6, books: 0.4; they add up to 1",
    )

    def targets(self, survey: Survey) -> Targets:
        """See Policy.targets."""
        if not self.shares:
            raise ConfigError(
                "Policy 'fixed' has no shares.", 'Give each domain\'s: --set \'policy.shares={"web": 0.6, "books": 0.4}\'.'
            )
        return Targets(("domain",), shares_of(self, self.shares, survey))
