"""Drift of crawls and names of clusters, in Postgres."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from psycopg2.extras import Json

from samplemix_core import schemas
from samplemix_core.database import clusters, drift, registration
from samplemix_core.database.connection import Cursor, transaction
from samplemix_core.database.query import ask
from samplemix_core.diversity import drift as figures
from samplemix_core.diversity.drift import ALL, Drift, Profile
from samplemix_core.diversity.geometry import Bounds
from samplemix_core.diversity.health import Factor, FitHealth, HealthReport
from samplemix_core.diversity.lineage import Change, Heir
from samplemix_core.errors import ModelError
from tests.integration.conftest import LedgeredCorpus


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Languages of two documents count."""
    for module in (figures, drift):
        monkeypatch.setattr(module, "LEAST_DOCUMENTS", 2)


SPEC = {"method": "clusters", "diversity": {"seed": 1}, "vectors": "first"}


def save(cursor: Cursor, corpus: LedgeredCorpus, parent: clusters.ClusterModelRecord | None = None) -> clusters.ClusterModelRecord:
    """Enter a model, with a sample of crawl-a's documents, and measure it."""
    heirs = (Heir("kept", 2, 0, 0.9), Heir("split", 2, 1, 0.2), Heir("born", None, 2, 0.0), Heir("died", 0, None, 0.0))
    change = Change(100, 0.91, 0.05, {"kept": 1, "split": 1, "born": 1, "died": 1}, ())
    record = clusters.save_cluster_model(
        cursor,
        corpus_id=corpus.corpus_id,
        encoder_id=corpus.version.encoder_id,
        spec=SPEC | {"vectors": "other", **({"parent": parent.artifact_sha256} if parent else {})},
        fitted=clusters.FittedModel(
            *("clusters/x", f"sha-{parent}", 3, 100, 0.25),
            parent_id=None if parent is None else parent.cluster_model_id,
            change={"against_parent": asdict(change)} if parent else None,
            health=asdict(FitHealth((HealthReport("hdbscan", 100, 3, 0.5, 0.25),), 0.9, (Factor("length", -0.125),))),
        ),
        profiles={
            "snapshots": [corpus.snapshot_ids[0]],
            "languages": {ALL: Profile(np.array([50, 30, 20]), np.bincount([100], minlength=figures.BINS) * 100, 5).to_json()},
        },
        heirs=heirs if parent else (),
    )
    table = pa.table([[0, 1, 2], [5, 5, 4], [0.5] * 3, [0.9] * 3, [1.0, 0.5, 0.0]], schema=schemas.CLUSTERS)
    clusters.finish_cluster_model(cursor, record.cluster_model_id, table, Bounds(0.0, 1.0))
    return record


def test_a_crawl_is_counted_as_its_documents_are(assigned: LedgeredCorpus, few: None) -> None:
    with transaction(assigned.url) as cursor:
        cursor.execute("UPDATE sample SET language = (ARRAY['en', 'en', 'da', NULL])[row % 4 + 1]")
        record = clusters.load_cluster_model(cursor, 1)
        for snapshot_id in assigned.snapshot_ids:
            cursor.execute(
                "SELECT cluster, distance, is_noise, coalesce(language, 'und') FROM diversity_score JOIN sample"
                " USING (snapshot_id, shard_id, row) WHERE snapshot_id = %s",
                (snapshot_id,),
            )
            rows = cursor.fetchall()
            found = drift.count_crawl(cursor, record, snapshot_id)
            wanted = {language for language in {row[3] for row in rows} if sum(row[3] == language for row in rows) >= 2}
            assert found.keys() == {ALL} | wanted
            for language, profile in found.items():
                own = [row for row in rows if language in (ALL, row[3])]
                cluster, distance, far, _ = (np.array(column) for column in zip(*own, strict=True))
                assert profile.clusters.tolist() == np.bincount(cluster, minlength=3).tolist()
                bins = figures.bins_of(distance.astype(np.float32))
                assert np.array_equal(profile.distances, np.bincount(bins, minlength=figures.BINS))
                assert (profile.far, profile.documents) == (far.sum(), len(own))


def test_what_is_found_is_kept_until_other_documents_are_assigned(assigned: LedgeredCorpus) -> None:
    found = [Drift(ALL, 300, 0.75, 0.25, 0.5, 2.0, known=True, over=("far documents 0.75, over 0.5", "x'; {}"))]
    found.append(Drift("da", 200, 0.5, 0.25, 0.5, 2.0, known=False))
    snapshot_id = assigned.snapshot_ids[1]
    with transaction(assigned.url) as cursor:
        record = save(cursor, assigned)
        digest = drift.assigned_digest(cursor, 1, snapshot_id)
        other = drift.assigned_digest(cursor, record.cluster_model_id, snapshot_id)
        assert digest != other
        assert drift.load_drift(cursor, 1, snapshot_id, digest) == []
        for in_sample in (True, False):
            drift.save_drift(cursor, 1, snapshot_id, digest, found, in_sample=in_sample)
            assert drift.load_drift(cursor, 1, snapshot_id, digest) == found
            named = drift.drifted(cursor, 1, assigned.snapshot_ids)
            assert named == [("crawl-b", list(found[0].over))]
        assert drift.load_drift(cursor, 1, snapshot_id, other) == []
    whole, danish = ask(assigned.reader_url, "drift", corpus="s3://bucket/corpus")
    assert (whole["snapshot"], whole["language"], whole["far"]) == ("crawl-b", "all", 0.75)
    assert whole["over"] == "far documents 0.75, over 0.5; x'; {}"
    assert (danish["language"], danish["language_known"]) == ("da", False)


def test_clusters_keep_their_names_and_versions_change_when_told(assigned: LedgeredCorpus) -> None:
    of = {"corpus_id": assigned.corpus_id, "encoder_id": assigned.version.encoder_id}

    def parent(**spec: Any) -> clusters.ClusterModelRecord | None:
        return clusters.find_parent(cursor, corpus_id=assigned.corpus_id, encoder_id=assigned.version.encoder_id, spec=SPEC | spec)

    with transaction(assigned.url) as cursor:
        cursor.execute("UPDATE cluster_model SET spec = %s", (Json(SPEC),))
        first = clusters.load_cluster_model(cursor, 1)
        assert parent() == first
        second = save(cursor, assigned, first)
        third = save(cursor, assigned, second)
        cursor.execute("SELECT cluster_model_id, array_agg(name ORDER BY cluster) FROM cluster GROUP BY 1 ORDER BY 1")
        assert dict(cursor.fetchall()) == {
            1: ["1.0", "1.1", "1.2"],
            second.cluster_model_id: ["1.2", f"{second.cluster_model_id}.1", f"{second.cluster_model_id}.2"],
            third.cluster_model_id: [f"{second.cluster_model_id}.2", f"{third.cluster_model_id}.1", f"{third.cluster_model_id}.2"],
        }
        # Nothing moves before a model is adopted, though there are newer ones.
        assert parent() == first
        assert clusters.adopt(cursor, second)
        assert not clusters.adopt(cursor, second)
        second, third = (clusters.load_cluster_model(cursor, record.cluster_model_id) for record in (second, third))
        assert parent() == second
        # One that puts all documents into one cluster is nobody's parent; one of other settings is, if there is no better.
        assert parent(method="one-cluster") is None
        assert parent(diversity={"seed": 2}) == second
        assert clusters.find_cluster_model(cursor, **of, spec=SPEC | {"vectors": "new"}, refit=False) == second
        # The vectors decide whether it is fitted already, not whose names it has.
        assert clusters.find_cluster_model(cursor, **of, spec=SPEC | {"vectors": "other"}, refit=True) == second
        # A version of a run that began before says nothing about the next.
        models = {"quality_model_id": assigned.version.quality_model_id}
        registration.set_current_models(cursor, assigned.corpus_id, **models, cluster_model_id=1)
        assert parent() == second
        registration.set_current_models(cursor, assigned.corpus_id, **models, cluster_model_id=second.cluster_model_id)
        cursor.execute("SELECT current_cluster_model, next_cluster_model FROM corpus")
        assert cursor.fetchall() == [(second.cluster_model_id, None)]
        # One that was fitted before it was chosen changes nothing, whether it is published or only reported.
        assert clusters.adopt(cursor, first)
        registration.set_current_models(cursor, assigned.corpus_id, **models, cluster_model_id=third.cluster_model_id)
        assert not clusters.adopt_refit(cursor, third)
        assert parent() == first
        # One that was fitted later does.
        later = "UPDATE cluster_model SET created_at = clock_timestamp() + '1 hour' WHERE cluster_model_id = %s"
        cursor.execute(later, (third.cluster_model_id,))
        registration.set_current_models(cursor, assigned.corpus_id, **models, cluster_model_id=third.cluster_model_id)
        cursor.execute("SELECT current_cluster_model, next_cluster_model FROM corpus")
        assert cursor.fetchall() == [(third.cluster_model_id, None)]
        registration.set_current_models(cursor, assigned.corpus_id, **models, cluster_model_id=second.cluster_model_id)
        assert clusters.adopt_refit(cursor, third)
        assert parent() == third
        # Versions of other settings go on as they are.
        cursor.execute("UPDATE cluster_model SET spec = spec || '{\"diversity\": {}}' WHERE cluster_model_id = 1")
        registration.set_current_models(cursor, assigned.corpus_id, **models, cluster_model_id=1)
        assert not clusters.adopt_refit(cursor, third)
        cursor.execute("UPDATE corpus SET current_cluster_model = %s, next_cluster_model = 1", (second.cluster_model_id,))
        third = clusters.load_cluster_model(cursor, third.cluster_model_id)
        assert clusters.find_by_key(cursor, "s3://bucket/corpus", third.cluster_model_key[:20]) == third
        for key in ("", "no such key", "%"):
            with pytest.raises(ModelError, match="diversity models"):
                clusters.find_by_key(cursor, "s3://bucket/corpus", key)
    newest, middle, oldest = ask(assigned.reader_url, "cluster_models", corpus="s3://bucket/corpus")
    assert (middle["used"], oldest["used"], newest["used"]) == ("current", "next", "")
    assert middle["parent"] == oldest["number"] == 1
    assert middle["clusters_against_parent"] == "1 kept, 1 split, 1 born, 1 died"
    assert (middle["d_correlation"], middle["d_moved"], middle["mixture_overlap"]) == (0.91, 0.05, None)
    told = ask(assigned.reader_url, "cluster_heirs", corpus="s3://bucket/corpus", model=middle["model"])
    assert [(row["fate"], row["name"], row["parent"]) for row in told] == [
        ("kept", "1.2", "1.2"),
        ("split", f"{second.cluster_model_id}.1", "1.2"),
        ("born", f"{second.cluster_model_id}.2", None),
        ("died", "1.0", "1.0"),
    ]
    assert ask(assigned.reader_url, "cluster_heirs", corpus="s3://bucket/corpus") == []
    shown = ask(assigned.reader_url, "cluster_health", corpus="s3://bucket/corpus", model=middle["model"])
    assert [(row["figure"], row["value"], row["clusters"], row["noise_share"]) for row in shown] == [
        ("fit by hdbscan", None, 3, 0.25),
        ("rank correlation of d between two fits", 0.9, None, None),
        ("d and length", -0.125, None, None),
    ]


def test_entering_a_model_again_adds_no_heirs(assigned: LedgeredCorpus) -> None:
    with transaction(assigned.url) as cursor:
        first = clusters.load_cluster_model(cursor, 1)
        assert save(cursor, assigned, first).cluster_model_id == save(cursor, assigned, first).cluster_model_id
        cursor.execute("SELECT count(*) FROM cluster_heir")
        assert cursor.fetchall() == [(4,)]
