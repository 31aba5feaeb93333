"""WebDataset: tar files, in which a sample is files of one name. Megatron-Energon reads the same.

The key of a sample is its name up to the first dot, so it is made of the sample's key and the copy's number, and of nothing that
may hold a dot: samples with equal keys would be merged without a word.
"""

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from samplemix_core.exports.export_format import Chunk, ExportFormat, Facts, Written, json_bytes


class WebDataset(ExportFormat):
    """Tar files of <key>.txt and <key>.json."""

    what = "WebDataset: tar files of .txt and .json (Energon reads them too)"

    def write(self, chunk: Chunk, directory: Path) -> Iterator[Written]:
        """See ExportFormat.write."""
        for number, table in self.copies(chunk.table()):
            path = f"train-{chunk.name}-c{number}.tar"
            with tarfile.open(directory / path, "w", format=tarfile.USTAR_FORMAT) as tar:
                for batch in table.to_batches(max_chunksize=1_000):
                    for row in batch.to_pylist():
                        key, text = f"{row['sample_key']}-c{row['copy']}", row.pop("text")
                        for suffix, data in (("json", json_bytes(row)), ("txt", text.encode())):
                            member = tarfile.TarInfo(f"{key}.{suffix}")
                            member.size = len(data)
                            tar.addfile(member, io.BytesIO(data))
            yield Written(path, {"nsamples": table.num_rows})

    def index(self, files: Sequence[Facts]) -> dict[str, bytes]:
        """An index in the form of wids, and the origin of the data."""
        shards = [{"url": file.path, "nsamples": file.facts["nsamples"], "filesize": file.size_bytes} for file in files]
        described = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": shards, "samplemix": self.origin}
        return {"index.json": json_bytes(described)}
