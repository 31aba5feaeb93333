"""Where a mixture's objects lie below the mixtures' root: <root>/<name>/v000012/... and <root>/<name>/latest.json."""

import re
from dataclasses import dataclass

from samplemix_core.errors import ManifestError

MANIFEST = "manifest.json"
CROISSANT = "croissant.json"
LATEST = "latest.json"

_VERSION = re.compile(r"v(\d{6,})")


@dataclass(frozen=True)
class Location:
    """One version of one mixture, or its latest (version None)."""

    root: str
    name: str
    version: int | None


def mixture_prefix(root: str, name: str) -> str:
    """Prefix of every object of a mixture, with its final slash."""
    return f"{root}/{name}/" if root else f"{name}/"


def version_prefix(root: str, name: str, version: int) -> str:
    """Prefix of every object of one version, with its final slash."""
    return f"{mixture_prefix(root, name)}{version_directory(version)}/"


def version_directory(version: int) -> str:
    """A version's directory below its mixture: v000012."""
    return f"v{version:06d}"


def version_of(key: str, prefix: str) -> int | None:
    """The version that an object below a mixture's prefix belongs to; None if it belongs to none."""
    match = _VERSION.fullmatch(key[len(prefix) :].partition("/")[0])
    return int(match[1]) if match else None


def locate(key: str) -> Location:
    """Take the key of a manifest.json or latest.json apart; ManifestError if it is neither."""
    match key.strip("/").split("/"):
        case [*root, name, directory, "manifest.json"] if match := _VERSION.fullmatch(directory):
            return Location("/".join(root), name, int(match[1]))
        case [*root, name, "latest.json"]:
            return Location("/".join(root), name, None)
    raise ManifestError(
        f"{key!r} is not the place of a manifest.", "It ends in <mixture>/v000001/manifest.json or in <mixture>/latest.json."
    )
