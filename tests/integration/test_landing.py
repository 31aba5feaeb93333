"""Crawls as they land, in a directory and on S3: what becomes of each is what the database says."""

import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from samplemix_core.config.run import CorpusConfig, LandingConfig, RunConfig
from samplemix_core.crawls import landing
from samplemix_core.crawls.watch import Watch
from samplemix_core.database import corpora
from samplemix_core.database.connection import transaction
from samplemix_core.database.corpora import Crawl, NamedCorpus
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, CorpusError
from samplemix_core.frozen import load_config
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.pipeline.configure import from_form, next_landed

NOW = datetime.now(UTC)


def added(settings: Deployment, uri: str, name: str = "web") -> NamedCorpus:
    config = CorpusConfig(name=name, run=RunConfig(corpus_uri=uri, mixture_name=name))
    with settings.transaction() as cursor:
        corpora.add_corpus(cursor, config)
    return NamedCorpus(config)


def states(settings: Deployment, corpus: str = "web") -> dict[str, str]:
    with settings.transaction() as cursor:
        return {crawl.snapshot: crawl.state for crawl in corpora.crawls(cursor, corpus)}


def taken(settings: Deployment, run: str) -> Crawl | None:
    with settings.transaction() as cursor:
        return corpora.take_crawl(cursor, run, datetime.now(UTC), corpora.corpus_names(cursor))


class Place:
    """A corpus in a directory whose files are as old as one likes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, age: float = 0.0, text: str = '{"text": "a"}\n') -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        os.utime(file, times=(time.time() - age,) * 2)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "corpus").mkdir()
    return Place(tmp_path / "corpus")


@pytest.fixture
def corpus(database: Deployment, place: Place) -> NamedCorpus:
    return added(database, str(place.root))


def test_a_crawl_lands_with_its_marker_and_is_taken_once(database: Deployment, place: Place, corpus: NamedCorpus) -> None:
    place.write("crawl-b/web/one.jsonl", age=60)
    assert [(c.state, c.reason) for c in landing.scan(database, corpus)] == [("waiting", "has no marker _SUCCESS")]
    assert landing.scan(database, corpus) == []
    place.write("crawl-b/_SUCCESS", age=30, text="")
    (crawl,) = landing.scan(database, corpus)
    assert (crawl.state, crawl.files, crawl.bytes, crawl.reason) == ("landed", 1, 14, None)
    assert landing.scan(database, corpus) == []
    held = taken(database, "run-1")
    assert held is not None
    assert (held.snapshot, held.state, held.run) == ("crawl-b", "taken", "run-1")
    assert taken(database, "run-1") == held
    assert taken(database, "run-2") is None
    assert landing.scan(database, corpus, thorough=True) == []


def test_crawls_that_were_there_when_a_corpus_is_added_start_no_run(
    database: Deployment, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write("crawl-a/web/one.jsonl", age=60)
    place.write("crawl-a/_SUCCESS")
    config = CorpusConfig(name="web", run=RunConfig(corpus_uri=str(place.root), mixture_name="web"))
    watch = Watch(print)
    found: list[list[Crawl]] = []
    look = landing._look

    def look_beside_a_watch(*args: Any, **kwargs: Any) -> Any:
        found.append(watch.look(database, float(len(found))))
        return look(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(landing, "_look", look_beside_a_watch)
        (crawl,) = landing.add(database, config)
    assert (crawl.state, found, watch.look(database, 1e6)) == ("taken", [[]], [])
    with pytest.raises(ConfigError, match="There is a corpus 'web' already"):
        landing.add(database, config)
    place.write(f"{'b' * 249}/web/one.jsonl")
    with pytest.raises(CorpusError, match="shorter name"):
        landing.add(database, config.model_copy(update={"name": "other"}))
    assert states(database, "other") == {}
    with database.transaction() as cursor:
        assert corpora.corpus_names(cursor) == ["web"]


def test_a_marker_before_the_files_waits_for_another(database: Deployment, place: Place, corpus: NamedCorpus) -> None:
    place.write("crawl-b/_SUCCESS", age=60, text="")
    (crawl,) = landing.scan(database, corpus)
    assert (crawl.state, crawl.reason) == ("waiting", "has the marker _SUCCESS and no file yet")
    place.write("crawl-b/web/one.jsonl", age=30)
    (crawl,) = landing.scan(database, corpus)
    assert crawl.state == "waiting"
    assert "crawl-b/web/one.jsonl newer than the marker" in str(crawl.reason)
    place.write("crawl-b/_SUCCESS", age=10, text="")
    (crawl,) = landing.scan(database, corpus)
    assert crawl.state == "landed"


def test_files_changed_after_the_marker_wait_and_land_again_with_it(
    database: Deployment, place: Place, corpus: NamedCorpus
) -> None:
    place.write("crawl-b/web/one.jsonl", age=60)
    place.write("crawl-b/_SUCCESS", age=50, text="")
    landing.scan(database, corpus)
    taken(database, "run-1")
    place.write("crawl-b/web/one.jsonl", age=10, text='{"text": "b"}\n')
    assert landing.scan(database, corpus) == []
    (crawl,) = landing.scan(database, corpus, thorough=True)
    assert (crawl.state, crawl.run) == ("waiting", "run-1")
    place.write("crawl-b/_SUCCESS", age=5, text="")
    (crawl,) = landing.scan(database, corpus)
    assert (crawl.state, crawl.run) == ("landed", None)
    again = taken(database, "run-2")
    assert again is not None
    assert again.partition_date == crawl.partition_date


def test_one_that_is_removed_is_noted_and_lands_again_when_it_is_back(
    database: Deployment, place: Place, corpus: NamedCorpus
) -> None:
    for snapshot in ("crawl-a", "crawl-b"):
        place.write(f"{snapshot}/web/one.jsonl", age=60)
        place.write(f"{snapshot}/_SUCCESS", age=50, text="")
    assert len(landing.scan(database, corpus)) == 2
    (place.root / "crawl-b").rename(place.root / "_kept")
    (crawl,) = landing.scan(database, corpus)
    assert (crawl.snapshot, crawl.state, crawl.reason) == ("crawl-b", "removed", "its files are gone")
    assert landing.scan(database, corpus) == []
    (place.root / "_kept").rename(place.root / "crawl-b")
    assert states(database) == {"crawl-a": "landed", "crawl-b": "removed"}
    landing.scan(database, corpus)
    assert states(database) == {"crawl-a": "landed", "crawl-b": "landed"}
    place.root.rename(place.root.with_name("elsewhere"))
    with pytest.raises(CorpusError, match="Check the bucket, or that the disk is mounted"):
        landing.scan(database, corpus)


def test_two_that_land_at_once_are_taken_by_two_runs_each_with_a_date_of_its_own(
    database: Deployment, place: Place, corpus: NamedCorpus
) -> None:
    for snapshot in ("2026-01-b", "2026-01-c"):
        place.write(f"{snapshot}/web/one.jsonl", age=60)
        place.write(f"{snapshot}/_SUCCESS", age=50, text="")
    found = landing.scan(database, corpus)
    january = datetime(2026, 1, 1, tzinfo=UTC)
    assert [crawl.partition_date for crawl in found] == [january, january + timedelta(seconds=1)]
    with database.transaction() as cursor:
        between = corpora.crawls_between(cursor, january, january + timedelta(days=1))
    assert [crawl.snapshot for crawl in between] == ["2026-01-b", "2026-01-c"]
    runs = [taken(database, f"run-{i}") for i in range(3)]
    assert [crawl and crawl.snapshot for crawl in runs] == ["2026-01-b", "2026-01-c", None]


def test_a_paused_corpus_lets_crawls_wait(database: Deployment, place: Place, corpus: NamedCorpus) -> None:
    url = database.database
    place.write("crawl-b/web/one.jsonl", age=60)
    with transaction(url) as cursor:
        corpora.pause_corpus(cursor, "web", paused=True)
    crawl = landing.accept(database, corpus, "crawl-b")
    assert (crawl.state, crawl.marker) == ("landed", "by hand")
    assert landing.scan(database, corpus, thorough=True) == []
    assert taken(database, "run-1") is None
    with transaction(url) as cursor:
        corpora.pause_corpus(cursor, "web", paused=False)
    assert taken(database, "run-1") is not None
    with pytest.raises(CorpusError, match="no snapshot 'crawl-x'"):
        landing.accept(database, corpus, "crawl-x")


def test_what_a_person_accepts_stays_accepted_until_files_change_again(
    database: Deployment, place: Place, corpus: NamedCorpus
) -> None:
    place.write("crawl-b/_SUCCESS", age=60, text="")
    place.write("crawl-b/web/one.jsonl", age=30)
    (crawl,) = landing.scan(database, corpus)
    assert crawl.state == "waiting"
    assert landing.accept(database, corpus, "crawl-b").state == "landed"
    for thorough in (False, True):
        assert landing.scan(database, corpus, thorough=thorough) == []
    assert taken(database, "run-1") is not None
    place.write("crawl-b/web/one.jsonl", age=-30)
    assert landing.scan(database, corpus) == []
    (crawl,) = landing.scan(database, corpus, thorough=True)
    assert crawl.state == "waiting"
    assert taken(database, "run-1") is None, "what waits is not a run's any more"


def test_why_a_run_failed_is_kept_until_it_is_tried_again(database: Deployment, place: Place, corpus: NamedCorpus) -> None:
    place.write("crawl-b/web/one.jsonl", age=60)
    place.write("crawl-b/_SUCCESS", age=50, text="")
    landing.scan(database, corpus)
    taken(database, "run-1")
    with database.transaction() as cursor:
        corpora.note_failure(cursor, "run-1", "failed in score: a shard is poison")
    assert landing.scan(database, corpus, thorough=True) == []
    with database.transaction() as cursor:
        (crawl,) = corpora.crawls(cursor, "web")
    assert crawl.reason == "failed in score: a shard is poison"
    again = taken(database, "run-1")
    assert again is not None
    assert again.reason is None


def test_a_crawl_whose_run_is_gone_lands_again(database: Deployment, place: Place, corpus: NamedCorpus) -> None:
    for name in ("crawl-b", "crawl-c"):
        place.write(f"{name}/web/one.jsonl", age=60)
        place.write(f"{name}/_SUCCESS", age=50, text="")
    landing.scan(database, corpus)
    first, second = taken(database, "run-1"), taken(database, "run-2")
    assert first is not None
    assert second is not None
    # A person says so; nobody else has to.
    again = landing.accept(database, corpus, first.snapshot)
    assert (again.state, again.run) == ("landed", None)
    held = taken(database, "run-3")
    assert held is not None
    assert held.snapshot == first.snapshot
    with database.transaction() as cursor:
        assert corpora.unfinished_runs(cursor) == ["run-2", "run-3"]
        (released,) = corpora.release_crawls(cursor, "run-2", datetime.now(UTC))
    assert (released.snapshot, released.state, released.run) == (second.snapshot, "landed", None)
    assert released.reason == "its run run-2 is gone"
    assert taken(database, "run-4") == replace(released, state=corpora.CrawlState.TAKEN, run="run-4", taken_at=ANY)


def test_one_corpus_in_trouble_does_not_keep_the_others_from_being_watched(
    database: Deployment, place: Place, corpus: NamedCorpus
) -> None:
    added(database, "s3://no-such-bucket/corpus", "away")
    added(database, str(place.root), "broken")
    with database.transaction() as cursor:
        cursor.execute("UPDATE corpus_config SET config = jsonb_set(config, '{run,gone}', '1') WHERE name = 'broken'")
    place.write("crawl-b/web/one.jsonl", age=60)
    place.write("crawl-b/_SUCCESS", age=50, text="")
    said: list[str] = []
    watch = Watch(said.append)
    for now in (0.0, 5.0):
        assert [(crawl.corpus, crawl.snapshot) for crawl in watch.look(database, now)] == [("web", "crawl-b")]
        assert sorted(line.split(":")[0] for line in said) == ["corpus away", "corpus broken"], "said once"


def test_a_snapshot_that_can_not_be_read_keeps_no_other_from_landing(
    database: Deployment, place: Place, corpus: NamedCorpus
) -> None:
    place.write("crawl-a/web/one.jsonl", age=60)
    (place.root / "crawl-a" / "_SUCCESS").symlink_to("_SUCCESS")
    place.write("crawl-b/web/one.jsonl", age=60)
    place.write("crawl-b/_SUCCESS", age=50, text="")
    place.write("lost+found/one.jsonl", age=50)
    place.write(f"{'x' * 250}/web/one.jsonl", age=50)
    said: list[str] = []
    watch = Watch(said.append)
    for now in (0.0, 5.0):
        assert [crawl.snapshot for crawl in watch.look(database, now)] == ["crawl-b"]
        (line,) = said
        assert "crawl-a/_SUCCESS is a link to itself" in line
    assert states(database) == {"crawl-b": "landed"}


def test_a_corpus_is_looked_at_as_often_as_it_wants(database: Deployment, place: Place, corpus: NamedCorpus) -> None:
    with database.transaction() as cursor:
        corpora.set_corpus(cursor, corpus.config.model_copy(update={"landing": LandingConfig(poll_seconds=60)}))
    watch = Watch(print)
    assert watch.look(database, 1000.0) == []
    place.write("crawl-b/web/one.jsonl", age=60)
    place.write("crawl-b/_SUCCESS", age=50, text="")
    assert watch.look(database, 1059.0) == []
    assert [crawl.snapshot for crawl in watch.look(database, 1060.0)] == ["crawl-b"]


def test_crawls_on_s3_land_too(database: Deployment, object_store: ObjectStore) -> None:
    corpus = added(database, object_store.uri)
    object_store.put("crawl-b/web/one.jsonl", b'{"text": "a"}\n')
    object_store.put("README.md", b"not a crawl")
    assert list(object_store.directories()) == ["crawl-b"]
    assert [crawl.state for crawl in landing.scan(database, corpus)] == ["waiting"]
    object_store.put("crawl-b/_SUCCESS", b"")
    assert [crawl.state for crawl in landing.scan(database, corpus)] == ["landed"]
    assert landing.scan(database, corpus, thorough=True) == []
    time.sleep(1.1)  # S3 tells times to the second.
    object_store.put("crawl-b/web/two.jsonl", b'{"text": "b"}\n')
    (crawl,) = landing.scan(database, corpus, thorough=True)
    assert (crawl.state, crawl.files) == ("waiting", 2)


def test_a_corpus_that_can_not_be_used_keeps_no_other_from_landing(database: Deployment, place: Place, corpus: NamedCorpus) -> None:
    for name in ("web", "other"):
        Place(place.root / name).write("crawl-a/web/one.jsonl", age=60)
        Place(place.root / name).write("crawl-a/_SUCCESS", age=30, text="")
        landing.scan(database, added(database, str(place.root / name), f"{name}-corpus"))
    with database.transaction() as cursor:
        cursor.execute("UPDATE corpus_config SET config = jsonb_set(config, '{run,gone}', '1') WHERE name = 'web-corpus'")
    said: list[str] = []
    watch = Watch(said.append)
    for now in (0.0, 1.0):
        assert [crawl.corpus for crawl in watch.look(database, now)] == ["other-corpus"]
    assert [line for line in said if "'web-corpus' sets run.gone, which SampleMix" in line] == said[:1]
    for _ in range(2):
        given = next_landed(database, "run-1")
        assert given is not None
        assert given.corpus == "other-corpus"
    assert next_landed(database, "run-2") is None
    assert states(database, "web-corpus") == {"crawl-a": "landed"}


def test_a_name_is_given_once_and_a_corpus_without_one_is_named_in_the_error(database: Deployment, corpus: NamedCorpus) -> None:
    url = database.database
    with pytest.raises(ConfigError, match="There is a corpus 'web' already"):
        added(database, "/elsewhere")
    with pytest.raises(ConfigError, match="no corpus 'wbe'; there are: web"), transaction(url) as cursor:
        corpora.get_corpus(cursor, "wbe")
    with transaction(url) as cursor:
        cursor.execute("UPDATE corpus_config SET config = jsonb_set(config, '{run,gone}', '1')")
    with pytest.raises(ConfigError, match=r"sets run\.gone, which SampleMix"), transaction(url) as cursor:
        corpora.get_corpus(cursor, "web")
    with transaction(url) as cursor:
        known, gone = corpora.known_settings(cursor, "web")
        assert gone == {"run.gone": 1}
        corpora.set_corpus(cursor, load_config(CorpusConfig, known))
        assert corpora.get_corpus(cursor, "web") == corpus
    with transaction(url) as cursor:
        cursor.execute("UPDATE corpus_config SET config = jsonb_set(config, '{run,policy,name}', '\"paper2\"')")
    with pytest.raises(ConfigError, match=r"no run\.policy 'paper2'; choose .*--set FIELD=VALUE"), transaction(url) as cursor:
        corpora.get_corpus(cursor, "web")
    with transaction(url) as cursor:
        known, gone = corpora.known_settings(cursor, "web")
        assert (known["run"]["policy"]["name"], gone) == ("paper2", {})
        corpora.remove_corpus(cursor, "web")
        assert corpora.corpus_names(cursor) == []


def test_a_form_may_name_a_directory_only_by_the_name_of_its_corpus(
    database: Deployment, place: Place, corpus: NamedCorpus
) -> None:
    uri = corpus.config.run.corpus_uri
    assert from_form(database, {"corpus_uri": corpus.name}).config.corpus_uri == uri
    assert from_form(database, {"corpus_uri": "s3://bucket/corpus"}).config.corpus_uri == "s3://bucket/corpus"
    with pytest.raises(ConfigError, match=r"The form may not name /.*: corpora may lie in s3://"):
        from_form(database, {"corpus_uri": uri})
