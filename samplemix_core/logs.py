"""Standard logging of whoever works unattended: one line an event, for people or as JSON.

A module's logger is logging.getLogger(__name__); what it says of a shard goes into `fields`. Under Airflow nothing is configured
here: its own handlers have every line.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

FORMAT_VARIABLE = "SAMPLEMIX_LOG_FORMAT"
"""'json' for a JSON object a line; anything else for text."""

LEVEL_VARIABLE = "SAMPLEMIX_LOG_LEVEL"

_NAME = "samplemix_core"


def event(logger: logging.Logger, what: str, **fields: Any) -> None:
    """Log that something happened, with what there is to know of it."""
    logger.info(what, extra={"fields": fields})


def configure_logging(environ: Mapping[str, str] = os.environ) -> None:
    """Send this package's log to standard error, as the environment says; once a process."""
    logger = logging.getLogger(_NAME)
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if environ.get(FORMAT_VARIABLE) == "json" else Lines())
    logger.addHandler(handler)
    logger.setLevel(environ.get(LEVEL_VARIABLE) or "INFO")
    logger.propagate = False


class Lines(logging.Formatter):
    """Time, level, module and message, then the fields as name=value."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter.format."""
        fields = getattr(record, "fields", {})
        return " ".join([super().format(record), *(f"{name}={_text(value)}" for name, value in fields.items())])


class JsonLines(logging.Formatter):
    """One JSON object a record: time (UTC), level, logger, event and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter.format."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": moment, "level": record.levelname, "logger": record.name, "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _text(value: Any) -> str:
    text = f"{value:.2f}" if isinstance(value, float) else str(value)
    if text.isprintable():
        return json.dumps(text, ensure_ascii=False) if any(c.isspace() or c == '"' for c in text) else text
    # Escapes, of what a terminal would obey.
    return json.dumps(text)
