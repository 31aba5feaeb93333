"""Shares of topics and of formats that the user gives, together."""

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from samplemix_core.errors import ConfigError
from samplemix_core.policies.fixed import Shares
from samplemix_core.policies.policy import Policy, Survey, Targets, filled, registered
from samplemix_core.policies.uniform import Uniform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from samplemix_core.policies.policy import Float64Array

MOST_REPEATED = 0.15
"""A group may have 1 / 0.15 times its natural share: then it is repeated nearly 7 times as often as the rest."""


@registered
class WebOrganizer(Uniform, Policy):
    """share of a topic and format = topic's * format's, at most natural / .15, then scaled to 1 (Wettig et al. 2025, WebOrganizer).

    Topics are domains or clusters, formats are content types. Where no shares are given, they are the natural ones. Every sample of
    a group is weighed alike; what a group can't have, the others share.
    """

    summary = "topics and formats in given shares"
    when = "You think in topics and formats, and know which shares you want."
    FIRST_FIELDS = frozenset({"name", "topic", "topics", "formats"})
    labels = ("content_type",)

    name: Literal["weborganizer"] = "weborganizer"
    topic: Literal["domain", "cluster"] = Field("domain", title="Topic", description="What counts as topic: domain or cluster")
    topics: Shares = Field({}, title="Topics", description="Each topic's share of the mixture's tokens; if empty, the natural ones")
    formats: Shares = Field(
        {}, title="Formats", description="Each content type's share (prose, code, markup, list); if empty, the natural ones"
    )

    def targets(self, survey: Survey) -> Targets:
        """See Policy.targets."""
        import numpy as np

        by_domain = self.topic == "domain"
        tokens = (survey.domain_kind_tokens if by_domain else survey.cluster_kind_tokens).astype(np.float64)
        room = survey.domain_kind_room if by_domain else survey.cluster_kind_room
        names = survey.domains if by_domain else tuple(str(number) for number in range(tokens.shape[0]))
        natural = tokens / math.fsum(tokens.ravel())
        topics = _shares(self.topics, names, natural.sum(axis=1), self.topic)
        formats = _shares(self.formats, survey.kinds, natural.sum(axis=0), "content type")
        wanted = np.minimum(topics[:, None] * formats[None, :], natural / MOST_REPEATED)
        shares = wanted / math.fsum(wanted.ravel()) if wanted.any() else wanted
        found = filled(shares.ravel(), room.ravel(), survey.budget_tokens)
        return Targets((self.topic, "content_type"), found.reshape(shares.shape))


def _shares(given: dict[str, float], names: "Sequence[str]", natural: "Float64Array", what: str) -> "Float64Array":
    import numpy as np

    if unknown := sorted(given.keys() - set(names)):
        raise ConfigError(
            f"The source has no {what} {', '.join(map(repr, unknown))}, which 'weborganizer' gives a share.",
            f"Its names are {', '.join(names[:20])}{' and more' if len(names) > 20 else ''}.",
        )
    return np.array([given.get(name, 0.0) for name in names]) if given else natural
