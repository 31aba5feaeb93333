"""The log's lines, for people and as JSON."""

import json
import logging
from collections.abc import Iterator

import pytest

from samplemix_core.logs import FORMAT_VARIABLE, configure_logging, event


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    package = logging.getLogger("samplemix_core")
    before = package.handlers, package.level, package.propagate
    package.handlers = []
    yield logging.getLogger("samplemix_core.worker.score")
    package.handlers, package.level, package.propagate = before


FIELDS = {"run": "manual__1", "shard": "a/b c.jsonl", "scored": 12, "seconds": 1.23456}


def test_a_line_for_people(log: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        configure_logging({})
    event(log, "scored", **FIELDS)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith('INFO samplemix_core.worker.score: scored run=manual__1 shard="a/b c.jsonl" scored=12 seconds=1.23')


def test_a_json_object_a_line(log: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging({FORMAT_VARIABLE: "json"})
    event(log, "scored", **FIELDS)
    line = json.loads(capsys.readouterr().err)
    assert {name: line[name] for name in FIELDS} == FIELDS
    assert (line["event"], line["level"], line["logger"]) == ("scored", "INFO", "samplemix_core.worker.score")
    assert line["time"].endswith("+00:00")


def test_an_error_keeps_its_traceback(log: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging({FORMAT_VARIABLE: "json"})
    try:
        raise ValueError("a hiccup")
    except ValueError:
        log.exception("failed")
    assert "ValueError: a hiccup" in json.loads(capsys.readouterr().err)["exception"]
