"""The samples that a mixture is made from, as columns; and, given copies, the mixture's rows and its sums by domain.

A source takes 34 bytes per sample (36 with more than 65,536 clusters), 1 or 2 more for each label, and a bit for its row. Solved
copies take 2 bytes more.
Nothing else in memory grows with the samples. Those of a large source, given a directory, are in files that are mapped: the system
keeps of them what there is room for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.compiled import compiled
from samplemix_core.errors import AccountingError
from samplemix_core.mixing.groups import Column
from samplemix_core.mixing.shard_samples import (
    MAX_DOMAINS,
    Float32Array,
    Int32Array,
    Int64Array,
    RowSet,
    ShardSamples,
    UInt16Array,
    scaled,
    too_many_domains,
)
from samplemix_core.mixing.survey import SurveyPart, survey
from samplemix_core.policies.policy import Columns, Scale, Survey, Weigh
from samplemix_core.sample_key import UInt64Array, keys_to_bytes, sample_keys, uniforms

DomainCodes = npt.NDArray[np.int16]

_ROWS_AT_ONCE = 2**20

MOST_IN_MEMORY = 50_000_000
"""Samples whose columns stay in memory, about 1.5 GB: those of more are mapped, if there is a directory for them."""


class _Slice(NamedTuple):
    """The entries of one shard's samples, start to stop, and which rows of the shard they are."""

    snapshot: str
    path: str
    start: int
    stop: int
    rows: RowSet

    def keys(self) -> UInt64Array:
        """Their keys, (n, 2)."""
        return sample_keys(self.snapshot, self.path, self.rows.rows())


class DomainSums(NamedTuple):
    """What a mixture does to each of D domains; each int64 (D,)."""

    source_samples: Int64Array
    source_tokens: Int64Array
    samples: Int64Array
    copies: Int64Array
    mixture_tokens: Int64Array

    def as_lists(self) -> dict[str, list[int]]:
        """The sums by name, as Python's integers."""
        return {name: values.tolist() for name, values in self._asdict().items()}


class Source:
    """The samples that may be mixed, one entry each, in the order in which their shards are added.

    domain: int16 (n,), indices into `domains`, which are sorted once the source is finished.
    tokens: int32 (n,). quality: float32 (n,). cluster: unsigned (n,). distance: int16 (n,), to the centroid, in ten-thousandths.
    diversity: float32 (n,), 0..1. cluster_diversity: float32 (K,), that of each cluster by itself.
    closest: int16 (n,), for policies that read it, once documents are compared; else None.
    weight: float64 (n,), once a policy has weighed them. uniform: float64 (n,), the sample's own number in [0, 1).
    """

    def __init__(
        self,
        samples: int,
        domain_names: Mapping[int, str],
        cluster_diversity: Float32Array,
        seed: int,
        bounds: tuple[float, float] = (0.0, 1.0),
        labels: Mapping[str, Sequence[str]] | None = None,
        directory: Path | None = None,
    ) -> None:
        """Make room for `samples` samples. `domain_names` maps domain ids to names.

        `cluster_diversity` (K,) is that of each cluster, and `bounds` are the raw diversities that it was scaled with. `labels` are
        the names of other columns, which shards then have too: a byte a sample for each, or two. `directory` takes the columns of
        more than MOST_IN_MEMORY samples, and has to be there as long as the source.
        """

        def column(name: str, kind: npt.DTypeLike) -> npt.NDArray[Any]:
            if directory is None or samples <= MOST_IN_MEMORY:
                return np.empty(samples, dtype=kind)
            # The same bytes as an ordinary array.
            return np.asarray(np.memmap(directory / f"column-{name}", dtype=kind, mode="w+", shape=(samples,)))

        self.domain = column("domain", np.int16)
        self.tokens = column("tokens", np.int32)
        self.quality = column("quality", np.float32)
        self.cluster = column("cluster", np.min_scalar_type(max(cluster_diversity.size - 1, 2**8)))
        self.distance = column("distance", np.int16)
        self.diversity = column("diversity", np.float32)
        self.weight = column("weight", np.float64)
        self.uniform = column("uniform", np.float64)
        self.closest: npt.NDArray[np.int16] | None = None
        self._labels = {
            name: Column(names, column(name, np.min_scalar_type(max(len(names) - 1, 1)))) for name, names in (labels or {}).items()
        }
        self.domains: list[str] = []
        self.cluster_diversity, self._bounds, self._seed = cluster_diversity, bounds, seed
        self._names = domain_names
        self._code = np.full(max(domain_names, default=0) + 1, -1, dtype=np.int16)
        self._slices: list[_Slice] = []

    def add(self, shard: ShardSamples) -> None:
        """Take in a shard's samples: their columns and uniform numbers.

        Raises AccountingError if there is no room for them, CorpusError for more than MAX_DOMAINS domains.
        """
        if not shard.row.size:
            return
        start = self._slices[-1].stop if self._slices else 0
        stop = start + shard.row.size
        if stop > self.tokens.size:
            raise AccountingError(f"{shard.path}: more samples than the {self.tokens.size} that are eligible.")
        self.domain[start:stop] = self._codes(shard.domain)
        self.tokens[start:stop] = shard.n_tokens
        self.quality[start:stop] = shard.quality
        self.cluster[start:stop] = shard.cluster
        self.distance[start:stop] = scaled(shard.distance)
        self.diversity[start:stop] = shard.diversity
        for name, column in self._labels.items():
            column.codes[start:stop] = shard.labels[name]
        self.uniform[start:stop] = uniforms(self._seed, sample_keys(shard.snapshot, shard.path, shard.row))
        self._slices.append(_Slice(shard.snapshot, shard.path, start, stop, RowSet.of(shard.row)))

    def finish(self) -> "Source":
        """Complete and return this source, with its domains sorted by name; raise AccountingError if samples are missing."""
        filled = self._slices[-1].stop if self._slices else 0
        if filled != self.tokens.size:
            raise AccountingError(f"{filled} samples were read, {self.tokens.size} are eligible.")
        order = sorted(range(len(self.domains)), key=self.domains.__getitem__)
        place = np.empty(len(order), dtype=np.int16)
        place[order] = np.arange(len(order), dtype=np.int16)
        for start in range(0, self.domain.size, _ROWS_AT_ONCE):
            part = self.domain[start : start + _ROWS_AT_ONCE]
            part[:] = place[part]
        self.domains = [self.domains[code] for code in order]
        return self

    @property
    def columns(self) -> dict[str, Column]:
        """The columns by which samples may be grouped: domain, cluster, and those in `labels`."""
        clusters = [str(number) for number in range(self.cluster_diversity.size)]
        return {"domain": Column(self.domains, self.domain), "cluster": Column(clusters, self.cluster), **self._labels}

    @property
    def total_tokens(self) -> int:
        """Tokens of all samples, each once."""
        return int(self.tokens.sum(dtype=np.int64))

    def shards(self) -> list[str]:
        """The shards that have samples, in order."""
        return [item.path for item in self._slices]

    def places(self, chosen: Int64Array) -> tuple[Int32Array, Int64Array]:
        """Where chosen samples (k,) are: the number of their shard, as in shards(), and their row there."""
        ends = np.array([item.stop for item in self._slices], dtype=np.int64)
        shard = np.searchsorted(ends, chosen, side="right").astype(np.int32)
        row = np.empty(chosen.size, dtype=np.int64)
        order = np.argsort(shard, kind="stable")
        bounds = np.searchsorted(shard[order], np.arange(ends.size + 1))
        for number in np.flatnonzero(np.diff(bounds)).tolist():
            own, item = order[bounds[number] : bounds[number + 1]], self._slices[number]
            row[own] = item.rows.rows()[chosen[own] - item.start]
        return shard, row

    def snapshot_names(self) -> list[str]:
        """The snapshots that have samples, sorted."""
        return sorted({item.snapshot for item in self._slices})

    def snapshot_codes(self, start: int, stop: int) -> Int64Array:
        """Return the indices into snapshot_names of the samples from start to stop."""
        names = {name: code for code, name in enumerate(self.snapshot_names())}
        codes = np.array([names[item.snapshot] for item in self._slices], dtype=np.int64)
        ends = np.array([item.stop for item in self._slices], dtype=np.int64)
        return codes[np.searchsorted(ends, np.arange(start, stop), side="right")]

    def weigh(self, weigh: Weigh) -> npt.NDArray[np.float64]:
        """Weigh all samples by a policy; returns the weights, float64 (n,), which are the source's from now on."""
        for start in range(0, self.weight.size, _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            self.weight[part] = weigh(self._columns(part))
        return self.weight

    def survey(self, scale: Scale, budget_tokens: int, max_copies: int, room: UInt16Array | None = None) -> Survey:
        """Survey the finished source. `room` (n,) are the most copies of each sample, where they differ."""
        kinds = tuple(self._labels["content_type"].names) if "content_type" in self._labels else ()
        parts = (slice(start, start + _ROWS_AT_ONCE) for start in range(0, self.tokens.size, _ROWS_AT_ONCE))
        looked = (self._survey_part(part, room) for part in parts)
        return survey(looked, tuple(self.domains), self.cluster_diversity, scale, budget_tokens, max_copies, self._bounds, kinds)

    def _survey_part(self, part: slice, room: UInt16Array | None) -> SurveyPart:
        tokens = self.tokens[part]
        return SurveyPart(self._columns(part), np.ones(tokens.size), tokens, None if room is None else room[part])

    def _columns(self, part: slice) -> Columns:
        return Columns(
            quality=self.quality[part],
            diversity=self.diversity[part],
            domain=self.domain[part],
            cluster=self.cluster[part],
            distance=self.distance[part],
            kind=self._labels["content_type"].codes[part] if "content_type" in self._labels else None,
            uniform=self.uniform[part],
            closest=None if self.closest is None else self.closest[part],
            tokens=self.tokens[part],
        )

    def rows(self, copies: UInt16Array, others: Mapping[str, UInt16Array] | None = None) -> Iterator[pa.Table]:
        """Yield the samples that have copies (n,), as a manifest's columns: one table per shard, sorted by path and row.

        `others` are more columns of copies (n,) by name: those of phases.
        """
        names = pa.array(self.domains, pa.string())
        for part in sorted(self._slices, key=lambda item: item.path):
            within = np.flatnonzero(copies[part.start : part.stop])
            if not within.size:
                continue
            chosen, row = part.start + within, part.rows.rows()[within]
            keys = keys_to_bytes(sample_keys(part.snapshot, part.path, row))
            columns: dict[str, Any] = {
                "snapshot": _constant(part.snapshot, chosen.size),
                "shard": _constant(part.path, chosen.size),
                "row": row,
                "sample_key": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), chosen.size, [None, pa.py_buffer(keys)]),
                "domain": pa.DictionaryArray.from_arrays(self.domain[chosen].astype(np.int32), names),
                "n_tokens": self.tokens[chosen],
                "copies": copies[chosen].astype(np.int32),
                "weight": self.weight[chosen],
                "quality": self.quality[chosen],
                "diversity": self.diversity[chosen],
                "cluster": self.cluster[chosen].astype(np.int32),
            }
            columns |= {name: own[chosen].astype(np.int32) for name, own in (others or {}).items()}
            yield pa.table(columns)

    def draw(self, seed: int) -> None:
        """Give the samples other numbers: those of another seed."""
        for item in self._slices:
            self.uniform[item.start : item.stop] = uniforms(seed, item.keys())

    def chosen(self, choose: Callable[[UInt64Array], npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
        """Whether each sample (n,) is chosen by its key (n, 2)."""
        found = np.empty(self.tokens.size, dtype=np.bool_)
        for item in self._slices:
            found[item.start : item.stop] = choose(item.keys())
        return found

    def copies_in(self, rows: Iterable[pa.Table], column: str = "copies") -> UInt16Array:
        """The copies (n,) of samples in the rows of a mixture (shard, row, copies). Rows of other samples are passed over."""
        copies = np.zeros(self.tokens.size, dtype=np.uint16)
        places = {item.path: item for item in self._slices}
        for table in rows:
            shard = table["shard"].combine_chunks()
            codes, row, own = shard.indices.to_numpy(), table["row"].to_numpy(), table[column].to_numpy()
            for code in np.unique(codes).tolist():
                item = places.get(shard.dictionary[code].as_py())
                if item is None:
                    continue
                known, here = item.rows.rows(), codes == code
                at = np.minimum(np.searchsorted(known, row[here]), known.size - 1)
                met = known[at] == row[here]
                copies[item.start + at[met]] = own[here][met]
        return copies

    def domain_sums(self, copies: UInt16Array) -> DomainSums:
        """What these copies (n,) do to each domain, in the order of `domains`; exact."""
        return DomainSums(*_sums(self.domain, self.tokens, copies, len(self.domains)))

    def _codes(self, numbers: Int32Array) -> DomainCodes:
        """Return small codes, given only to domains that occur here: those of other corpora don't count."""
        for number in np.unique(numbers[self._code[numbers] < 0]).tolist():
            if len(self.domains) == MAX_DOMAINS:
                raise too_many_domains()
            self._code[number] = len(self.domains)
            self.domains.append(self._names[number])
        return self._code[numbers]


def _constant(value: str, n: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(np.zeros(n, dtype=np.int32), pa.array([value], pa.string()))


@compiled
def _sums(codes: DomainCodes, tokens: Int32Array, copies: UInt16Array, domains: int) -> tuple[Int64Array, ...]:
    source_samples = np.zeros(domains, dtype=np.int64)
    source_tokens = np.zeros(domains, dtype=np.int64)
    samples = np.zeros(domains, dtype=np.int64)
    copied = np.zeros(domains, dtype=np.int64)
    mixture_tokens = np.zeros(domains, dtype=np.int64)
    for i in range(codes.size):
        code = codes[i]
        count = np.int64(copies[i])
        source_samples[code] += 1
        source_tokens[code] += tokens[i]
        samples[code] += count > 0
        copied[code] += count
        mixture_tokens[code] += count * tokens[i]
    return source_samples, source_tokens, samples, copied, mixture_tokens
