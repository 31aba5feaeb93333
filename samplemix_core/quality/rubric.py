"""The rubric: what a document's quality is made of, as one versioned object.

An annotator's prompt, the form of its answers, the heads trained on them, the columns of scores and the documentation are all made
from it. Source of the default: Xi et al. 2025 (arXiv 2503.01506), Table 1. The table gives significance the range 0..1, which adds
up to 9; the total of 10 that the paper states needs 0..2, so that is its range here.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from samplemix_core.errors import ConfigError
from samplemix_core.frozen import NAME, IdentifiedModel, load_config
from samplemix_core.identity import fingerprint
from samplemix_core.schemas import DIMENSIONS

OVERALL = "overall"
"""The name of the sum over a rubric's dimensions, where scores have names."""

RATIONALE = "rationale"


class Dimension(IdentifiedModel):
    """One dimension of a rubric: a document's score is a whole number from 0 to `maximum`."""

    FIRST_FIELDS = frozenset({"name", "maximum", "meaning"})

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,30}$", description="What the dimension is called, in answers and columns")
    maximum: int = Field(ge=1, le=100, description="The best score; 0 is the worst")
    meaning: str = Field(min_length=1, max_length=1000, description="What is judged, for annotators and people")


class Rubric(IdentifiedModel):
    """The dimensions that quality is judged in; overall quality is the sum of their scores."""

    FIRST_FIELDS = frozenset({"name", "dimensions"})

    name: str = Field(pattern=NAME.pattern, description="What the rubric is called")
    dimensions: tuple[Dimension, ...] = Field(min_length=1, max_length=32)

    @field_validator("dimensions")
    @classmethod
    def _no_name_twice(cls, dimensions: tuple[Dimension, ...]) -> tuple[Dimension, ...]:
        names = [dimension.name for dimension in dimensions]
        for name in names:
            if names.count(name) > 1 or name in (OVERALL, RATIONALE):
                raise ValueError(
                    f"a dimension can't be called {name!r}: {'it is there twice' if names.count(name) > 1 else 'taken'}"
                )
        return dimensions

    @property
    def maximum(self) -> int:
        """The best overall quality."""
        return sum(dimension.maximum for dimension in self.dimensions)

    @property
    def names(self) -> tuple[str, ...]:
        """The dimensions' names, in order."""
        return tuple(dimension.name for dimension in self.dimensions)

    @property
    def overall(self) -> str:
        """The name of overall quality: with a single dimension, that one's."""
        return OVERALL if len(self.dimensions) > 1 else self.dimensions[0].name

    @property
    def maxima(self) -> dict[str, int]:
        """The best score of each dimension and, last, of overall quality."""
        return {**{dimension.name: dimension.maximum for dimension in self.dimensions}, self.overall: self.maximum}

    @property
    def rubric_key(self) -> str:
        """Identity: a rubric with a different name, range or meaning is a different rubric."""
        return fingerprint(self.identity())

    def answer_schema(self) -> dict[str, Any]:
        """JSON schema of an annotator's answer: a whole number in range for each dimension, and a rationale in one sentence."""
        scores: dict[str, Any] = {
            dimension.name: {"type": "integer", "minimum": 0, "maximum": dimension.maximum, "description": dimension.meaning}
            for dimension in self.dimensions
        }
        rationale = {"type": "string", "description": "One sentence: what decided the scores"}
        return {
            "type": "object",
            "properties": {RATIONALE: rationale, **scores},
            "required": [RATIONALE, *scores],
            "additionalProperties": False,
        }


DEFAULT_RUBRIC = Rubric(
    name="samplemix",
    dimensions=(
        Dimension(
            name="clarity",
            maximum=1,
            meaning="Clarity of expression and accuracy: easy to follow, precise, without errors of language",
        ),
        Dimension(
            name="completeness",
            maximum=1,
            meaning="Completeness and coherence: a whole that hangs together, not cut off, no filler",
        ),
        Dimension(name="structure", maximum=1, meaning="Structure and style: well organised and consistent in style"),
        Dimension(
            name="credibility",
            maximum=1,
            meaning="Content accuracy and credibility: plausible, sober, without promotion or deceit",
        ),
        Dimension(name="significance", maximum=2, meaning="Significance: substance that is worth knowing"),
        Dimension(name="knowledge", maximum=2, meaning="Knowledge richness: facts, terms and detail"),
        Dimension(
            name="reasoning",
            maximum=2,
            meaning="Logicality and analytical depth: argument, explanation, cause and consequence",
        ),
    ),
)

assert DEFAULT_RUBRIC.names == DIMENSIONS


def read_rubric(path: Path) -> Rubric:
    """Read a team's own rubric from a JSON file; raise ConfigError if it can't be read or isn't one."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} can't be read as a rubric: {error}.", "'samplemix quality rubric --json' prints one to start from."
        ) from None
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path} holds no rubric but {values!r:.80}.", "'samplemix quality rubric --json' prints one to start from."
        )
    return load_config(Rubric, values, "rubric")
