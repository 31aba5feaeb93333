"""A mixture's rows in memory: what the order of its documents and the way to their texts need, in some 12 bytes a row."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.corpus.streams import is_compressed
from samplemix_core.manifest.catalogue import Version
from samplemix_core.manifest.format import PartFile, copies_in
from samplemix_core.reading.order import Int, Layout, lay_out
from samplemix_core.sample_key import keys_to_bytes, sample_keys

_COLUMNS = ["shard", "row", "domain", "n_tokens", "copies"]
_KEPT = ("row", "copies", "domain", "n_tokens")
_PARTS_AT_ONCE = 2


@dataclass(frozen=True, eq=False)
class Samples:
    """The n samples of a mixture, in the order of its parts: sorted by shard and row.

    row: uint32 or int64 (n,), the record in its shard. copies, domain: unsigned (n,). n_tokens: int32 (n,).
    in_phases: the copies in each phase, unsigned (n,); empty if the mixture has no phases.
    shards, domains: names. shard_first: int64 (shards + 1,), the first sample of each shard, and n.
    layout: how they are cut into runs and stretches.
    """

    row: npt.NDArray[np.integer]
    copies: npt.NDArray[np.unsignedinteger]
    domain: npt.NDArray[np.unsignedinteger]
    n_tokens: npt.NDArray[np.int32]
    in_phases: tuple[npt.NDArray[np.unsignedinteger], ...]
    shards: list[str]
    domains: list[str]
    shard_first: Int
    layout: Layout

    def __len__(self) -> int:
        return int(self.row.size)

    @property
    def n_bytes(self) -> int:
        """Bytes of the arrays."""
        arrays = (self.row, self.copies, self.domain, self.n_tokens, *self.in_phases, self.shard_first, *self.layout)
        return sum(array.nbytes for array in arrays)

    def shard_of(self, sample: int) -> int:
        """The number of a sample's shard."""
        return int(np.searchsorted(self.shard_first, sample, side="right")) - 1

    def key(self, sample: int) -> str:
        """A sample's key, 32 hex digits."""
        path = self.shards[self.shard_of(sample)]
        rows = np.array([self.row[sample]], dtype=np.int64)
        key: bytes = keys_to_bytes(sample_keys(path.partition("/")[0], path, rows))[0].tobytes()
        return key.hex()

    def find(self, shard: str, row: int) -> int | None:
        """The sample at a place; None if the mixture doesn't have it."""
        if (number := self._numbers.get(shard)) is None:
            return None
        start, stop = self.shard_first[number : number + 2].tolist()
        at = start + int(np.searchsorted(self.row[start:stop], row))
        return at if at < stop and int(self.row[at]) == row else None

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {shard: number for number, shard in enumerate(self.shards)}


def load_samples(version: Version, on_progress: Callable[[int, int], None] = lambda done, total: None) -> Samples:
    """Read the rows of a version, a few parts at once; raise ManifestError for a part that was changed.

    `on_progress` hears how many parts are read, and of how many.
    """
    manifest = version.manifest
    gathered = _Gathered(manifest.solver.max_copies, manifest.phase_names)
    with ThreadPoolExecutor(_PARTS_AT_ONCE) as pool:
        # No more in memory than are read at once.
        ahead = [pool.submit(_read, version, part) for part in manifest.parts[:_PARTS_AT_ONCE]]
        for done in range(len(manifest.parts)):
            gathered.add(ahead.pop(0).result())
            if done + _PARTS_AT_ONCE < len(manifest.parts):
                ahead.append(pool.submit(_read, version, manifest.parts[done + _PARTS_AT_ONCE]))
            on_progress(done + 1, len(manifest.parts))
    samples = gathered.finish()
    # Parts are read into memory that would otherwise stay reserved for others.
    pa.default_memory_pool().release_unused()
    return samples


def samples_of(rows: pa.Table, max_copies: int) -> Samples:
    """The samples of some rows of a mixture (MIXTURE_PART), sorted by shard and row."""
    gathered = _Gathered(max_copies)
    gathered.add(rows.select(_COLUMNS).unify_dictionaries())
    return gathered.finish()


def _read(version: Version, part: PartFile) -> pa.Table:
    columns = [*_COLUMNS, *_columns_of(version.manifest.phase_names)]
    return version.table(part, columns).unify_dictionaries()


def _columns_of(phases: Iterable[str]) -> list[str]:
    return [copies_in(phase) for phase in phases]


class _Gathered:
    """The rows of parts that follow each other."""

    def __init__(self, max_copies: int, phases: Iterable[str] = ()) -> None:
        self._copies_type = np.min_scalar_type(max_copies)
        self._phases = _columns_of(phases)
        self._shards: dict[str, int] = {}
        self._domains: dict[str, int] = {}
        self._shard_first: list[Int] = []
        self._columns: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in (*_KEPT, *self._phases)}
        self._rows = 0

    def add(self, table: pa.Table) -> None:
        """Add the rows of the next part."""
        if not table.num_rows:
            return
        shard = _codes(table["shard"], self._shards)
        begins = np.flatnonzero(np.diff(shard, prepend=-1))
        known = sum(map(len, self._shard_first))
        self._shard_first.append(begins[shard[begins] >= known] + self._rows)
        tokens = table["n_tokens"].to_numpy()
        row = table["row"].to_numpy()
        self._columns["row"].append(row.astype(np.uint32) if row.max() < 2**32 else row)
        for name in ("copies", *self._phases):
            self._columns[name].append(table[name].to_numpy().astype(self._copies_type))
        domain = _codes(table["domain"], self._domains)
        self._columns["domain"].append(domain.astype(np.min_scalar_type(len(self._domains))))
        self._columns["n_tokens"].append(tokens)
        self._rows += table.num_rows

    def finish(self) -> Samples:
        """Return all rows."""
        row, copies, domain, n_tokens = (np.concatenate(self._columns.pop(name)) for name in _KEPT)
        in_phases = tuple(np.concatenate(self._columns.pop(name)) for name in self._phases)
        shard_first = np.append(np.concatenate(self._shard_first), self._rows)
        is_archive = np.array([is_compressed(path) for path in self._shards])
        return Samples(
            row=row,
            copies=copies,
            domain=domain,
            n_tokens=n_tokens,
            in_phases=in_phases,
            shards=list(self._shards),
            domains=list(self._domains),
            shard_first=shard_first,
            layout=lay_out(shard_first, is_archive, n_tokens, int(copies.max())),
        )


def _codes(column: pa.ChunkedArray, known: dict[str, int]) -> npt.NDArray[np.int32]:
    """The numbers of a dictionary column's values, which `known` gives to each name as it is first met."""
    chunks = []
    for chunk in column.chunks:
        names = chunk.dictionary.to_pylist()
        codes = chunk.indices.to_numpy()
        # In the order of rows, whatever the dictionary's order.
        used, first = np.unique(codes, return_index=True)
        for code in used[np.argsort(first)].tolist():
            known.setdefault(names[code], len(known))
        numbers = np.array([known.get(name, -1) for name in names], dtype=np.int32)
        chunks.append(numbers[codes])
    return np.concatenate(chunks)
