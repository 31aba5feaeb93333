"""Importance for a target, by words and pairs of words: quality/importance.py."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from samplemix_core.quality.importance import Ratios, mean_ratios
from samplemix_core.scorers.scorer import Documents, Materials, Scorer, ScorerSpec, Scores, registered

RATIOS = "ratios.safetensors"


@registered
class ImportanceSpec(ScorerSpec):
    """The buckets' log-ratios by the SHA-256 of their file."""

    FIRST_FIELDS = frozenset({"kind", "version", "range", "ratios_sha256"})

    kind: Literal["importance"] = "importance"
    range: tuple[float, float]
    ratios_sha256: str

    def make(self, name: str, key: str, materials: Materials) -> Scorer:
        """See ScorerSpec.make."""
        from safetensors.numpy import load_file

        path = materials.files({RATIOS: self.ratios_sha256}) / RATIOS
        return Importance(name, key, load_file(path)["ratios"])


@dataclass(frozen=True, eq=False)
class Importance:
    """The mean weight of a text's words and pairs of words; `ratios` float64 (BUCKETS,)."""

    name: str
    key: str
    ratios: Ratios
    waits: bool = False

    def score(self, documents: Documents) -> Scores:
        """The mean log-ratio of each document; 0 for one without a word."""
        return {"quality": mean_ratios(documents.texts, self.ratios).astype(np.float32)}
