"""Several scorers as one, by their ranks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from samplemix_core.frozen import IdentifiedModel
from samplemix_core.scorers.scorer import Documents, Floats, Materials, Scorer, ScorerSpec, Scores, registered

Combine = Literal["mean", "max"]


class Member(IdentifiedModel):
    """A quality model by its key, and quantiles of its scores for some documents."""

    FIRST_FIELDS = frozenset({"key", "quantiles"})

    key: str
    quantiles: tuple[float, ...]


@registered
class EnsembleSpec(ScorerSpec):
    """The members, and how their ranks are combined."""

    FIRST_FIELDS = frozenset({"kind", "version", "range", "combine", "members"})

    kind: Literal["ensemble"] = "ensemble"
    range: tuple[float, float]
    combine: Combine
    members: tuple[Member, ...]

    @property
    def made_of(self) -> tuple[str, ...]:
        """See ScorerSpec.made_of."""
        return tuple(member.key for member in self.members)

    def make(self, name: str, key: str, materials: Materials) -> Scorer:
        """See ScorerSpec.make."""
        quantiles = [np.array(member.quantiles) for member in self.members]
        return Ensemble(name, key, list(zip(materials.scorers(self.made_of), quantiles, strict=True)), self.combine)


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Several scorers as one: each gives a rank, 0 to 1, by its own quantiles (K,), and the ranks' mean or highest counts.

    Quantiles are of each member's scores for the same documents. They are fixed, so that new crawls move nothing.
    """

    name: str
    key: str
    members: Sequence[tuple[Scorer, Floats]]
    combine: Combine

    @property
    def waits(self) -> bool:
        """Whether one of its members waits."""
        return any(member.waits for member, _ in self.members)

    def score(self, documents: Documents) -> Scores:
        """Ranks combined, 0 to 1."""
        ranks = [rank(documents.scores(member)["quality"], quantiles) for member, quantiles in self.members]
        if self.combine == "max":
            return {"quality": reduce(np.maximum, ranks).astype(np.float32)}
        return {"quality": (np.sum(ranks, axis=0) / len(ranks)).astype(np.float32)}


def rank(scores: npt.NDArray[Any], quantiles: Floats) -> Floats:
    """Ranks, 0 to 1, of scores (n,) among quantiles (K,): the middle of equal ones, linear between others."""
    values, first, counts = np.unique(quantiles, return_index=True, return_counts=True)
    places = (first + (counts - 1) / 2) / max(1, quantiles.size - 1)
    return np.interp(scores.astype(np.float64), values, places)
