"""The same for every domain, and none repeated too often."""

from typing import Annotated, Literal

from pydantic import Field

from samplemix_core.policies.policy import Policy, Slider, Survey, Targets, filled, registered
from samplemix_core.policies.uniform import Uniform


@registered
class UniMax(Uniform, Policy):
    """tokens of a domain = min(what is left / domains left, epochs * its tokens), smallest first (Chung et al. 2023, UniMax)."""

    summary = "domains alike, small ones at most some epochs"
    when = "Domains or languages are to be alike, without repeating the small ones too often."
    FIRST_FIELDS = frozenset({"name", "epochs"})

    name: Literal["unimax"] = "unimax"
    epochs: Annotated[float, Slider(1, 10, 0.5, "of a small domain")] = Field(
        4.0, gt=0, le=1000, title="Epochs", description="Most epochs of a domain; at most max_copies"
    )

    def targets(self, survey: Survey) -> Targets:
        """See Policy.targets."""
        import numpy as np

        room = np.minimum(self.epochs * survey.domain_tokens, survey.domain_room)
        return Targets(("domain",), filled((survey.domain_tokens > 0).astype(np.float64), room, survey.budget_tokens))
