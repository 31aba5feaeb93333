"""Megatron's .bin and .idx: tokens once, and pointers that repeat a document as often as it has copies."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from samplemix_core.errors import ConfigError
from samplemix_core.exports.export_format import Chunk, ExportFormat, Facts, Written, json_bytes

_CODES = {"<i4": 4, "<u2": 8}
"""Megatron's numbers of the types of ids."""


class Megatron(ExportFormat):
    """Indexed datasets, and a file with their prefixes for --data-args-path. A copy costs 20 bytes."""

    what = "Megatron .bin and .idx, in which copies are repeated pointers, with a file for --data-args-path"
    chunk_tokens = 2**31

    def write(self, chunk: Chunk, directory: Path) -> Iterator[Written]:
        """See ExportFormat.write."""
        assert self.tokens is not None
        # As Megatron's own writer chooses.
        dtype = np.dtype("<u2" if self.tokens.vocabulary_size < 65_500 else "<i4")
        lengths, copies = [], []
        name = f"chunk-{chunk.name}"
        with (directory / f"{name}.bin").open("wb") as file:
            for table in chunk.batches:
                for ids in self.tokens.of(table, dtype):
                    file.write(ids.tobytes())
                    lengths.append(ids.size)
                copies.append(table["copies"].to_numpy())
        yield Written(f"{name}.bin", {})
        sizes, times = np.array(lengths, dtype=np.int64), np.concatenate(copies)
        pointers = (np.cumsum(sizes) - sizes) * dtype.itemsize
        sequences = int(times.sum())
        with (directory / f"{name}.idx").open("wb") as file:
            file.write(b"MMIDIDX\x00\x00" + np.uint64(1).tobytes() + np.uint8(_CODES[dtype.str]).tobytes())
            file.write(np.uint64(sequences).tobytes() + np.uint64(sequences + 1).tobytes())
            file.write(np.repeat(sizes, times).astype("<i4").tobytes())
            file.write(np.repeat(pointers, times).astype("<i8").tobytes())
            file.write(np.arange(sequences + 1, dtype="<i8").tobytes())
        yield Written(f"{name}.idx", {})

    def index(self, files: Sequence[Facts]) -> dict[str, bytes]:
        """See ExportFormat.index."""
        assert self.tokens is not None
        root = self.root
        if any(character.isspace() for character in root):
            raise ConfigError(
                f"Megatron can't read a list of files below {root!r}: it splits it at blanks.", "Give a --prefix without."
            )
        prefixes = [f"{root}/{file.path.removesuffix('.idx')}" for file in files if file.path.endswith(".idx")]
        described = {"samplemix": self.origin, "end_id": self.tokens.end_id, "vocabulary_size": self.tokens.vocabulary_size}
        # Without weights, all of each is read once an epoch.
        return {"data-args.txt": "\n".join(prefixes).encode() + b"\n", "origin.json": json_bytes(described)}
