"""OLMo-core's token arrays, with a table beside each that says which document its tokens are of."""

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from samplemix_core.exports.export_format import Chunk, ExportFormat, Facts, Written, json_bytes


class Olmo(ExportFormat):
    """Arrays of documents with equal numbers of copies, and a list that names each as often."""

    what = "OLMo-core .npy and .csv.gz, and a list of paths that repeats files as often as they have copies"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Unsigned integers, which are all that OLMo-core knows; it guesses them by the same rule, but for 256 ids and fewer."""
        assert self.tokens is not None
        return np.dtype("<u2" if self.tokens.vocabulary_size <= 2**16 else "<u4")

    def write(self, chunk: Chunk, directory: Path) -> Iterator[Written]:
        """See ExportFormat.write."""
        assert self.tokens is not None
        table = chunk.table()
        copies = table["copies"].to_numpy()
        (directory / "tokens").mkdir(exist_ok=True)
        for times in np.unique(copies).tolist():
            own = table.take(pa.array(np.flatnonzero(copies == times)))
            ids = self.tokens.of(own, self.dtype)
            path = f"tokens/{chunk.name}-x{times:04d}.npy"
            with (directory / path).open("wb") as file:
                file.writelines(part.tobytes() for part in ids)
            yield Written(path, {"copies": times})
            ends = np.cumsum([part.size for part in ids])
            facts = own.select(["sample_key", "shard", "row"]).to_pylist()
            lines = io.StringIO()
            writer = csv.writer(lines, lineterminator="\n")
            for end, part, fact in zip(ends.tolist(), ids, facts, strict=True):
                writer.writerow([end - part.size, end, fact["sample_key"], fact["shard"], fact["row"]])
            beside = path.removesuffix(".npy") + ".csv.gz"
            (directory / beside).write_bytes(gzip.compress(lines.getvalue().encode(), mtime=0))
            yield Written(beside, {})

    def index(self, files: Sequence[Facts]) -> dict[str, bytes]:
        """See ExportFormat.index."""
        assert self.tokens is not None
        root = self.root
        arrays = [file for file in files if file.path.endswith(".npy")]
        paths = [f"{root}/{file.path}" for file in arrays for _ in range(file.facts["copies"])]
        described = {
            "samplemix": self.origin,
            "dtype": self.dtype.name,
            "eos_token_id": self.tokens.end_id,
            "vocab_size": self.tokens.vocabulary_size,
        }
        return {"paths.txt": "\n".join(paths).encode() + b"\n", "origin.json": json_bytes(described)}
