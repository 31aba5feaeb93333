"""Mixtures compared through the real steps: on texts where it is known what learns faster."""

import json
import logging
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from samplemix_core.config.run import RunConfig
from samplemix_core.config.variants import VARIANTS
from samplemix_core.database.connection import scalar
from samplemix_core.database.query import ask
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, GateError, ManifestError
from samplemix_core.frozen import load_config
from samplemix_core.pipeline.evaluate import _Files, settings_of
from samplemix_core.pipeline.gate import gate as pipeline_gate
from samplemix_core.pipeline.publish import publish
from samplemix_core.pipeline.register import register
from samplemix_core.reading.versions import open_version
from samplemix_core.worker import evaluate
from samplemix_core.worker.jobs import LearnTask, TrainingTask
from tests.e2e.conftest import Command
from tests.e2e.made import Made, write

_SOUNDS = [f"{first}{last}" for first in "bdfgklmnprst" for last in ("a", "e", "i", "o", "u", "an", "el", "or")]
_WORDS = [f"{first}{last}" for first in _SOUNDS for last in _SOUNDS[::6]]
_NEXT = random.Random(0)
_FOLLOWS = {word: _NEXT.sample(_WORDS, 4) for word in _WORDS}


def prose(draw: random.Random, words: int = 150) -> str:
    """Made-up text in which each word has four that may follow, so that a small model can learn from it."""
    said = [draw.choice(_WORDS)]
    while len(said) < words:
        said.append(draw.choice(_FOLLOWS[said[-1]]))
    return " ".join(said)


def junk(draw: random.Random, words: int = 90) -> str:
    return " ".join("".join(draw.choice("bcdfghjklmnpqrstvwxz0123456789") for _ in range(draw.randint(3, 9))) for _ in range(words))


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_mixtures_are_compared_on_targets(
    platform: Deployment, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMPLEMIX_HOME", str(platform.home))
    own, draw = Made(platform, tmp_path / "corpus"), random.Random(3)
    texts = [prose(draw) for _ in range(300)]
    seen = [prose(draw) for _ in range(40)]
    shards = {
        # A page that quotes a text of the target, re-wrapped.
        "crawl-a/web/part-0.jsonl.gz": [*texts, f"{prose(draw)}\n\n{seen[0].replace(' ', chr(10))}\n\n{prose(draw)}"],
        "crawl-a/junk/part-0.parquet": [junk(draw) for _ in range(300)],
    }
    write(own.root, shards)
    settings = {"near_duplicates": {"drop": False}, "budget": "40%", "max_copies": 4}
    registered = own.scored(**settings)
    published, _ = own.mixed(registered, **settings)
    mixture = published.name

    # Drawn after the version, which holds some of it.
    held = f"evaluated-{tmp_path.parent.name}"
    command("target", "draw", held, str(own.root), "--documents", "60")
    clean = f"clean-{tmp_path.parent.name}"
    command("target", "add", clean, str(lines(tmp_path / "clean.jsonl", [{"text": text} for text in seen])))

    files: dict[str, dict[str, Any]] = {
        "prose": {"policy": "fixed", "shares": {"web": 1.0}, "max_copies": 4},
        "junk": {"policy": "fixed", "shares": {"junk": 0.9, "web": 0.1}},
        # As many tokens of a fifth as many documents.
        "repeated": {"policy": "natural", "constraints": {"exclude": {"where": "row % 5 > 0"}}},
    }
    places = [str(lines(tmp_path / f"{name}.json", [values])) for name, values in files.items()]
    asked = ["evaluate", mixture, *places, "--with", "temperature", "--target", held, "--target", clean, "--json"]
    shown = tmp_path / "gains.svg"
    told = command(*asked, "--plot", str(shown))
    found = json.loads(told.stdout)
    assert shown.read_bytes().startswith(b"<?xml")
    contenders = {each["name"]: each for each in found["contenders"]}
    assert list(contenders) == ["natural", f"{mixture}@1", "temperature", "prose", "junk", "repeated"]
    gains = {(name, gain["target"], gain["view"]): gain for name, each in contenders.items() for gain in each["gains"]}
    assert [key[1:] for key in gains if key[0] == "natural"] == [
        (held, "like the source"),
        (held, "mean over groups"),
        (clean, "all"),
    ]
    for view in ((held, "like the source"), (held, "mean over groups"), (clean, "all")):
        assert gains["natural", *view]["steps"] == {"mean": 1.0, "error": 0.0, "low": 1.0, "high": 1.0}
    assert gains["prose", clean, "all"]["verdict"] == "better"
    assert gains["prose", clean, "all"]["steps"]["mean"] > 1.3
    assert gains["junk", clean, "all"]["verdict"] == "worse"
    assert gains["junk", clean, "all"]["steps"]["mean"] < 0.5
    assert gains["repeated", clean, "all"]["steps"]["mean"] < 0.7
    # What is learnt of junk alone is no use for prose, domain by domain.
    losses = {(each["target"], each["group"]): each["difference"]["mean"] for each in contenders["prose"]["groups"]}
    assert losses[held, "junk"] > 0 > losses[held, "web"]
    # The published version is natural itself, but for the documents that hold texts of the targets.
    version = contenders[f"{mixture}@1"]
    assert version["held_tokens"] > 0
    assert (version["policy"], version["mixture"], version["version"]) == ("natural", mixture, 1)
    assert gains[f"{mixture}@1", clean, "all"]["steps"]["mean"] == pytest.approx(1, abs=0.2)
    facts = {each["name"]: each for each in found["targets"]}
    assert (facts[clean]["held_by"], facts[clean]["texts"], facts[clean]["drawn"]) == (1, 40, False)
    assert facts[held]["held_by"] >= 60
    assert any("were not read" in line for line in found["said"])

    # Again, nothing is learnt anew, and the figures are the same; a share of the documents is another evaluation.
    reader = platform.require("reader_database_url")
    before = evaluations(platform)
    again = json.loads(command(*asked).stdout)
    assert evaluations(platform) == before
    assert [each["gains"] for each in again["contenders"]] == [each["gains"] for each in found["contenders"]]
    wrong = lines(tmp_path / "wrong.json", [{"budget": "900%"}])
    quickly = ("--with", "samplemix", "--with", "temperature", "--tokens", "10000", "--draws", "2", "--controls", "--json")
    less = json.loads(command("evaluate", mixture, str(wrong), "--target", clean, *quickly).stdout)
    assert "can't be met" in less["unsolved"]["wrong"]
    assert any(line.startswith("wrong is left out: ") for line in less["said"])
    assert 0 < less["share"] < 1
    assert less["tokens"] < found["tokens"]
    names = [each["name"] for each in less["contenders"]]
    # Natural and temperature have no weights inside.
    halves = [f"samplemix{half}" for half in ("", ": shares alone", ": weights alone")]
    assert names == ["natural", f"{mixture}@1", *halves, "temperature"]
    rows = ask(reader, "comparison", comparison=found["comparison"])
    assert {(row["contender"], row["target"]) for row in rows} == {
        (name, target) for name in contenders for target in (held, clean)
    }
    curves = ask(reader, "learning_curves", comparison=found["comparison"])
    assert {(row["contender"], row["draw"]) for row in curves} == {(name, number) for name in contenders for number in range(3)}
    assert str(found["comparison"]) in command("sql", "--query", "comparisons").stdout

    # Places of the standard settings, and files of those that none beats.
    plot, policies = tmp_path / "frontier.png", tmp_path / "policies"
    short = ("--tokens", "10000", "--draws", "2", "--target", held, "--target", clean)
    placed = json.loads(
        command("mixture", "frontier", mixture, *short, "--plot", str(plot), "--write", str(policies), "--json").stdout
    )
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert {each["name"] for each in placed["points"]} >= {"natural", f"{mixture}@1", *VARIANTS}
    best = [each for each in placed["points"] if each["on_the_frontier"]]
    assert len(list(policies.iterdir())) == len(best) > 0
    written = load_config(RunConfig, {"corpus_uri": str(own.root), **json.loads(next(policies.iterdir()).read_text())})
    assert settings_of(written) in [each["settings"] for each in best]
    refused = command("mixture", "frontier", mixture, "--target", clean, check=False)
    assert "A frontier needs a target that was drawn from the corpus, too" in refused.stderr

    # A transformer learns the same streams, and finds the same of what is clear.
    small = ("--tokens", "10000", "--draws", "2", "--target", clean, "--sequence", "64", "--confirm")
    told = command("evaluate", mixture, places[1], *small, "--json")
    confirmed = json.loads(told.stdout)
    by_it = confirmed["confirmation"]
    assert set(by_it["gains"]) == {"natural", f"{mixture}@1", "junk"}
    assert by_it["gains"]["junk"][0]["steps"]["mean"] < 1
    assert (by_it["agreement"]["pairs"], by_it["tokens"]) == (3, confirmed["tokens"])
    assert any("order" in line and "pairs of mixtures alike" in line for line in confirmed["said"])
    curves = ask(reader, "learning_curves", comparison=confirmed["comparison"])
    assert {(row["method"], row["draw"]) for row in curves} == {(way, draw) for way in ("quick", "transformer") for draw in (0, 1)}
    before = evaluations(platform)
    assert json.loads(command("evaluate", mixture, places[1], *small, "--json").stdout)["confirmation"] == by_it
    assert evaluations(platform) == before
    assert not [info.key for info in platform.state.list("drafts/") if "/training-" in info.key]
    assert "The same, by a transformer of about 1,000,000 parameters" in command("evaluate", mixture, places[1], *small).stdout

    # A draft from which less is learnt than is asked for is not published, and one that passes says what it showed.
    gate = {"targets": [clean], "tokens": 10_000, "draws": 2}
    bad = {**settings, "gate": {**gate, "most_worse": 0.1}, **files["junk"]}
    run, draft = own.drafted(registered, **bad)
    with pytest.raises(ManifestError, match="has not passed the gate"):
        publish(run, draft)
    with pytest.raises(GateError, match=f"under 0.9 on {clean}"):
        pipeline_gate(run, draft)
    with pytest.raises(ManifestError, match="has not passed the gate"):
        publish(run, draft)
    assert ask(reader, "comparisons")[0]["version"] is None
    with pytest.raises(ConfigError, match="There is no target 'nobody'"):
        register(own.run(**settings, gate={"targets": ["nobody"], "most_worse": 0.1}))
    run, draft = own.drafted(registered, **{**settings, "gate": {**gate, "most_worse": 0.5}, "mixture_name": "gated"})
    found_good = pipeline_gate(run, draft)
    # Asked for something else, it hasn't shown it.
    with pytest.raises(ManifestError, match="has not passed the gate"):
        publish(own.run(**{**settings, "gate": {**gate, "most_worse": 0.5, "draws": 1}, "mixture_name": "gated"}), draft)
    passed = publish(run, draft)
    evaluated = open_version(platform, passed.name, passed.version).manifest.lineage.evaluation
    assert evaluated is not None
    assert evaluated == found_good.record
    assert [(each.target, each.view) for each in evaluated.gains] == [(clean, "all")]
    assert (ask(reader, "comparisons")[0]["version"], ask(reader, "comparisons")[0]["comparison"]) == (1, found_good.comparison)

    twice = [lines(tmp_path / place / "same.json", [{}]) for place in ("a", "b")]
    refused = command("evaluate", mixture, *map(str, twice), "--target", clean, check=False)
    assert "Two files are called same" in refused.stderr
    refused = command("evaluate", mixture, "--target", "nobody", check=False)
    assert "There is no target 'nobody'" in refused.stderr
    refused = command("evaluate", mixture, "--target", clean, "--beside", f"{mixture}@9", check=False)
    assert refused.returncode == 1
    command("target", "drop", held)
    refused = command("evaluate", mixture, check=False)
    assert "none was drawn from" in refused.stderr


def test_a_training_that_was_cut_off_goes_on_where_it_was_put_aside(
    platform: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SAMPLEMIX_HOME", str(platform.home))
    monkeypatch.setattr(evaluate, "_PUT_ASIDE_SECONDS", 0.0)
    caplog.set_level(logging.INFO)
    chance = np.random.default_rng(0)
    lengths = chance.integers(20, 60, 300)
    ids, ends = chance.zipf(1.5, int(lengths.sum())).astype(np.int64) % 500, np.cumsum(lengths)
    documents = pa.table([np.arange(300), evaluate.as_lists(ids, ends)], schema=evaluate.DOCUMENTS)
    texts = pa.table(
        [evaluate.as_lists(ids[: ends[9]], ends[:10]), lengths[:10] * 4, np.arange(10, dtype=np.int32) % 2], schema=evaluate.TEXTS
    )
    with _Files.of(platform, tmp_path) as files:
        stream = files.put(pa.table({"place": np.arange(300, dtype=np.int32)}))
        task = LearnTask("run", "draw 1", files.put(documents), stream, files.put(texts), 2, 500, int(lengths.sum()))

        def train(name: str, cut_at: int = 0, earlier: tuple[str, ...] = (), parameters: int = 50_000) -> tuple[Any, ...]:
            def progress(tokens: int) -> None:
                if cut_at and tokens >= cut_at:
                    raise KeyboardInterrupt

            caplog.clear()
            key = f"{files.prefix}/{name}.safetensors"
            training = TrainingTask(parameters, 64, "auto", "float32", 0, key, earlier)
            checked, _ = evaluate.train_stream(replace(task, training=training), progress)
            return checked.tokens.tolist(), checked.nats.tolist(), "training goes on" in caplog.text

        whole = train("whole")
        assert not whole[-1]
        with pytest.raises(KeyboardInterrupt):
            train("cut", cut_at=5_000)
        assert platform.state.head(f"{files.prefix}/cut.safetensors") is not None
        assert train("moved", earlier=(f"{files.prefix}/cut.safetensors",)) == (*whole[:-1], True)
        assert train("cut") == (*whole[:-1], True)
        platform.state.put(f"{files.prefix}/damaged.safetensors", b"not tensors")
        assert train("damaged") == whole
        # A state of another model is of no use.
        assert train("other", earlier=(f"{files.prefix}/cut.safetensors",), parameters=400_000) == train("own", parameters=400_000)
        if not torch.cuda.is_available():
            with pytest.raises(ConfigError, match="This worker sees no GPU"):
                evaluate.train_stream(replace(task, training=TrainingTask(50_000, 64, "cuda", "float32", 0, "key")))


def evaluations(platform: Deployment) -> int:
    with platform.transaction() as cursor:
        cursor.execute("SELECT count(*) FROM evaluation")
        return int(scalar(cursor))
