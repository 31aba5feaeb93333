"""MosaicML's MDS: a stream for each number of copies, which the reader repeats."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from samplemix_core.exports.export_format import Chunk, ExportFormat, Facts, Written, cut, json_bytes
from samplemix_core.identity import canonical_json

SHARD_BYTES = 2**28
"""Most bytes of a shard, unless one document is longer. Offsets are of 32 bits, so none may come near 4 GiB."""

_COLUMNS = {"domain": "str", "id": "str", "n_tokens": "int64", "row": "int64", "sample_key": "str", "shard": "str", "text": "str"}
"""Sorted by name, as the format demands."""

_FIXED = {"int64": 8}


class Mds(ExportFormat):
    """Shards of MDS in one directory for each number of copies, with streams.json, which says how often each is repeated."""

    what = "MosaicML MDS: a stream for each number of copies, repeated by the reader"

    def write(self, chunk: Chunk, directory: Path) -> Iterator[Written]:
        """See ExportFormat.write."""
        table = chunk.table()
        copies = table["copies"].to_numpy()
        for times in np.unique(copies).tolist():
            own = table.take(pa.array(np.flatnonzero(copies == times)))
            stream = f"copies-{times:04d}"
            (directory / stream).mkdir(exist_ok=True)
            for number, samples in enumerate(cut(own, _sample, SHARD_BYTES)):
                name = f"shard.{chunk.name}.{number:05d}.mds"
                data = _shard(samples)
                (directory / stream / name).write_bytes(data)
                yield Written(f"{stream}/{name}", {"samples": len(samples), "copies": times})

    def index(self, files: Sequence[Facts]) -> dict[str, bytes]:
        """See ExportFormat.index."""
        streams: dict[int, list[Facts]] = defaultdict(list)
        for file in files:
            streams[file.facts["copies"]].append(file)
        found = {
            f"copies-{times:04d}/index.json": json_bytes({"version": 2, "shards": [_described(file) for file in own]})
            for times, own in sorted(streams.items())
        }
        listed = {f"copies-{times:04d}": {"repeat": times} for times in sorted(streams)}
        return {**found, "streams.json": json_bytes({"streams": listed, "samplemix": self.origin})}


def _sample(row: dict[str, Any]) -> bytes:
    """The sizes of the columns of varying size, and all values."""
    values = [
        np.int64(row[name]).tobytes() if encoding in _FIXED else (row[name] or "").encode() for name, encoding in _COLUMNS.items()
    ]
    sizes = [len(value) for value, encoding in zip(values, _COLUMNS.values(), strict=True) if encoding not in _FIXED]
    return np.array(sizes, "<u4").tobytes() + b"".join(values)


def _shard(samples: list[bytes]) -> bytes:
    config = canonical_json(_config())
    begins = 4 + 4 * (len(samples) + 1) + len(config)
    offsets = begins + np.cumsum([0, *map(len, samples)])
    return np.uint32(len(samples)).tobytes() + offsets.astype("<u4").tobytes() + config + b"".join(samples)


def _config() -> dict[str, Any]:
    return {
        "column_encodings": list(_COLUMNS.values()),
        "column_names": list(_COLUMNS),
        "column_sizes": [_FIXED.get(encoding) for encoding in _COLUMNS.values()],
        "compression": None,
        "format": "mds",
        "hashes": ["sha256"],
        "size_limit": SHARD_BYTES,
    }


def _described(file: Facts) -> dict[str, Any]:
    """A shard, as index.json lists it."""
    raw = {"basename": file.path.rpartition("/")[2], "bytes": file.size_bytes, "hashes": {"sha256": file.sha256}}
    return {**_config(), "raw_data": raw, "samples": file.facts["samples"], "version": 2, "zip_data": None}
