"""Groups of samples, from constraints and from what a policy wants of domains or clusters: cells, limits, and caps on copies."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from samplemix_core.config.constraints import COLUMNS, Band, ConstraintsConfig, group_of, group_or_band_of
from samplemix_core.errors import ConfigError
from samplemix_core.mixing.constraints import MOST_CELLS, Groups, Limit
from samplemix_core.mixing.shard_samples import Float32Array, Int64Array, UInt16Array
from samplemix_core.policies.policy import Targets

_AT_ONCE = 2**20
_NAMED = 12


class Column(NamedTuple):
    """A column by which samples are grouped: the names that occur, and each sample's place among them, integers (n,)."""

    names: Sequence[str]
    codes: npt.NDArray[np.integer]


def grouped(
    columns: Mapping[str, Column],
    tokens: npt.NDArray[np.number],
    budget_tokens: int,
    constraints: ConstraintsConfig,
    targets: Targets | None,
) -> Groups | None:
    """Return samples (n,) in cells, and the limits that constraints and targets set on these; None if they set none.

    `columns` has those that are needed. Raises ConfigError for a name that a column doesn't have, and for too many cells.
    """
    limited = [(group_of(text), text, limit) for text, limit in constraints.shares.items()]
    wanted = {*(targets.by if targets else ()), *constraints.hold, *(group.column for group, _, _ in limited)}
    used = [name for name in COLUMNS if name in wanted]
    if not used:
        return None
    size = [max(1, len(columns[name].names)) for name in used]
    cell, present = _cells([columns[name].codes for name in used], size)
    if present.size > MOST_CELLS:
        raise ConfigError(
            f"Shares are to hold in {present.size:,} groups, combinations of {', '.join(used)}; {MOST_CELLS:,} can.",
            "Hold or limit fewer columns, or fit fewer clusters.",
        )
    place = dict(zip(used, np.unravel_index(present, size), strict=True))
    names = [{name: str(columns[name].names[place[name][i]]) for name in used} for i in range(present.size)]
    limits: list[Limit] = []
    if targets is not None:
        limits += _targets(targets, columns, place, budget_tokens)
    if constraints.hold:
        limits += _held(constraints.hold, columns, place, _sums(cell, tokens, present.size))
    for group, text, limit in limited:
        within = np.flatnonzero(place[group.column] == _code(columns, group.column, group.name))
        ends = f"{limit.least:.2%}" if limit.least == limit.most else f"{limit.least:.2%} to {limit.most:.2%}"
        limits.append(Limit(f"{ends} for {text}", within, limit.least, limit.most))
    return Groups(cell, tuple(names), tuple(limits))


def _cells(codes: Sequence[npt.NDArray[np.integer]], size: Sequence[int]) -> tuple[UInt16Array, Int64Array]:
    """Number the combinations of codes that occur: each sample's, and the combinations, ascending, as in ravel_multi_index."""
    n = codes[0].size
    parts = [slice(start, start + _AT_ONCE) for start in range(0, n, _AT_ONCE)]

    def combined(part: slice) -> Int64Array:
        code = np.zeros(codes[0][part].size, dtype=np.int64)
        for own, names in zip(codes, size, strict=True):
            code = code * names + own[part]
        return code

    present = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *(np.unique(combined(part)) for part in parts)]))
    cell = np.empty(n if present.size <= MOST_CELLS else 0, dtype=np.uint16)
    for part in parts if cell.size else ():
        cell[part] = np.searchsorted(present, combined(part))
    return cell, present


def _sums(cell: UInt16Array, tokens: npt.NDArray[np.number], cells: int) -> Int64Array:
    sums = np.zeros(cells, dtype=np.int64)
    for start in range(0, cell.size, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        sums += np.bincount(cell[part], tokens[part], cells).astype(np.int64)
    return sums


def _targets(
    targets: Targets, columns: Mapping[str, Column], place: Mapping[str, npt.NDArray[np.integer]], budget: int
) -> list[Limit]:
    limits = []
    own = np.ravel_multi_index(tuple(place[name] for name in targets.by), targets.tokens.shape)
    for number, share in enumerate((targets.tokens / budget).ravel().tolist()):
        within = np.flatnonzero(own == number)
        if within.size or share:
            codes = np.unravel_index(number, targets.tokens.shape)
            of = ", ".join(f"{name}={columns[name].names[int(code)]}" for name, code in zip(targets.by, codes, strict=True))
            limits.append(Limit(f"{share:.2%} for {of} by the policy", within, share, share))
    return limits


def _held(
    hold: Sequence[str], columns: Mapping[str, Column], place: Mapping[str, npt.NDArray[np.integer]], tokens: Int64Array
) -> list[Limit]:
    size = [len(columns[name].names) for name in hold]
    combined, own = np.unique(np.ravel_multi_index([place[name] for name in hold], size), return_inverse=True)
    shares = np.bincount(own, tokens) / tokens.sum()
    limits = []
    for number, (code, share) in enumerate(zip(combined.tolist(), shares.tolist(), strict=True)):
        places = zip(hold, np.unravel_index(code, size), strict=True)
        of = ", ".join(f"{name}={columns[name].names[int(at)]}" for name, at in places)
        limits.append(Limit(f"{share:.2%} held for {of}", np.flatnonzero(own == number), share, share))
    return limits


def _code(columns: Mapping[str, Column], column: str, name: str) -> int:
    names = list(columns[column].names)
    if name not in names:
        some = ", ".join(map(str, names[:_NAMED])) + (f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else "")
        raise ConfigError(
            f"No sample of the source has {column}={name}, which a constraint is about.", f"The source has {column} {some}."
        )
    return names.index(name)


def most_copies(
    columns: Mapping[str, Column], quality: Float32Array, constraints: ConstraintsConfig, max_copies: int
) -> UInt16Array | None:
    """Return the most copies of each sample, uint16 (n,), by the caps on groups and bands of quality; None if there are none.

    Raises ConfigError for a name that a column doesn't have.
    """
    if not constraints.copies:
        return None
    room = np.full(quality.size, max_copies, dtype=np.uint16)
    for text, most in constraints.copies.items():
        found = group_or_band_of(text)
        code = None if isinstance(found, Band) else _code(columns, found.column, found.name)
        for start in range(0, room.size, _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            if isinstance(found, Band):
                applies = (quality[part] < found.quality) == found.below
            else:
                applies = columns[found.column].codes[part] == code
            room[part][applies] = np.minimum(room[part][applies], most)
    return room
