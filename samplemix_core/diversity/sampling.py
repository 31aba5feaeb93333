"""Which documents the fit sees: a stratified sample drawn from counts alone, before any vector is read."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from samplemix_core.identity import fingerprint
from samplemix_core.sample_key import sample_keys, uniforms

Stratum = tuple[str, str]

EVENLY = 0.1
"""This share of a sample's places is dealt out evenly over the strata; the rest in proportion to their documents."""

WINDOW_ROWS = 512
WINDOW_PLACES = 40
"""Places are dealt out in windows, WINDOW_PLACES among WINDOW_ROWS neighbours that are in one or two row groups of a file.

Otherwise a sample of 20,000 from 20,000 embedding files would read a whole row group of each for one of its vectors.
"""


@dataclass(frozen=True)
class ShardCount:
    """A scored shard as the ledger knows it: how many vectors its embedding file holds.

    domain: the shard's domain, or '' if its documents have several; its stratum is then its snapshot alone.
    """

    snapshot: str
    path: str
    domain: str
    rows: int


def stratified_positions(shards: Iterable[ShardCount], sample_size: int, seed: int) -> dict[str, npt.NDArray[np.int64]]:
    """Choose min(sample_size, all) documents, by strata of snapshot and domain.

    A tenth of the sample is dealt out evenly, so small strata are seen, the rest in proportion to what strata hold beyond that.
    Within a stratum every document has the same chance: from a random start on, its documents, shard after shard, are cut into as
    many equal stretches as there are windows, and a window of each stretch gives its share of documents at random. The choice
    depends on the counts and the seed, not on the order of the shards.

    `shards` holds each path once; `sample_size` is at least 1. Returns shard path -> 0-based positions in its embedding file,
    ascending; paths in ascending order, those without any left out.
    """
    strata: dict[Stratum, list[ShardCount]] = {}
    for shard in sorted(shards, key=lambda shard: shard.path):
        strata.setdefault((shard.snapshot, shard.domain), []).append(shard)
    quotas = allocate({stratum: sum(shard.rows for shard in members) for stratum, members in strata.items()}, sample_size)
    chosen: dict[str, npt.NDArray[np.int64]] = {}
    for stratum, members in strata.items():
        ends = np.cumsum([shard.rows for shard in members], dtype=np.int64)
        places = _draw(int(ends[-1]), quotas[stratum], stratum, seed)
        owners = np.searchsorted(ends, places, side="right")
        found, first = np.unique(owners, return_index=True)
        for owner, part in zip(found.tolist(), np.split(places, first[1:]), strict=False):
            chosen[members[owner].path] = part - (ends[owner] - members[owner].rows)
    return dict(sorted(chosen.items()))


def allocate(sizes: dict[Stratum, int], sample_size: int, evenly: float = EVENLY) -> dict[Stratum, int]:
    """Places in the sample for each stratum: exactly min(sample_size, total), none over its stratum's size.

    Every stratum gets its floor, its part of the share of places that is dealt out evenly, or all it has; the rest is in proportion
    to what is left of each, rounded by largest remainder, ties by stratum. Integers, but for the share.
    """
    total = sum(sizes.values())
    if total <= sample_size:
        return dict(sizes)
    floor = int(sample_size * evenly) // len(sizes)
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


def _draw(n: int, quota: int, stratum: Stratum, seed: int) -> npt.NDArray[np.int64]:
    """`quota` of a stratum's n documents, by their places in the order of path and position, ascending."""
    if quota == n:
        return np.arange(n, dtype=np.int64)
    windows = -(-quota // WINDOW_PLACES)
    start = int(fingerprint([*stratum, seed]), 16) % n
    chosen = []
    for window in range(windows):
        first, end = ((i * n + start) // windows for i in (window, window + 1))
        # Differences of floors: they add up to the quota, and no stretch gives more documents than it has.
        wanted = end * quota // n - first * quota // n
        places = np.arange(first, min(end, first + max(wanted, WINDOW_ROWS)), dtype=np.int64) % n
        chance = uniforms(seed, sample_keys(*stratum, places))
        chosen.append(places[np.argsort(chance, kind="stable")[:wanted]])
    return np.sort(np.concatenate([*chosen, np.empty(0, dtype=np.int64)]))


def nested_positions(
    shards: Iterable[ShardCount], sample_size: int, seed: int, evenly: float = EVENLY
) -> dict[str, npt.NDArray[np.int64]]:
    """Choose documents by strata like stratified_positions, but each on its own, so that a larger sample holds a smaller one.

    Every document has a random number of its own, and those with the smallest in a stratum are taken. Samples are nested except for
    the rounding of strata's places. A number is drawn for each document, and the places are in as many files as possible, so this
    is for samples where each document costs more than opening a file.
    """
    strata: dict[Stratum, list[ShardCount]] = {}
    for shard in sorted(shards, key=lambda shard: shard.path):
        strata.setdefault((shard.snapshot, shard.domain), []).append(shard)
    quotas = allocate({stratum: sum(shard.rows for shard in members) for stratum, members in strata.items()}, sample_size, evenly)
    chosen: dict[str, list[int]] = {}
    for stratum, members in strata.items():
        for owner, place in _smallest(members, quotas[stratum], seed):
            chosen.setdefault(members[owner].path, []).append(place)
    return {path: np.sort(np.array(places, dtype=np.int64)) for path, places in sorted(chosen.items())}


def _smallest(members: list[ShardCount], quota: int, seed: int) -> list[tuple[int, int]]:
    """The shard and place of the `quota` documents with the smallest random numbers; memory does not grow with the documents."""
    chance, owner, place = np.empty(0), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    for i, shard in enumerate(members):
        own = uniforms(seed, sample_keys(shard.snapshot, shard.path, np.arange(shard.rows, dtype=np.int64)))
        near = np.flatnonzero(own <= chance.max()) if chance.size >= quota > 0 else np.arange(shard.rows)
        chance = np.concatenate([chance, own[near]])
        owner = np.concatenate([owner, np.full(near.size, i)])
        place = np.concatenate([place, near])
        if chance.size > quota:
            kept = np.argsort(chance, kind="stable")[:quota]
            chance, owner, place = chance[kept], owner[kept], place[kept]
    return list(zip(owner.tolist(), place.tolist(), strict=True))
