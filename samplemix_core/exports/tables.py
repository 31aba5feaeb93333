"""JSON lines, Parquet, and the layout of a Hugging Face dataset repository."""

import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from samplemix_core.exports.export_format import Chunk, ExportFormat, Facts, Written, phase_of

_GROUP_ROWS = 2**13


class Table(ExportFormat):
    """Rows with a column of copies, or each copy a row."""

    suffix: ClassVar[str]

    def write(self, chunk: Chunk, directory: Path) -> Iterator[Written]:
        """See ExportFormat.write."""
        if not self.config.materialise:
            yield self._file(chunk.name, chunk.batches, directory)
            return
        for number, table in self.copies(chunk.table()):
            yield self._file(f"{chunk.name}-c{number}", [table], directory)

    def _file(self, name: str, tables: Any, directory: Path) -> Written:
        written = Written(f"data/train-{name}{self.suffix}", {})
        path = directory / written.path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.write_rows(tables, path)
        return written

    @abstractmethod
    def write_rows(self, tables: Any, path: Path) -> None:
        """Write tables, one after another, as a file."""

    def index(self, files: Sequence[Facts]) -> dict[str, bytes]:
        """None: a directory of such files is read as it is."""
        return {}


class JsonLines(Table):
    """A JSON object a line."""

    what = "JSON lines: a document a line"
    suffix = ".jsonl"

    def write_rows(self, tables: Any, path: Path) -> None:
        """See Table.write_rows."""
        encoder = msgspec.json.Encoder()
        with path.open("wb") as file:
            for table in tables:
                for batch in table.to_batches(max_chunksize=1_000):
                    file.write(encoder.encode_lines(batch.to_pylist()))


class Parquet(Table):
    """Parquet, whose metadata say where the rows are from."""

    what = "Parquet"
    suffix = ".parquet"

    def write_rows(self, tables: Any, path: Path) -> None:
        """See Table.write_rows."""
        writer: pq.ParquetWriter | None = None
        repeating = ["domain", "shard", "copy" if self.config.materialise else "copies", "n_tokens"]
        held: list[pa.Table] = []

        def flush() -> None:
            nonlocal held, writer
            table = pa.concat_tables(held)
            if writer is None:
                schema = table.schema.with_metadata({"samplemix": json.dumps(self.origin, sort_keys=True)})
                # Texts and keys don't repeat, so a dictionary of them is only built to be thrown away.
                writer = pq.ParquetWriter(
                    path, schema, version="2.6", compression="zstd", compression_level=1, use_dictionary=repeating
                )
            writer.write_table(table.cast(writer.schema), row_group_size=_GROUP_ROWS)
            held = []

        # Row groups depend on the rows alone, not on how they come.
        for table in tables:
            start = 0
            while start < table.num_rows:
                piece = table.slice(start, _GROUP_ROWS - sum(part.num_rows for part in held))
                held.append(piece)
                start += piece.num_rows
                if sum(part.num_rows for part in held) == _GROUP_ROWS:
                    flush()
        if held:
            flush()
        if writer is not None:
            writer.close()


class HuggingFace(Parquet):
    """A dataset repository of the Hugging Face hub: Parquet files, and a card."""

    what = "a dataset repository of the Hugging Face hub: Parquet files and a card"

    def index(self, files: Sequence[Facts]) -> dict[str, bytes]:
        """See ExportFormat.index."""
        manifest, (samples, copies, tokens) = self.manifest, self.amount
        rows = copies if self.config.materialise else samples
        size = sum(file.size_bytes for file in files)
        # One is written as a word, and several as a list.
        named = [self.config.license] if self.config.license else list(manifest.licenses)
        licences = named[0] if len(named) == 1 else named
        header = {
            "license": licences or "other",
            **({"language": list(self.config.languages)} if self.config.languages else {}),
            "task_categories": ["text-generation"],
            "size_categories": [_size_category(rows)],
            "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}],
            "dataset_info": {
                "config_name": "default",
                "splits": [{"name": "train", "num_examples": rows, "num_bytes": size}],
                "download_size": size,
                "dataset_size": size,
            },
        }
        said = "" if licences else "The licence was not given when this was exported: ask its owner.\n\n"
        domains = "".join(
            f"| {share.domain} | {share.samples:,} | {share.copies:,} | {share.mixture_tokens:,} | {share.mixture_share:.1%} |\n"
            for share in manifest.domains
        )
        table = f"\n| domain | documents | copies | tokens | share of tokens |\n|---|---|---|---|---|\n{domains}"
        phase = phase_of(manifest, self.config)
        tokenizer = f" of {manifest.tokenizer.name}" if manifest.tokenizer else ""
        repeated = (
            "Each copy is a row; `copy` counts those of a document."
            if self.config.materialise
            else "`copies` says how often a document is to be seen in an epoch."
        )
        # JSON is YAML too.
        card = "\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in header.items())
        text = (
            f"---\n{card}\n---\n\n# {manifest.name}, version {manifest.version}\n\n"
            f"A training mixture that SampleMix made of {manifest.corpus_root}{f', its phase {phase.name}' if phase else ''}:"
            f" {samples:,} documents in {copies:,} copies, {tokens:,} tokens{tokenizer}. {repeated}\n\n{said}"
            f"- manifest: {self.manifest_uri}\n- content digest: {manifest.content_digest}\n"
            f"- policy: {(phase or manifest).policy.name}\n"
            f"{'' if phase else table}"
        )
        return {"README.md": text.encode()}


def _size_category(rows: int) -> str:
    """The hub's name of a number of rows: 'n<1K', '10K<n<100K', 'n>1T'."""
    steps = [("1K", 10**3), ("10K", 10**4), ("100K", 10**5), ("1M", 10**6), ("10M", 10**7), ("100M", 10**8), ("1B", 10**9)]
    steps += [("10B", 10**10), ("100B", 10**11), ("1T", 10**12)]
    above = [name for name, least in steps if rows >= least]
    below = [name for name, least in steps if rows < least]
    if not above:
        return f"n<{below[0]}"
    return f"{above[-1]}<n<{below[0]}" if below else f"n>{above[-1]}"
