"""What people are told of a long step: how far it is, how fast, and how long it will take."""

import time

import pytest

from samplemix_core.pipeline.progress import LogProgress, Progress, duration


def test_pace_says_what_came_of_each_second_and_what_is_left() -> None:
    half = Progress("score", 5, 8, documents=1200, tokens=300_000, text_bytes=1_500_000, share=0.5, unit="blocks")
    assert half.pace(60) == "1,200 documents, 20 documents/s, 5,000 tokens/s, 0.03 MB/s, 60 s left"
    assert half.pace(0.2) == "1,200 documents"
    done = Progress("score", 8, 8, documents=1200, share=1.0)
    assert done.pace(60) == "1,200 documents, 20 documents/s"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (5400, "1 h 30 min"), (90_000, "25 h 00 min")],
)
def test_durations_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_the_log_has_a_line_when_one_is_due_and_always_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lines: list[str] = []
    log = LogProgress(lines.append, every=5)
    for seconds, done in ((0, 0), (2, 1), (6, 2), (7, 3), (8, 4)):
        now = 100.0 + seconds
        log(Progress("score", done, 4, documents=done * 100, unit="blocks", share=done / 4))
    assert lines == [
        "score: 0 of 4 blocks.",
        "score: 2 of 4 blocks, 200 documents, 33 documents/s, 6 s left.",
        "score: 4 of 4 blocks, 400 documents, 50 documents/s.",
    ]
    log(Progress("score", 4, 4, message="a.jsonl: it is broken."))
    assert lines[-1] == "score: 4 of 4 shards. a.jsonl: it is broken."
