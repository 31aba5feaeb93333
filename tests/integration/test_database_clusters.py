from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from samplemix_core import schemas
from samplemix_core.database import clusters, ledger, registration
from samplemix_core.database.clusters import Assignment
from samplemix_core.database.connection import Cursor, transaction
from samplemix_core.database.scope import Scope, Shard
from samplemix_core.diversity.geometry import Bounds, ClusterSums
from samplemix_core.errors import AccountingError
from tests.integration.conftest import LedgeredCorpus, assignment_of, commit_scores, save_model, scores_of


def fitted(
    ledgered: LedgeredCorpus, spec: dict[str, Any] | None = None, artifact_sha256: str = "sha-c"
) -> clusters.ClusterModelRecord:
    with transaction(ledgered.url) as cursor:
        return save_model(cursor, ledgered, artifact_sha256, spec)


def unassigned(cursor: Cursor, model: clusters.ClusterModelRecord, scope: Scope) -> list[Shard]:
    states = ledger.shard_states(cursor, scope)
    return [state.shard for state in clusters.unassigned_shards(cursor, model.cluster_model_id, states)]


def totals(cursor: Cursor, model: clusters.ClusterModelRecord, scope: Scope) -> ClusterSums:
    return clusters.cluster_totals(cursor, model, ledger.shard_states(cursor, scope))


@pytest.fixture
def scored(ledgered: LedgeredCorpus) -> LedgeredCorpus:
    """The corpus with four scored shards, committed in an order that is not theirs."""
    with transaction(ledgered.url) as cursor:
        for index in (4, 0, 3, 1):
            commit_scores(cursor, ledgered.shards[index], ledgered.version, scores_of([f"t {index} {i}" for i in range(index + 4)]))
    return ledgered


def assign(ledgered: LedgeredCorpus, model: clusters.ClusterModelRecord, index: int, assignment: Assignment) -> None:
    with transaction(ledgered.url) as cursor:
        clusters.prepare_assignment(cursor, model.cluster_model_id, ledgered.snapshot_ids)
        clusters.commit_assignment(cursor, model.cluster_model_id, ledgered.shards[index], assignment)


def test_the_same_fit_is_the_same_model(ledgered: LedgeredCorpus) -> None:
    model = fitted(ledgered)
    assert fitted(ledgered) == model
    assert (model.state, model.diversity_low) == ("fitted", None)
    newer = fitted(ledgered, artifact_sha256="other")
    assert newer.cluster_model_key != model.cluster_model_key
    assert fitted(ledgered, spec={"seed": 2}).cluster_model_key != model.cluster_model_key
    with transaction(ledgered.url) as cursor:
        assert clusters.load_cluster_model(cursor, model.cluster_model_id) == model
        ids = {"corpus_id": ledgered.corpus_id, "encoder_id": ledgered.version.encoder_id}
        for refit, found in ((False, newer), (True, model)):
            assert clusters.find_cluster_model(cursor, **ids, spec={"seed": 1}, refit=refit) == found
            assert clusters.find_cluster_model(cursor, **ids, spec={"seed": 3}, refit=refit) is None
        with pytest.raises(KeyError):
            clusters.load_cluster_model(cursor, 10_000)


def test_a_corpus_keeps_its_clusters_until_they_are_fitted_again(ledgered: LedgeredCorpus) -> None:
    first = fitted(ledgered, spec={"seed": 1, "vectors": "a"})
    second = fitted(ledgered, spec={"seed": 1, "vectors": "b"})
    fitted(ledgered, spec={"seed": 2, "vectors": "c"})
    ids = {"corpus_id": ledgered.corpus_id, "encoder_id": ledgered.version.encoder_id}
    landed = {"seed": 1, "vectors": "new"}
    with transaction(ledgered.url) as cursor:
        assert clusters.find_cluster_model(cursor, **ids, spec=landed, refit=True) is None
        assert clusters.find_cluster_model(cursor, **ids, spec={"seed": 1, "vectors": "a"}, refit=True) == first
        assert clusters.find_cluster_model(cursor, **ids, spec=landed, refit=False) == second
        registration.set_current_models(
            cursor,
            ledgered.corpus_id,
            quality_model_id=ledgered.version.quality_model_id,
            cluster_model_id=first.cluster_model_id,
        )
        assert clusters.find_cluster_model(cursor, **ids, spec=landed, refit=False) == first


def test_assigning_closes_shard_by_shard(scored: LedgeredCorpus) -> None:
    model = fitted(scored)
    with transaction(scored.url) as cursor:
        assert unassigned(cursor, model, scored.scope) == [scored.shards[index] for index in (0, 1, 3, 4)]
    for _ in range(2):
        assign(scored, model, 1, assignment_of(scores_of([f"t 1 {i}" for i in range(5)])))
    with transaction(scored.url) as cursor:
        clusters.fail_assignment(cursor, model.cluster_model_id, scored.shards[3], "timeout")
        assert unassigned(cursor, model, scored.scope) == [scored.shards[index] for index in (0, 3, 4)]
        cursor.execute("SELECT row, cluster, distance, is_noise FROM diversity_score ORDER BY row")
        stored = cursor.fetchall()
        cursor.execute("SELECT rows, noise_rows, attempts FROM shard_assignment WHERE state = 'done'")
        assert cursor.fetchall() == [(5, sum(row[3] for row in stored), 1)]
        with pytest.raises(AccountingError, match=r"3 scored shards are not assigned.*crawl-a/B.jsonl"):
            totals(cursor, model, scored.scope)
    assert [tuple(row.values()) for row in assignment_of(scores_of(["t"] * 5)).table.to_pylist()] == [
        (row, cluster, np.float32(distance), noise) for row, cluster, distance, noise in stored
    ]


def test_totals_are_sums_in_the_order_of_snapshot_and_path(scored: LedgeredCorpus) -> None:
    model = fitted(scored)
    members, distance_sum = np.zeros(3, dtype=np.int64), np.zeros(3)
    rng = np.random.default_rng(0)
    parts = {}
    for index in (0, 1, 3, 4):
        made = assignment_of(scores_of(["t"] * (index + 4)))
        # Sums whose result depends on the order of addition.
        sums = ClusterSums(made.sums.counts, rng.normal(size=3) * 10.0 ** rng.integers(-8, 8, 3))
        parts[index] = Assignment(made.table, made.embedding_digest, sums)
    for index in (4, 0, 3, 1):
        assign(scored, model, index, parts[index])
    for part in parts.values():
        members += part.sums.counts
        distance_sum += part.sums.distance_sum
    with transaction(scored.url) as cursor:
        found = totals(cursor, model, scored.scope)
        first = totals(cursor, model, replace(scored.scope, snapshot_ids=scored.snapshot_ids[:1]))
    np.testing.assert_array_equal(found.counts, members)
    np.testing.assert_array_equal(found.distance_sum, distance_sum)
    np.testing.assert_array_equal(first.distance_sum, parts[0].sums.distance_sum + parts[1].sums.distance_sum)


def test_totals_do_not_depend_on_how_many_shards_are_read_at_once(scored: LedgeredCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(scored)
    for index in (0, 1, 3, 4):
        assign(scored, model, index, assignment_of(scores_of(["t"] * (index + 4))))
    found = []
    for size in (1, 3, 256):
        monkeypatch.setattr(clusters, "SHARDS_PER_READ", size)
        with transaction(scored.url) as cursor:
            found.append(totals(cursor, model, scored.scope).distance_sum.tobytes())
    assert len(set(found)) == 1


def test_an_assignment_of_other_embeddings_is_refused(scored: LedgeredCorpus) -> None:
    model = fitted(scored)
    made = assignment_of(scores_of(["t"] * 4))
    for wrong in (
        Assignment(made.table, "another file", made.sums),
        Assignment(made.table.slice(1), made.embedding_digest, made.sums),
    ):
        with pytest.raises(AccountingError, match="the ledger has no such embedding file"):
            assign(scored, model, 0, wrong)


def test_new_embeddings_make_an_assignment_stale(scored: LedgeredCorpus) -> None:
    model = fitted(scored)
    assign(scored, model, 0, assignment_of(scores_of(["t"] * 4)))
    with transaction(scored.url) as cursor:
        cursor.execute("UPDATE shard_score SET embedding_digest = 'sha-2' WHERE shard_id = %s", (scored.shards[0].shard_id,))
        stale = unassigned(cursor, model, replace(scored.scope, snapshot_ids=scored.snapshot_ids[:1]))
    assert stale == [scored.shards[0], scored.shards[1]]
    made = assignment_of(scores_of(["t"] * 4), n_clusters=2)
    assign(scored, model, 0, Assignment(made.table, "sha-2", made.sums))
    with transaction(scored.url) as cursor:
        cursor.execute("SELECT cluster, members FROM shard_cluster ORDER BY cluster")
        assert cursor.fetchall() == [(0, 2), (1, 2)]
        cursor.execute("SELECT count(*) FROM diversity_score")
        assert cursor.fetchone() == (4,)


def test_measured_clusters_come_back(ledgered: LedgeredCorpus) -> None:
    model = fitted(ledgered)
    table = pa.table([[0, 1, 2], [10, 20, 0], [0.5, 0.25, 0.125], [0.9, 0.8, 0.7], [1.0, 0.5, 0.0]], schema=schemas.CLUSTERS)
    for low in (0.1, 0.2):
        with transaction(ledgered.url) as cursor:
            clusters.finish_cluster_model(cursor, model.cluster_model_id, table, Bounds(low, 0.9))
            assert clusters.cluster_table(cursor, model.cluster_model_id).equals(
                table.cast(pa.schema([pa.field(field.name, field.type) for field in schemas.CLUSTERS]))
            )
            record = clusters.load_cluster_model(cursor, model.cluster_model_id)
        assert (record.state, record.diversity_low, record.diversity_high) == ("measured", low, 0.9)
