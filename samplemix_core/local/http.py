"""Asking a service of this machine over HTTP."""

import json
import urllib.error
import urllib.request
from typing import Any

_SECONDS = 5.0
# Without a proxy handler a proxy of the environment would be asked for 127.0.0.1.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class NotAnsweringError(Exception):
    """A service does not answer, or not with JSON; the message says how."""


def get_json(url: str) -> dict[str, Any]:
    """The JSON object at a URL of this machine; raise NotAnsweringError if there is none."""
    try:
        with _OPENER.open(url, timeout=_SECONDS) as response:
            answer: dict[str, Any] = json.load(response)
    except (OSError, ValueError) as error:
        raise NotAnsweringError(f"{url}: {error}") from error
    return answer
