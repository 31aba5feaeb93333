"""Identities of values and texts, the same on every machine: functions of bytes alone, never Python's hash()."""

import hashlib
import json
import math
from typing import Any
from uuid import UUID


def canonical_json(value: Any) -> bytes:
    """Serialise to the one JSON text that stands for this value; raise TypeError if there is none.

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


def hash_range(share: float, seed: int = 0) -> tuple[UUID, UUID]:
    """The least and the greatest content hash of a share (0 to 1) of all texts, picked by the seed: the same in every database."""
    width = min(2**128, max(1, round(share * 2**128)))
    start = int(fingerprint({"seed": seed}), 16) % (2**128 - width + 1)
    return UUID(int=start), UUID(int=start + width - 1)
