"""The gate between scoring and mixing."""

from collections.abc import Callable

import pytest

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.config.run import RunConfig
from samplemix_core.database import scores
from samplemix_core.database.connection import transaction
from samplemix_core.deployment import Deployment
from samplemix_core.errors import CorpusError, LossError
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.handoff import LossCounts, Registered
from samplemix_core.pipeline.score import check_loss
from tests.integration.conftest import LedgeredCorpus, commit_scores, scores_of

Check = Callable[..., LossCounts]


@pytest.fixture
def check(ledgered: LedgeredCorpus, database: Deployment) -> Check:
    """Judge the corpus with these settings of a run."""
    registered = Registered(
        corpus_id=ledgered.corpus_id,
        corpus_key="corpus",
        encoder_id=ledgered.version.encoder_id,
        encoder_key="encoder",
        device="cpu",
        precision="float32",
        batch_tokens=4096,
        tokenizer="encoder",
        tokenizer_id="tokenizer",
        quality_model_id=ledgered.version.quality_model_id,
        quality_model_key="quality",
        quality_low=0,
        quality_high=10,
        snapshots=("crawl-a", "crawl-b"),
        snapshot_ids=ledgered.snapshot_ids,
        shards=len(ledgered.shards),
        last_shard_id=2**31 - 1,
    )

    def call(max_loss: float, domain_field: str | None = None) -> LossCounts:
        reader = ReaderConfig(domain_path_index=0, domain_field=domain_field)
        config = RunConfig(corpus_uri="s3://bucket/corpus", reader=reader, max_loss=max_loss)
        return check_loss(RunContext(config, database, lambda _: None), registered)

    return call


def settle(ledgered: LedgeredCorpus, *refused: int) -> None:
    """Score every shard but these, which are refused."""
    with transaction(ledgered.url) as cursor:
        for place, shard in enumerate(ledgered.shards):
            if place in refused:
                scores.refuse_shard(cursor, shard, ledgered.version, "no archive")
            else:
                commit_scores(cursor, shard, ledgered.version, scores_of([f"text {place} {i}" for i in range(1000)]))


def test_loss_is_judged_by_documents_files_and_bytes(ledgered: LedgeredCorpus, check: Check) -> None:
    with transaction(ledgered.url) as cursor:
        cursor.execute("UPDATE shard SET size_bytes = 1 WHERE shard_id = %s", (ledgered.shards[0].shard_id,))
    settle(ledgered, 0)
    found = check(max_loss=0.2)
    assert found.share < 0.01
    assert found.share_of_bytes < 0.01
    assert found.share_of_files == pytest.approx(1 / 6)
    with pytest.raises(LossError, match=r"16\.67% of the files"):
        check(max_loss=0.1)
    assert check(max_loss=1).refused == 1


def test_a_snapshot_or_domain_that_loses_all_its_files_stops_the_run(ledgered: LedgeredCorpus, check: Check) -> None:
    settle(ledgered, 0, 1, 2)
    with pytest.raises(LossError, match="Nothing is left of domain 'crawl-a', snapshot 'crawl-a'"):
        check(max_loss=0.99)
    with pytest.raises(LossError, match=r"Nothing is left of snapshot 'crawl-a'\. "):
        check(max_loss=0.99, domain_field="domain")
    assert check(max_loss=1).refused == 3


def test_a_run_of_which_nothing_is_left_is_an_error_at_any_limit(ledgered: LedgeredCorpus, check: Check) -> None:
    settle(ledgered, *range(6))
    with pytest.raises(CorpusError, match="No document of the run's snapshots could be scored"):
        check(max_loss=1)
