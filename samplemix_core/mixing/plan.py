"""What a solved mixture comes to, before it is published: shares, multipliers and epochs of groups, quality, diversity, overlap."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from samplemix_core.frozen import FrozenModel
from samplemix_core.mixing.shard_samples import UInt16Array

if TYPE_CHECKING:
    # A draft has a plan, and is read where nothing is compiled.
    from samplemix_core.mixing.source import Source

Float64Array = npt.NDArray[np.float64]

COLUMNS = ("domain", "language", "content_type")

STARVED, NOTABLE = 0.3, 0.01
"""A group with less than STARVED times its natural share is warned of, if that was at least NOTABLE."""

_AT_ONCE = 2**20


class PlannedGroup(FrozenModel):
    """A group of samples: its share of tokens in the source and in the mixture; multiplier is the second over the first.

    epochs: tokens in the mixture over those of the source. documents: distinct ones in the mixture.
    """

    name: str
    source_share: float
    share: float
    multiplier: float
    epochs: float
    documents: int


class Plan(FrozenModel):
    """A mixture that could be published.

    epochs: how often a token that is taken is seen, on average. Means of quality and diversity are over tokens, source_... are
    those of the source. overlap: of the current version's tokens, with their copies, the share that this has too; None if it has
    none. groups: by column, the largest in the source first.
    """

    budget_tokens: int
    realised_tokens: int
    documents: int
    copies: int
    source_documents: int
    source_tokens: int
    epochs: float
    most_copies: int
    quality: float
    source_quality: float
    diversity: float
    source_diversity: float
    overlap: float | None
    groups: dict[str, tuple[PlannedGroup, ...]]

    @property
    def starved(self) -> list[str]:
        """Groups with much less than their natural share, for people."""
        return [
            f"{column} {group.name} has {group.multiplier:.2f} times its natural share of {group.source_share:.1%}"
            for column, groups in self.groups.items()
            for group in groups
            if group.multiplier < STARVED and group.source_share >= NOTABLE
        ]


def planned(
    source: "Source", copies: UInt16Array, budget_tokens: int, current: UInt16Array | None = None, current_tokens: int = 0
) -> Plan:
    """Add up a source under copies (n,); `current` (n,) are those of a version to compare with, which has `current_tokens`."""
    columns = [(name, source.columns[name]) for name in COLUMNS if name in source.columns]
    sums = {name: np.zeros((3, len(column.names))) for name, column in columns}
    totals = np.zeros(6)
    shared = 0
    for start in range(0, copies.size, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        tokens, own = source.tokens[part].astype(np.float64), copies[part].astype(np.float64)
        mixed = tokens * own
        for name, column in columns:
            codes, size = column.codes[part], len(column.names)
            sums[name] += [np.bincount(codes, values, size) for values in (tokens, mixed, own > 0)]
        quality, diversity = source.quality[part].astype(np.float64), source.diversity[part].astype(np.float64)
        totals += [
            *(float(tokens @ quality), float(mixed @ quality), float(tokens @ diversity), float(mixed @ diversity)),
            *(float(tokens.sum()), float(tokens @ (own > 0))),
        ]
        if current is not None:
            shared += int((source.tokens[part] * np.minimum(copies[part], current[part]).astype(np.int64)).sum())
    realised = int(sum(sums["domain"][1]))
    return Plan(
        budget_tokens=budget_tokens,
        realised_tokens=realised,
        documents=int(np.count_nonzero(copies)),
        copies=int(copies.sum(dtype=np.int64)),
        source_documents=copies.size,
        source_tokens=source.total_tokens,
        epochs=realised / max(totals[5], 1.0),
        most_copies=int(copies.max(initial=0)),
        quality=totals[1] / max(realised, 1),
        source_quality=totals[0] / max(totals[4], 1.0),
        diversity=totals[3] / max(realised, 1),
        source_diversity=totals[2] / max(totals[4], 1.0),
        overlap=shared / current_tokens if current_tokens else None,
        groups={name: _groups(column.names, sums[name], totals[4], realised) for name, column in columns},
    )


def _groups(names: Sequence[str], sums: Float64Array, source_tokens: float, realised: int) -> tuple[PlannedGroup, ...]:
    order = np.argsort(-sums[0], kind="stable")
    found = []
    for place in order.tolist():
        natural, share = sums[0, place] / max(source_tokens, 1.0), sums[1, place] / max(realised, 1)
        found.append(
            PlannedGroup(
                name=str(names[place]),
                source_share=natural,
                share=share,
                multiplier=share / natural if natural else 0.0,
                epochs=sums[1, place] / sums[0, place] if sums[0, place] else 0.0,
                documents=int(sums[2, place]),
            )
        )
    return tuple(found)
