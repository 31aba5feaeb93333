"""Publishers racing on a real S3: the store's conditional writes are what keeps versions whole."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

import pytest

from samplemix_core.manifest.catalogue import Mixtures
from samplemix_core.manifest.format import Counts, DomainShare, Lineage, ManifestDraft, PartFile, PolicyRecord, SolverRecord
from samplemix_core.manifest.publish import Published, publish
from samplemix_core.objects.interface import ObjectStore

PUBLISHERS = 6
PARTS = 3


def contents(seed: int) -> list[bytes]:
    """Bytes of parts; the first part is the same for every seed."""
    return [b"shared", *(f"part {i} of {seed}".encode() for i in range(1, PARTS))]


def run(store: ObjectStore, seed: int, barrier: Barrier) -> Published:
    parts = [
        PartFile(path=f"part-{i:05d}.parquet", rows=1, tokens=10, sha256=hashlib.sha256(data).hexdigest())
        for i, data in enumerate(contents(seed))
    ]
    tokens = 10 * PARTS
    domain = DomainShare(
        domain="all", source_samples=PARTS, source_tokens=tokens, source_share=1, samples=PARTS, copies=PARTS,
        mixture_tokens=tokens, mixture_share=1, mean_copies=1,
    )  # fmt: skip
    draft = ManifestDraft(
        name="race",
        corpus_root="s3://corpora/race",
        seed=seed,
        policy=PolicyRecord(name="natural", parameters={}),
        solver=SolverRecord(max_copies=1, kappa=1.0, next_tokens=0),
        budget_tokens=tokens,
        realised_tokens=tokens,
        samples=PARTS,
        copies=PARTS,
        counts=Counts(documents=PARTS, scored=PARTS, quarantined=0, duplicates=0, eligible=PARTS),
        domains=(domain,),
        lineage=Lineage(
            corpus="c", snapshots=(), quality_model="q", encoder="e", cluster_model="k", code_version="0", config_fingerprint="f"
        ),
    )
    barrier.wait()
    return publish(Mixtures(store, "mixtures"), draft, parts, lambda part: contents(seed)[int(part[5:10])], datetime.now(UTC))


@pytest.mark.parametrize("seeds", [[1] * PUBLISHERS, list(range(PUBLISHERS)), [i // 2 for i in range(PUBLISHERS)]])
def test_one_version_for_each_content_and_every_version_whole(object_store: ObjectStore, seeds: list[int]) -> None:
    barrier, mixtures = Barrier(PUBLISHERS), Mixtures(object_store, "mixtures")
    with ThreadPoolExecutor(PUBLISHERS) as pool:
        published = list(pool.map(lambda seed: run(object_store, seed, barrier), seeds))
    versions = dict(zip(seeds, (result.version.manifest.version for result in published), strict=True))
    assert [versions[seed] for seed in seeds] == [result.version.manifest.version for result in published]
    assert sorted(versions.values()) == list(range(1, len(set(seeds)) + 1))
    assert sum(result.created for result in published) == len(versions)
    assert all(mixtures.versions("race").values())
    for seed, version in versions.items():
        manifest = mixtures.open("race", version).manifest
        prefix = f"mixtures/race/v{version:06d}/"
        assert [object_store.get(prefix + part.path)[0] for part in manifest.parts] == contents(seed)
        assert len(list(object_store.list(prefix))) == PARTS + 3
    assert json.loads(object_store.get("mixtures/race/latest.json")[0])["version"] == max(versions.values())
