"""Identities and randomness that are the same on every machine.

Everything here is a function of bytes alone: no Python hash(), no database sequence, no order of arrival.
"""

import hashlib
import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt

UInt64Array = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def canonical_json(value: Any) -> bytes:
    """Serialise to the one JSON text that stands for this value; raise TypeError where there is none.

    Accepts None, bool, int, finite float, str, and lists, tuples and string-keyed dicts of them.
    """
    _require_canonical(value, "$")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _require_canonical(value: Any, where: str) -> None:
    if value is None or isinstance(value, (bool, int, str)):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{where}: {value!r} has no canonical JSON form")
        return
    if isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            _require_canonical(item, f"{where}[{i}]")
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where}: key {key!r} is not a string")
            _require_canonical(item, f"{where}.{key}")
        return
    raise TypeError(f"{where}: {type(value).__name__} has no canonical JSON form")


def fingerprint(value: Any) -> str:
    """Identity of a value: the first 32 hex digits (128 bits) of the SHA-256 of its canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()[:32]


def content_hash(text: str) -> bytes:
    """128-bit BLAKE2b of a document's UTF-8 text; equal texts are exact duplicates."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


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
