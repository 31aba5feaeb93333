"""Reuse the vectors of texts that were embedded before: an exact duplicate takes the stored one and needs no forward pass."""

import hashlib
import io
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from samplemix_core.database.connection import transaction
from samplemix_core.database.embeddings import KnownVector, known_vectors
from samplemix_core.database.scope import Shard
from samplemix_core.embedding.vectors import raw_vectors
from samplemix_core.errors import ObjectStoreError
from samplemix_core.logs import event
from samplemix_core.objects.interface import ObjectStore

log = logging.getLogger(__name__)

_FILES_HELD = 64
"""Embedding files in memory, 1.5 MB each at 2,000 documents of 384 dimensions."""

LEAST_TO_FETCH = {"cpu": 1, "cuda": 32}
"""Least documents of a batch for which a file is worth fetching: on a GPU, a few are embedded faster than a file arrives."""

_held: OrderedDict[tuple[str, str], tuple[npt.NDArray[np.int64], npt.NDArray[np.float16]] | None] = OrderedDict()


@dataclass(frozen=True)
class EarlierVectors:
    """An encoder's stored vectors in a shard's corpus, or without a shard in any corpus, found by the hashes of texts."""

    database: str
    store: ObjectStore
    shard: Shard | None
    encoder_id: int
    least_to_fetch: int

    def find(self, hashes: Sequence[bytes]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float16]]:
        """Which of the texts with these content hashes are embedded, ascending (k,), and their vectors (k, dim) as stored."""
        with transaction(self.database) as cursor:
            known = known_vectors(cursor, self.shard, self.encoder_id, set(hashes))
        by_file: dict[tuple[str, str], list[tuple[int, KnownVector]]] = {}
        for i, content_hash in enumerate(hashes):
            if (vector := known.get(content_hash)) is not None:
                by_file.setdefault((vector.key, vector.sha256), []).append((i, vector))
        found: list[tuple[int, npt.NDArray[np.float16]]] = []
        for file, wanted in by_file.items():
            if file not in _held and len(wanted) < self.least_to_fetch:
                continue
            if (content := self._file(*file)) is not None:
                rows, vectors = content
                places = np.searchsorted(rows, [vector.row for _, vector in wanted])
                found += zip([i for i, _ in wanted], vectors[places], strict=True)
        found.sort(key=lambda item: item[0])
        return (
            np.array([i for i, _ in found], dtype=np.int64),
            np.stack([vector for _, vector in found]) if found else np.empty((0, 0), dtype=np.float16),
        )

    def _file(self, key: str, sha256: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float16]] | None:
        """Rows and vectors of an embedding file; None, so that its texts are embedded again, unless it matches the ledger."""
        if (key, sha256) not in _held:
            try:
                data, _ = self.store.get(key)
            except ObjectStoreError:
                data = b""
            whole = hashlib.sha256(data).hexdigest() == sha256
            if not whole:
                event(log, "embeddings gone or damaged", key=key)
            _held[key, sha256] = raw_vectors(pq.read_table(io.BytesIO(data))) if whole else None
            while len(_held) > _FILES_HELD:
                _held.popitem(last=False)
        _held.move_to_end((key, sha256))
        return _held[key, sha256]
