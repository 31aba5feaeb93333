"""The steps in this process, over the real services: what lands, is replaced, is cleared or differs in the middle of a run."""

import hashlib
import io
import json
import os
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from samplemix_core.compute import fanout
from samplemix_core.config.run import DiversityConfig, RunConfig
from samplemix_core.database import clusters, ledger, registration
from samplemix_core.database.copy import copy_out
from samplemix_core.database.embeddings import EmbeddingFile, embedding_files
from samplemix_core.database.quality_models import quality_ranks
from samplemix_core.database.query import ask
from samplemix_core.database.scope import ScoreVersion, Shard, ShardState
from samplemix_core.deployment import Deployment
from samplemix_core.diversity import drift
from samplemix_core.embedding.vectors import VectorDigest, read_embeddings
from samplemix_core.errors import CorpusError, DiversityHealthError, ManifestError, ModelError, ServiceError
from samplemix_core.frozen import load_config
from samplemix_core.identity import fingerprint
from samplemix_core.manifest.format import files_of
from samplemix_core.objects import open_store
from samplemix_core.operations.check import check
from samplemix_core.pipeline import drafts
from samplemix_core.pipeline.assign import assign_clusters, measure_clusters
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.drift import check_drift, report_clusters
from samplemix_core.pipeline.fit import fit_diversity, load_model
from samplemix_core.pipeline.handoff import ClusterModelRef, Registered
from samplemix_core.pipeline.mix import mix
from samplemix_core.pipeline.near_duplicates import find_near_duplicates
from samplemix_core.pipeline.publish import publish, verify
from samplemix_core.pipeline.register import register
from samplemix_core.pipeline.score import check_loss, plan_tasks, score, score_tasks
from samplemix_core.quality.composite import composite_model
from samplemix_core.reading.versions import open_version
from samplemix_core.report.why import explain
from samplemix_core.worker.clusters import assign_shard, fit_model
from samplemix_core.worker.jobs import AssignTask, FitTask
from samplemix_core.worker.score import plan_shard, score_block
from tests.e2e.conftest import Command

Context = Callable[..., RunContext]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, shards: dict[str, bytes]) -> Path:
    """A corpus in a directory: some of the real shards."""
    root = tmp_path_factory.mktemp("local") / "corpus"
    for path, data in list(shards.items())[:4]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


@pytest.fixture(scope="module")
def context(platform: Deployment, small_corpus: dict[str, Any], directory: Path, first: str) -> Iterator[Context]:
    """Make a run of that corpus, with these settings; workers and this process know the same services."""

    def make(**settings: Any) -> RunContext:
        diversity = small_corpus["diversity"] | settings.pop("diversity", {})
        values = small_corpus | {"corpus_uri": str(directory), "mixture_name": f"steps-{first}", "diversity": diversity} | settings
        values["blocks"] = {"documents": 3}
        return RunContext(load_config(RunConfig, values), platform, lambda progress: None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMPLEMIX_HOME", str(platform.home))
        yield make


@pytest.fixture(scope="module")
def registered(context: Context) -> Registered:
    return register(context())


@pytest.fixture(scope="module")
def scored(context: Context, registered: Registered) -> Registered:
    counts = score(context(), registered)
    assert counts.shards == registered.shards == 4
    check_loss(context(), registered)
    return registered


@pytest.fixture(scope="module")
def model(context: Context, scored: Registered) -> ClusterModelRef:
    find_near_duplicates(context(), scored)
    found = fit_diversity(context(), scored)
    assign_clusters(context(), scored, found)
    measure_clusters(context(), scored, found)
    return found


def shards_of(registered: Registered, platform: Deployment) -> list[Shard]:
    with platform.transaction() as cursor:
        return [state.shard for state in ledger.shard_states(cursor, registered.scope)]


def test_a_worker_whose_models_are_others_refuses_the_task(context: Context, registered: Registered, platform: Deployment) -> None:
    shards = shards_of(registered, platform)
    assert plan_shard(plan_tasks(context(), registered, shards)[0]) > 1
    tasks = score_tasks(context(), registered, shards)
    with pytest.raises(
        ModelError, match=r"This worker's encoder \(all-MiniLM-L6-v2 on cpu in \w+, computed with \w+\) is not the run's"
    ):
        score_block(replace(tasks[0], encoder_key="0" * 32))
    spec = composite_model() | {"version": 0}
    with platform.transaction() as cursor:
        earlier = registration.ensure_quality_model(cursor, fingerprint(spec), spec)
    with pytest.raises(ModelError, match="This worker's composite score has the key"):
        score_block(replace(tasks[0], versions=(ScoreVersion(registered.encoder_id, earlier),)))


def test_a_shard_that_stays_as_it_was_is_not_read_as_a_whole_for_each_block(
    context: Context, platform: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = tmp_path / "corpus" / "s1" / "web" / "part.jsonl"
    shard.parent.mkdir(parents=True)
    shard.write_text("".join(json.dumps({"text": f"The {i}th of some short texts."}) + "\n" for i in range(12)))
    os.utime(shard, (1e9, 1e9))
    run = context(corpus_uri=str(tmp_path / "corpus"))
    registered = register(run)
    found = shards_of(registered, platform)

    def refuse(*_: object) -> str:
        raise AssertionError("the shard is read for its etag")

    with monkeypatch.context() as patch:
        patch.setattr("samplemix_core.objects.directory._digest_of", refuse)
        assert plan_shard(plan_tasks(run, registered, found)[0]) == 4
        first, second, third, _ = score_tasks(run, registered, found)
        assert score_block(first).scored == 3
    # Touched, it may be another: it is read, and is the same.
    os.utime(shard, (1.1e9, 1.1e9))
    assert score_block(second).scored == 3
    shard.write_text(shard.read_text().replace("11th", "12th"))
    os.utime(shard, (1.2e9, 1.2e9))
    with pytest.raises(CorpusError, match="changed during the run"):
        score_block(third)


def test_who_is_asked_about_the_models_has_what_they_run_on(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers here offer no GPU: none of them may load an encoder for one, not even to say what it is."""
    monkeypatch.setattr(fanout, "NO_WORKER_SECONDS", 1.0)
    monkeypatch.setattr(fanout, "CHECK_SECONDS", 0.2)
    with pytest.raises(ServiceError, match="has had no worker that offers GPU for 1 s"):
        register(context(embedding={"device": "cuda"}))


def test_an_embedding_file_is_named_after_its_content_and_checked(
    context: Context, scored: Registered, model: ClusterModelRef, platform: Deployment
) -> None:
    with platform.transaction() as cursor:
        state = ledger.shard_states(cursor, scored.scope)[0]
        record = clusters.load_cluster_model(cursor, model.cluster_model_id)
        files = embedding_files(cursor, scored.version, [state])[state.shard.shard_id]
    assert len(files) > 1
    digest = VectorDigest()
    for file in files:
        data = platform.state.get(file.key)[0]
        assert hashlib.sha256(data).hexdigest() == file.sha256
        assert file.key.endswith(f".{file.sha256[:32]}.parquet")
        digest.add(pq.read_table(io.BytesIO(data)))
    assert digest.hexdigest() == state.embedding_digest
    task = AssignTask(
        run="test",
        shard=state.shard,
        encoder_key=scored.encoder_key,
        embeddings=(files[0], replace(files[1], sha256="0" * 64)),
        # Another than what is assigned: otherwise nothing is read.
        embedding_digest="0" * 64,
        cluster_model_id=record.cluster_model_id,
        artifact_key=record.artifact_key,
        artifact_sha256=record.artifact_sha256,
    )
    with pytest.raises(ModelError, match=f"has SHA-256 {files[1].sha256}, 0000"):
        assign_shard(task)
    with pytest.raises(ModelError, match=f"A cluster model is damaged: .* has SHA-256 {record.artifact_sha256}, 0000"):
        assign_shard(replace(task, embeddings=files, artifact_sha256="0" * 64))


def test_neither_gates_nor_the_mixtures_seed_fit_again(context: Context, scored: Registered, model: ClusterModelRef) -> None:
    other = context(seed=7, tau=0.5, diversity={"gate_max_noise_share": 0.99})
    assert fit_diversity(other, scored) == model
    # A gate that moved is asked all the same.
    with pytest.raises(DiversityHealthError, match="gate_min_clusters = 1000"):
        fit_diversity(context(diversity={"gate_min_clusters": 1000}), scored)


def test_what_constraints_made_of_a_document_is_said_of_it(
    context: Context, scored: Registered, model: ClusterModelRef, platform: Deployment, first: str
) -> None:
    name = f"held-{first}"
    constraints = {"hold": ["content_type"], "copies": {"language=en": 1, "quality>=9": 2}, "exclude": {"where": "row = 1"}}
    run = context(mixture_name=name, budget="60%", constraints=constraints, normalise="ranks")
    published = publish(run, mix(run, scored, model))
    manifest = open_version(platform, name, published.version).manifest
    assert manifest.constraints == run.config.constraints
    assert {tuple(cell.of) for cell in manifest.solver.cells} == {("content_type",)}
    with platform.transaction() as cursor:
        ranks = quality_ranks(cursor, scored.corpus_id, scored.quality_model_id)
    assert ranks is not None
    documents = sum(state.scored for state in _states(platform, scored))
    with platform.transaction() as cursor:
        cursor.execute("SELECT documents FROM quality_ranks WHERE corpus_id = %s", (scored.corpus_id,))
        assert cursor.fetchall() == [(documents,)], "of all documents, whatever the mixture leaves out"
    assert manifest.policy.parameters["q_ranks"] == [list(part) for part in ranks]
    assert mix(run, scored, model).content_digest == manifest.content_digest
    assert manifest.counts.left_out == {"exclude.where": 4}
    reader = platform.require("reader_database_url")
    (document,) = next(open_version(platform, name, published.version).rows()).slice(0, 1).to_pylist()
    why = explain(platform, reader, name, published.version, document["shard"], document["row"])
    (chance,) = why.chances
    assert chance.copies == document["copies"]
    assert chance.weight == document["weight"]
    cap = 1 if why.document["language"] == "en" else 4
    assert chance.max_copies == cap
    left_out = explain(platform, reader, name, published.version, document["shard"], 1)
    assert (left_out.became, left_out.trouble) == ("left out", "the constraint exclude.where leaves it out")
    funnel = ask(reader, "funnel", mixture=name, version=published.version)
    assert (sum(row["left_out"] for row in funnel), sum(row["duplicates"] for row in funnel)) == (4, manifest.counts.duplicates)
    assert min(cap, int(chance.wanted + chance.u)) == document["copies"] or chance.note


def test_a_document_has_the_diversity_that_its_model_gives_it(
    context: Context, scored: Registered, model: ClusterModelRef, platform: Deployment, first: str
) -> None:
    run = context(mixture_name=f"diverse-{first}", budget="70%", diversity={"noise": "drop", "noise_quantile": 0.5})
    dropping = fit_diversity(run, scored)
    assert dropping.cluster_model_id != model.cluster_model_id
    assign_clusters(run, scored, dropping)
    measure_clusters(run, scored, dropping)
    with platform.transaction() as cursor:
        record = clusters.load_cluster_model(cursor, dropping.cluster_model_id)
        states = ledger.shard_states(cursor, scored.scope)
        files = embedding_files(cursor, scored.version, states)
    fitted = load_model(run, record)
    assert [fit.mode for fit in fitted.fits] == ["hdbscan", "evoc", "kmeans"] * 3
    assert fitted.groups.offsets
    noise = dict[tuple[str, int], bool]()
    for state in states:
        with platform.transaction() as cursor:
            rows, kinds = clusters.kinds_of_rows(cursor, state.shard, fitted.groups, 0, 2**62)
            stored = copy_out(
                cursor,
                "SELECT row, cluster, diversity, is_noise FROM diversity_score"
                " WHERE cluster_model_id = %(model)s AND shard_id = %(shard)s ORDER BY row",
                {"model": dropping.cluster_model_id, "shard": state.shard.shard_id},
                {"row": "int64", "cluster": "int32", "diversity": "float32", "is_noise": "bool"},
            )
        data = [io.BytesIO(platform.state.get(file.key)[0]) for file in files[state.shard.shard_id]]
        vectors = np.concatenate([part for each in data for _, part in read_embeddings(each, scored.encoder_key)])
        direct = fitted.assign(vectors, kinds)
        np.testing.assert_array_equal(stored["row"], rows)
        for name in ("cluster", "diversity", "is_noise"):
            np.testing.assert_array_equal(stored[name], getattr(direct, name))
        noise |= {(state.shard.path, row): bool(far) for row, far in zip(rows.tolist(), direct.is_noise, strict=True)}
    version = open_version(platform, run.config.mixture_name, publish(run, mix(run, scored, dropping)).version)
    taken = {(row["shard"], row["row"]) for table in version.rows() for row in table.to_pylist()}
    assert taken
    assert not any(noise[place] for place in taken)
    counts = version.manifest.counts
    assert counts.left_out == {"noise": sum(noise.values())}
    assert counts.scored == counts.eligible + counts.left_out["noise"]
    reader = platform.require("reader_database_url")
    shard, row = next(place for place, far in noise.items() if far)
    why = explain(platform, reader, version.manifest.name, version.manifest.version, shard, row)
    assert (why.became, why.trouble) == ("left out", "it is farther from its cluster than members are, and noise is dropped")
    found = check(platform, lambda _: None, run.config.corpus_uri, parts=False, deep=False)
    assert [problem for item in found for problem in item.problems] == []


def test_diversity_is_measured_and_tuned_on_the_workers(
    command: Command, scored: Registered, directory: Path, small_config: Path, tmp_path: Path
) -> None:
    small = json.loads(small_config.read_text())
    # The same run, so that nothing is scored again.
    options = [str(directory), "--documents", "200", "--json", "--set", f"embedding={json.dumps(small['embedding'])}"]
    options += ["--set", f"diversity={json.dumps(small['diversity'] | {'modes': ['kmeans'], 'clusters': 8})}"]
    found = json.loads(command("diversity", "health", *options).stdout)
    assert found["report"]["documents"] <= 200
    assert found["report"]["clusters"] == 8
    assert {trial["setting"] for trial in found["trials"]} >= {"clusters = 4", "clusters = 16", "evenness = 0"}
    picture = tmp_path / "tuned.png"
    grid = ["--try", "clusters=4,8", "--try", 'modes=["kmeans"],["hdbscan","kmeans"]', "--picture", str(picture)]
    points = json.loads(command("diversity", "tune", *options, *grid).stdout)
    assert len(points) == 4
    assert all(-1 <= point["another_seed"] <= 1 and point["seconds"] > 0 for point in points)
    assert ["--set 'diversity.clusters=4'", "--set 'diversity.modes=[\"kmeans\"]'"] in [point["set"] for point in points]
    assert picture.read_bytes().startswith(b"\x89PNG")
    done = command("diversity", "tune", *options, "--try", "fits=0", check=False)
    assert done.returncode == 1
    assert "diversity.fits" in done.stderr


def test_a_crawl_that_is_far_from_the_clusters_is_told_of_and_a_refit_keeps_names_and_says_what_changes(
    context: Context, shards: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, platform: Deployment
) -> None:
    monkeypatch.setattr(drift, "LEAST_DOCUMENTS", 20)
    corpus = tmp_path / "corpus"
    for path, data in list(shards.items())[:4]:
        (corpus / path).parent.mkdir(parents=True, exist_ok=True)
        (corpus / path).write_bytes(data)
    settings = {"corpus_uri": str(corpus), "mixture_name": f"drift-{first}", "budget": "50%", "near_duplicates": {"drop": False}}

    def assigned(run: RunContext) -> tuple[Registered, ClusterModelRef]:
        registered = register(run)
        score(run, registered)
        found = fit_diversity(run, registered)
        assign_clusters(run, registered, found)
        measure_clusters(run, registered, found)
        return registered, found

    before = assigned(context(**settings))
    assert check_drift(context(**settings), *before).drifted == {}
    published = publish(context(**settings), mix(context(**settings), *before))

    strands = random.Random(0)
    alien = [{"text": "\n".join("".join(strands.choices("ACGT", k=60)) for _ in range(4))} for _ in range(40)]
    (corpus / "s2" / "dna").mkdir(parents=True)
    (corpus / "s2" / "dna" / "part.jsonl").write_text("".join(json.dumps(each) + "\n" for each in alien))
    both, kept = assigned(context(**settings))
    assert kept == before[1]
    for _ in range(2):
        found = check_drift(context(**settings), both, kept)
        assert found.crawls == 2
        assert found.drifted.keys() == {"s2"}
    limits = {"drift_max_shares": 100, "drift_max_far": 1, "drift_max_distances": 1}
    assert check_drift(context(**settings, diversity=limits), both, kept).drifted == {}
    check_drift(context(**settings), both, kept)
    assert "crawl 's2' drifts" in mix(context(**settings), both, kept).warnings[-1]
    same = report_clusters(context(**settings), both, kept)
    assert (same.fates, same.correlation, same.is_new) == ({}, None, False)

    told = list[str]()
    again = context(**settings, diversity={"refit": True})
    _, new = assigned(again)
    assert new != kept
    assert check_drift(again, both, new).drifted == {}
    again = replace(again, report=lambda progress: told.append(progress.message))
    reclustered = report_clusters(again, both, new)
    assert reclustered.is_new
    # Of six, one may be split or die: vectors and fits differ in their last bits from one kind of processor to another.
    assert reclustered.fates["kept"] > kept.clusters / 2
    assert reclustered.overlap is not None
    assert 0.1 < reclustered.overlap < 1
    assert re.search(rf"\d kept.*\n.*would hold \d+\.\d% of the tokens of version {published.version}\n", told[-1])
    # Another time it is told as it was, and versions have changed to them.
    assert report_clusters(again, both, new) == reclustered.model_copy(update={"is_new": False})
    assert fit_diversity(context(**settings), both) == fit_diversity(again, both) == new
    with platform.transaction() as cursor:
        cursor.execute(
            "SELECT count(*) FROM cluster AS new JOIN cluster AS old USING (name)"
            " WHERE new.cluster_model_id = %s AND old.cluster_model_id = %s",
            (new.cluster_model_id, kept.cluster_model_id),
        )
        assert cursor.fetchall() == [(reclustered.fates["kept"],)]


def test_a_file_that_lands_during_a_run_is_left_for_the_next(
    context: Context, scored: Registered, model: ClusterModelRef, directory: Path, shards: dict[str, bytes]
) -> None:
    run = context()
    late, data = list(shards.items())[4]
    (directory / late).parent.mkdir(parents=True, exist_ok=True)
    (directory / late).write_bytes(data)
    following = register(context())
    assert (following.shards, scored.shards) == (5, 4)
    draft = mix(run, scored, model)
    published = publish(run, draft)
    verified = verify(run, published)
    assert verified.rows == draft.samples
    # Any task of a finished run can be cleared, though what it was about has grown since.
    assert (score(run, scored).skipped, assign_clusters(run, scored, model).skipped) == (4, 4)
    check_loss(run, scored)
    assert fit_diversity(run, scored) == model
    measure_clusters(run, scored, model)
    again = mix(run, scored, model)
    assert again.content_digest == draft.content_digest
    for cleared in (draft, again):
        assert (publish(run, cleared).version, publish(run, cleared).created) == (published.version, False)
    assert verify(run, published) == verified
    # The next run scores what landed, and assigns it to the clusters that there are.
    assert score(context(), following).skipped == 4
    assert fit_diversity(context(), following) == model
    assert fit_diversity(context(diversity={"refit": True}), following) != model
    assert assign_clusters(context(), following, model).skipped == 4


def test_a_file_that_is_lost_or_damaged_is_found_and_made_again(
    context: Context, scored: Registered, model: ClusterModelRef, directory: Path, platform: Deployment
) -> None:
    now = register(context())
    score(context(), now)
    store = platform.state

    def looked_at() -> tuple[ShardState, EmbeddingFile, str]:
        with platform.transaction() as cursor:
            state = ledger.shard_states(cursor, now.scope)[-1]
            file = embedding_files(cursor, now.version, [state])[state.shard.shard_id][0]
            return state, file, clusters.load_cluster_model(cursor, model.cluster_model_id).artifact_key

    def problems(*, deep: bool) -> list[str]:
        found = check(platform, lambda _: None, str(directory), parts=False, deep=deep)
        return [problem for item in found for problem in item.problems]

    def damaged(data: bytes) -> bytes:
        return data[:200] + bytes([data[200] ^ 1]) + data[201:]

    state, file, artifact = looked_at()
    data, fitted = store.get(file.key)[0], store.get(artifact)[0]
    assert problems(deep=True) == []
    store.delete(file.key)
    (gone,) = problems(deep=False)
    assert gone.startswith(f"{state.shard.path}: its file of vectors {file.key} is gone; 'samplemix shard retry {directory} ")
    with pytest.raises(ModelError, match="An embedding file is gone"):
        fit_diversity(context(diversity={"refit": True, "min_cluster_size": 6}), now)
    store.put(file.key, damaged(data))
    store.put(artifact, damaged(fitted))
    assert problems(deep=False) == []
    one, other = problems(deep=True)
    assert f"{file.key} is damaged" in one
    assert f"{artifact} is damaged" in other
    with pytest.raises(ModelError, match="An embedding file is damaged"):
        fit_diversity(context(diversity={"refit": True, "min_cluster_size": 6}), now)
    with pytest.raises(ModelError, match="A cluster model is damaged"):
        fit_diversity(context(), now)
    with platform.transaction() as cursor:
        assert registration.forget_shards(cursor, str(directory), [state.shard.path]) == [state.shard.path]
    assert score(context(), now).skipped == now.shards - 1
    assert looked_at()[:2] == (state, file)
    assert store.get(file.key)[0] == data
    assert fit_diversity(context(diversity={"refit": True}), scored) == model
    assert store.get(artifact)[0] == fitted
    assert problems(deep=True) == []
    assign_clusters(context(), now, model)


def test_the_fit_takes_the_sample_it_is_given(scored: Registered, platform: Deployment, small_corpus: dict[str, Any]) -> None:
    with platform.transaction() as cursor:
        states = ledger.shard_states(cursor, scored.scope)
        files = embedding_files(cursor, scored.version, states)
    sample = tuple((state.shard, file, np.arange(file.rows)) for state in states for file in files[state.shard.shard_id])
    diversity = DiversityConfig(**small_corpus["diversity"])
    found = fit_model(FitTask(run="test", sample=sample, encoder_key=scored.encoder_key, diversity=diversity))
    assert found.model.fit_rows == found.profiles[""].documents == sum(state.scored for state in states)


def test_a_file_that_is_replaced_during_a_run_ends_it_before_it_publishes(
    context: Context,
    scored: Registered,
    model: ClusterModelRef,
    directory: Path,
    shards: dict[str, bytes],
    platform: Deployment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, data = next(iter(shards.items()))
    run, other = context(budget="30%"), context(budget="60%")
    draft, committed = mix(run, scored, model), mix(other, scored, model)
    assert draft.content_digest != committed.content_digest
    before = set(platform.mixtures.list())
    with monkeypatch.context() as patch:
        # As if it had been killed between the commit and its record.
        patch.setattr("samplemix_core.pipeline.publish.recorded.save_mixture", raising(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            publish(other, committed)
    ((name, version),) = set(platform.mixtures.list()) - before
    (unknown,) = [item for item in check(platform, lambda _: None, str(directory), parts=False) if item.problems]
    assert unknown.name == f"{name} version {version}"
    assert "Postgres does not know it" in unknown.problems[0]
    (directory / path).write_bytes(data + data)
    register(context())
    try:
        for step in (lambda: mix(run, scored, model), lambda: publish(run, draft)):
            with pytest.raises(CorpusError, match="1 of the run's 4 shards were replaced during the run"):
                step()
        assert set(platform.mixtures.list()) == before | {(name, version)}
        assert publish(other, committed).version == version
        assert [item for item in check(platform, lambda _: None, str(directory), parts=False) if item.problems] == []
    finally:
        (directory / path).write_bytes(data)
        register(context())


def raising(error: type[BaseException]) -> Callable[..., None]:
    """A function that fails."""

    def fail(*_: object) -> None:
        raise error

    return fail


def test_a_directory_is_known_by_its_absolute_path(
    command: Command, directory: Path, monkeypatch: pytest.MonkeyPatch, platform: Deployment
) -> None:
    monkeypatch.chdir(directory.parent)
    (planned,) = json.loads(command("run", "./corpus", "--dry-run", "--json").stdout)["snapshots"]
    assert planned["snapshot"] == "s1"
    listed = command("shard", "list", "corpus", "--json").stdout
    assert str(next(iter(directory.rglob("*.zst"))).relative_to(directory)) in listed


def test_equal_drafts_share_a_place_and_old_ones_are_collected(
    platform: Deployment, tmp_path: Path, first_run: dict[str, Any]
) -> None:
    store = open_store(f"{platform.state_root}/test-drafts", platform)
    draft = drafts.read_draft(platform.state, _any_draft(platform))
    rollup = drafts.read_rollup(platform.state, _any_draft(platform))
    for file in files_of(draft.manifest, draft.parts):
        (tmp_path / file).write_bytes(b"x")
    today = date(2030, 5, 20)
    first = drafts.write_draft(store, draft, rollup, None, tmp_path, today)
    assert drafts.write_draft(store, draft, rollup, None, tmp_path, today) == first
    later = drafts.write_draft(store, draft, rollup, None, tmp_path, today + timedelta(days=drafts.KEPT_DAYS))
    assert drafts.read_draft(store, first) == drafts.read_draft(store, later)
    drafts.write_draft(store, draft, rollup, None, tmp_path, today + timedelta(days=drafts.KEPT_DAYS + 1))
    with pytest.raises(ManifestError, match="drafts are kept for 7 days"):
        drafts.read_draft(store, first)
    assert drafts.read_draft(store, later)


def _any_draft(platform: Deployment) -> str:
    store = platform.state
    return next(info.key.rpartition("/")[0] for info in store.list("drafts/") if info.key.endswith(drafts.DRAFT))


def _states(platform: Deployment, registered: Registered) -> list[ShardState]:
    with platform.transaction() as cursor:
        return ledger.shard_states(cursor, registered.scope)
