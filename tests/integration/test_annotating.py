"""A language model is asked about a corpus's documents, over HTTP, and misbehaves: every document is answered or set aside."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from samplemix_core.config.quality import AnnotationConfig
from samplemix_core.corpus.records import Block
from samplemix_core.database import ledger, registration
from samplemix_core.database.labels import list_annotators, read_labels
from samplemix_core.database.scope import Scope, ScoreVersion
from samplemix_core.database.scores import commit_block
from samplemix_core.deployment import Deployment
from samplemix_core.errors import CancelledRunError, ConfigError, CorpusError, CostError, ModelError, ServiceError
from samplemix_core.models.annotate import AnnotationResult, annotate
from samplemix_core.models.import_labels import agreement
from samplemix_core.objects.interface import ObjectInfo
from samplemix_core.progress import Progress
from samplemix_core.quality.rubric import DEFAULT_RUBRIC
from samplemix_core.settings import ENVIRONMENT
from tests.integration.conftest import scores_of
from tests.llm_server import ALWAYS, ODD, ONCE, Served, completion, scores_for, serving

DOCUMENTS = [f"Document {i} says {'something ' * (i % 7)}worth knowing." for i in range(240)]


def settings_for(database: Deployment, served: Served) -> Deployment:
    return Deployment(**{**vars(database), "llm_base_url": served.url, "llm_api_key": "secret-key"})


def make_corpus(database: Deployment, root: Path, texts: list[str]) -> str:
    """A corpus in a directory, scored: three shards of two domains; every fifth line of them is no document."""
    root.mkdir()
    parts = {"crawl-a/web/a.jsonl": texts[0::3], "crawl-a/web/b.jsonl": texts[1::3], "crawl-b/books/c.jsonl": texts[2::3]}
    for path, own in parts.items():
        lines = [
            line
            for i, text in enumerate(own)
            for line in ([json.dumps({"text": text, "id": f"{path}:{i}"})] + ["{"] * (i % 4 == 3))
        ]
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("\n".join(lines))
    with database.transaction() as cursor:
        corpus = registration.register_corpus(
            cursor, uri=str(root), reader={"text_field": "text"}, tokenizer="a tokenizer", tokenizer_id="tok"
        )
        version = ScoreVersion(
            registration.ensure_encoder(cursor, "encoder-1", {"name": "encoder", "dim": 4}),
            registration.ensure_quality_model(cursor, "quality-1", {"name": "quality"}),
        )
        ids = []
        for snapshot in ("crawl-a", "crawl-b"):
            entries = [ObjectInfo(path, 100, f"etag-{path}") for path in parts if path.startswith(snapshot)]
            ids.append(registration.register_snapshot(cursor, corpus.corpus_id, snapshot, entries).snapshot_id)
        for state in ledger.shard_states(cursor, Scope(tuple(ids), version, 2**31 - 1)):
            own = parts[state.shard.path]
            bad = tuple(5 * i + 4 for i in range(len(own) // 4))
            ledger.save_plan(cursor, state.shard, [Block()])
            commit_block(cursor, state.shard, version, Block(), scores_of(own, bad_rows=bad))
    return str(root)


@pytest.fixture
def corpus(database: Deployment, tmp_path: Path) -> str:
    return make_corpus(database, tmp_path / "corpus", DOCUMENTS)


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(latency=0.005) as server:
        yield server


def config_for(corpus: str, **changes: Any) -> AnnotationConfig:
    quick = {"timeout_seconds": 20.0, "first_wait_seconds": 0.01, "attempts": 3, "concurrency": 8}
    return AnnotationConfig(corpus=corpus, model="judge", **(quick | changes))


def adds_up(found: AnnotationResult) -> None:
    assert found.documents == (
        found.known + found.set_aside_before + found.judged + found.unread + sum(found.set_aside.values())
    ), found


def test_each_document_is_asked_about_once_and_its_answer_kept(corpus: str, database: Deployment, served: Served) -> None:
    settings = settings_for(database, served)
    dry = annotate(config_for(corpus, documents=100, input_price=1.0, output_price=2.0), settings, dry_run=True)
    assert (dry.documents, dry.judged, served.asked.total()) == (100, 0, 0)
    assert dry.cost == pytest.approx((dry.input_tokens + 2 * dry.output_tokens) / 1e6)
    first = annotate(config_for(corpus, documents=100), settings)
    adds_up(first)
    assert (first.judged, first.input_tokens, first.output_tokens) == (100, 10_000, 2_000)
    assert 1 < served.most_in_flight <= 8
    assert set(served.asked.values()) == {1}
    # More documents hold the fewer; asked again, nobody is asked again.
    more = annotate(config_for(corpus, documents=240), settings)
    adds_up(more)
    assert (more.known, more.judged) == (100, 140)
    assert annotate(config_for(corpus, documents=240), settings).judged == 0
    assert served.asked == Counter(DOCUMENTS)
    with database.transaction() as cursor:
        (annotator,) = list_annotators(cursor)
        labels = read_labels(cursor, [annotator.annotator_id]).to_pylist()
    assert annotator.name == first.annotator
    assert annotator.rubric == DEFAULT_RUBRIC
    request = served.requests[0]
    assert {item["text"]: item["scores"] for item in labels} == {
        text: [scores_for(request, text)[name] for name in DEFAULT_RUBRIC.names] for text in DOCUMENTS
    }
    assert {item["source"] for item in labels} == {"web", "books"}
    assert all(item["rationale"].startswith("It begins with") for item in labels)
    assert "secret-key" not in json.dumps(annotator.spec)


@pytest.mark.parametrize("response_format", ["json_object", "text"])
def test_an_endpoint_without_schemas_is_asked_in_words(
    corpus: str, database: Deployment, served: Served, response_format: str
) -> None:
    found = annotate(
        config_for(corpus, documents=20, response_format=response_format, temperature=None), settings_for(database, served)
    )
    assert found.judged == 20
    assert all("temperature" not in request for request in served.requests)
    assert {request.get("response_format", {}).get("type", "text") for request in served.requests} == {response_format}


def test_whatever_the_endpoint_does_every_document_is_answered_or_set_aside(
    database: Deployment, tmp_path: Path, served: Served
) -> None:
    plays = [f"Document PLAY:{name} number {i}" for name in (*ONCE, *ALWAYS, *ODD) for i in range(2)]
    corpus = make_corpus(database, tmp_path / "corpus", plays + DOCUMENTS[:60])
    settings, hasty = settings_for(database, served), {"documents": 1000, "concurrency": 12, "timeout_seconds": 1.5}
    found = annotate(config_for(corpus, **hasty), settings)
    adds_up(found)
    assert found.documents == len(plays) + 60
    assert found.judged == 60 + 2 * len(ONCE) + 2 * len(ODD)
    assert found.set_aside == {"no_answer": 4, "score_out_of_range": 2, "unreadable": 2, "declined": 4, "request_refused": 2}
    assert found.turned_away == 4
    # What is answered badly costs what it costs: six kinds once, two kinds three times, two that decline.
    counted = 100 * (found.judged + 2 * 6 + 2 * 2 * 3 + 2 * 2)
    # And two whose answers were too long to be counted, by a guess.
    assert 0 < found.input_tokens - counted < 2000
    for text in plays:
        name = text.split(":")[1].split()[0]
        asked = {"refusal": 1, "filter": 1, "400": 1, "surrogate": 1}.get(name, 3 if name in ALWAYS else 2)
        assert served.asked[text] == asked, name
    # What was malformed was said to be, and asked again with the answer.
    (again,) = {
        json.dumps(r["messages"][2:]) for r in served.requests if "PLAY:cut-off number 0" in str(r) and len(r["messages"]) > 2
    }
    assert "cut off after" in again
    with database.transaction() as cursor:
        cursor.execute("SELECT reason, count(*)::int, min(attempts) FROM annotation_refusal GROUP BY reason")
        stored = {reason: (count, attempts) for reason, count, attempts in cursor.fetchall()}
    assert stored == {
        "no_answer": (4, 3),
        "score_out_of_range": (2, 3),
        "unreadable": (2, 3),
        "declined": (4, 1),
        "request_refused": (2, 1),
    }
    with database.transaction() as cursor:
        cursor.execute("SELECT rationale FROM annotation WHERE rationale LIKE 'half%'")
        assert cursor.fetchall() == [("half ? a pair: ?",)] * 2
    # The endpoint's own troubles are tried again by the next run; a document's are not, unless that is asked for.
    served.asked.clear()
    again_run = annotate(config_for(corpus, **hasty), settings)
    adds_up(again_run)
    assert (again_run.known, again_run.set_aside_before) == (found.judged, 8)
    assert sum(again_run.set_aside.values()) == 6
    everything = annotate(config_for(corpus, **hasty, retry_refused=True), settings)
    adds_up(everything)
    assert (everything.set_aside_before, sum(everything.set_aside.values())) == (0, 14)


def test_where_one_is_turned_away_all_wait(database: Deployment, tmp_path: Path, served: Served) -> None:
    corpus = make_corpus(database, tmp_path / "corpus", ["Document PLAY:429", *DOCUMENTS[:8]])
    started = time.monotonic()
    found = annotate(config_for(corpus, concurrency=1), settings_for(database, served))
    assert (found.judged, found.turned_away) == (9, 1)
    assert time.monotonic() - started >= 0.3


def test_no_more_questions_a_minute_than_are_wanted(corpus: str, database: Deployment, served: Served) -> None:
    started = time.monotonic()
    found = annotate(config_for(corpus, documents=12, requests_per_minute=600), settings_for(database, served))
    assert found.judged == 12
    assert time.monotonic() - started >= 1.1


def test_an_endpoint_that_is_down_ends_the_run_and_what_was_answered_is_kept(
    corpus: str, database: Deployment, served: Served
) -> None:
    settings = settings_for(database, served)
    annotate(config_for(corpus, documents=50), settings)
    with pytest.raises(ServiceError, match="in a row got no answer") as raised:
        annotate(
            config_for(corpus, documents=240, concurrency=2),
            Deployment(**{**vars(settings), "llm_base_url": "http://127.0.0.1:9/v1"}),
        )
    assert "secret-key" not in str(raised.value)
    found = annotate(config_for(corpus, documents=240), settings)
    adds_up(found)
    assert (found.known, found.judged) == (50, 190)


def test_a_model_whose_answers_can_not_be_used_is_asked_no_more(database: Deployment, tmp_path: Path, served: Served) -> None:
    corpus = make_corpus(database, tmp_path / "corpus", [f"PLAY:always-prose {i}" for i in range(100)])
    with pytest.raises(ModelError, match="10 documents in a row got no answer of 'judge' that can be used"):
        annotate(config_for(corpus, concurrency=2), settings_for(database, served))
    assert served.asked.total() <= 3 * 12


def test_asking_ends_at_the_limit_of_cost_and_goes_on_from_there(corpus: str, database: Deployment, served: Served) -> None:
    settings, prices = settings_for(database, served), {"input_price": 1000.0, "output_price": 5000.0, "documents": 100}
    with pytest.raises(CostError, match=r"The cost limit, 2, is reached: for 2\.\d\d 1[0-3] documents were judged, 0"):
        annotate(config_for(corpus, concurrency=4, most_cost=2.0, **prices), settings)
    found = annotate(config_for(corpus, most_cost=100.0, **prices), settings)
    adds_up(found)
    assert 10 <= found.known <= 13
    assert found.known + found.judged == 100
    with pytest.raises(ValueError, match="most_cost can't be kept without input_price and output_price"):
        config_for(corpus, most_cost=1.0)


@pytest.mark.parametrize("key", ["secret\nkey", "sécret"])
def test_a_key_that_can_not_be_sent_is_not_repeated(corpus: str, database: Deployment, served: Served, key: str) -> None:
    settings = Deployment(**{**vars(database), "llm_base_url": served.url, "llm_api_key": key})
    with pytest.raises(ConfigError, match="OPENAI_API_KEY holds characters that no key can have") as raised:
        annotate(config_for(corpus, documents=1), settings)
    assert key not in str(raised.value)
    assert not served.requests


@pytest.mark.parametrize(("change", "said"), [({"model": "missing"}, "does not exist"), ({}, "Incorrect API key")])
def test_a_wrong_setup_is_said_at_once(
    corpus: str, database: Deployment, served: Served, change: dict[str, str], said: str
) -> None:
    served.wanted_key = "another-key"
    if change:
        served.wanted_key = "secret-key"
    with pytest.raises(ConfigError, match=said) as raised:
        annotate(config_for(corpus).model_copy(update=change), settings_for(database, served))
    assert "secret-key" not in str(raised.value)
    assert len(served.requests) <= 8


def test_what_is_not_there_can_not_be_asked_about(corpus: str, database: Deployment, served: Served) -> None:
    with pytest.raises(CorpusError, match="No shard"):
        annotate(config_for(corpus, snapshots=["crawl-z"]), settings_for(database, served))
    with pytest.raises(ConfigError, match="llm base url"):
        annotate(config_for(corpus), Deployment(**{**vars(database), "llm_base_url": None}))
    # A shard that changed, and one that is gone, since they were scored.
    root = Path(corpus)
    (root / "crawl-a/web/b.jsonl").unlink()
    changed = (root / "crawl-a/web/a.jsonl").read_text().replace("Document 3 ", "Document three ")
    (root / "crawl-a/web/a.jsonl").write_text(changed)
    found = annotate(config_for(corpus), settings_for(database, served))
    adds_up(found)
    assert (found.unread, found.judged) == (81, 159)


def test_one_that_is_cancelled_keeps_what_was_answered(corpus: str, database: Deployment, served: Served) -> None:
    settings, cancelled = settings_for(database, served), threading.Event()

    def cancel(progress: Progress) -> None:
        if progress.done >= 30:
            cancelled.set()

    with pytest.raises(CancelledRunError):
        annotate(config_for(corpus), settings, cancel, cancelled=cancelled)
    found = annotate(config_for(corpus), settings)
    adds_up(found)
    assert 30 <= found.known <= 30 + 8


def test_two_annotators_agree_more_or_less(corpus: str, database: Deployment, served: Served) -> None:
    settings = settings_for(database, served)
    for name in ("one", "other"):
        annotate(config_for(corpus, documents=100, annotator=name), settings)
    rows = agreement("one", "other", settings)
    assert [row["score"] for row in rows] == [*DEFAULT_RUBRIC.names, "overall"]
    assert all((row["texts"], row["kappa"], row["mae"]) == (100, 1, 0) for row in rows)
    with database.transaction() as cursor:
        cursor.execute("UPDATE annotation SET scores[7] = 2 - scores[7] WHERE annotator_id = 2")
    by_score = {row["score"]: row for row in agreement("one", "other", settings)}
    assert by_score["clarity"]["kappa"] == 1
    assert by_score["reasoning"]["kappa"] < -0.9
    assert by_score["overall"]["kappa"] < 1
    annotate(
        config_for(
            corpus, documents=5, annotator="own", rubric={"name": "x", "dimensions": [{"name": "a", "maximum": 3, "meaning": "m"}]}
        ),
        settings,
    )
    with pytest.raises(ConfigError, match="different rubrics"):
        agreement("one", "own", settings)


def test_killed_in_the_middle_it_asks_again_only_what_was_in_flight(corpus: str, database: Deployment, tmp_path: Path) -> None:
    log = tmp_path / "asked"
    log.touch()
    server = subprocess.Popen([sys.executable, "-m", "tests.llm_server", "0.05", str(log)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        environment = os.environ | {
            name: getattr(database, field) for field, name in ENVIRONMENT.items() if getattr(database, field)
        }
        environment |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "k", "SAMPLEMIX_HOME": str(tmp_path / "home")}
        command = [sys.executable, "-m", "samplemix_core.cli.main", "quality", "annotate", corpus, "--model", "judge", "--json"]
        command[1:3] = ["-c", "from samplemix_core.cli.main import main; main()"]
        command += ["--documents", "240", "--concurrency", "4"]
        for kept in (40, 120):
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
            while len(log.read_text().splitlines()) < kept and process.poll() is None:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        done = json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)
    finally:
        server.kill()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()
    asked = Counter(log.read_text().split())
    assert done["known"] + done["judged"] == done["documents"] == len(asked) == 240
    assert asked.total() - 240 <= 2 * 4, "at most what was in flight is asked about again"


def test_what_is_asked_and_answered_is_as_openais_own_client_does_it(corpus: str, database: Deployment, served: Served) -> None:
    annotate(config_for(corpus, documents=1), settings_for(database, served))
    (own,) = served.requests
    with openai.OpenAI(base_url=served.url, api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(**own)
    assert served.requests == [own, own]
    assert answer.choices[0].message.content
    assert ChatCompletion.model_validate(completion("x"), strict=True).choices[0].message.content == "x"
