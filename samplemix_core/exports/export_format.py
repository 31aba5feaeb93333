"""A format that a mixture is exported to: what is written of each chunk of it, and what lists the chunks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.config.export import ExportConfig
from samplemix_core.config.run import ALL_PHASES
from samplemix_core.errors import ConfigError, ManifestError
from samplemix_core.identity import canonical_json
from samplemix_core.manifest.format import Manifest, PhaseRecord
from samplemix_core.sample_key import mix64

CHUNK_TOKENS = 2**24
"""Of documents that are in memory at once: about 64 MB of text."""

ROWS = pa.schema(
    [
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("id", pa.string()),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("sample_key", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("n_tokens", pa.int32(), nullable=False),
        pa.field("copies", pa.int32(), nullable=False),
    ]
)
"""Documents of a mixture, each once, sorted by shard and row. sample_key is in hex."""


class Amount(NamedTuple):
    """What an export holds: distinct documents, their copies, and the tokens of these."""

    samples: int
    copies: int
    tokens: int


def phase_of(manifest: Manifest, config: ExportConfig) -> PhaseRecord | None:
    """The phase that is exported; None for the whole mixture.

    Raises ConfigError for a mixture with phases if none is named, ManifestError for one that it doesn't have.
    """
    if manifest.phases and config.phase is None:
        raise ConfigError(
            f"{manifest.name} has phases, to be read one after another: {', '.join(manifest.phase_names)}. An export has no order.",
            f"Export each to its own place (--phase {manifest.phase_names[0]}), or their copies together (--phase {ALL_PHASES}).",
        )
    if config.phase is None or (manifest.phases and config.phase == ALL_PHASES):
        return None
    return manifest.phase(config.phase)


def amount(manifest: Manifest, config: ExportConfig) -> Amount:
    """What an export is to hold. Raises as phase_of() does."""
    whole = phase_of(manifest, config) or manifest
    return Amount(whole.samples, whole.copies, whole.realised_tokens)


Encode = Callable[[list[str]], list[npt.NDArray[np.int32]]]


class Tokens(NamedTuple):
    """How texts become tokens: `encode` gives each text's, `end_id` ends a document, and ids are below `vocabulary_size`."""

    encode: Encode
    end_id: int | None
    vocabulary_size: int

    def of(self, table: pa.Table, dtype: np.dtype[Any]) -> list[npt.NDArray[Any]]:
        """The ids of each document (ROWS), as integers of a type. Raises ManifestError for another number than the manifest's."""
        end = np.array([] if self.end_id is None else [self.end_id], dtype=np.int32)
        found = self.encode(table["text"].to_pylist())
        sizes = np.array([ids.size for ids in found], dtype=np.int64)
        for at in np.flatnonzero(sizes != table["n_tokens"].to_numpy())[:1].tolist():
            row = table.slice(at, 1).to_pylist()[0]
            raise ManifestError(
                f"Row {row['row']} of {row['shard']} has {sizes[at]:,} tokens here, and the manifest counts {row['n_tokens']:,}.",
                "Tokenise with the versions of SampleMix and of tokenizers that counted them, or mix again.",
            )
        return [np.concatenate([ids, end]).astype(dtype) for ids in found]


@dataclass(frozen=True)
class Chunk:
    """One chunk of a version: `name` is in its files' names, and no other chunk's."""

    name: str
    batches: Iterable[pa.Table]

    def table(self) -> pa.Table:
        """All its documents (ROWS)."""
        return pa.concat_tables([ROWS.empty_table(), *self.batches]).combine_chunks()


class Written(NamedTuple):
    """A file of a chunk, below the export's root, and what the format's index says of it."""

    path: str
    facts: dict[str, Any]


class Facts(NamedTuple):
    """A file that was exported: its size and SHA-256 too."""

    path: str
    size_bytes: int
    sha256: str
    facts: dict[str, Any]


@dataclass(frozen=True)
class ExportFormat(ABC):
    """One export to a format. `tokens` are there for formats of tokens."""

    config: ExportConfig
    manifest: Manifest
    manifest_uri: str
    target: str
    tokens: Tokens | None = None

    chunk_tokens: ClassVar[int] = CHUNK_TOKENS
    what: ClassVar[str]
    """What it is, for people."""

    @abstractmethod
    def write(self, chunk: Chunk, directory: Path) -> Iterator[Written]:
        """Write a chunk's files below a directory, and yield each when it is complete. Bytes depend on the documents alone."""

    @abstractmethod
    def index(self, files: Sequence[Facts]) -> dict[str, bytes]:
        """Files that list all others, which are given in the order of paths: path -> content."""

    @property
    def root(self) -> str:
        """Where the training job sees the export."""
        return (self.config.prefix or self.target).rstrip("/")

    @property
    def origin(self) -> dict[str, Any]:
        """What the export says about where it is from."""
        manifest = self.manifest
        return {
            "manifest": self.manifest_uri,
            "name": manifest.name,
            "version": manifest.version,
            "content_digest": manifest.content_digest,
            **({"phase": self.config.phase} if self.config.phase else {}),
        }

    @property
    def amount(self) -> Amount:
        """What it holds."""
        return amount(self.manifest, self.config)

    def copies(self, table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        """Deal a chunk's copies out to files: (number of the copy, its rows), shuffled; `copies` becomes `copy`, from 0.

        A file has a document at most once, so copies of a document are far apart, and a file is no longer than its chunk.
        """
        times = table["copies"].to_numpy()
        salt = np.uint64(int.from_bytes(bytes.fromhex(self.manifest.content_digest)[:8], "big"))
        key = mix64(np.array([int(value[:16], 16) for value in table["sample_key"].to_pylist()], dtype=np.uint64) ^ salt)
        place = table.schema.get_field_index("copies")
        for number in range(int(times.max(initial=0))):
            rows = np.flatnonzero(times > number)
            shuffled = rows[np.argsort(mix64(key[rows] + np.uint64(number)), kind="stable")]
            copy = pa.array(np.full(rows.size, number), pa.int32())
            yield number, table.take(pa.array(shuffled)).set_column(place, "copy", copy)


def cut(table: pa.Table, encode: Callable[[dict[str, Any]], bytes], most_bytes: int) -> Iterator[list[bytes]]:
    """Yield a table's rows, encoded, in lists of at most so many bytes; a longer row is alone."""
    held: list[bytes] = []
    size = 0
    for batch in table.to_batches(max_chunksize=1_000):
        for row in batch.to_pylist():
            data = encode(row)
            if held and size + len(data) > most_bytes:
                yield held
                held, size = [], 0
            held.append(data)
            size += len(data)
    if held:
        yield held


def json_bytes(value: Any) -> bytes:
    """JSON whose bytes depend on the value alone."""
    return canonical_json(value) + b"\n"
