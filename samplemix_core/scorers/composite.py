"""The heuristic that needs neither labels nor a model."""

from dataclasses import dataclass
from typing import Any, Literal, Self

from samplemix_core.errors import ModelError
from samplemix_core.identity import canonical_json
from samplemix_core.schemas import DIMENSIONS
from samplemix_core.scorers.scorer import SAME_VERSION, Documents, Materials, Scorer, ScorerSpec, Scores, registered


@registered
class CompositeSpec(ScorerSpec):
    """Every constant of the composite score, as this version of the code has them: see quality.composite.composite_model."""

    FIRST_FIELDS = frozenset({"kind", "version", "rubric", "features", "formal", "damage", "criteria"})

    kind: Literal["composite"] = "composite"
    rubric: dict[str, int]
    features: dict[str, Any]
    formal: list[Any]
    damage: list[Any]
    criteria: dict[str, Any]

    @classmethod
    def of_this_version(cls) -> Self:
        """The specification that this version of the code scores by."""
        from samplemix_core.quality.composite import composite_model

        return cls.model_validate_json(canonical_json(composite_model()))

    def make(self, name: str, key: str, materials: Materials) -> Scorer:
        """See ScorerSpec.make."""
        if (own := self.of_this_version().key) != key:
            raise ModelError(f"This worker's composite score has the key {own}, the run's has {key}.", SAME_VERSION)
        return Composite(name, key)


@dataclass(frozen=True)
class Composite:
    """Measured features, weighed by the rubric's dimensions."""

    name: str
    key: str
    waits: bool = False

    def score(self, documents: Documents) -> Scores:
        """The composite score, and its seven dimensions."""
        from samplemix_core.quality.composite import score_features

        found = score_features(documents.features)
        return {"quality": found.quality, **dict(zip(DIMENSIONS, found.dimensions.T, strict=True))}
