"""Two versions compared, from their manifests alone: what entered and left, and where tokens moved.

Rows of both are sorted by shard and row, so they are merged part by part: memory holds a part of each.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.frozen import FrozenModel
from samplemix_core.manifest.catalogue import Version
from samplemix_core.manifest.format import MIXTURE_PART, Manifest, copies_in

Int = npt.NDArray[np.int64]

BANDS = 10
"""Bands of quality, each a tenth of the model's range."""

_SHOWN = 20

Change = Literal["entered", "left", "more copies", "fewer copies", "as before"]
CHANGES: tuple[Change, ...] = ("entered", "left", "more copies", "fewer copies", "as before")

CHANGED = pa.schema(
    [
        pa.field("change", pa.dictionary(pa.int8(), pa.string()), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("sample_key", pa.binary(16), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("n_tokens", pa.int32(), nullable=False),
        pa.field("copies_before", pa.int32(), nullable=False),
        pa.field("copies", pa.int32(), nullable=False),
        pa.field("quality", pa.float32(), nullable=False),
        pa.field("cluster", pa.int32(), nullable=False),
    ]
)
"""Documents that are not as before, in the order of shards and rows. Their quality and cluster are the later version's, or the
earlier one's for those that left."""


class Amount(FrozenModel):
    """Documents, copies, and tokens of all copies."""

    documents: int
    copies: int
    tokens: int


class GroupChange(FrozenModel):
    """A group of documents before and after."""

    group: str
    before: Amount
    after: Amount

    @property
    def gained(self) -> int:
        """Tokens that it gained; below 0, lost."""
        return self.after.tokens - self.before.tokens


class VersionDiff(FrozenModel):
    """Two versions compared. `changes` are documents by what became of them; groups are sorted by the tokens that they gained.

    Clusters are compared only if both versions have the same cluster model. `languages` and `content_types` are empty where they
    are not known: a manifest doesn't have them. `phases` are empty where neither version has any; `moved` documents have as many
    copies as before, but in other phases.
    """

    before: str
    after: str
    total: GroupChange
    changes: dict[Change, int]
    domains: tuple[GroupChange, ...]
    clusters: tuple[GroupChange, ...]
    quality: tuple[GroupChange, ...]
    languages: tuple[GroupChange, ...] = ()
    content_types: tuple[GroupChange, ...] = ()
    phases: tuple[GroupChange, ...] = ()
    moved: int = 0

    def lines(self) -> Iterator[str]:
        """Yield lines for people: a sentence, and a table for each way to group documents."""
        said = ", ".join(f"{count:,} {change}" for change, count in self.changes.items())
        before, after = self.total.before, self.total.after
        moved = f" ({self.moved:,} of them in other phases)" if self.moved else ""
        yield f"{self.before} to {self.after}: documents {said}{moved}"
        yield (
            f"documents {before.documents:,} to {after.documents:,}, copies {before.copies:,} to {after.copies:,},"
            f" tokens {before.tokens:,} to {after.tokens:,} ({self.total.gained:+,})"
        )
        for name, groups in self.tables().items():
            width = max(len(name), *(len(group.group) for group in groups), 12)
            yield f"{name:<{width}}{'tokens before':>18}{'tokens':>18}{'change':>18}{'documents before':>18}{'documents':>14}"
            shown = groups if len(groups) <= _SHOWN else [*groups[: _SHOWN // 2], *groups[-_SHOWN // 2 :]]
            for at, group in enumerate(shown):
                if at == _SHOWN // 2 and len(groups) > _SHOWN:
                    yield f"... {len(groups) - _SHOWN:,} that changed less (--json has all)"
                yield (
                    f"{group.group:<{width}}{group.before.tokens:>18,}{group.after.tokens:>18,}{group.gained:>+18,}"
                    f"{group.before.documents:>18,}{group.after.documents:>14,}"
                )

    def table(self) -> pa.Table:
        """All groups as rows: `by` says how they are grouped, then group, and amounts before and after; `all` is everything."""
        rows = [(by, group) for by, groups in {"all": (self.total,), **self.tables()}.items() for group in groups]
        columns: dict[str, list[str] | list[int]] = {"by": [by for by, _ in rows], "group": [group.group for _, group in rows]}
        for side in ("before", "after"):
            for name in Amount.model_fields:
                columns[f"{name}_{side}"] = [getattr(getattr(group, side), name) for _, group in rows]
        return pa.table(columns)

    def tables(self) -> dict[str, tuple[GroupChange, ...]]:
        """The ways in which documents are grouped that are known of both versions, by name."""
        tables = {"domain": self.domains, "quality": self.quality, "language": self.languages}
        tables |= {"content type": self.content_types, "cluster": self.clusters, "phase": self.phases}
        return {name: groups for name, groups in tables.items() if groups}


def diff(before: Version, after: Version, on_changed: Callable[[pa.Table], None] = lambda rows: None) -> VersionDiff:
    """Compare two versions, of one mixture or of two over one corpus; `on_changed` gets the documents that changed (CHANGED).

    Raises ManifestError for a part that was changed since it was published.
    """
    same_clusters = before.manifest.lineage.cluster_model == after.manifest.lineage.cluster_model
    groups: dict[str, _Sums] = {name: _Sums() for name in ("domain", "cluster", "band")}
    changes: dict[Change, int] = dict.fromkeys(CHANGES, 0)
    moved, phases = 0, [copies_in(name) for name in before.manifest.phase_names if name in after.manifest.phase_names]
    for old, new in _aligned(_rows(before), _rows(after)):
        for side, rows in enumerate((old, new)):
            for name, sums in groups.items() if len(rows) else ():
                sums.add(side, *rows.grouped(name), rows)
        shared = _shared(old, new)
        moved += _moved(old, new, shared, phases)
        for change, table in _changes(old, new, shared):
            changes[change] += table.num_rows
            if change != "as before" and table.num_rows:
                on_changed(table)
    domains = groups["domain"].listed()
    return VersionDiff(
        before=_name(before.manifest),
        after=_name(after.manifest),
        total=GroupChange(group="all", before=_amount(before.manifest), after=_amount(after.manifest)),
        changes=changes,
        domains=by_gain(domains),
        clusters=by_gain(groups["cluster"].listed()) if same_clusters else (),
        quality=tuple(sorted(groups["band"].listed(), key=lambda change: change.group)),
        phases=tuple(_of_phases(before.manifest, after.manifest)),
        moved=moved,
    )


def _of_phases(before: Manifest, after: Manifest) -> Iterator[GroupChange]:
    """Yield every phase that either version has."""
    none = Amount(documents=0, copies=0, tokens=0)
    own = [
        {
            phase.name: Amount(documents=phase.samples, copies=phase.copies, tokens=phase.realised_tokens)
            for phase in manifest.phases
        }
        for manifest in (before, after)
    ]
    for name in dict.fromkeys((*after.phase_names, *before.phase_names)):
        yield GroupChange(group=name, before=own[0].get(name, none), after=own[1].get(name, none))


def by_gain(groups: Iterable[GroupChange]) -> tuple[GroupChange, ...]:
    """Groups, those that gained most tokens first."""
    return tuple(sorted(groups, key=lambda change: (-change.gained, change.group)))


def _name(manifest: Manifest) -> str:
    return f"{manifest.name}@{manifest.version}"


def _amount(manifest: Manifest) -> Amount:
    return Amount(documents=manifest.samples, copies=manifest.copies, tokens=sum(part.tokens for part in manifest.parts))


class _Rows(NamedTuple):
    """Rows of a version, sorted. `bands` are of quality, by its model's range."""

    table: pa.Table
    bands: npt.NDArray[np.int64]

    @classmethod
    def of(cls, table: pa.Table, low: float, high: float) -> "_Rows":
        share = (table["quality"].to_numpy().astype(np.float64) - low) / max(high - low, 1e-9)
        return cls(table.combine_chunks(), np.clip(np.floor(share * BANDS), 0, BANDS - 1).astype(np.int64))

    def numbers(self, column: str) -> Int:
        return np.asarray(self.table[column].to_numpy(), dtype=np.int64)

    def coded(self, column: str) -> tuple[list[str], Int]:
        """The values of a column of names, and each row's number among them."""
        values = self.table[column].unify_dictionaries().combine_chunks()
        array = values.chunk(0) if isinstance(values, pa.ChunkedArray) else values
        return array.dictionary.to_pylist(), array.indices.to_numpy().astype(np.int64)

    def grouped(self, name: str) -> tuple[list[str], Int]:
        """The names of groups, and each row's number among them."""
        if name == "domain":
            return self.coded("domain")
        values = self.bands if name == "band" else self.numbers("cluster")
        found, code = np.unique(values, return_inverse=True)
        return [_band(value) if name == "band" else str(value) for value in found.tolist()], code.astype(np.int64)

    def slice(self, start: int, stop: int) -> "_Rows":
        return _Rows(self.table.slice(start, stop - start), self.bands[start:stop])

    def __len__(self) -> int:
        return int(self.table.num_rows)


def _band(number: int) -> str:
    return f"{100 * number // BANDS:02d} to {100 * (number + 1) // BANDS} %"


def _rows(version: Version) -> Iterator[_Rows]:
    parameters = version.manifest.policy.parameters
    low, high = (float(parameters.get(name, default)) for name, default in (("q_low", 0.0), ("q_high", 10.0)))
    return (_Rows.of(table, low, high) for table in version.rows())


def _aligned(before: Iterator[_Rows], after: Iterator[_Rows]) -> Iterator[tuple[_Rows, _Rows]]:
    """Yield rows of both up to the same place each time."""
    empty = _Rows.of(MIXTURE_PART.empty_table(), 0.0, 1.0)
    sources, held = (before, after), [next(before, empty), next(after, empty)]
    while any(map(len, held)):
        bound = min(_last(rows) for rows in held if len(rows))
        cuts = [_up_to(rows, bound) for rows in held]
        yield held[0].slice(0, cuts[0]), held[1].slice(0, cuts[1])
        held = [
            rows.slice(cut, len(rows)) if cut < len(rows) else next(source, empty)
            for rows, cut, source in zip(held, cuts, sources, strict=True)
        ]


def _last(rows: _Rows) -> tuple[str, int]:
    last = rows.table.slice(len(rows) - 1)
    return last["shard"][0].as_py(), last["row"][0].as_py()


def _up_to(rows: _Rows, bound: tuple[str, int]) -> int:
    """How many rows come at or before a place."""
    if not len(rows):
        return 0
    names, code = rows.coded("shard")
    before, until = (int(np.array(is_in, dtype=bool)[code].sum()) for is_in in _compared(names, bound[0]))
    return before + int(np.searchsorted(rows.numbers("row")[before:until], bound[1], side="right"))


def _compared(names: list[str], bound: str) -> tuple[list[bool], list[bool]]:
    return [name < bound for name in names], [name <= bound for name in names]


def _shared(old: _Rows, new: _Rows) -> tuple[Int, Int]:
    """The documents that aligned rows have in common: their indices in both."""
    _, there, here = np.intersect1d(*_places(old, new), assume_unique=True, return_indices=True)
    return there, here


def _moved(old: _Rows, new: _Rows, shared: tuple[Int, Int], columns: list[str]) -> int:
    """How many shared documents have as many copies as before, but others in one of these columns."""
    if not columns or not shared[0].size:
        return 0
    before, after = (
        np.stack([rows.numbers(name)[at] for name in ("copies", *columns)]) for rows, at in zip((old, new), shared, strict=True)
    )
    return int(np.count_nonzero((before[0] == after[0]) & (before[1:] != after[1:]).any(axis=0)))


def _changes(old: _Rows, new: _Rows, shared: tuple[Int, Int]) -> Iterator[tuple[Change, pa.Table]]:
    """Yield the documents of aligned rows by what became of them."""
    there, here = shared
    was, now = old.numbers("copies"), new.numbers("copies")
    came, gone = np.delete(np.arange(len(new)), here), np.delete(np.arange(len(old)), there)
    yield "entered", _table("entered", new, came, np.zeros(came.size, dtype=np.int64), now[came])
    yield "left", _table("left", old, gone, was[gone], np.zeros(gone.size, dtype=np.int64))
    before, after = was[there], now[here]
    for change, is_it in _KEPT.items():
        at = np.flatnonzero(is_it(after, before))
        yield change, _table(change, new, here[at], before[at], after[at])


_KEPT: dict[Change, Callable[[Int, Int], npt.NDArray[np.bool_]]] = {
    "more copies": np.greater,
    "fewer copies": np.less,
    "as before": np.equal,
}


def _places(old: _Rows, new: _Rows) -> tuple[Int, Int]:
    """A number for each row of both: the same for the same shard and row."""
    shards: dict[str, int] = {}
    found = []
    for rows in (old, new):
        names, code = rows.coded("shard") if len(rows) else ([], np.empty(0, dtype=np.int64))
        numbers = np.array([shards.setdefault(name, len(shards)) for name in names] or [0], dtype=np.int64)
        found.append(numbers[code] << 40 | rows.numbers("row"))
    return found[0], found[1]


def _table(change: Change, rows: _Rows, at: Int, was: Int, now: Int) -> pa.Table:
    own = rows.table.take(pa.array(at))
    columns = {
        "change": pa.array([change] * len(at), pa.string()).cast(CHANGED.field("change").type),
        "shard": own["shard"].cast(pa.string()),
        "row": own["row"],
        "sample_key": own["sample_key"],
        "domain": own["domain"].cast(pa.string()),
        "n_tokens": own["n_tokens"],
        "copies_before": pa.array(was, pa.int32()),
        "copies": pa.array(now, pa.int32()),
        "quality": own["quality"],
        "cluster": own["cluster"],
    }
    return pa.table(columns, schema=CHANGED)


class _Sums:
    """Documents, copies and tokens by group, of two sides."""

    def __init__(self) -> None:
        self._sums: dict[str, Int] = {}

    def add(self, side: int, names: list[str], code: Int, rows: _Rows) -> None:
        """Add rows by the names of their groups."""
        copies, size = rows.numbers("copies"), len(names)
        tokens = copies * rows.numbers("n_tokens")
        sums = np.stack(
            [np.bincount(code, minlength=size), np.bincount(code, copies, size), np.bincount(code, tokens, size)], axis=1
        )
        for name, values in zip(names, sums.astype(np.int64), strict=True):
            self._sums.setdefault(name, np.zeros((2, 3), dtype=np.int64))[side] += values

    def listed(self) -> list[GroupChange]:
        """Every group, before and after."""
        return [
            GroupChange(group=name, before=_of(values[0]), after=_of(values[1]))
            for name, values in sorted(self._sums.items())
            if values.any()
        ]


def _of(values: Int) -> Amount:
    documents, copies, tokens = values.tolist()
    return Amount(documents=documents, copies=copies, tokens=tokens)
