"""Mixtures of corpora that are files in an object store, published as the pipeline does, without a platform."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.corpus.reader import ShardReader
from samplemix_core.corpus.streams import zstd
from samplemix_core.manifest.catalogue import Mixtures, Version
from samplemix_core.manifest.format import (
    Counts,
    Lineage,
    ManifestDraft,
    PhaseRecord,
    PolicyRecord,
    SnapshotLineage,
    SolverRecord,
    copies_in,
    domain_shares,
    part_schema,
    shards_digest,
)
from samplemix_core.manifest.parts import write_parts
from samplemix_core.manifest.publish import publish
from samplemix_core.manifest.sources import SourceShard, write_sources
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.sample_key import keys_to_bytes, sample_keys

Records = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Published:
    """A published mixture, and what its samples are: (shard, row) -> copies, and the text."""

    version: Version
    copies: dict[tuple[str, int], int]
    texts: dict[tuple[str, int], str]

    @property
    def uri(self) -> str:
        return self.version.uri


def records(name: str, count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(len(name))
    return [{"id": f"{name}.{i}.é", "text": f"{name} {i} " + "wörd " * int(rng.integers(1, 60))} for i in range(count)]


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".lz4": lz4.frame.compress,
    ".zst": zstd.compress,
}


def write_shard(path: Path, rows: Records) -> None:
    """Write records as the suffix says: JSON lines with a blank line in between, compressed, or Parquet in groups of 50 rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=50)
        return
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    data = "\n".join([*lines[:3], "", *lines[3:]]).encode() + b"\n"
    path.write_bytes(COMPRESS.get(path.suffix, bytes)(data))


def quality_of(number: int) -> float:
    """0 to 10."""
    return number * 37 % 101 / 10


def cluster_of(number: int) -> int:
    """0 to 2."""
    return number % 3


def publish_corpus(
    mixtures: Mixtures,
    corpus: ObjectStore,
    scratch: Path,
    copies_of: Callable[[int], int],
    rows_per_part: int = 100,
    phases: Mapping[str, Callable[[int], int]] | None = None,
    config: ReaderConfig | None = None,
    licenses: tuple[str, ...] = (),
) -> Published:
    """Publish a mixture of all shards of a corpus: the n-th document gets copies_of(n) copies, a token is a word.

    It has quality_of(n), and is in cluster_of(n). With `phases`, it gets the copies that each of these gives it.
    """
    store, config = corpus, config or ReaderConfig()
    listed, columns = [], []
    texts: dict[tuple[str, int], str] = {}
    for info in store.list():
        with store.open(info.key) as stream:
            reader = ShardReader(stream, info.key, config)
            plain = info.key.endswith(".jsonl")
            blocks = reader.plan(40, 2**20) if plain else []
            documents = [row for batch in reader.read() for row in batch.documents.to_pylist()]
        listed.append(SourceShard(info.key, info.etag, info.size, [b.first_row for b in blocks], [b.byte_offset for b in blocks]))
        columns += [(info.key, row["row"], row["domain"], len(row["text"].split())) for row in documents]
        texts |= {(info.key, row["row"]): row["text"] for row in documents}
    shard, row, domain, tokens = (list(column) for column in zip(*columns, strict=True))
    of_phase = {name: np.array([own(i) for i in range(len(row))], dtype=np.int32) for name, own in (phases or {}).items()}
    copies = np.array([copies_of(i) for i in range(len(row))], dtype=np.int32)
    if of_phase:
        copies = np.sum(list(of_phase.values()), axis=0, dtype=np.int32)
    keys = np.concatenate([sample_keys(path.split("/")[0], path, np.array([at])) for path, at in zip(shard, row, strict=True)])
    table = pa.table(
        {
            "snapshot": pa.array([path.split("/")[0] for path in shard]).dictionary_encode(),
            "shard": pa.array(shard).dictionary_encode(),
            "row": pa.array(row, pa.int64()),
            "sample_key": pa.array([key.tobytes() for key in keys_to_bytes(keys)], pa.binary(16)),
            "domain": pa.array(domain).dictionary_encode(),
            "n_tokens": pa.array(tokens, pa.int32()),
            "copies": copies,
            "weight": np.ones(len(row)),
            "quality": np.array([quality_of(n) for n in range(len(row))], dtype=np.float32),
            "diversity": np.ones(len(row), np.float32),
            "cluster": np.array([cluster_of(n) for n in range(len(row))], dtype=np.int32),
            **{copies_in(name): own for name, own in of_phase.items()},
        },
        schema=part_schema(of_phase),
    )
    draft_directory = scratch / "draft"
    draft_directory.mkdir(parents=True)
    parts = write_parts([table.filter(pa.array(copies > 0))], draft_directory, rows_per_part, list(of_phase))
    domains, count = sorted(set(domain)), np.array(tokens)
    in_domain = {each: np.array([value == each for value in domain]) for each in domains}
    realised = int((count * copies).sum())
    policy, most = PolicyRecord(name="natural", parameters={}), max(1, int(copies.max()))
    snapshots = sorted({path.split("/")[0] for path in shard})
    draft = ManifestDraft(
        name="demo",
        corpus_root=store.uri,
        seed=1,
        licenses=licenses,
        policy=policy,
        solver=SolverRecord(max_copies=most, kappa=1.0, next_tokens=0),
        phases=tuple(
            PhaseRecord(
                name=name,
                policy=policy,
                solver=SolverRecord(max_copies=most, kappa=1.0, next_tokens=0),
                held_back=0,
                budget_tokens=int((count * own).sum()),
                realised_tokens=int((count * own).sum()),
                samples=int((own > 0).sum()),
                copies=int(own.sum()),
            )
            for name, own in of_phase.items()
        ),
        reader=config,
        sources=write_sources(listed, draft_directory),
        budget_tokens=realised,
        realised_tokens=realised,
        samples=int((copies > 0).sum()),
        copies=int(copies.sum()),
        counts=Counts(documents=len(row), scored=len(row), quarantined=0, duplicates=0, eligible=len(row)),
        domains=domain_shares(
            domains,
            source_samples=[int(in_domain[each].sum()) for each in domains],
            source_tokens=[int(count[in_domain[each]].sum()) for each in domains],
            samples=[int((copies[in_domain[each]] > 0).sum()) for each in domains],
            copies=[int(copies[in_domain[each]].sum()) for each in domains],
            mixture_tokens=[int((count * copies)[in_domain[each]].sum()) for each in domains],
        ),
        lineage=Lineage(
            corpus="c",
            snapshots=tuple(
                SnapshotLineage(name=each, shards=len(mine), shards_digest=shards_digest(mine))
                for each in snapshots
                for mine in [[item.entry for item in listed if item.shard.startswith(f"{each}/")]]
            ),
            quality_model="q",
            encoder="e",
            cluster_model="k",
            code_version="0.1.0",
            config_fingerprint="f",
        ),
    )
    made = publish(mixtures, draft, parts, lambda file: (draft_directory / file).read_bytes(), datetime(2026, 3, 1, tzinfo=UTC))
    places = zip(shard, row, copies.tolist(), strict=True)
    return Published(made.version, {(path, at): n for path, at, n in places if n}, texts)
