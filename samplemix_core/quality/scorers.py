"""Scorers: what gives each document a quality, behind one interface, so that a run can ask several side by side.

A scorer is a pure function of documents. It is stored as a quality model: its specification, from which a worker makes it again
(worker/scorers.py), is all that decides its scores.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.errors import CorpusError, ModelError
from samplemix_core.identity import content_hash
from samplemix_core.quality.composite import Floats, measure, score_features
from samplemix_core.quality.kinds import content_types, languages
from samplemix_core.quality.ordinal import Inputs, OrdinalHeads, expected_score
from samplemix_core.schemas import DIMENSIONS, QUALITY

Column = npt.NDArray[np.float32]
Scores = Mapping[str, Column]
"""`quality`, float32 (n,), and any of schemas.DIMENSIONS, for n documents."""


@dataclass(frozen=True, eq=False)
class Documents:
    """What scorers read of n documents: texts, large_string (n,), hashes of them, ids where they have one, and their vectors.

    Vectors, (n, dim), are the run's, as they are stored; there are none before the encoder has run. What is made on the way is
    kept, so that scorers that read the same share it.
    """

    texts: pa.ChunkedArray
    content_hashes: Sequence[bytes]
    doc_ids: Sequence[str | None]
    vectors: npt.NDArray[Any] | None = None
    _kept: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def plain(self) -> list[str]:
        """The texts as Python strings."""
        found: list[str] = self._once("plain", self.texts.to_pylist)
        return found

    @property
    def features(self) -> Floats:
        """Measured features, float64 (n, len(FEATURES))."""
        found: Floats = self._once("features", lambda: measure(self.texts))
        return found

    @property
    def content_types(self) -> list[str]:
        """The kind of each text (quality/kinds.py)."""
        found: list[str] = self._once("content_types", lambda: content_types(self.texts))
        return found

    @property
    def languages(self) -> list[str]:
        """The language of each text."""
        found: list[str] = self._once("languages", lambda: languages(self.plain))
        return found

    def scores(self, scorer: "Scorer") -> Scores:
        """What a scorer gives these documents; it is asked once. Raises ModelError unless every quality is a finite number."""
        found: Scores = self._once(scorer.key, lambda: scorer.score(self))
        wrong = np.flatnonzero(~np.isfinite(found["quality"]))
        if wrong.size:
            raise ModelError(
                f"The scorer {scorer.name} gave {wrong.size} of {len(self)} documents no finite number, as the one that begins"
                f" {self.plain[wrong[0]][:60]!r}.",
                "Check its model, or score without it.",
            )
        return found

    def with_vectors(self, vectors: npt.NDArray[Any]) -> "Documents":
        """The same documents, now with their vectors, and with all that was made before."""
        return replace(self, vectors=vectors)

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]


class Scorer(Protocol):
    """Gives documents their quality.

    One that `waits` is asked when the documents have vectors: it reads them, or has a network of its own for the same device. Any
    other is asked beforehand, while the encoder is busy.
    """

    @property
    def name(self) -> str:
        """What people call it."""
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
        """Scores of n documents, in their order; a document's do not depend on the others'."""
        ...


@dataclass(frozen=True)
class Composite:
    """Today's heuristic: measured features, weighed by the rubric's dimensions."""

    name: str
    key: str
    waits: bool = False

    def score(self, documents: Documents) -> Scores:
        """The composite score, and its seven dimensions."""
        found = score_features(documents.features)
        return {"quality": found.quality, **dict(zip(DIMENSIONS, found.dimensions.T, strict=True))}


@dataclass(frozen=True, eq=False)
class Ordinal:
    """Trained heads, on the run's vectors or on those of an encoder of their own. `overall` is the rubric's name of quality."""

    name: str
    key: str
    heads: OrdinalHeads
    overall: str
    embed: Callable[[list[str]], npt.NDArray[np.float32]] | None = None

    @property
    def waits(self) -> bool:
        """Whether the heads read vectors."""
        return bool(self.heads.vector_weights.size)

    def score(self, documents: Documents) -> Scores:
        """Expected scores: overall, and of those of the rubric's dimensions that have a column."""
        vectors = np.empty((len(documents), 0)) if not self.waits else documents.vectors
        if self.embed is not None:
            vectors = self.embed(documents.plain)
        assert vectors is not None
        features = documents.features if self.heads.knots else np.empty((len(documents), 0))
        found = self.heads.probabilities(Inputs(vectors, features))
        own = {name: expected_score(found[name]) for name in DIMENSIONS if name in found and name != self.overall}
        return {"quality": expected_score(found[self.overall]), **own}


@dataclass(frozen=True, eq=False)
class FastText:
    """The probability that a supervised fastText model gives one of its labels."""

    name: str
    key: str
    model: Any
    label: str
    waits: bool = False

    def score(self, documents: Documents) -> Scores:
        """Probability of the label, 0 to 1. The model reads a text's words; where lines end, it does not."""
        found = np.zeros(len(documents), dtype=np.float32)
        for i, text in enumerate(documents.plain):
            labels, probabilities = self.model.predict(" ".join(text.split()), k=-1)
            found[i] = dict(zip(labels, probabilities, strict=True)).get(self.label, 0.0)
        return {"quality": np.clip(found, 0.0, 1.0)}


Key = Literal["content_hash", "doc_id"]

EXTERNAL = pa.schema([("high", pa.uint64()), ("low", pa.uint64()), ("score", pa.float32())])
"""Scores made elsewhere: two halves of 16 bytes that identify a document, ascending by the first, and its score."""


@dataclass(frozen=True, eq=False)
class External:
    """Scores made elsewhere, looked up by what identifies a document; `missing` is that of a document that has none, if allowed."""

    name: str
    key: str
    table: pa.Table
    by: Key
    missing: float | None
    waits: bool = False

    def score(self, documents: Documents) -> Scores:
        """The scores of the table; raise CorpusError for a document that it does not have, unless there is one for these."""
        if self.by == "content_hash":
            digests = list(documents.content_hashes)
        else:
            digests = [b"" if doc_id is None else content_hash(doc_id) for doc_id in documents.doc_ids]
        high, low = halves([digest or bytes(16) for digest in digests])
        all_high, all_low, scores = (self.table[name].to_numpy() for name in EXTERNAL.names)
        places, ends = (np.searchsorted(all_high, high, side) for side in ("left", "right"))
        # Documents that share a half and are others are rare, but there may be some.
        for i in np.flatnonzero(ends - places > 1):
            same = np.flatnonzero(all_low[places[i] : ends[i]] == low[i])
            places[i] += same[0] if same.size else 0
        within = np.minimum(places, max(0, all_high.size - 1))
        has = np.array([bool(digest) for digest in digests], dtype=bool) & (places < ends)
        has[has] = all_low[within[has]] == low[has]
        if self.missing is None and not has.all():
            first = int(np.flatnonzero(~has)[0])
            raise CorpusError(
                f"The scores of {self.name} have none for {int((~has).sum())} of {len(documents)} documents, as for the one of"
                f" {self.by} {documents.content_hashes[first].hex() if self.by == 'content_hash' else documents.doc_ids[first]!r}.",
                f"Add scores for all: samplemix quality add external {self.name} ...; or say what others get: --missing 0.",
            )
        found = np.full(len(documents), self.missing or 0.0, dtype=np.float32)
        found[has] = scores[places[has]]
        return {"quality": found}


def halves(digests: Sequence[bytes]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The two halves of identities of 16 bytes, as numbers (n,) each."""
    found = np.frombuffer(b"".join(digests), dtype=">u8").reshape(-1, 2).astype(np.uint64)
    return found[:, 0], found[:, 1]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Several scorers as one: each gives a rank, 0 to 1, by its own quantiles (K,), and the ranks' mean or highest counts.

    Quantiles are of scores that each gave to the same documents once; they are fixed, so that new crawls move nothing.
    """

    name: str
    key: str
    members: Sequence[tuple[Scorer, Floats]]
    combine: Literal["mean", "max"]

    @property
    def waits(self) -> bool:
        """Whether one of its members does."""
        return any(member.waits for member, _ in self.members)

    def score(self, documents: Documents) -> Scores:
        """Ranks combined, 0 to 1."""
        ranks = [rank(documents.scores(member)["quality"], quantiles) for member, quantiles in self.members]
        if self.combine == "max":
            return {"quality": reduce(np.maximum, ranks).astype(np.float32)}
        return {"quality": (np.sum(ranks, axis=0) / len(ranks)).astype(np.float32)}


def rank(scores: npt.NDArray[Any], quantiles: Floats) -> Floats:
    """Where scores (n,) are among quantiles (K,), 0 to 1: the middle of those that are equal, linear between others."""
    values, first, counts = np.unique(quantiles, return_index=True, return_counts=True)
    places = (first + (counts - 1) / 2) / max(1, quantiles.size - 1)
    return np.interp(scores.astype(np.float64), values, places)


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A scorer whose scores count within a content type and language alone: a document's rank there, taken among all documents.

    A score moves by `most` at most: where all of a kind are bad, being the best of them is not much.
    `cells`: (content type, language or '' for any) -> quantiles (K,) of such documents; `overall` (K,), of all. A language that
    is not there is any of its content type's; a content type that is not there keeps its scores.
    """

    name: str
    key: str
    base: Scorer
    cells: Mapping[tuple[str, str], Floats]
    overall: Floats
    most: float

    @property
    def waits(self) -> bool:
        """Whether the scorer does."""
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


def quality_table(rows: pa.ChunkedArray, scores: Scores) -> pa.Table:
    """Scores as schemas.QUALITY; dimensions that a scorer does not have are null."""
    nothing = pa.nulls(len(rows), pa.float32())
    columns = [pa.array(np.ascontiguousarray(scores[name])) if name in scores else nothing for name in QUALITY.names[1:]]
    return pa.table([rows, *columns], schema=QUALITY)
