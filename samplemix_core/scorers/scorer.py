"""Scorers, the documents they read, and kinds of scorers: a kind is a specification that a worker makes a scorer from.

A scorer is a pure function of documents. It is stored as a quality model: its specification is everything that decides its scores,
and the fingerprint of that is its key.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.errors import ModelError
from samplemix_core.frozen import IdentifiedModel
from samplemix_core.identity import fingerprint
from samplemix_core.schemas import QUALITY

if TYPE_CHECKING:
    from samplemix_core.embedding.encoder import Encoder

Floats = npt.NDArray[np.float64]
Column = npt.NDArray[np.float32]
Scores = Mapping[str, Column]
"""`quality`, float32 (n,), and any of schemas.DIMENSIONS, for n documents."""

SAME_VERSION = "Bring all workers and Airflow to the same version of SampleMix."


@dataclass(frozen=True, eq=False)
class Documents:
    """The input of scorers for n documents: texts, large_string (n,), their hashes, ids if they have one, and their vectors.

    Vectors, (n, dim), are the run's, as they are stored; there are none before the encoder has run. Derived values are kept, so
    that scorers share them.
    """

    texts: pa.ChunkedArray
    content_hashes: Sequence[bytes]
    doc_ids: Sequence[str | None]
    vectors: npt.NDArray[Any] | None = None
    _kept: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def as_strings(self) -> list[str]:
        """The texts as Python strings."""
        found: list[str] = self._once("as_strings", self.texts.to_pylist)
        return found

    @property
    def features(self) -> Floats:
        """Measured features, float64 (n, len(FEATURES))."""
        from samplemix_core.quality.composite import measure

        found: Floats = self._once("features", lambda: measure(self.texts))
        return found

    @property
    def content_types(self) -> list[str]:
        """The kind of each text (quality/kinds.py)."""
        from samplemix_core.quality.kinds import content_types

        found: list[str] = self._once("content_types", lambda: content_types(self.texts))
        return found

    @property
    def languages(self) -> list[str]:
        """The language of each text."""
        from samplemix_core.quality.kinds import languages

        found: list[str] = self._once("languages", lambda: languages(self.as_strings))
        return found

    def scores(self, scorer: "Scorer") -> Scores:
        """Return a scorer's scores; it is asked only once. Raises ModelError unless every quality is a finite number."""
        found: Scores = self._once(scorer.key, lambda: scorer.score(self))
        wrong = np.flatnonzero(~np.isfinite(found["quality"]))
        if wrong.size:
            raise ModelError(
                f"The scorer {scorer.name} gave {wrong.size} of {len(self)} documents a quality that is not finite, such as the one"
                f" that begins {self.as_strings[wrong[0]][:60]!r}.",
                "Check its model, or score without it.",
            )
        return found

    def with_vectors(self, vectors: npt.NDArray[Any]) -> "Documents":
        """The same documents, now with their vectors, and with everything derived before."""
        return replace(self, vectors=vectors)

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]


class Scorer(Protocol):
    """Gives documents their quality.

    One that `waits` is asked when the documents have vectors: it reads them, or has its own network on the same device. Any other
    is asked beforehand, while the encoder is busy.
    """

    @property
    def name(self) -> str:
        """Its name for people."""
        ...

    @property
    def key(self) -> str:
        """Identity of its specification."""
        ...

    @property
    def waits(self) -> bool:
        """Whether it is asked when the documents have vectors."""
        ...

    def score(self, documents: Documents) -> Scores:
        """Return scores of n documents, in their order. A document's scores don't depend on the other documents."""
        ...


@dataclass(frozen=True)
class Materials:
    """The means with which a worker makes scorers.

    files: returns a directory with files, given their names and SHA-256. scorers: returns those of other quality models, by key.
    """

    encoder: "Encoder"
    embedding: EmbeddingConfig
    files: Callable[[Mapping[str, str]], Path]
    scorers: Callable[[Sequence[str]], list[Scorer]]


class ScorerSpec(IdentifiedModel, ABC):
    """The specification of a quality model: everything that decides its scores.

    A kind is a file of this package with a subclass that is `registered`, and the class of its scorers. FIRST_FIELDS names all
    fields that it begins with.
    """

    kind: str
    """In a subclass, a Literal whose default is the name it is registered by."""

    version: int = 1

    @property
    def key(self) -> str:
        """Its identity."""
        return fingerprint(self.identity())

    @property
    def made_of(self) -> tuple[str, ...]:
        """Keys of the quality models whose scores it combines or calibrates, in order."""
        return ()

    def require_encoder(self, name: str, family: Mapping[str, Any]) -> None:
        """Raise ModelError if the model, called `name`, reads vectors of a run's encoder, and not those of this family."""

    @abstractmethod
    def make(self, name: str, key: str, materials: Materials) -> Scorer:
        """Make the scorer of a quality model with this name and key; raise ModelError if this worker can't make it as it was."""


KINDS: dict[str, type[ScorerSpec]] = {}
"""Every kind by its name."""

SomeSpec = TypeVar("SomeSpec", bound=ScorerSpec)


def registered(kind: type[SomeSpec]) -> type[SomeSpec]:
    """Class decorator: make a kind known by its name. Raises ValueError if that is taken, or FIRST_FIELDS is missing."""
    name = kind.model_fields["kind"].default
    if name in KINDS or not {"kind", "version"} <= kind.FIRST_FIELDS:
        raise ValueError(f"the kind {name!r} is there already, or doesn't say in FIRST_FIELDS what it begins with")
    KINDS[name] = kind
    return kind


def quality_table(rows: pa.ChunkedArray, scores: Scores) -> pa.Table:
    """Scores as schemas.QUALITY; dimensions that a scorer does not have are null."""
    nothing = pa.nulls(len(rows), pa.float32())
    columns = [pa.array(np.ascontiguousarray(scores[name])) if name in scores else nothing for name in QUALITY.names[1:]]
    return pa.table([rows, *columns], schema=QUALITY)
