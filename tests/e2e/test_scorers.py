"""A corpus scored by several quality models in one pass: SQL compares them, and a mixture is made by each of them."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.deployment import Deployment
from samplemix_core.embedding.loading import locate_model
from samplemix_core.quality.kinds import language_file
from tests.e2e.conftest import Command, Run, Upload

N = 60


@pytest.fixture(scope="module")
def uri(upload: Upload) -> str:
    """Sixty documents in two domains; every tenth text is there twice."""
    texts = [
        f"Note {i // 10 if i % 10 == 9 else i}. "
        + ("The kernel maps pages of memory for processes. " if i % 3 else "Knead the dough and bake the bread. ") * (1 + i % 5)
        for i in range(N)
    ]
    parts = {"s1/web/a.jsonl": range(0, N, 2), "s1/books/b.jsonl": range(1, N, 2)}
    return upload(
        {path: "\n".join(json.dumps({"id": f"doc-{i}", "text": texts[i]}) for i in rows).encode() for path, rows in parts.items()}
    )


@pytest.fixture(scope="module")
def names(command: Command, uri: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Scorers of every kind but ensembles, by kind: trained on labels, and brought along."""
    root, own = tmp_path_factory.mktemp("scorers"), uuid4().hex[:8]
    found = {kind: f"{kind}-{own}" for kind in ("ordinal", "external", "fasttext", "transformer", "ensemble", "calibrated")}
    labels = [
        {
            "text": f"Label {i}. " + ("Bread and soup. " if i % 2 else "Pages of memory. ") * (1 + i % 4),
            "kitchen": i % 2,
            "group": f"g{i}",
        }
        for i in range(60)
    ]
    (root / "labels.jsonl").write_text("\n".join(map(json.dumps, labels)))
    rubric = {"name": "kitchen", "dimensions": [{"name": "kitchen", "maximum": 1, "meaning": "Whether it is about cooking"}]}
    (root / "rubric.json").write_text(json.dumps(rubric))
    annotator = ("--annotator", f"team-{own}")
    command("quality", "import", str(root / "labels.jsonl"), *annotator, "--rubric", str(root / "rubric.json"))
    command("quality", "train", found["ordinal"], *annotator, "--no-baselines", "--set", "embedding.max_seq_tokens=64")
    pq.write_table(
        pa.table({"doc_id": [f"doc-{i}" for i in range(N)], "rating": [i % 7 for i in range(N)]}), root / "ratings.parquet"
    )
    command("quality", "add", "external", found["external"], str(root / "ratings.parquet"), "--by", "doc_id", "--score", "rating")
    command("quality", "add", "fasttext", found["fasttext"], str(language_file()), "--label", "en")
    torch.manual_seed(3)
    encoder = str(locate_model(EmbeddingConfig()))
    AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3).save_pretrained(root / "net")
    AutoTokenizer.from_pretrained(encoder).save_pretrained(root / "net")
    command("quality", "add", "transformer", found["transformer"], str(root / "net"), "--max-tokens", "64")
    return found


def by(*scorers: str) -> list[str]:
    return [word for scorer in scorers for word in ("--scorer", scorer)]


@pytest.fixture(scope="module")
def first(run_command: Run, uri: str, names: dict[str, str]) -> dict[str, Any]:
    """One pass by five of them, mixed by the composite score."""
    order = ("composite", names["ordinal"], names["external"], names["fasttext"], names["transformer"])
    return run_command(uri, "--name", f"by-composite-{names['ordinal']}", *by(*order))


def asked(command: Command, query: str, *parameters: str) -> list[dict[str, Any]]:
    done = command("sql", "--query", query, *parameters, "--json")
    return list(json.loads(done.stdout))


def rows(platform: Deployment, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with platform.transaction() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


SCORES = """
    SELECT coalesce(doc_id, '') AS doc, quality, clarity, seconds
    FROM quality_score JOIN sample USING (snapshot_id, shard_id, row) JOIN quality_model USING (quality_model_id)
    JOIN snapshot USING (snapshot_id) JOIN corpus USING (corpus_id)
    JOIN block_score USING (shard_id, quality_model_id)
    WHERE uri = %s AND quality_model.name = %s ORDER BY doc_id COLLATE "C"
"""


def test_each_document_is_scored_by_each_of_them_in_one_pass(
    first: dict[str, Any], platform: Deployment, uri: str, names: dict[str, str]
) -> None:
    assert (first["scoring"]["documents"], first["scoring"]["quarantined"]) == (N, 0)
    found = {name: rows(platform, SCORES, uri, name) for name in ("composite", *list(names.values())[:4])}
    assert [len(scores) for scores in found.values()] == [N] * 5
    assert {doc: quality for doc, quality, *_ in found[names["external"]]} == {f"doc-{i}": i % 7 for i in range(N)}
    assert all(clarity is not None for _, _, clarity, _ in found["composite"])
    assert all(clarity is None for _, _, clarity, _ in found[names["ordinal"]])
    kitchen = {doc: quality for doc, quality, *_ in found[names["ordinal"]]}
    assert min(kitchen[f"doc-{i}"] for i in range(0, N, 3) if i % 10 != 9) > max(
        kitchen[f"doc-{i}"] for i in range(1, N, 3) if i % 10 != 9
    )
    assert all(0 <= quality <= 2 for _, quality, *_ in found[names["transformer"]])
    # What the whole block took counts once.
    assert found["composite"][0][3] > 10 * found[names["external"]][0][3]


def test_a_mixture_by_another_of_them_is_one_setting_apart_and_scores_nothing_again(
    first: dict[str, Any], run_command: Run, uri: str, names: dict[str, str], platform: Deployment
) -> None:
    for name in (names["ordinal"], names["external"]):
        found = run_command(uri, "--name", f"by-{name}", *by(name))
        assert (found["scoring"]["skipped"], found["scoring"]["documents"]) == (2, 0)
        assert found["content_digest"] != first["content_digest"]
        assert made_by(platform, f"by-{name}") == (name, [])
    assert made_by(platform, first["name"]) == ("composite", list(names.values())[:4])


def made_by(platform: Deployment, mixture: str) -> tuple[str, list[str]]:
    """By which quality model a mixture was made, and which others scored beside it."""
    of = "SELECT name FROM quality_model WHERE quality_model_id = {}"
    ((main, beside),) = rows(
        platform,
        f"SELECT ({of.format('mixture.quality_model_id')}), ARRAY(SELECT ({of.format('id')})"
        " FROM unnest(other_quality_model_ids) AS id) FROM mixture WHERE mixture.name = %s",
        mixture,
    )
    return main, beside


def test_a_scorer_that_comes_later_reads_what_is_there(
    first: dict[str, Any],
    run_command: Run,
    command: Command,
    uri: str,
    names: dict[str, str],
    platform: Deployment,
    tmp_path: Path,
) -> None:
    members = ("--of", "composite", "--of", names["ordinal"], "--of", names["external"])
    added = json.loads(command("quality", "add", "ensemble", names["ensemble"], *members, "--corpus", uri, "--json").stdout)
    assert (added["low"], added["high"], len(added["found"]["members"])) == (0, 1, 3)
    command("quality", "add", "calibrated", names["calibrated"], "--of", "composite", "--corpus", uri, "--least", "20")
    (tmp_path / "target.jsonl").write_text(
        "\n".join(json.dumps({"q": f"How do you bake bread {i}?", "a": "With flour, soup and salt."}) for i in range(9))
    )
    target = (str(tmp_path / "target.jsonl"), "--text", "q", "--text", "a")
    exams, words = f"exams-{names['ensemble']}", f"words-{names['ensemble']}"
    shown = command("quality", "add", "similarity", exams, *target, "--set", "embedding.max_seq_tokens=64", "--json").stdout
    assert json.loads(shown)["found"] == {"examples": 9}
    shown = command("quality", "add", "importance", words, *target, "--corpus", uri, "--json").stdout
    assert json.loads(shown)["found"] == {"examples": 9, "texts of the corpus": N}
    asked_for = by(names["ensemble"], names["calibrated"], "composite", exams, words)
    later = run_command(uri, "--name", f"by-{names['ensemble']}", *asked_for)
    # No document is embedded again, and none of the others' scores is made again.
    assert later["scoring"]["documents"] == later["scoring"]["reused"] == N
    ranks = [quality for _, quality, *_ in rows(platform, SCORES, uri, names["ensemble"])]
    assert len(ranks) == N
    assert 0 < min(ranks) < 0.3 < 0.7 < max(ranks) <= 1
    fair, composite = (rows(platform, SCORES, uri, name) for name in (names["calibrated"], "composite"))
    moved = [one[1] - other[1] for one, other in zip(fair, composite, strict=True)]
    assert max(map(abs, moved)) <= 2.5 + 1e-5
    assert [one[2] for one in fair] == [other[2] for other in composite], "dimensions are as they were"
    for scorer, policy in ((exams, "betr"), (words, "importance")):
        quality = {doc: score for doc, score, *_ in rows(platform, SCORES, uri, scorer)}
        # A third of the documents is about cooking.
        kitchen = [quality[f"doc-{i}"] for i in range(0, N, 3) if i % 10 != 9]
        others = [quality[f"doc-{i}"] for i in range(1, N, 3) if i % 10 != 9]
        assert np.mean(kitchen) > np.mean(others)
        plan = command("mixture", "plan", f"by-{names['ensemble']}", "--policy", policy, "--json", *by(scorer)).stdout
        assert json.loads(plan)["asked"]["quality"] > json.loads(plan)["asked"]["source_quality"]


def test_sql_compares_them(first: dict[str, Any], command: Command, uri: str, names: dict[str, str]) -> None:
    found = asked(command, "quality_models", f"corpus={uri}")
    assert {row["quality_model"] for row in found} >= {"composite", names["ordinal"], names["external"]}
    by_model = {(row["quality_model"], row["domain"]): row for row in found}
    assert by_model[names["external"], "books"]["documents"] == N / 2
    agreed = asked(command, "quality_agreement", f"corpus={uri}", f"model={names['ordinal']}", f"other={names['external']}")
    assert sum(row["documents"] for row in agreed) == N
    assert all(-1 <= row["rank_correlation"] <= 1 for row in agreed)


def test_what_can_t_score_is_said_before_anything_is_read(
    run_command: Run, command: Command, uri: str, names: dict[str, str], small_config: Path
) -> None:
    run = ("run", uri, "--config", str(small_config))
    for options, said in (
        (by("no-such-scorer"), "There is no quality model 'no-such-scorer'"),
        (by("composite", "composite"), "'composite' is there twice"),
        ((*by(names["ordinal"]), "--set", "embedding.max_seq_tokens=32"), "reads vectors of all-MiniLM-L6-v2 (64 tokens)"),
    ):
        done = command(*run, *options, check=False)
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr


def test_an_audit_looks_at_all_of_them_and_is_kept(
    first: dict[str, Any], command: Command, uri: str, names: dict[str, str], tmp_path: Path
) -> None:
    done = command(
        "quality", "audit", uri, "--json", "--picture", str(tmp_path / "audit.png"), "--set", "least_documents=10", check=False
    )
    found = json.loads(done.stdout)
    assert (tmp_path / "audit.png").stat().st_size > 20_000
    models = {model["model"]: model for model in found["models"]}
    assert models.keys() >= {"composite", names["ordinal"], names["external"]}
    assert {model["documents"] for model in models.values()} == {N}
    assert len(found["places"]) == N
    kept = {row["quality_model"]: row for row in asked(command, "quality_audits", f"corpus={uri}")}
    assert kept[names["external"]]["verdict"] == "fine"
    assert {item["domain"] for item in kept["composite"]["extremes"]} == {"books", "web"}
    assert kept["composite"]["agreement"].keys() == models.keys() - {"composite"}
    groups = asked(command, "quality_audit_groups", f"corpus={uri}")
    assert {(row["grouping"], row["name"]) for row in groups} >= {("domain", "books"), ("snapshot", "s1"), ("language", "en")}
    shown = command("quality", "audit", uri, "--model", "composite", "--by", "language", "--extremes").stdout
    assert "composite, by language" in shown
    assert "There is no quality model" in command("quality", "audit", uri, "--model", "none", check=False).stderr


@pytest.mark.parametrize(
    ("planted", "said", "scores"),
    [
        ("domain", "the source alone predicts 100%", [i % 2 for i in range(N)]),
        ("length", "it may only measure length", [1 + i % 5 for i in range(N)]),
        ("constant", "it tells nothing apart", [0.5] * N),
    ],
)
def test_a_scorer_that_only_knows_this_stops_the_run_before_it_is_mixed(
    command: Command, uri: str, small_config: Path, tmp_path: Path, planted: str, said: str, scores: list[float]
) -> None:
    name = f"{planted}-{uuid4().hex[:8]}"
    pq.write_table(
        pa.table({"doc_id": [f"doc-{i}" for i in range(N)], "score": pa.array(scores, pa.float64())}), tmp_path / "s.parquet"
    )
    command("quality", "add", "external", name, str(tmp_path / "s.parquet"), "--by", "doc_id", "--low", "0", "--high", "5")
    run = ("run", uri, "--config", str(small_config), "--name", name, "--set", "audit.least_documents=10")
    done = command(*run, *by(name), check=False)
    assert done.returncode == 1
    assert f"The quality model {name} should not decide a mixture." in done.stderr
    assert said in done.stderr
    assert command("mixture", "show", name, check=False).returncode == 1, "nothing is published"
    # Beside another it is told of, and stops nothing.
    assert f"stop: {name}: " in command(*run, *by("composite", name)).stderr
    looked = command("quality", "audit", uri, "--model", name, "--set", "least_documents=10", check=False)
    assert (looked.returncode, said in looked.stdout) == (1, True)
