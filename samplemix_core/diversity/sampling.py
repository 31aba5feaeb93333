"""Which documents the fit sees: a stratified sample drawn from counts alone, before any vector is read."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from samplemix_core.identity import fingerprint
from samplemix_core.sample_key import sample_keys, uniforms

Stratum = tuple[str, str]

_FLOOR_SHARE = 10
"""One in this many of the sample's places is dealt out evenly over the strata; the rest in proportion to their documents."""


@dataclass(frozen=True)
class ShardCount:
    """A scored shard as the ledger knows it: how many vectors its embedding file holds.

    domain: the shard's domain, or '' if its documents are of several; its stratum is then its snapshot alone.
    """

    snapshot: str
    path: str
    domain: str
    rows: int


def stratified_positions(shards: Iterable[ShardCount], sample_size: int, seed: int) -> dict[str, npt.NDArray[np.int64]]:
    """Choose min(sample_size, all) documents, by strata of snapshot and domain.

    A tenth of the sample is dealt out evenly, so small strata are seen, the rest in proportion to what strata hold beyond
    that. Within a stratum every document has the same chance. The choice depends on the counts and the seed, not on the
    order of the shards.

    Args:
        shards: each path once.
        sample_size: most documents to choose, at least 1.
        seed: any integer.

    Returns:
        Shard path -> 0-based positions in its embedding file, ascending; paths in ascending order, those without any left out.
    """
    strata: dict[Stratum, list[ShardCount]] = {}
    for shard in sorted(shards, key=lambda shard: shard.path):
        strata.setdefault((shard.snapshot, shard.domain), []).append(shard)
    quotas = allocate({stratum: sum(shard.rows for shard in members) for stratum, members in strata.items()}, sample_size)
    chosen: dict[str, npt.NDArray[np.int64]] = {}
    for stratum, members in strata.items():
        for shard, quota in zip(members, _spread(members, quotas[stratum], stratum, seed), strict=True):
            if quota:
                chosen[shard.path] = _smallest_uniforms(shard, quota, seed)
    return dict(sorted(chosen.items()))


def allocate(sizes: dict[Stratum, int], sample_size: int) -> dict[Stratum, int]:
    """Places in the sample for each stratum: exactly min(sample_size, total), none over its stratum's size.

    Every stratum gets its floor, sample_size // (10 * number of strata), or all it has; the rest is in proportion to what is
    left of each, rounded by largest remainder, ties by stratum. Integer arithmetic throughout.
    """
    total = sum(sizes.values())
    if total <= sample_size:
        return dict(sizes)
    floor = sample_size // (_FLOOR_SHARE * len(sizes))
    quotas = {stratum: min(size, floor) for stratum, size in sizes.items()}
    places = sample_size - sum(quotas.values())
    left = {stratum: sizes[stratum] - quotas[stratum] for stratum in sizes}
    n_left = sum(left.values())
    for stratum in sizes:
        quotas[stratum] += places * left[stratum] // n_left
    remaining = sample_size - sum(quotas.values())
    by_remainder = sorted(sizes, key=lambda stratum: (-(places * left[stratum] % n_left), stratum))
    for stratum in by_remainder[:remaining]:
        quotas[stratum] += 1
    return quotas


def _spread(members: list[ShardCount], quota: int, stratum: Stratum, seed: int) -> list[int]:
    """A stratum's places over its shards, by systematic sampling with a seeded start: fair even for shards with no whole place."""
    n = sum(shard.rows for shard in members)
    if n == 0:
        return [0] * len(members)
    start = int(fingerprint([*stratum, seed]), 16) % n
    spread = []
    seen = 0
    for shard in members:
        before = (seen * quota + start) // n
        seen += shard.rows
        spread.append((seen * quota + start) // n - before)
    return spread


def _smallest_uniforms(shard: ShardCount, quota: int, seed: int) -> npt.NDArray[np.int64]:
    """The positions whose counter-based random numbers are the smallest, ascending."""
    positions = np.arange(shard.rows, dtype=np.int64)
    if quota == shard.rows:
        return positions
    chance = uniforms(seed, sample_keys(shard.snapshot, shard.path, positions))
    return np.sort(np.argsort(chance, kind="stable")[:quota])
