"""Supervised fastText models, such as DCLM's."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from samplemix_core.scorers.scorer import Documents, Materials, Scorer, ScorerSpec, Scores, registered


@registered
class FastTextSpec(ScorerSpec):
    """A model by the SHA-256 of its file, and the label whose probability counts."""

    FIRST_FIELDS = frozenset({"kind", "version", "range", "model_sha256", "label"})

    kind: Literal["fasttext"] = "fasttext"
    range: tuple[float, float]
    model_sha256: str
    label: str

    def make(self, name: str, key: str, materials: Materials) -> Scorer:
        """See ScorerSpec.make."""
        import fasttext

        path = materials.files({"model.bin": self.model_sha256}) / "model.bin"
        return FastText(name, key, fasttext.load_model(str(path)), self.label)


@dataclass(frozen=True, eq=False)
class FastText:
    """The probability that a supervised fastText model gives one of its labels."""

    name: str
    key: str
    model: Any
    label: str
    waits: bool = False

    def score(self, documents: Documents) -> Scores:
        """Probability of the label, 0 to 1. The model reads a text's words, not where lines end."""
        found = np.zeros(len(documents), dtype=np.float32)
        for i, text in enumerate(documents.as_strings):
            labels, probabilities = self.model.predict(" ".join(text.split()), k=-1)
            found[i] = dict(zip(labels, probabilities, strict=True)).get(self.label, 0.0)
        return {"quality": np.clip(found, 0.0, 1.0)}
