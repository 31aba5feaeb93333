"""A scorer's scores, made comparable between content types and languages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from samplemix_core.frozen import IdentifiedModel
from samplemix_core.scorers.ensemble import rank
from samplemix_core.scorers.scorer import Documents, Floats, Materials, Scorer, ScorerSpec, Scores, registered


class Cell(IdentifiedModel):
    """Quantiles of the scorer's scores for documents of a content type in a language, '' for any."""

    FIRST_FIELDS = frozenset({"content_type", "language", "documents", "quantiles"})

    content_type: str
    language: str
    documents: int
    quantiles: tuple[float, ...]


@registered
class CalibratedSpec(ScorerSpec):
    """The scorer by its key, its quantiles by cell and over all documents, and how far a score moves at most."""

    FIRST_FIELDS = frozenset({"kind", "version", "range", "of", "cells", "overall", "most"})

    kind: Literal["calibrated"] = "calibrated"
    range: tuple[float, float]
    of: str
    cells: tuple[Cell, ...]
    overall: tuple[float, ...]
    most: float

    @property
    def made_of(self) -> tuple[str, ...]:
        """See ScorerSpec.made_of."""
        return (self.of,)

    def make(self, name: str, key: str, materials: Materials) -> Scorer:
        """See ScorerSpec.make."""
        (base,) = materials.scorers(self.made_of)
        cells = {(cell.content_type, cell.language): np.array(cell.quantiles) for cell in self.cells}
        return Calibrated(name, key, base, cells, np.array(self.overall), self.most)


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A scorer whose scores count only within a content type and language: a document's rank there, taken among all documents.

    A score moves by at most `most`: if all documents of a kind are bad, being the best of them is not much.
    `cells`: (content type, language or '' for any) -> quantiles (K,) of such documents; `overall` (K,), of all. A missing language
    counts as any of its content type; a missing content type keeps its scores.
    """

    name: str
    key: str
    base: Scorer
    cells: Mapping[tuple[str, str], Floats]
    overall: Floats
    most: float

    @property
    def waits(self) -> bool:
        """Whether the underlying scorer waits."""
        return self.base.waits

    def score(self, documents: Documents) -> Scores:
        """Calibrated quality; dimensions are as the scorer gives them."""
        given = documents.scores(self.base)
        quality = given["quality"].copy()
        of = list(zip(documents.content_types, documents.languages, strict=True))
        cells = [cell if cell in self.cells else (cell[0], "") for cell in of]
        for cell in set(cells).intersection(self.cells):
            rows = np.array([i for i, found in enumerate(cells) if found == cell], dtype=np.int64)
            places = rank(given["quality"][rows], self.cells[cell])
            moved = np.interp(places, np.linspace(0, 1, self.overall.size), self.overall) - quality[rows]
            quality[rows] += np.clip(moved, -self.most, self.most)
        return {**given, "quality": quality}
