#!/opt/venv/bin/python
"""Exit 0 if a URL answers 200 and its JSON calls the named parts healthy: healthcheck URL [PART ...]."""

import json
import sys
import urllib.request


def main(url: str, *parts: str) -> None:
    """Raise or exit non-zero, with the reason, if something is not healthy."""
    # No proxy: the address is this deployment's own.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=4) as response:
        body = response.read()
    report = json.loads(body) if parts else {}
    ill = {part: report.get(part) for part in parts if (report.get(part) or {}).get("status") != "healthy"}
    if ill:
        sys.exit(f"{url} reports {json.dumps(ill)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
