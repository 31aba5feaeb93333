from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from psycopg2.extras import Json

from samplemix_core import schemas
from samplemix_core.database import clusters, ledger, registration
from samplemix_core.database.clusters import Assignment
from samplemix_core.database.connection import Cursor, transaction
from samplemix_core.database.scope import Scope, Shard
from samplemix_core.diversity.cluster_model import Groups
from samplemix_core.diversity.geometry import Bounds
from samplemix_core.errors import AccountingError
from samplemix_core.policies.policy import Ranks
from tests.integration.conftest import LedgeredCorpus, assignment_of, commit_scores, save_model, scores_of


def fitted(
    ledgered: LedgeredCorpus, spec: dict[str, Any] | None = None, artifact_sha256: str = "sha-c"
) -> clusters.ClusterModelRecord:
    with transaction(ledgered.url) as cursor:
        return save_model(cursor, ledgered, artifact_sha256, spec)


def table_of(assignment: Assignment) -> pa.Table:
    return pa.concat_tables(assignment.parts)


def unassigned(cursor: Cursor, model: clusters.ClusterModelRecord, scope: Scope) -> list[Shard]:
    states = ledger.shard_states(cursor, scope)
    return [state.shard for state in clusters.unassigned_shards(cursor, model.cluster_model_id, states)]


def sizes(cursor: Cursor, model: clusters.ClusterModelRecord, scope: Scope) -> list[int]:
    found: list[int] = clusters.cluster_sizes(cursor, model, ledger.shard_states(cursor, scope)).tolist()
    return found


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
        cursor.execute("SELECT row, cluster, distance, is_noise, diversity FROM diversity_score ORDER BY row")
        stored = cursor.fetchall()
        cursor.execute("SELECT rows, noise_rows, attempts FROM shard_assignment WHERE state = 'done'")
        assert cursor.fetchall() == [(5, sum(row[3] for row in stored), 1)]
        with pytest.raises(AccountingError, match=r"3 scored shards are not assigned.*crawl-a/B.jsonl"):
            sizes(cursor, model, scored.scope)
    assert [tuple(row.values()) for row in table_of(assignment_of(scores_of(["t"] * 5))).to_pylist()] == [
        (row, cluster, np.float32(distance), noise, diversity) for row, cluster, distance, noise, diversity in stored
    ]


def test_sizes_are_of_the_snapshots_that_are_asked_for(scored: LedgeredCorpus) -> None:
    model = fitted(scored)
    parts = {index: assignment_of(scores_of(["t"] * (index + 4))) for index in (4, 0, 3, 1)}
    for index, part in parts.items():
        assign(scored, model, index, part)

    def counted(*indices: int) -> list[int]:
        clusters_of = np.concatenate([table_of(parts[index])["cluster"].to_numpy() for index in indices])
        counts: list[int] = np.bincount(clusters_of, minlength=model.n_clusters).tolist()
        return counts

    with transaction(scored.url) as cursor:
        assert sizes(cursor, model, scored.scope) == counted(0, 1, 3, 4)
        assert sizes(cursor, model, replace(scored.scope, snapshot_ids=scored.snapshot_ids[:1])) == counted(0, 1)


def test_languages_and_content_types_of_samples_are_found_in_order(scored: LedgeredCorpus) -> None:
    wanted = [(scored.shards[3], np.array([2, 0, 5])), (scored.shards[0], np.array([1]))]
    with transaction(scored.url) as cursor:
        found, tokens = clusters.sampled_documents(cursor, wanted)
        assert tokens.tolist() == [3, 3, 3, 3]
        # scores_of gives row i these, in turns of two and three.
        assert [found.languages[code] for code in found.language] == ["en", "en", "de", "de"]
        assert [found.content_types[code] for code in found.content_type] == ["list", "prose", "list", "code"]
        with pytest.raises(AccountingError, match="2 samples were drawn, 1 of them"):
            clusters.sampled_documents(cursor, [(scored.shards[0], np.array([0, 99]))])
        rows, kinds = clusters.kinds_of_rows(
            cursor, scored.shards[0], Groups({("de", "prose"): 0.1, ("fr", "code"): 0.2}, None), 0, 99
        )
    assert rows.tolist() == [0, 1, 2, 3]
    assert [kinds.languages[code] for code in kinds.language] == ["", "de", "", "de"]
    assert [kinds.content_types[code] for code in kinds.content_type] == ["prose", "code", "", "prose"]


def test_ranks_of_diversity_are_the_models_own_or_those_of_its_clusters(ledgered: LedgeredCorpus) -> None:
    old, new = fitted(ledgered), fitted(ledgered, artifact_sha256="new")
    ranks = {"values": [0.0, 0.25, 1.0], "places": [0.1, 0.5, 0.9]}
    table = pa.table([[0, 1, 2], [10, 30, 0], [0.5] * 3, [0.9] * 3, [1.0, 0.5, 0.0]], schema=schemas.CLUSTERS)
    with transaction(ledgered.url) as cursor:
        clusters.finish_cluster_model(cursor, old.cluster_model_id, table, Bounds(0.0, 1.0))
        cursor.execute(
            "UPDATE cluster_model SET diversity_ranks = %s WHERE cluster_model_id = %s", (Json(ranks), new.cluster_model_id)
        )
        assert clusters.diversity_ranks(cursor, new.cluster_model_id) == Ranks((0.0, 0.25, 1.0), (0.1, 0.5, 0.9))
        assert clusters.diversity_ranks(cursor, old.cluster_model_id) == Ranks((0.5, 1.0), (0.375, 0.875))


def test_an_assignment_of_other_embeddings_is_refused(scored: LedgeredCorpus) -> None:
    model = fitted(scored)
    made = assignment_of(scores_of(["t"] * 4))
    for wrong in (
        Assignment(made.parts, "another file"),
        Assignment((table_of(made).slice(1),), made.embedding_digest),
    ):
        with pytest.raises(AccountingError, match=r"the ledger has no such embedding file|4 are stored, or other ones"):
            assign(scored, model, 0, wrong)


def test_parts_of_a_shard_come_to_the_same_as_all_at_once(scored: LedgeredCorpus) -> None:
    made = assignment_of(scores_of(["t"] * 8))
    table = table_of(made)
    found = []
    for sha, parts in (("one", [table]), ("parts", [table[:3], table[:0], table[3:4], table[4:]])):
        model = fitted(scored, artifact_sha256=sha)
        assign(scored, model, 4, Assignment(parts, made.embedding_digest))
        own = (model.cluster_model_id,)
        with transaction(scored.url) as cursor:
            cursor.execute("SELECT row, cluster, distance FROM diversity_score WHERE cluster_model_id = %s", own)
            rows = sorted(cursor.fetchall())
            cursor.execute(
                "SELECT domain_id, cluster, documents, noise, distance_square_sum, diversity_sum FROM cluster_rollup"
                " WHERE cluster_model_id = %s ORDER BY domain_id, cluster",
                own,
            )
            sums = cursor.fetchall()
            cursor.execute("SELECT rows, noise_rows FROM shard_assignment WHERE cluster_model_id = %s", own)
            found.append((rows, sums, cursor.fetchall()))
    assert found[0] == found[1]
    assert found[0][2] == [(8, table["is_noise"].to_pylist().count(True))]
    # Rows may not be missing within a part either, though the number is right.
    lacking = table.set_column(0, "row", pa.array([0, 1, 3, 4, 5, 6, 7, 8], pa.int64()))
    with pytest.raises(AccountingError, match="or other ones"):
        assign(scored, fitted(scored, artifact_sha256="lacking"), 4, Assignment([lacking], made.embedding_digest))


def test_new_embeddings_make_an_assignment_stale(scored: LedgeredCorpus) -> None:
    model = fitted(scored)
    assign(scored, model, 0, assignment_of(scores_of(["t"] * 4)))
    with transaction(scored.url) as cursor:
        cursor.execute("UPDATE shard_score SET embedding_digest = 'sha-2' WHERE shard_id = %s", (scored.shards[0].shard_id,))
        stale = unassigned(cursor, model, replace(scored.scope, snapshot_ids=scored.snapshot_ids[:1]))
    assert stale == [scored.shards[0], scored.shards[1]]
    made = assignment_of(scores_of(["t"] * 4), n_clusters=2)
    assign(scored, model, 0, Assignment(made.parts, "sha-2"))
    with transaction(scored.url) as cursor:
        cursor.execute("SELECT cluster, sum(documents) FROM cluster_rollup GROUP BY cluster ORDER BY cluster")
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
