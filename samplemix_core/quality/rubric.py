"""The rubric: seven dimensions of a document's quality and their ranges, adding up to 10.

Source: Xi et al. 2025 (arXiv 2503.01506), Table 1. The table gives significance the range 0..1, which adds up to 9; the total of 10
that the paper states needs 0..2, so that is its range here.
"""

from typing import NamedTuple

from samplemix_core.schemas import DIMENSIONS


class Dimension(NamedTuple):
    """One dimension of the rubric: scores run from 0 to `maximum`."""

    name: str
    maximum: float
    meaning: str


RUBRIC = (
    Dimension("clarity", 1.0, "Clarity of expression and accuracy: easy to follow, precise, without errors of language"),
    Dimension("completeness", 1.0, "Completeness and coherence: a whole that hangs together, not cut off, no filler"),
    Dimension("structure", 1.0, "Structure and style: well organised and consistent in style"),
    Dimension("credibility", 1.0, "Content accuracy and credibility: plausible, sober, without promotion or deceit"),
    Dimension("significance", 2.0, "Significance: substance that is worth knowing"),
    Dimension("knowledge", 2.0, "Knowledge richness: facts, terms and detail"),
    Dimension("reasoning", 2.0, "Logicality and analytical depth: argument, explanation, cause and consequence"),
)

assert tuple(dimension.name for dimension in RUBRIC) == DIMENSIONS

MAX_QUALITY = sum(dimension.maximum for dimension in RUBRIC)
