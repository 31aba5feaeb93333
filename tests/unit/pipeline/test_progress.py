"""What people are told of a long step: how far it is, how fast, and how long it will take."""

import io
import time

import pytest
from rich.console import Console

from samplemix_core.progress import LogProgress, Progress, draw_bars, duration, read_line


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


@pytest.mark.parametrize(
    ("line", "done", "total", "unit", "message"),
    [
        ("score: 1,024 of 2,048 blocks.", 1024, 2048, "blocks", ""),
        (
            "score: 2 of 4 blocks, 200 documents, 33 documents/s, 6 s left.",
            2,
            4,
            "blocks",
            "200 documents, 33 documents/s, 6 s left",
        ),
        ("fit_diversity: 0 of 1 models. fitting on a sample.", 0, 1, "models", "fitting on a sample"),
        ("score: the scheduler was lost.", 0, 0, "", "the scheduler was lost"),
    ],
)
def test_a_line_of_the_log_can_be_read_again(line: str, done: int, total: int, unit: str, message: str) -> None:
    step = line.partition(":")[0]
    assert read_line(line) == Progress(step, done, total, unit=unit, message=message)


def test_what_is_no_line_of_progress_is_told_apart() -> None:
    assert read_line("Traceback (most recent call last)") is None


def test_a_terminal_has_a_bar_for_each_step() -> None:
    screen = io.StringIO()
    with draw_bars(Console(file=screen, force_terminal=True, width=120)) as report:
        report(Progress("register", 0, 0, message="looking"))
        report(Progress("register", 1, 1, unit="files"))
        report(Progress("score", 3, 8, documents=600, unit="blocks"))
    last = screen.getvalue().split("\x1b[2K")[-1]
    assert "register" in last
    assert "1/1" in last
    assert "3/8" in last
    assert "600 documents" in last
