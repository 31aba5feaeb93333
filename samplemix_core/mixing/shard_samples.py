"""Samples of a shard as columns, and sets of its rows: what the store gives and a source takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from samplemix_core.errors import CorpusError

Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
UInt16Array = npt.NDArray[np.uint16]

MAX_DOMAINS = 2**15 - 1

SCALE = 10_000
"""Quality and distance are added up in ten-thousandths: a sum has room for the squares of nine hundred million best documents."""


def too_many_domains() -> CorpusError:
    """The error for more domains than MAX_DOMAINS."""
    return CorpusError(
        f"The run's snapshots have more than {MAX_DOMAINS:,} domains, the most that can be mixed.",
        "Set the reader's domain_field to a coarser field.",
    )


def scaled(values: Float32Array) -> Int64Array:
    """Values in units of 1/SCALE, rounded half to even, as Postgres rounds them."""
    return np.rint(values.astype(np.float64) * SCALE).astype(np.int64)


@dataclass(frozen=True)
class RowSet:
    """Some rows of one shard: a bit for each of its rows or, where they are few among many, their numbers in `sparse`."""

    size: int
    bits: npt.NDArray[np.uint8] | None = None
    sparse: npt.NDArray[np.uint32] | None = None

    @classmethod
    def of(cls, rows: Int64Array) -> "RowSet":
        """The set of these rows: at least one, below 2**32, ascending."""
        end = int(rows[-1]) + 1
        if end > rows.size * 8 * np.dtype(np.uint32).itemsize:
            return cls(rows.size, sparse=rows.astype(np.uint32))
        members = np.zeros(end, dtype=np.bool_)
        members[rows] = True
        return cls(rows.size, bits=np.packbits(members))

    def rows(self) -> Int64Array:
        """The rows, ascending."""
        if self.bits is not None:
            return np.flatnonzero(np.unpackbits(self.bits))
        return np.empty(0, dtype=np.int64) if self.sparse is None else self.sparse.astype(np.int64)


@dataclass(frozen=True, eq=False)
class ShardSamples:
    """One shard's samples, one entry each, in row order. `domain` holds ids whose names are known elsewhere.

    labels: places among the names of other columns, by column, where they are needed.
    """

    snapshot: str
    path: str
    row: Int64Array
    domain: Int32Array
    n_tokens: Int32Array
    quality: Float32Array
    cluster: Int32Array
    distance: Float32Array
    diversity: Float32Array
    labels: Mapping[str, Int32Array] = field(default_factory=dict)

    def without(self, rows: RowSet) -> "ShardSamples":
        """Return the samples except those in these rows."""
        keep = np.isin(self.row, rows.rows(), assume_unique=True, invert=True)
        names = ("row", "domain", "n_tokens", "quality", "cluster", "distance", "diversity")
        columns = {name: getattr(self, name)[keep] for name in names}
        return ShardSamples(self.snapshot, self.path, **columns, labels={name: codes[keep] for name, codes in self.labels.items()})
