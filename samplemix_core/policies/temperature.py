"""Domains flattened: small ones get more than their share."""

from typing import Annotated, Literal

from pydantic import Field

from samplemix_core.policies.policy import Policy, Slider, Survey, Targets, filled, registered
from samplemix_core.policies.uniform import Uniform


@registered
class Temperature(Uniform, Policy):
    """share of a domain = tokens^(1/T), and every sample of it alike (Devlin et al. 2019, the multilingual BERT).

    A domain that would need more than max_copies of each sample has just that, and the others share the rest.
    """

    summary = "small domains more, by a temperature"
    when = "Small domains or languages are too small as they are."
    FIRST_FIELDS = frozenset({"name", "temperature"})

    name: Literal["temperature"] = "temperature"
    temperature: Annotated[float, Slider(1, 10, 0.1, "1 is natural, more is flatter")] = Field(
        2.0, ge=0.1, le=1000, title="Temperature", description="1 gives natural shares, a large one equal shares"
    )

    def targets(self, survey: Survey) -> Targets:
        """See Policy.targets."""
        import numpy as np

        from samplemix_core.policies.exponential import exact_exp, exact_log

        tokens = survey.domain_tokens.astype(np.float64)
        known = np.maximum(tokens, 1.0)
        shares = np.where(tokens > 0, exact_exp(exact_log(known / known.max()) / self.temperature), 0.0)
        return Targets(("domain",), filled(shares, survey.domain_room, survey.budget_tokens))
