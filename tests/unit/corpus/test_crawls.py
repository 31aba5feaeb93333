from datetime import UTC, datetime, timedelta

import pytest

from samplemix_core.corpus.crawls import crawl_date, distinct_date, parse_partition_key, partition_key, unfinished
from samplemix_core.errors import CorpusError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(seconds=1)


def test_a_marker_vouches_for_what_was_written_before_it() -> None:
    assert unfinished("_SUCCESS", NOON, {"a/x.jsonl": NOON, "a/y.jsonl": NOON - timedelta(days=1)}) is None
    assert unfinished("_DONE", None, {"a/x.jsonl": NOON}) == "has no marker _DONE"
    assert unfinished("_DONE", NOON, {}) == "has the marker _DONE and no file yet"
    reason = unfinished("_SUCCESS", NOON, {f"a/{i}.jsonl": LATER for i in range(5)} | {"a/old.jsonl": NOON})
    assert reason == (
        "a/0.jsonl, a/1.jsonl, a/2.jsonl and 2 more newer than the marker; write _SUCCESS again when all files are there"
    )


@pytest.mark.parametrize(
    ("name", "date"),
    [
        ("crawl-2024-10", (2024, 10, 1)),
        ("2024-10-31", (2024, 10, 31)),
        ("web-20241031", (2024, 10, 31)),
        ("CC-MAIN-2024-10", (2024, 3, 4)),
        ("crawl-b", (2026, 3, 1, 12)),
        ("2024-02-31", (2026, 3, 1, 12)),
        ("202410310", (2026, 3, 1, 12)),
        ("crawl-2031-01", (2026, 3, 1, 12)),
        ("CC-MAIN-2024-60", (2026, 3, 1, 12)),
    ],
)
def test_a_crawl_has_the_date_in_its_name_or_that_of_its_landing(name: str, date: tuple[int, ...]) -> None:
    assert crawl_date(name, NOON.replace(microsecond=5)) == datetime(*date, tzinfo=UTC)  # type: ignore[misc,arg-type]


def test_no_two_crawls_have_one_date() -> None:
    taken = {NOON, NOON + timedelta(seconds=1)}
    assert distinct_date(NOON, taken) == NOON + timedelta(seconds=2)
    assert distinct_date(LATER + timedelta(days=1), taken) == LATER + timedelta(days=1)


def test_a_partition_is_named_by_corpus_and_snapshot() -> None:
    assert parse_partition_key(partition_key("web", "crawl a")) == ("web", "crawl a")
    for key in ("web", "/crawl", "web/", "web/a/b", ""):
        with pytest.raises(ValueError, match="write it as corpus/snapshot"):
            parse_partition_key(key)
    assert len(partition_key("web", "x" * 246)) == 250
    with pytest.raises(CorpusError, match="251 characters, more than the 250"):
        partition_key("web", "x" * 247)
