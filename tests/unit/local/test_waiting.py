import time
from pathlib import Path

import pytest

from samplemix_core.errors import ServiceError
from samplemix_core.local.ports import wait_until


def test_it_polls_until_nothing_is_missing(tmp_path: Path) -> None:
    answers = iter(["not yet", "still not", None])
    wait_until(lambda: next(answers), what="it", timeout=10, log=tmp_path / "it.log")
    assert list(answers) == []


def test_it_gives_up_with_the_last_reason_and_the_end_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "it.log"
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    with pytest.raises(ServiceError) as caught:
        wait_until(lambda: "no answer", what="it", timeout=0.2, log=log)
    message = str(caught.value)
    assert message.startswith("it was not ready within 0 s: no answer. ")
    assert f"Its log {log} ends with:" in message
    assert message.endswith("  | line 98\n  | line 99")
    assert "line 84\n" not in message


def test_it_does_not_wait_for_a_process_that_was_given_up(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ServiceError, match=r"it failed to start: no answer\. .* ends with: nothing"):
        wait_until(lambda: "no answer", what="it", timeout=60, log=tmp_path / "it.log", gave_up=lambda: True)
    assert time.monotonic() - started < 30
