"""litdata's chunks: each copy an item."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samplemix_core.exports.export_format import Chunk, ExportFormat, Facts, Written, cut, json_bytes

CHUNK_BYTES = 2**28
"""Most bytes of a chunk's items, unless one is longer. Offsets are of 32 bits, so none may come near 4 GiB."""

_LEAVES = {
    **{"text": "str", "id": "str", "domain": "str", "sample_key": "str", "shard": "str"},
    **{"row": "int", "copy": "int", "n_tokens": "int"},
}
"""The leaves of an item, in order, and how each is written."""


class LitData(ExportFormat):
    """Chunks, and the index that lists them."""

    what = "litdata: chunks of an optimised dataset"

    def write(self, chunk: Chunk, directory: Path) -> Iterator[Written]:
        """See ExportFormat.write."""
        for number, table in self.copies(chunk.table()):
            for place, items in enumerate(cut(table, _item, CHUNK_BYTES)):
                offsets = 4 * (len(items) + 2) + np.cumsum([0, *map(len, items)])
                path = f"chunk-{chunk.name}-c{number}-{place:05d}.bin"
                data = np.uint32(len(items)).tobytes() + offsets.astype("<u4").tobytes() + b"".join(items)
                (directory / path).write_bytes(data)
                yield Written(path, {"chunk_size": len(items)})

    def index(self, files: Sequence[Facts]) -> dict[str, bytes]:
        """See ExportFormat.index."""
        chunks = [
            {"chunk_bytes": file.size_bytes, "chunk_size": file.facts["chunk_size"], "dim": None, "filename": file.path}
            for file in files
        ]
        leaf: dict[str, Any] = {"type": None, "context": None, "children_spec": []}
        spec = {"type": "builtins.dict", "context": json.dumps(list(_LEAVES)), "children_spec": [leaf] * len(_LEAVES)}
        config = {
            "chunk_bytes": max((file.size_bytes for file in files), default=0),
            "chunk_size": None,
            "compression": None,
            "data_format": list(_LEAVES.values()),
            "data_spec": json.dumps([1, spec]),
            "encryption": None,
            "item_loader": "PyTreeLoader",
        }
        return {"index.json": json_bytes({"chunks": chunks, "config": config, "updated_at": "0", "samplemix": self.origin})}


def _item(row: dict[str, Any]) -> bytes:
    """The sizes of the leaves, and the leaves."""
    leaves = [np.int64(row[name]).tobytes() if kind == "int" else (row[name] or "").encode() for name, kind in _LEAVES.items()]
    return np.array([len(leaf) for leaf in leaves], "<u4").tobytes() + b"".join(leaves)
