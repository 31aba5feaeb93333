"""Scores that were made elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.errors import CorpusError
from samplemix_core.identity import content_hash
from samplemix_core.scorers.scorer import Documents, Materials, Scorer, ScorerSpec, Scores, registered

Key = Literal["content_hash", "doc_id"]

EXTERNAL = pa.schema([("high", pa.uint64()), ("low", pa.uint64()), ("score", pa.float32())])
"""Scores made elsewhere: two halves of 16 bytes that identify a document, ascending by the first, and its score."""


@registered
class ExternalSpec(ScorerSpec):
    """A table of scores by the SHA-256 of its file, the key of its documents, and the score of documents that it lacks."""

    FIRST_FIELDS = frozenset({"kind", "version", "range", "scores_sha256", "by", "missing"})

    kind: Literal["external"] = "external"
    range: tuple[float, float]
    scores_sha256: str
    by: Key
    missing: float | None

    def make(self, name: str, key: str, materials: Materials) -> Scorer:
        """See ScorerSpec.make."""
        path = materials.files({"scores.arrow": self.scores_sha256}) / "scores.arrow"
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        return External(name, key, table, self.by, self.missing)


@dataclass(frozen=True, eq=False)
class External:
    """Scores made elsewhere, looked up by a document's key; `missing` is the score of a document without one, if allowed."""

    name: str
    key: str
    table: pa.Table
    by: Key
    missing: float | None
    waits: bool = False

    def score(self, documents: Documents) -> Scores:
        """Return the table's scores; raise CorpusError for a document that it does not have, unless `missing` is set."""
        if self.by == "content_hash":
            digests = list(documents.content_hashes)
        else:
            digests = [b"" if doc_id is None else content_hash(doc_id) for doc_id in documents.doc_ids]
        high, low = halves([digest or bytes(16) for digest in digests])
        all_high, all_low, scores = (self.table[name].to_numpy() for name in EXTERNAL.names)
        places, ends = (np.searchsorted(all_high, high, side) for side in ("left", "right"))
        # Different documents that share a half are rare, but possible.
        for i in np.flatnonzero(ends - places > 1):
            same = np.flatnonzero(all_low[places[i] : ends[i]] == low[i])
            places[i] += same[0] if same.size else 0
        within = np.minimum(places, max(0, all_high.size - 1))
        has = np.array([bool(digest) for digest in digests], dtype=bool) & (places < ends)
        has[has] = all_low[within[has]] == low[has]
        if self.missing is None and not has.all():
            first = int(np.flatnonzero(~has)[0])
            raise CorpusError(
                f"The scores of {self.name} lack {int((~has).sum())} of {len(documents)} documents, such as the one of"
                f" {self.by} {documents.content_hashes[first].hex() if self.by == 'content_hash' else documents.doc_ids[first]!r}.",
                f"Add scores for all: samplemix quality add external {self.name} ...; or set a default: --missing 0.",
            )
        found = np.full(len(documents), self.missing or 0.0, dtype=np.float32)
        found[has] = scores[places[has]]
        return {"quality": found}


def halves(digests: Sequence[bytes]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The two halves of identities of 16 bytes, as numbers (n,) each."""
    found = np.frombuffer(b"".join(digests), dtype=">u8").reshape(-1, 2).astype(np.uint64)
    return found[:, 0], found[:, 1]
