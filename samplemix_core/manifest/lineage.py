"""What a mixture was made from, in a form that can be checked later."""

import hashlib
from collections.abc import Iterable

from pydantic import Field

from samplemix_core.config import FrozenModel

SHA256 = r"^[0-9a-f]{64}$"

ShardEntry = tuple[str, str, int]
"""A shard as listed: path relative to the corpus root, etag, size in bytes."""


class ReplacedFile(FrozenModel):
    """A shard's file that is not the one of the mixture: another took its place earlier."""

    path: str
    etag: str
    size_bytes: int = Field(ge=0)


class SnapshotLineage(FrozenModel):
    """One snapshot of the corpus, as it was listed."""

    name: str
    shards: int = Field(ge=0, description="Shards of the snapshot")
    shards_digest: str = Field(pattern=SHA256, description="SHA-256 of the lines 'path etag size' of its shards, sorted by path")
    replaced: tuple[ReplacedFile, ...] = Field(
        (), description="Files that corrected ones of the same name replaced before this version"
    )


class Lineage(FrozenModel):
    """Everything that decided the mixture's content, by identity."""

    corpus: str = Field(description="Identity of the corpus: its URI, reader settings and tokenizer")
    snapshots: tuple[SnapshotLineage, ...]
    quality_model: str
    encoder: str
    cluster_model: str
    code_version: str = Field(description="Version of SampleMix")
    config_fingerprint: str = Field(description="Identity of the run's configuration")
    airflow_run_id: str | None = Field(None, description="Airflow run that published it; null from the command line")


def shards_digest(shards: Iterable[ShardEntry]) -> str:
    """SHA-256 (hex) of the UTF-8 lines 'path etag size', each ended by a newline, sorted by path: any order gives the same."""
    digest = hashlib.sha256()
    for path, etag, size in sorted(shards):
        digest.update(f"{path} {etag} {size}\n".encode())
    return digest.hexdigest()
