"""Roll-ups: samples counted by domain, cluster, quality band and labels, and by snapshot, domain and copies.

Their sums are integers, of values in ten-thousandths, so they are the same in whatever order they are added up, and what was added
can be subtracted again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core import schemas
from samplemix_core.mixing.shard_samples import SCALE, scaled

if TYPE_CHECKING:
    from samplemix_core.mixing.source import Source

Int64Array = npt.NDArray[np.int64]
UInt16Array = npt.NDArray[np.uint16]

QUALITY_BANDS = 40
"""Bands of equal width from a quality model's lower to its upper bound; values outside are in the first or the last."""

LABELS = ("language", "content_type")
"""Columns besides the domain by which a roll-up tells samples apart, where the source has them."""

_ROWS_AT_ONCE = 2**20


def quality_bands(quality: npt.NDArray[np.floating], low: float, high: float) -> Int64Array:
    """The band of each quality, 0 to QUALITY_BANDS - 1."""
    band = np.floor((quality.astype(np.float64) - low) / (high - low) * QUALITY_BANDS)
    return np.clip(band, 0, QUALITY_BANDS - 1).astype(np.int64)


def added_up(table: pa.Table, keys: list[str]) -> pa.Table:
    """Return the sums of all other columns over rows with equal `keys`, sorted by these; all columns are integers."""
    sums = [name for name in table.column_names if name not in keys]
    added = table.group_by(keys, use_threads=False).aggregate([(name, "sum") for name in sums])
    return (
        added.select([*keys, *(f"{name}_sum" for name in sums)])
        .rename_columns([*keys, *sums])
        .sort_by([(k, "ascending") for k in keys])
    )


@dataclass(frozen=True, eq=False)
class MixtureRollup:
    """A mixture's sums: schemas.CELLS and schemas.COPY_COUNTS, sorted."""

    cells: pa.Table
    copy_counts: pa.Table

    @classmethod
    def of(cls, source: "Source", copies: UInt16Array, quality_low: float, quality_high: float) -> "MixtureRollup":
        """Add up a finished source under copies (n,); quality_low and quality_high are the bounds of the bands."""
        return cls(_cells(source, copies, quality_low, quality_high), _copy_counts(source, copies))


def _cells(source: "Source", copies: UInt16Array, quality_low: float, quality_high: float) -> pa.Table:
    def part(start: int, stop: int) -> pa.Table:
        once, chosen = source.tokens[start:stop].astype(np.int64), copies[start:stop].astype(np.int64)
        quality, distance = scaled(source.quality[start:stop]), source.distance[start:stop].astype(np.int64)
        diversity = scaled(source.diversity[start:stop])
        labels = {name: known[name].codes[start:stop] if name in known else np.zeros(stop - start) for name in LABELS}
        columns: dict[str, npt.NDArray[np.int64]] = {
            "domain": source.domain[start:stop].astype(np.int64),
            "cluster": source.cluster[start:stop].astype(np.int64),
            "quality_band": quality_bands(source.quality[start:stop], quality_low, quality_high),
            **{name: codes.astype(np.int64) for name, codes in labels.items()},
            "documents": np.ones(stop - start, dtype=np.int64),
            "tokens": once,
            "quality_sum": quality,
            "quality_square_sum": quality * quality,
            "distance_sum": distance,
            "distance_square_sum": distance * distance,
            "diversity_sum": diversity,
            "diversity_square_sum": diversity * diversity,
            "mixture_diversity_sum": chosen * diversity,
            "samples": (chosen > 0).astype(np.int64),
            "copies": chosen,
            "mixture_tokens": chosen * once,
            "mixture_quality_sum": chosen * quality,
            "mixture_quality_square_sum": chosen * quality * quality,
            "mixture_distance_sum": chosen * distance,
            "mixture_distance_square_sum": chosen * distance * distance,
        }
        return pa.table(columns)

    known = source.columns
    cells = _named(source, part, ["domain", "cluster", "quality_band", *LABELS])
    for name in LABELS:
        names = pa.array(known[name].names if name in known else [""], pa.string())
        cells = cells.set_column(cells.column_names.index(name), name, names.take(cells[name].combine_chunks()))
    documents = cells["documents"].to_numpy()
    mean, square = (cells[name].to_numpy() / documents / SCALE for name in ("diversity_sum", "diversity_square_sum"))
    spread = np.sqrt(np.maximum(0.0, square / SCALE - mean * mean))
    copied, of_copies = (cells[name].to_numpy() for name in ("copies", "mixture_diversity_sum"))
    mixed = np.where(copied > 0, of_copies / np.maximum(copied, 1) / SCALE, mean)
    for name, values in {"diversity": mean, "diversity_spread": spread, "mixture_diversity": mixed}.items():
        cells = cells.append_column(name, pa.array(values))
    return cells.select(schemas.CELLS.names).cast(schemas.CELLS)


def _copy_counts(source: "Source", copies: UInt16Array) -> pa.Table:
    """schemas.COPY_COUNTS of a finished source under copies (n,), sorted."""

    def part(start: int, stop: int) -> pa.Table:
        return pa.table(
            {
                "snapshot": source.snapshot_codes(start, stop),
                "domain": source.domain[start:stop].astype(np.int64),
                "copies": copies[start:stop].astype(np.int64),
                "samples": np.ones(stop - start, dtype=np.int64),
                "tokens": source.tokens[start:stop].astype(np.int64),
            }
        )

    counted = _named(source, part, ["snapshot", "domain", "copies"])
    names = pa.array(source.snapshot_names(), pa.string()).take(counted["snapshot"].combine_chunks())
    return counted.set_column(0, "snapshot", names).cast(schemas.COPY_COUNTS)


def _named(source: "Source", part: Callable[[int, int], pa.Table], keys: list[str]) -> pa.Table:
    """Return the sums over the parts of a source, with its domains' names; holds one part and the result in memory."""
    sums = [added_up(part(start, stop), keys) for start, stop in _parts(source.tokens.size)]
    total = added_up(pa.concat_tables(sums), keys)
    names = pa.array(source.domains, pa.string()).take(total["domain"].combine_chunks())
    return total.set_column(total.column_names.index("domain"), "domain", names)


def _parts(rows: int) -> Iterator[tuple[int, int]]:
    for start in range(0, rows, _ROWS_AT_ONCE):
        yield start, min(start + _ROWS_AT_ONCE, rows)
