"""A small mixture, made the way the pipeline makes one."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.manifest.catalogue import Mixtures
from samplemix_core.manifest.format import (
    Counts,
    Lineage,
    ManifestDraft,
    PartFile,
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
from samplemix_core.manifest.publish import Published, publish
from samplemix_core.manifest.sources import SourceShard, write_sources
from samplemix_core.mixing.phases import PhaseWanted, solve_phases
from samplemix_core.mixing.solver import solve_copies
from samplemix_core.objects.directory import FileStore
from samplemix_core.policies.policy import PHASES, Columns, Scale
from samplemix_core.policies.registry import record
from samplemix_core.policies.samplemix import SampleMix
from samplemix_core.sample_key import keys_to_bytes, sample_keys, uniforms

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SCALE = Scale(0.0, 10.0)
DOMAINS = ["web", "books", "código"]
SHARDS = [(f"crawl-a/web/part-{i:05d}.jsonl.zst", f"etag{i}", 100 + i) for i in range(3)]


@dataclass(frozen=True)
class Mixture:
    """A draft, its parts and where their files are."""

    draft: ManifestDraft
    parts: tuple[PartFile, ...]
    directory: Path

    def read(self, file: str) -> bytes:
        return (self.directory / file).read_bytes()

    def publish(self, store: FileStore, root: str = "mixtures", now: datetime = NOW) -> Published:
        return publish(Mixtures(store, root), self.draft, self.parts, self.read, now)


def mix(
    directory: Path,
    seed: int = 42,
    samples_a_shard: int = 120,
    rows_per_part: int = 40,
    name: str = "demo",
    sources: bool = False,
    phases: bool = False,
) -> Mixture:
    """A mixture of three shards in three domains, at half of its source's tokens; or in two phases."""
    rng = np.random.default_rng(5)
    n = samples_a_shard * len(SHARDS)
    row = np.tile(np.arange(samples_a_shard), len(SHARDS))
    keys = np.concatenate([sample_keys("crawl-a", path, np.arange(samples_a_shard)) for path, _, _ in SHARDS])
    quality, diversity = (rng.random(n) * 10).astype(np.float32), rng.random(n).astype(np.float32)
    tokens, codes = rng.integers(0, 900, n).astype(np.int32), rng.integers(0, len(DOMAINS), n).astype(np.int16)
    weights = SampleMix().weigh(SCALE)(Columns(quality, diversity))
    budget = int(tokens.sum()) // 2
    solution = solve_copies(weights, tokens, uniforms(seed, keys), budget, 4)
    wanted = [
        PhaseWanted("broad", 0.75, 2, lambda *_: np.ones(n)),
        PhaseWanted("clean", 0.25, 3, lambda *_: weights),
    ] * phases
    solved = solve_phases(wanted, tokens, uniforms(seed, keys), budget, 4)
    chosen = solved.copies if phases else solution.copies
    policy = PolicyRecord(name="samplemix", parameters=record(SampleMix(), SCALE))
    rows = pa.table(
        {
            "snapshot": pa.array(["crawl-a"] * n).dictionary_encode(),
            "shard": pa.array(np.repeat([path for path, _, _ in SHARDS], samples_a_shard)).dictionary_encode(),
            "row": row,
            "sample_key": pa.array([key.tobytes() for key in keys_to_bytes(keys)], pa.binary(16)),
            "domain": pa.DictionaryArray.from_arrays(codes.astype(np.int32), DOMAINS),
            "n_tokens": tokens,
            "copies": chosen.astype(np.int32),
            "weight": solved.wanted if phases else weights,
            "quality": quality,
            "diversity": diversity,
            "cluster": (row % 7).astype(np.int32),
            **{copies_in(phase.name): phase.solution.copies.astype(np.int32) for phase in solved.phases},
        },
        schema=part_schema(phase.name for phase in solved.phases),
    )
    directory.mkdir(parents=True, exist_ok=True)
    copies = chosen.astype(np.int64)
    columns: dict[str, npt.NDArray[np.generic]] = {
        "source_samples": np.ones(n),
        "source_tokens": tokens,
        "samples": copies > 0,
        "copies": copies,
        "mixture_tokens": copies * tokens,
    }
    sums = {
        name: np.bincount(codes, weights=values.astype(np.float64), minlength=len(DOMAINS)).astype(int).tolist()
        for name, values in columns.items()
    }
    listed = [SourceShard(*shard, [0, 50], [0, 9_000]) for shard in SHARDS]
    draft = ManifestDraft(
        name=name,
        reader=ReaderConfig(text_field="body") if sources else None,
        sources=write_sources(listed, directory) if sources else None,
        corpus_root="s3://corpora/demo",
        seed=seed,
        policy=PolicyRecord(name=PHASES, parameters={"q_low": 0.0, "q_high": 10.0}) if phases else policy,
        solver=SolverRecord(
            max_copies=4,
            kappa=1.0 if phases else solution.kappa,
            next_tokens=(solved.phases[-1].solution if phases else solution).next_tokens,
        ),
        phases=tuple(
            PhaseRecord(
                name=phase.name,
                policy=policy if own.name == "clean" else PolicyRecord(name="natural", parameters={}),
                solver=SolverRecord(max_copies=own.max_copies, kappa=phase.solution.kappa, next_tokens=phase.solution.next_tokens),
                held_back=phase.held_back,
                budget_tokens=phase.budget_tokens,
                realised_tokens=phase.solution.realised_tokens,
                samples=int(np.count_nonzero(phase.solution.copies)),
                copies=int(phase.solution.copies.sum()),
            )
            for phase, own in zip(solved.phases, wanted, strict=True)
        ),
        budget_tokens=budget,
        realised_tokens=int((copies * tokens).sum()),
        samples=int(np.count_nonzero(copies)),
        copies=int(copies.sum()),
        counts=Counts(documents=n + 7, scored=n, quarantined=3, duplicates=4, eligible=n),
        domains=domain_shares(DOMAINS, **sums),
        lineage=Lineage(
            corpus="c0ffee",
            snapshots=(SnapshotLineage(name="crawl-a", shards=len(SHARDS), shards_digest=shards_digest(SHARDS)),),
            quality_model="q1",
            encoder="e1",
            cluster_model="k1",
            code_version="0.1.0",
            config_fingerprint="f1",
        ),
    )
    return Mixture(draft, write_parts([rows.filter(copies > 0)], directory, rows_per_part, draft.phase_names), directory)


@pytest.fixture(scope="session")
def make_mixture(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Mixture]:
    """Mixtures by seed and options, each made once."""
    made: dict[tuple[tuple[str, object], ...], Mixture] = {}

    def make(**options: object) -> Mixture:
        key = tuple(sorted(options.items()))
        if key not in made:
            made[key] = mix(tmp_path_factory.mktemp("draft"), **options)  # type: ignore[arg-type]
        return made[key]

    return make


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")
