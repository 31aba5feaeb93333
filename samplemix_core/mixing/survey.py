"""A survey of a source: what policies know of it as a whole. Sums of whole numbers, so the order of samples does not matter."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from samplemix_core.mixing.shard_samples import Float32Array
from samplemix_core.policies.policy import Columns, Scale, Survey, levels_of

MOST_LEVELS, LEAST_LEVELS = 2**15, 256
_PARTS = 2**15
"""Of a quality's scale: the squares of a million documents' add up to less than 2^53."""

_CELLS = 2**22
"""Levels of all domains together: 32 MiB."""


class SurveyPart(NamedTuple):
    """Some samples: their columns, with domain and cluster; how many documents each stands for, and the tokens of all of these.

    room: the most copies of each; None for the run's own.
    """

    columns: Columns
    documents: npt.NDArray[np.float64]
    tokens: npt.NDArray[np.float64] | npt.NDArray[np.int32]
    room: npt.NDArray[np.uint16] | None = None


def survey(
    parts: Iterable[SurveyPart],
    domains: tuple[str, ...],
    diversity: Float32Array,
    scale: Scale,
    budget_tokens: int,
    max_copies: int,
    bounds: tuple[float, float],
    kinds: tuple[str, ...] = (),
) -> Survey:
    """Survey a source. `diversity` (K,) is each cluster's, scaled with `bounds`.

    Codes of domains are indices into `domains`, and those of kinds, if parts have them, into `kinds`. Levels of quality are as many
    as memory allows: 32,768 with up to 128 domains.
    """
    levels = int(np.clip(_CELLS // max(len(domains), 1), LEAST_LEVELS, MOST_LEVELS))
    has_range = scale.low < scale.high
    by_level = np.zeros(len(domains) * levels)
    cluster_tokens, cluster_documents, cluster_room = (np.zeros(diversity.size) for _ in range(3))
    domain_room = np.zeros(len(domains))
    domain_kinds, cluster_kinds = (np.zeros((2, size * len(kinds))) for size in (len(domains), diversity.size))
    moments = [0, 0, 0]
    for columns, documents, tokens, room in parts:
        assert columns.domain is not None
        assert columns.cluster is not None
        level = levels_of(columns, scale, levels) if has_range else np.zeros(tokens.size, dtype=np.int64)
        by_level += np.bincount(columns.domain.astype(np.int64) * levels + level, tokens, by_level.size)
        cluster_tokens += np.bincount(columns.cluster, tokens, diversity.size)
        copied = tokens * (float(max_copies) if room is None else room.astype(np.float64))
        domain_room += np.bincount(columns.domain, copied, domain_room.size)
        cluster_room += np.bincount(columns.cluster, copied, diversity.size)
        if kinds:
            assert columns.kind is not None
            for sums, codes in ((domain_kinds, columns.domain), (cluster_kinds, columns.cluster)):
                both = codes.astype(np.int64) * len(kinds) + columns.kind
                sums += [np.bincount(both, values, sums.shape[1]) for values in (tokens, copied)]
        cluster_documents += np.bincount(columns.cluster, documents, diversity.size)
        # Quarters of documents and parts of the scale are whole numbers, and their sums are the same in any order.
        quarters = np.rint(4 * documents)
        quality = np.rint(columns.ranged_quality(scale) * _PARTS) if has_range else np.zeros(tokens.size)
        powers = 1, quality, quality * quality
        moments = [total + int((quarters * power).sum()) for total, power in zip(moments, powers, strict=True)]
    count = max(moments[0], 1)
    part = (scale.high - scale.low) / _PARTS
    level_tokens = np.rint(by_level).astype(np.int64).reshape(len(domains), levels)
    return Survey(
        budget_tokens=budget_tokens,
        max_copies=max_copies,
        domains=domains,
        domain_tokens=np.rint(by_level.reshape(level_tokens.shape).sum(axis=1)).astype(np.int64),
        domain_room=domain_room,
        cluster_room=cluster_room,
        cluster_tokens=np.rint(cluster_tokens).astype(np.int64),
        cluster_documents=np.rint(cluster_documents).astype(np.int64),
        cluster_diversity=diversity,
        level_tokens=level_tokens,
        quality_mean=scale.low + part * (moments[1] / count),
        diversity_bounds=bounds,
        kinds=kinds,
        domain_kind_tokens=np.rint(domain_kinds[0]).astype(np.int64).reshape(len(domains), len(kinds)),
        domain_kind_room=domain_kinds[1].reshape(len(domains), len(kinds)),
        cluster_kind_tokens=np.rint(cluster_kinds[0]).astype(np.int64).reshape(diversity.size, len(kinds)),
        cluster_kind_room=cluster_kinds[1].reshape(diversity.size, len(kinds)),
        quality_spread=part * math.sqrt((count * moments[2] - moments[1] * moments[1]) / (count * count)),
    )
