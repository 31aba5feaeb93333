"""Near-duplicates and benchmarks through the real steps: planted in crawls, and compared with plain readings of all texts."""

import io
import json
import random
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from samplemix_core.database import near_duplicates
from samplemix_core.database.benchmarks import Benchmark
from samplemix_core.database.embeddings import files_by_path
from samplemix_core.database.ledger import shard_states
from samplemix_core.database.query import ask
from samplemix_core.database.registration import forget_shards
from samplemix_core.database.targets import find_targets
from samplemix_core.deployment import Deployment
from samplemix_core.embedding.vectors import read_embeddings
from samplemix_core.errors import ConfigError, CorpusError, ModelError
from samplemix_core.manifest.format import Manifest
from samplemix_core.pipeline import near_duplicates as step
from samplemix_core.pipeline import semantic
from samplemix_core.pipeline.decontaminate import decontaminate
from samplemix_core.pipeline.near_duplicates import find_near_duplicates
from samplemix_core.pipeline.plan import plan
from samplemix_core.reading.versions import open_version
from samplemix_core.report.why import explain
from samplemix_core.worker.jobs import SignTask
from samplemix_core.worker.near_duplicates import sign_shard
from tests.e2e.conftest import Command
from tests.e2e.made import Made, Place, write

VOCABULARY = [f"{first}{second}" for first in ("ba", "ke", "lo", "mi", "tu") for second in ("n", "rd", "st", "m", "l", "x", "pp")]


def edited(words: list[str], every: int, start: int = 0) -> list[str]:
    """With another word in every so many places."""
    return [f"{word}ed" if i % every == start else word for i, word in enumerate(words)]


def corpus() -> dict[str, list[str]]:
    """Texts by shard, in three formats and three crawls, with what was planted."""
    draw = random.Random(5)
    base = [[draw.choice(VOCABULARY) for _ in range(120)] for _ in range(24)]
    plain = [" ".join(words) for words in base]
    chain = [base[20]]
    for link in range(3):
        chain.append([f"{word}{link}" if i in (10 + 30 * link, 25 + 30 * link) else word for i, word in enumerate(chain[-1])])
    return {
        "crawl-a/web/part-0.jsonl": [*plain[:8], plain[0].upper() + "!", " ".join(edited(base[1], 100))],
        "crawl-a/books/part-0.parquet": [*plain[8:14], plain[2].replace(" ", "\n"), " ".join(edited(base[9], 10))],
        "crawl-b/web/part-0.jsonl.gz": [
            *plain[14:18],
            *(plain[3], " ".join(edited(base[4], 70)), " ".join(edited(base[4], 70, 30)), "?!"),
        ],
        "crawl-c/web/part-0.jsonl": [
            *plain[18:20],
            *(" ".join(words) for words in chain),
            plain[15] + " and more",
            plain[5].title(),
        ],
    }


def expected(
    shards: dict[str, list[str]],
    first: Callable[[Place], Any] = lambda place: 0,
    without: Collection[Place] = (),
    least: float = 0.8,
) -> dict[Place, Place]:
    """Who goes for whom, by comparing all with all."""
    texts = {(path, row): text for path in sorted(shards) for row, text in enumerate(shards[path]) if (path, row) not in without}
    kept: dict[str, Place] = {}
    for place, text in texts.items():
        kept.setdefault(text, place)
    order = sorted(kept.values(), key=lambda place: (first(place), place))
    sets: dict[Place, set[tuple[str, ...]]] = {}
    for place in order:
        words = re.findall(r"[a-z0-9]+", texts[place].lower())
        sets[place] = {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))} if words else set()
    goes: dict[Place, Place] = {}
    for number, place in enumerate(order):
        alike = []
        for before, other in enumerate(order[:number]):
            union = sets[place] | sets[other]
            similarity = len(sets[place] & sets[other]) / len(union) if union else 0
            if similarity >= least and other not in goes:
                alike.append((-similarity, before, other))
        if alike:
            goes[place] = min(alike)[2]
    return goes


@pytest.fixture(scope="module")
def made(platform: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("alike") / "corpus"
    write(root, corpus())
    return Made(platform, root)


def test_those_that_are_alike_go_and_say_for_whom(made: Made, platform: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "TEXTS_AT_ONCE", 20)
    monkeypatch.setattr(step, "PAIRS_AT_ONCE", 4)
    monkeypatch.setenv("SAMPLEMIX_HOME", str(platform.home))
    registered = made.scored()
    with pytest.raises(CorpusError, match="4 of 4 shards haven't been compared with the others"):
        made.mixed(registered)
    counts = find_near_duplicates(made.run(), registered)
    assert (counts.shards, counts.skipped) == (4, 0)
    again = find_near_duplicates(made.run(), registered)
    assert (again.skipped, again.texts, again.candidates, again.pairs) == (4, 0, 0, counts.pairs)
    shards = corpus()
    manifest, gone = made.mixed(registered)
    assert gone == expected(shards)
    assert {("crawl-a/web/part-0.jsonl", 8), ("crawl-a/web/part-0.jsonl", 9), ("crawl-a/web/part-0.jsonl", 2)} <= gone.keys()
    assert ("crawl-a/books/part-0.parquet", 7) not in gone, "every tenth word is another"
    assert manifest.counts.left_out == {"near_duplicates": len(gone)}
    assert manifest.counts.duplicates == 1
    # A chain doesn't go on: each goes for one that it is like itself.
    links = [("crawl-c/web/part-0.jsonl", row) for row in range(2, 6)]
    assert [link in gone for link in links] == [False, True, False, True]
    reader = platform.require("reader_database_url")
    why = explain(platform, reader, manifest.name, manifest.version, "crawl-a/web/part-0.jsonl", 8)
    assert why.became == "near-duplicate"
    assert any("row 0 of crawl-a/web/part-0.jsonl" in line for line in why.lines())


def test_settings_say_how_alike_and_who_stays(made: Made, platform: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLEMIX_HOME", str(platform.home))
    registered = made.scored()
    find_near_duplicates(made.run(), registered)
    shards = corpus()

    def length(place: Place) -> int:
        return -len(shards[place[0]][place[1]].encode())

    _, gone = made.mixed(registered, near_duplicates={"keep": "longest", "similarity": 0.75})
    assert gone == expected(shards, length, least=0.75)
    manifest, gone = made.mixed(registered, near_duplicates={"drop": False})
    assert gone == {}
    assert manifest.near_duplicates is None
    assert not manifest.counts.left_out
    with platform.transaction() as cursor:
        cursor.execute(
            "SELECT path, row, quality FROM quality_score JOIN shard USING (snapshot_id, shard_id)"
            " WHERE snapshot_id = ANY(%s) AND quality_model_id = %s",
            (list(registered.snapshot_ids), registered.quality_model_id),
        )
        quality = {(path, row): -value for path, row, value in cursor.fetchall()}
    _, gone = made.mixed(registered, near_duplicates={"keep": "quality"})
    assert gone == expected(shards, lambda place: quality.get(place, 0))


def test_what_is_left_out_gives_its_place_back(made: Made, platform: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLEMIX_HOME", str(platform.home))
    registered = made.scored()
    find_near_duplicates(made.run(), registered)
    without = {("crawl-a/web/part-0.jsonl", 4), ("crawl-a/web/part-0.jsonl", 0)}
    ids = [f"{path}/{row}" for path, row in without]
    manifest, gone = made.mixed(registered, constraints={"exclude": {"ids": ids}})
    assert gone == expected(corpus(), without=without)
    assert ("crawl-b/web/part-0.jsonl.gz", 5) not in gone
    assert manifest.counts.left_out == {"exclude.ids": 2, "near_duplicates": len(gone)}


def test_what_repeats_another_in_meaning_has_no_weight(
    made: Made, platform: Deployment, command: Command, small_corpus: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMPLEMIX_HOME", str(platform.home))
    monkeypatch.setattr(semantic, "DOCUMENTS_AT_ONCE", 12)
    monkeypatch.setattr("samplemix_core.diversity.semantic.OWN", 5)
    registered = made.scored()
    find_near_duplicates(made.run(), registered)
    gates = {**small_corpus["diversity"], "gate_max_noise_share": 1.0}
    settings = {"policy": {"name": "semdedup", "semdedup_eps": 0.1}, "budget": "100%", "diversity": gates}
    texts = [(path, row, text) for path, found in sorted(corpus().items()) for row, text in enumerate(found)]
    for drop in (True, False):
        manifest, gone = made.mixed(registered, near_duplicates={"drop": drop}, **settings)
        with platform.transaction() as cursor:
            files = files_by_path(cursor, registered.version, shard_states(cursor, registered.scope))
            cursor.execute(
                "SELECT path, row, cluster, distance FROM diversity_score JOIN shard USING (snapshot_id, shard_id)"
                " WHERE cluster_model_id = (SELECT cluster_model_id FROM mixture WHERE name = %s AND version = %s)"
                " AND snapshot_id = ANY(%s)",
                (manifest.name, manifest.version, list(registered.snapshot_ids)),
            )
            assigned = {(path, row): (cluster, round(distance * 10_000)) for path, row, cluster, distance in cursor.fetchall()}
        vectors = {
            (path, row): vector.astype(float)
            for path, parts in files.items()
            for part in parts
            for rows, read in read_embeddings(io.BytesIO(platform.state.get(part.key)[0]), registered.encoder_key)
            for row, vector in zip(rows.tolist(), read, strict=True)
        }
        first = {text: (path, row) for path, row, text in reversed(texts)}
        eligible = sorted(place for place in set(first.values()) & assigned.keys() if place not in gone)
        order = sorted(eligible, key=lambda place: -assigned[place][1])
        repeating = {
            place
            for number, place in enumerate(order)
            for other in order[:number]
            if assigned[other][0] == assigned[place][0] and round(float(vectors[other] @ vectors[place]) * 10_000) > 9_000
        }
        assert 0 < len(repeating) < len(eligible)
        rows = [
            (table["shard"].to_pylist(), table["row"].to_pylist())
            for table in open_version(platform, manifest.name, manifest.version).rows()
        ]
        taken = {place for paths, numbers in rows for place in zip(paths, numbers, strict=True)}
        assert taken == set(eligible) - repeating
        plans = json.loads(
            command("mixture", "plan", manifest.name, "--policy", "semdedup", "--set", "semdedup_eps=0.1", "--json").stdout
        )
        assert {plan["documents"] for plan in plans.values()} == {len(taken)}
        assert all(plan["overlap"] == 1 for plan in plans.values())
        path, row = min(repeating)
        why = explain(platform, platform.require("reader_database_url"), manifest.name, manifest.version, path, row)
        assert why.became == "not taken"
    assert not [
        info.key for info in platform.state.list("drafts/") if re.fullmatch(r"(\d+|files)\.parquet", info.key.split("/")[-1])
    ]


def test_a_crawl_that_lands_later_is_compared_with_what_is_there(
    made: Made, platform: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMPLEMIX_HOME", str(platform.home))
    late = Made(platform, tmp_path / "corpus")
    shards = corpus()
    write(late.root, {path: texts for path, texts in shards.items() if not path.startswith("crawl-b")})
    find_near_duplicates(late.run(), late.scored())
    write(late.root, {path: texts for path, texts in shards.items() if path.startswith("crawl-b")})
    registered = late.scored()
    # A file of signatures that is gone is made again, by the next run.
    with platform.transaction() as cursor:
        files = near_duplicates.signature_files(cursor, registered.corpus_id)
    platform.state.delete(files[0].key)
    with pytest.raises(ModelError, match="A file of signatures is gone"):
        find_near_duplicates(late.run(), registered)
    counts = find_near_duplicates(late.run(), registered)
    assert (counts.shards, counts.skipped) == (4, 3)
    manifest, gone = late.mixed(registered)
    assert gone == expected(shards)
    at_once = made.scored()
    find_near_duplicates(made.run(), at_once)
    assert made.mixed(at_once)[0].content_digest == manifest.content_digest
    with platform.transaction() as cursor:
        cursor.execute("SELECT (SELECT count(*) FROM near_candidate), (SELECT count(*) FROM near_text)")
        assert cursor.fetchone() == (0, 0)


def test_benchmarks_are_kept_out(
    made: Made, platform: Deployment, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMPLEMIX_HOME", str(platform.home))
    own = Made(platform, tmp_path / "corpus")
    draw = random.Random(8)
    texts = [" ".join(draw.choice(VOCABULARY) for _ in range(120)) for _ in range(12)]
    asked = [" ".join(f"{draw.choice(VOCABULARY)}{draw.choice('xyz')}" for _ in range(40)) for _ in range(4)]
    shards = {
        "crawl-a/web/part-0.jsonl": [*texts[:5], f"{texts[5]} {asked[0]} {texts[6]}"],
        "crawl-b/web/part-0.parquet": [
            *(texts[7], f"{asked[1].upper()}!".replace(" ", ",\n"), f"{texts[8]} {' '.join(edited(asked[2].split(), 10))}"),
            *(asked[3][: len(asked[3]) // 2], f"{texts[5]} {asked[0]} {texts[6]}"),
        ],
    }
    write(own.root, shards)
    benchmark = tmp_path / "exam.jsonl"
    items = [{"question": question, "answer": {"text": "yes"}} for question in asked]
    benchmark.write_text("".join(json.dumps(item) + "\n" for item in items))
    name = f"exam-{tmp_path.parent.name}"
    told = command("decontaminate", "add", name, str(benchmark), "--question", "question", "--answer", "answer.text", "--json")
    added = json.loads(told.stdout)
    assert (added["items"], added["parts"], added["too_short"]) == (4, {"question": 4, "answer": 1}, 1)
    assert min(added["recall"].values()) == 1.0
    assert name in command("decontaminate", "list").stdout
    found = json.loads(command("decontaminate", "find", name, str(own.root / "crawl-a/web/part-0.jsonl"), "--json").stdout)
    assert [(row["record"], row["item"], row["field"]) for row in found] == [(5, 0, "question")]

    settings = {"decontaminate": [name], "near_duplicates": {"drop": False}}
    registered = own.scored(**settings)
    with pytest.raises(CorpusError, match=f"2 of 2 shards haven't been searched for {name}"):
        own.mixed(registered, **settings)
    counts = decontaminate(own.run(**settings), registered)
    assert (counts.shards, counts.skipped) == (2, 0)
    assert decontaminate(own.run(**settings), registered).skipped == 2
    manifest, _ = own.mixed(registered, **settings)
    # One of the four that hold something has the same text as another, and is left out too.
    assert manifest.counts.left_out == {f"contaminated.{name}": 4}
    assert [(record.name, record.parts) for record in manifest.decontaminated] == [(name, 4)]
    reader = platform.require("reader_database_url")
    held = ask(reader, "contamination", mixture=manifest.name, version=manifest.version)
    assert {(row["shard"], row["row"], row["item"]) for row in held} == {
        ("crawl-a/web/part-0.jsonl", 5, 0),
        ("crawl-b/web/part-0.parquet", 1, 1),
        ("crawl-b/web/part-0.parquet", 2, 2),
        ("crawl-b/web/part-0.parquet", 4, 0),
    }
    why = explain(platform, reader, manifest.name, manifest.version, "crawl-b/web/part-0.parquet", 1)
    assert why.became == "left out"
    assert any(f"100% of the question of item 1 of benchmark {name}" in line for line in why.lines())
    assert own.mixed(registered, near_duplicates={"drop": False})[0].counts.left_out == {}
    with pytest.raises(ConfigError, match="There is no benchmark 'nobody'"):
        decontaminate(own.run(decontaminate=["nobody"]), registered)


def test_what_happens_in_between_is_seen(
    platform: Deployment, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards that are forgotten, signed late, changed or gone while others work on them."""
    monkeypatch.setenv("SAMPLEMIX_HOME", str(platform.home))
    own = Made(platform, tmp_path / "corpus")
    shards = corpus()
    write(own.root, shards)
    registered = own.scored()
    with platform.transaction() as cursor:
        states = shard_states(cursor, registered.scope)
    task = SignTask("test", str(own.root), own.run().config.reader, states[1].shard, "signatures/test")
    # Forgotten when its task begins: nothing is entered.
    with platform.transaction() as cursor:
        forget_shards(cursor, str(own.root), [states[1].shard.path])
    with pytest.raises(CorpusError, match="was replaced or forgotten meanwhile"):
        sign_shard(task)
    registered = own.scored()
    # Another text in its place.
    changed = own.root / states[1].shard.path
    before = changed.read_bytes()
    changed.write_bytes(before.replace(b"an", b"na"))
    with pytest.raises(CorpusError, match="isn't the file that was scored: its texts are others"):
        sign_shard(task)
    changed.write_bytes(before)
    # Signed while others are being compared: it waits for the next time.
    for state in (states[0], *states[2:]):
        sign_shard(replace(task, shard=state.shard))
    with platform.transaction() as cursor:
        near_duplicates.begin_comparison(cursor, registered.corpus_id)
    sign_shard(task)
    with platform.transaction() as cursor:
        assert len(near_duplicates.signature_files(cursor, registered.corpus_id)) == 3
        near_duplicates.finish_comparison(cursor, registered.corpus_id)
        assert [item.shard.path for item in near_duplicates.unsigned_shards(cursor, states)] == []
    with platform.transaction() as cursor, pytest.raises(CorpusError, match=r"1 of 4 shards haven't been compared"):
        near_duplicates.find_alike(cursor, registered.scope, states, own.run().config.near_duplicates)
    # All of it again, as a run would find it: nothing is compared, and the file of a snapshot that isn't the run's is gone.
    with platform.transaction() as cursor:
        cursor.execute(
            "UPDATE near_shard SET compared = false WHERE shard_id = ANY(%s)", ([state.shard.shard_id for state in states],)
        )
    only = own.scored(snapshots=["crawl-b", "crawl-c"])
    gone = own.root / "crawl-a/web/part-0.jsonl"
    kept = gone.read_bytes()
    gone.unlink()
    find_near_duplicates(own.run(snapshots=["crawl-b", "crawl-c"]), only)
    some = {path: texts for path, texts in shards.items() if not path.startswith("crawl-a")}
    assert own.mixed(only, snapshots=["crawl-b", "crawl-c"])[1] == expected(some)
    gone.write_bytes(kept)
    find_near_duplicates(own.run(), registered)
    assert own.mixed(registered)[1] == expected(shards)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"question": "half of a pair \\\\ud800"}\n', "half a surrogate pair"),
        ('{"question": "what is it that \n', "Record 1 .* can't be read"),
        ('{"query": "no such field here"}\n', "has no text in question, answer, passage"),
        ('{"question": "four words only here"}\n', "None of the 1 texts has 8 words"),
        ("", "The files have no record"),
    ],
)
def test_files_that_hold_no_benchmark_are_told(command: Command, tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text(content.replace("\\\\", "\\"))
    told = command("decontaminate", "add", "odd", str(path), check=False)
    assert told.returncode == 1
    assert re.search(said, re.sub(r"\s+", " ", told.stderr + told.stdout))


def test_a_drawn_target_is_in_no_mixture(
    platform: Deployment, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMPLEMIX_HOME", str(platform.home))
    own = Made(platform, tmp_path / "corpus")
    draw = random.Random(11)
    web, books = ([[draw.choice(VOCABULARY) for _ in range(100)] for _ in range(n)] for n in (36, 4))
    first = {
        "crawl-a/web/part-0.jsonl.gz": [" ".join(words) for words in web],
        "crawl-a/books/part-0.parquet": [" ".join(words) for words in books],
    }
    write(own.root, first)
    settings = {"near_duplicates": {"drop": False}}
    own.scored(**settings)
    name = f"held-{tmp_path.parent.name}"
    drawn = json.loads(command("target", "draw", name, str(own.root), "--json").stdout)
    # A tenth of the 40, half of these evenly over the domains.
    assert (drawn["asked_for"], drawn["drawn"], drawn["texts"], drawn["twice"], drawn["unread"]) == (2000, 4, 4, 0, 0)
    assert {group: counts["texts"] for group, counts in drawn["groups"].items()} == {"books": 1, "web": 3}
    assert drawn["groups"]["web"]["share"] == pytest.approx(0.9, abs=0.02)
    assert json.loads(command("target", "draw", name, str(own.root), "--json").stdout) == drawn
    listed = [row for row in json.loads(command("target", "list", "--json").stdout) if row["name"] == name]
    assert [(row["drawn_from"], row["texts"], row["dropped_at"]) for row in listed] == [(str(own.root), 4, None)]

    with platform.transaction() as cursor:
        (target,) = find_targets(cursor, [name])
    held = read_parts_of(platform, target.benchmark)
    # Another crawl brings one again, re-wrapped within a page, and one edited.
    other = {
        "crawl-b/web/part-0.jsonl": [
            f"{' '.join(edited(web[0], 1))}\n\n{held[0].replace(' ', chr(10))}\n\n{' '.join(edited(web[1], 1))}",
            " ".join(edited(held[1].split(), 12)),
            " ".join(edited(web[2], 1)),
        ]
    }
    write(own.root, other)
    registered = own.scored(**settings)
    assert registered.held_out == (f"target.{name}@{drawn['key']}",)
    with pytest.raises(CorpusError, match=f"haven't been searched for target.{name}"):
        own.mixed(registered, **settings)
    decontaminate(own.run(**settings), registered)
    manifest, _ = own.mixed(registered, **settings)
    assert manifest.counts.left_out == {f"contaminated.target.{name}": 6}
    assert [record.key for record in manifest.decontaminated] == [drawn["key"]]
    texts = {
        (path, row): text for shards in (first, other) for path, own_texts in shards.items() for row, text in enumerate(own_texts)
    }
    mixed = {texts[place] for place in places(platform, manifest)}
    assert mixed == set(texts.values()) - {*held, *other["crawl-b/web/part-0.jsonl"][:2]}
    # A plan over the version keeps out what the version did, and no more.
    version = open_version(platform, manifest.name, manifest.version)
    outcomes = list(plan(platform, version, own.run(**settings).config, {"same": own.run(**settings).config}))
    assert [outcome.plan and outcome.plan.documents for outcome in outcomes] == [len(mixed)] * 2

    # The target of another name, of the user's own files.
    news = tmp_path / "news.jsonl"
    items = [{"body": " ".join(edited(web[number], 1)), "title": "Seen", "level": number} for number in (2, 5)]
    news.write_text("".join(json.dumps(item) + "\n" for item in [*items, {"body": "Too short", "level": 1}]))
    added = json.loads(
        command(
            "target", "add", f"{name}-news", str(news), "--text", "title", "--text", "body", "--group", "level", "--json"
        ).stdout
    )
    assert (added["records"], added["texts"], added["too_short"], sorted(added["groups"])) == (3, 2, 1, ["2", "5"])
    kept_out = {**settings, "decontaminate": [f"target.{name}-news"]}
    decontaminate(own.run(**kept_out), registered)
    assert own.mixed(registered, **kept_out)[0].counts.left_out == {
        f"contaminated.target.{name}-news": 1,
        f"contaminated.target.{name}": 6,
    }
    refused = command("target", "add", name, str(news), "--text", "body", check=False)
    assert f"There is a target '{name}' from {own.root}" in refused.stderr
    command("target", "drop", name)
    assert own.scored(**settings).held_out == ()
    # Drawn again, the same documents are held out again.
    assert json.loads(command("target", "draw", name, str(own.root), "--snapshot", "crawl-a", "--json").stdout) == drawn
    assert own.scored(**settings).held_out == (f"target.{name}@{drawn['key']}",)
    command("target", "drop", name)
    assert "There is no target" in command("target", "drop", name, check=False).stderr
    refused = command("target", "add", "x", str(news), "--text", "body", "--group", "colour", check=False)
    assert "Record 1 of" in refused.stderr
    assert "has no group of at most 200 characters in colour" in refused.stderr


def read_parts_of(platform: Deployment, benchmark: Benchmark) -> list[str]:
    return [str(text) for text in pq.read_table(io.BytesIO(platform.state.get(benchmark.artifact_key)[0]))["text"].to_pylist()]


def places(platform: Deployment, manifest: Manifest) -> set[Place]:
    found = open_version(platform, manifest.name, manifest.version)
    return {place for table in found.rows() for place in zip(table["shard"].to_pylist(), table["row"].to_pylist(), strict=True)}
