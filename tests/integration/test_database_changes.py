"""What a version changed against its parent, counted from both versions' samples."""

import numpy as np
import pytest

from samplemix_core.database.changes import CrawlKept, DomainChange, version_changes
from samplemix_core.database.connection import transaction
from samplemix_core.database.mixtures import Provenance, save_mixture
from samplemix_core.errors import ManifestError
from samplemix_core.manifest.format import DomainShare
from tests.integration.conftest import LedgeredCorpus, commit_scores, rollup_for, rows_in, save_model, scores_of
from tests.manifests import manifest_of


@pytest.fixture
def scored(ledgered: LedgeredCorpus) -> LedgeredCorpus:
    """The corpus with three documents in the first shard of either snapshot, one in the second of the first."""
    with transaction(ledgered.url) as cursor:
        save_model(cursor, ledgered)
        for index, texts in {0: ["a b", "c", "d e f"], 1: ["g"], 3: ["h", "i j", "k"]}.items():
            commit_scores(cursor, ledgered.shards[index], ledgered.version, scores_of(texts))
    return ledgered


def publish(scored: LedgeredCorpus, version: int, copies: dict[int, list[int]], snapshots: int, tokens: dict[str, int]) -> None:
    """Record a version: copies by shard and row, of the first so many snapshots, tokens by domain."""
    rows = [
        rows_in(scored.shards[index], np.flatnonzero(held).tolist(), [count for count in held if count])
        for index, held in copies.items()
    ]
    shares = {"source_share": 0.5, "mixture_share": 0.5, "mean_copies": 1.0}
    counts = {"source_samples": 1, "source_tokens": 1, "samples": 1, "copies": 1}
    domains = tuple(DomainShare(domain=name, mixture_tokens=count, **shares, **counts) for name, count in tokens.items())
    manifest = manifest_of(version, domains, str(version), samples=sum(np.count_nonzero(held) for held in copies.values()))
    provenance = Provenance(
        corpus_id=scored.corpus_id,
        snapshot_ids=scored.snapshot_ids[:snapshots],
        quality_model_id=scored.version.quality_model_id,
        encoder_id=scored.version.encoder_id,
        cluster_model_id=1,
        manifest_uri="s3://bucket/manifest.json",
        manifest_sha256="sha-m",
    )
    with transaction(scored.url) as cursor:
        save_mixture(cursor, manifest, provenance, {}, rows, rollup_for(manifest))


def test_samples_domains_and_what_was_kept_of_a_new_crawl(scored: LedgeredCorpus) -> None:
    publish(scored, 1, {0: [1, 2, 1], 1: [1]}, 1, {"web": 100, "books": 50})
    publish(scored, 2, {0: [2, 1, 1], 3: [3, 0, 1]}, 2, {"web": 90, "law": 70})
    with transaction(scored.url) as cursor:
        first, second = (version_changes(cursor, "demo", version) for version in (1, 2))
    assert (first.parent_version, first.entered, first.departed, first.same_copies) == (None, 4, 0, 0)
    assert first.crawls == (CrawlKept(snapshot="crawl-a", documents=4, tokens=7, kept=4, copies=5, kept_tokens=8),)
    assert (second.parent_version, second.entered, second.departed) == (1, 2, 1)
    assert (second.more_copies, second.fewer_copies, second.same_copies) == (1, 1, 1)
    assert second.domains == (
        DomainChange(domain="law", tokens_before=0, tokens=70),
        DomainChange(domain="books", tokens_before=50, tokens=0),
        DomainChange(domain="web", tokens_before=100, tokens=90),
    )
    assert second.crawls == (CrawlKept(snapshot="crawl-b", documents=3, tokens=4, kept=2, copies=4, kept_tokens=4),)
    with transaction(scored.url) as cursor:
        cursor.execute("DELETE FROM sample")
        assert version_changes(cursor, "demo", 2) == second, "what was counted is kept"
        cursor.execute("SELECT version, parent_version, entered FROM mixture_changes ORDER BY version")
        assert cursor.fetchall() == [(1, None, 4), (2, 1, 2)]
    said = "\n".join(second.lines())
    assert "demo version 2, against version 1: 2 samples entered, 1 departed, 1 have more copies" in said
    assert "66.7%" in said


def test_versions_that_this_database_does_not_know_can_t_be_compared(scored: LedgeredCorpus) -> None:
    publish(scored, 2, {0: [1, 1, 1]}, 1, {"web": 1})
    with transaction(scored.url) as cursor:
        for version, message in ((1, "Version 1 of mixture 'demo' is not recorded"), (2, "the parent of 2, is not recorded")):
            with pytest.raises(ManifestError, match=message):
                version_changes(cursor, "demo", version)
