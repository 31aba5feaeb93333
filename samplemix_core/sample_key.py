"""Keys and random numbers of samples: functions of snapshot, path, row and seed, never a database sequence or an order."""

import hashlib

import numpy as np
import numpy.typing as npt

from samplemix_core.identity import canonical_json

UInt64Array = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def shard_key(snapshot: str, path: str) -> tuple[int, int]:
    """Two 64-bit words for a shard, from its snapshot's name and its path relative to the corpus root."""
    digest = hashlib.blake2b(canonical_json([snapshot, path]), digest_size=16).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")


def mix64(x: UInt64Array) -> UInt64Array:
    """SplitMix64's finaliser, element-wise: a bijection of 64-bit words (Steele, Lea and Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


def sample_keys(snapshot: str, path: str, rows: npt.NDArray[np.int64]) -> UInt64Array:
    """128-bit keys of samples as an (n, 2) array of big-endian-ordered words (high, low).

    A bijection of the row within a shard, so two rows of one shard never share a key.
    """
    high, low = shard_key(snapshot, path)
    counter = rows.astype(np.uint64) * _GOLDEN
    keys = np.empty((rows.size, 2), dtype=np.uint64)
    keys[:, 0] = mix64(counter + np.uint64(high))
    keys[:, 1] = mix64((counter ^ keys[:, 0]) + np.uint64(low))
    return keys


def keys_to_bytes(keys: UInt64Array) -> npt.NDArray[np.void]:
    """Keys of shape (n, 2) as n big-endian 16-byte strings, the form they have in a manifest."""
    return np.ascontiguousarray(keys.astype(">u8")).view("V16").reshape(-1)


def uniforms(seed: int, keys: UInt64Array) -> npt.NDArray[np.float64]:
    """One number in [0, 1) for each key of an (n, 2) array: a counter-based hash of (seed, key), 53 bits.

    A sample's number depends on its own key and the seed only, so it is stable when other samples come or go.
    """
    word = np.array([seed % 2**64], dtype=np.uint64)
    salt = mix64(word + _GOLDEN)[0]
    mixed = mix64(mix64(keys[:, 0] ^ salt) + keys[:, 1])
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53
