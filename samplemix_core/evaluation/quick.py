"""The quick check: what a 4-gram model learns from a stream of documents, at several points on the way."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from samplemix_core.evaluation.curves import Curve, stops
from samplemix_core.evaluation.ngram import NgramModel

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]


class Part(NamedTuple):
    """Documents in a vocabulary's tokens, in the order of a stream.

    ids: int64 (n,), one document after another. ends: int64 (m,), where each ends. again: bool (m,), whether the stream has had it.
    """

    ids: Int64Array
    ends: Int64Array
    again: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Learnt:
    """Losses on texts after so many tokens of a stream.

    tokens: int64 (p,), ascending. nats: float64 (p, t), of each text. n_bytes: int64 (t,), how long each text is.
    """

    tokens: Int64Array
    nats: Float64Array
    n_bytes: Int64Array

    def curve(self, texts: npt.NDArray[np.bool_]) -> Curve:
        """Nats a byte of some texts (t,) together, of which one has bytes."""
        return Curve(self.tokens, self.nats[:, texts].sum(axis=1) / self.n_bytes[texts].sum())

    def macro(self, groups: Int64Array) -> Curve:
        """The mean of groups' nats a byte, whatever their sizes; texts' groups are numbers from 0, (t,)."""
        n_bytes = np.bincount(groups, self.n_bytes)
        there = np.flatnonzero(n_bytes)
        by_group = np.stack([np.bincount(groups, nats)[there] / n_bytes[there] for nats in self.nats])
        return Curve(self.tokens, by_group.mean(axis=1))


def learn(vocabulary: int, stream: Iterable[Part], tokens: int, ids: Int64Array, ends: Int64Array, n_bytes: Int64Array) -> Learnt:
    """Read a stream of so many tokens, and look at the losses on texts (t,) at each of curves.stops(tokens).

    A document that comes again counts as tokens, for a training step spends them, and teaches nothing: Kneser-Ney takes a repeat
    for a second witness. Points lie at ends of documents, the last where the stream ends or has had so many tokens. Raises
    ValueError for a stream without tokens.
    """
    model, ahead = NgramModel(vocabulary), stops(tokens)
    read, at, nats = 0, list[int](), list[Float64Array]()
    for part in stream:
        first, before = 0, 0
        while first < len(part.ends) and ahead.size:
            # Whole documents, as far as the next point.
            last = min(int(np.searchsorted(part.ends, before + ahead[0] - read)) + 1, len(part.ends))
            model.read(*_new(part, first, last))
            read += int(part.ends[last - 1]) - before
            first, before = last, int(part.ends[last - 1])
            if read >= ahead[0]:
                at.append(read)
                nats.append(model.losses(ids, ends))
                ahead = ahead[ahead > read]
    if not read:
        raise ValueError("A stream without tokens teaches nothing.")
    if not at or at[-1] < read:
        at.append(read)
        nats.append(model.losses(ids, ends))
    return Learnt(np.array(at, dtype=np.int64), np.stack(nats), n_bytes)


def _new(part: Part, first: int, last: int) -> tuple[Int64Array, Int64Array]:
    """Tokens and ends of those of a part's documents, from the first to before the last, that the stream hasn't had."""
    start = int(part.ends[first - 1]) if first else 0
    lengths = np.diff(part.ends[first:last], prepend=start)
    new = ~part.again[first:last]
    return part.ids[start : part.ends[last - 1]][np.repeat(new, lengths)], np.cumsum(lengths[new])
