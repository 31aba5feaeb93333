"""Shares of domains that the user gives."""

import math
from typing import Literal

from pydantic import Field, field_validator

from samplemix_core.errors import ConfigError
from samplemix_core.policies.policy import Policy, Survey, Targets, registered
from samplemix_core.policies.uniform import Uniform

_TOLERANCE = 1e-3
"""By how much shares may miss 1: they count as parts of their sum."""


@registered
class Fixed(Uniform, Policy):
    """share of a domain = as given, and every sample of it alike: how the weights of DoReMi, RegMix, DoGE or olmix come in.

    Domains without a share get nothing (Xie et al. 2023; Liu et al. 2024).
    """

    summary = "shares of domains as given"
    FIRST_FIELDS = frozenset({"name", "shares"})

    name: Literal["fixed"] = "fixed"
    shares: dict[str, float] = Field(
        {},
        title="Shares",
        description="Each domain's share of the mixture's tokens, such as web: 0.6, books: 0.4; they add up to 1",
    )

    @field_validator("shares")
    @classmethod
    def _add_up(cls, shares: dict[str, float]) -> dict[str, float]:
        for domain, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"the share of {domain} is {share:g}, not from 0 to 1")
        total = math.fsum(shares.values())
        if shares and abs(total - 1) > _TOLERANCE:
            raise ValueError(f"the shares add up to {total:g}, not to 1")
        return shares

    def targets(self, survey: Survey) -> Targets:
        """See Policy.targets."""
        import numpy as np

        if not self.shares:
            raise ConfigError(
                "Policy 'fixed' has no shares.", 'Give each domain\'s: --set \'policy.shares={"web": 0.6, "books": 0.4}\'.'
            )
        if unknown := sorted(self.shares.keys() - set(survey.domains)):
            raise ConfigError(
                f"The source has no domain {', '.join(map(repr, unknown))}, which 'fixed' gives a share.",
                f"Its domains are {', '.join(survey.domains)}.",
            )
        shares = np.array([self.shares.get(domain, 0.0) for domain in survey.domains])
        return Targets("domain", shares / math.fsum(shares) * survey.budget_tokens)
