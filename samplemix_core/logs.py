"""Standard logging of unattended processes: one line per event, for people or as JSON.

A module's logger is logging.getLogger(__name__); details of an event, such as its shard, go into `fields`. Under Airflow nothing is
configured here: its own handlers get every line.
"""

import json
import logging
import os
import re
import sys
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

FORMAT_VARIABLE = "SAMPLEMIX_LOG_FORMAT"
"""'json' for one JSON object per line; anything else for text."""

LEVEL_VARIABLE = "SAMPLEMIX_LOG_LEVEL"

_NAME = "samplemix_core"


def event(logger: logging.Logger, what: str, **fields: Any) -> None:
    """Log that something happened, with its details."""
    logger.info(what, extra={"fields": fields})


def configure_logging(environ: Mapping[str, str] = os.environ) -> None:
    """Send this package's log to standard error, as the environment says; once per process."""
    logger = logging.getLogger(_NAME)
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if environ.get(FORMAT_VARIABLE) == "json" else Lines())
    logger.addHandler(handler)
    logger.setLevel(environ.get(LEVEL_VARIABLE) or "INFO")
    logger.propagate = False


_SHOWN = frozenset(("Zs", "Cn", "Co"))
"""Categories of characters that Python calls unprintable and a terminal shows: blanks, and those newer than Python or private."""

_BLANK_LETTERS = re.compile("[\u115f\u1160\u3164\uffa0\u2800]")
"""Letters and a symbol that Python calls printable and that show nothing."""

_JOINERS = "\u200c\u200d"


def visible(text: str, keep: str = "") -> str:
    """Return the text with characters that a terminal obeys or hides as escapes, such as \\x1b; those in `keep` are unchanged."""
    if text.isprintable() and not _BLANK_LETTERS.search(text):
        return text
    shown = keep + _JOINERS
    return "".join(c if _is_shown(c) or c in shown else c.encode("unicode_escape").decode() for c in text)


def _is_shown(character: str) -> bool:
    if character.isprintable():
        return not _BLANK_LETTERS.match(character)
    return unicodedata.category(character) in _SHOWN


class Lines(logging.Formatter):
    """Time, level, module and message, then the fields as name=value."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter.format."""
        fields = getattr(record, "fields", {})
        # The traceback keeps its lines, but text quoted in a message can't start new ones.
        record.msg, record.args = visible(record.getMessage(), "\t"), None
        return " ".join([visible(super().format(record), "\n\t"), *(f"{name}={_text(value)}" for name, value in fields.items())])


class JsonLines(logging.Formatter):
    """One JSON object per record: time (UTC), level, logger, event and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter.format."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": moment, "level": record.levelname, "logger": record.name, "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _text(value: Any) -> str:
    text = f"{value:.2f}" if isinstance(value, float) else str(value)
    text = visible(text)
    return json.dumps(text, ensure_ascii=False) if any(c.isspace() or c == '"' for c in text) else text
