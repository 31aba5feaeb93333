"""Trained heads, ordinal by dimension, on vectors of texts, measured features, or both."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.errors import ModelError
from samplemix_core.quality.rubric import Rubric
from samplemix_core.schemas import DIMENSIONS
from samplemix_core.scorers.scorer import SAME_VERSION, Documents, Materials, Scorer, ScorerSpec, Scores, registered

if TYPE_CHECKING:
    from samplemix_core.quality.ordinal import OrdinalHeads


@registered
class OrdinalSpec(ScorerSpec):
    """Heads by the SHA-256 of their file, the rubric that they judge by, and their inputs.

    `encoder` is the family of vectors (embedding.encoder.family_of), null if they read none; `encoder_files` are the files of an
    encoder of their own, name to SHA-256. `features` are the measured features (quality.composite.feature_model).
    """

    FIRST_FIELDS = frozenset({"kind", "version", "rubric", "encoder", "features", "heads_sha256"})

    kind: Literal["ordinal"] = "ordinal"
    rubric: Rubric
    encoder: dict[str, Any] | None
    features: dict[str, Any] | None
    heads_sha256: str
    encoder_files: dict[str, str] | None = None

    def require_encoder(self, name: str, family: Mapping[str, Any]) -> None:
        """See ScorerSpec.require_encoder."""
        read = self.encoder
        if read is None or self.encoder_files is not None or read == family:
            return
        raise ModelError(
            f"The quality model {name} reads vectors of {read['name']} ({read['max_seq']} tokens), and the run's are of"
            f" {family['name']} ({family['max_seq']} tokens), or made in another way.",
            "Use the embedding settings that it was trained with, train a model on this encoder's vectors, or leave it out.",
        )

    def make(self, name: str, key: str, materials: Materials) -> Scorer:
        """See ScorerSpec.make."""
        from samplemix_core.quality.composite import feature_model
        from samplemix_core.quality.ordinal import OrdinalHeads

        if self.features not in (None, feature_model()):
            raise ModelError(f"The quality model {name} reads other measured features than this worker measures.", SAME_VERSION)
        path = materials.files({"heads.safetensors": self.heads_sha256}) / "heads.safetensors"
        heads = OrdinalHeads.from_bytes(path.read_bytes(), tuple(self.rubric.maxima))
        return Ordinal(name, key, heads, self.rubric.overall, self._embed(name, materials))

    def _embed(self, name: str, materials: Materials) -> Callable[[list[str]], npt.NDArray[np.float32]] | None:
        """Return what makes the model's own vectors; None if it reads the run's. Raises ModelError if it learned from others."""
        from samplemix_core.embedding.encoder import load_encoder

        if self.encoder_files is None:
            self.require_encoder(name, materials.encoder.family)
            return None
        assert self.encoder is not None
        own = EmbeddingConfig(
            encoder=str(materials.files(self.encoder_files)),
            max_seq_tokens=self.encoder["max_seq"],
            prompt=self.encoder.get("prompt", ""),
            device=materials.embedding.device,
            precision=materials.embedding.precision,
            batch_tokens=materials.embedding.batch_tokens,
        )
        encoder = load_encoder(own)
        if {**encoder.family, "name": self.encoder["name"]} != self.encoder:
            raise ModelError(f"The encoder of the quality model {name} is not what it was trained with.", SAME_VERSION)
        return lambda texts: encoder.encode(encoder.tokenize(texts))


@dataclass(frozen=True, eq=False)
class Ordinal:
    """Trained heads, on the run's vectors or on those of an encoder of their own. `overall` is the rubric's name of quality."""

    name: str
    key: str
    heads: "OrdinalHeads"
    overall: str
    embed: Callable[[list[str]], npt.NDArray[np.float32]] | None = None

    @property
    def waits(self) -> bool:
        """Whether the heads read vectors."""
        return bool(self.heads.vector_weights.size)

    def score(self, documents: Documents) -> Scores:
        """Expected scores: overall, and for the dimensions of the rubric that have a column."""
        from samplemix_core.quality.ordinal import Inputs, expected_score

        vectors = np.empty((len(documents), 0)) if not self.waits else documents.vectors
        if self.embed is not None:
            vectors = self.embed(documents.as_strings)
        assert vectors is not None
        features = documents.features if self.heads.knots else np.empty((len(documents), 0))
        found = self.heads.probabilities(Inputs(vectors, features))
        own = {name: expected_score(found[name]) for name in DIMENSIONS if name in found and name != self.overall}
        return {"quality": expected_score(found[self.overall]), **own}
