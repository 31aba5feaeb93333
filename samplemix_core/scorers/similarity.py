"""Similarity to examples of a target: what training on it should be good for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from samplemix_core.errors import ModelError
from samplemix_core.scorers.scorer import Documents, Materials, Scorer, ScorerSpec, Scores, registered

VECTORS = "vectors.safetensors"
_AT_ONCE = 2**24
"""Similarities in memory at once."""


@registered
class SimilaritySpec(ScorerSpec):
    """Vectors of examples by the SHA-256 of their file, and the family of their encoder, which has to be the run's."""

    FIRST_FIELDS = frozenset({"kind", "version", "range", "encoder", "vectors_sha256"})

    kind: Literal["similarity"] = "similarity"
    range: tuple[float, float]
    encoder: dict[str, Any]
    vectors_sha256: str

    def require_encoder(self, name: str, family: Mapping[str, Any]) -> None:
        """See ScorerSpec.require_encoder."""
        if self.encoder != family:
            raise ModelError(
                f"The examples of {name} are vectors of {self.encoder['name']} ({self.encoder['max_seq']} tokens), and the run's"
                f" are of {family['name']} ({family['max_seq']} tokens), or made in another way.",
                "Use the embedding settings that they were added with, or add them again with the run's.",
            )

    def make(self, name: str, key: str, materials: Materials) -> Scorer:
        """See ScorerSpec.make."""
        from safetensors.numpy import load_file

        self.require_encoder(name, materials.encoder.family)
        path = materials.files({VECTORS: self.vectors_sha256}) / VECTORS
        return Similarity(name, key, load_file(path)["vectors"])


@dataclass(frozen=True, eq=False)
class Similarity:
    """Cosine similarity to the nearest of m examples, `examples` float32 (m, dim), unit vectors."""

    name: str
    key: str
    examples: npt.NDArray[np.float32]
    waits: bool = True

    def score(self, documents: Documents) -> Scores:
        """The highest similarity of each document, -1 to 1."""
        assert documents.vectors is not None
        found = np.empty(len(documents), dtype=np.float32)
        step = max(1, _AT_ONCE // max(1, self.examples.shape[0]))
        for start in range(0, found.size, step):
            part = slice(start, start + step)
            found[part] = (documents.vectors[part].astype(np.float32) @ self.examples.T).max(axis=1)
        return {"quality": np.clip(found, -1.0, 1.0)}
