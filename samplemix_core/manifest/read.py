"""Published mixtures read back: which there are, their manifests, their rows."""

import hashlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from samplemix_core.errors import ManifestError
from samplemix_core.manifest.layout import LATEST, MANIFEST, Location, locate, mixture_prefix, version_of, version_prefix
from samplemix_core.manifest.model import Manifest, parse_json, parse_manifest
from samplemix_core.objects.interface import ObjectStore


def list_mixtures(store: ObjectStore, root: str) -> list[tuple[str, int]]:
    """(name, version) of every published version below the mixtures' root, sorted."""
    prefix = f"{root}/" if root else ""
    found = []
    for info in store.list(prefix):
        if info.key.endswith(f"/{MANIFEST}") and info.key.count("/") == prefix.count("/") + 2:
            location = locate(info.key)
            if location.version is not None:
                found.append((location.name, location.version))
    return sorted(found)


def list_versions(store: ObjectStore, root: str, name: str) -> dict[int, bool]:
    """Every version of a mixture that has an object, ascending: True where it is published, False where it was only begun."""
    prefix = mixture_prefix(root, name)
    versions: dict[int, bool] = {}
    for info in store.list(prefix):
        version = version_of(info.key, prefix)
        if version is not None:
            versions[version] = versions.get(version, False) or info.key == version_prefix(root, name, version) + MANIFEST
    return dict(sorted(versions.items()))


def latest_version(store: ObjectStore, root: str, name: str) -> int:
    """The version that latest.json names; ManifestError if the mixture has none."""
    key = mixture_prefix(root, name) + LATEST
    if store.head(key) is None:
        raise ManifestError(f"No mixture {name!r} is published at {store.uri}/{mixture_prefix(root, name)}.", "Check the name.")
    data, _ = store.get(key)
    version = parse_json(data, f"{store.uri}/{key}").get("version")
    if not isinstance(version, int):
        raise ManifestError(f"{store.uri}/{key} names no version: {version!r}.", "Publish again: that writes it anew.")
    return version


def read_manifest(store: ObjectStore, root: str, name: str, version: int | None = None) -> Manifest:
    """The manifest of one version, or of the latest. ManifestError if it is missing, malformed or of another format."""
    if version is None:
        version = latest_version(store, root, name)
    key = version_prefix(root, name, version) + MANIFEST
    place = f"{store.uri}/{key}"
    if store.head(key) is None:
        raise ManifestError(f"{place} does not exist.", "List the published versions; one without a manifest is not published.")
    data, _ = store.get(key)
    manifest = parse_manifest(data, place)
    if (manifest.name, manifest.version) != (name, version):
        raise ManifestError(
            f"{place} says it is {manifest.name!r} version {manifest.version}.", "Copy a version with its directories' names."
        )
    return manifest


def open_manifest(store: ObjectStore, key: str) -> tuple[Location, Manifest]:
    """The manifest at the key of a manifest.json or latest.json, and where it lies. Raises as read_manifest does."""
    place = locate(key)
    manifest = read_manifest(store, place.root, place.name, place.version)
    return Location(place.root, place.name, manifest.version), manifest


def read_parts(store: ObjectStore, root: str, manifest: Manifest) -> Iterator[pa.Table]:
    """The rows (schemas.MIXTURE_PART), one table a part, in order. ManifestError for a part that is not the published one."""
    prefix = version_prefix(root, manifest.name, manifest.version)
    for part in manifest.parts:
        data, _ = store.get(prefix + part.path)
        if hashlib.sha256(data).hexdigest() != part.sha256:
            raise ManifestError(
                f"{store.uri}/{prefix}{part.path} has changed since it was published.", "Restore it, or use another version."
            )
        yield part_table(data)


def part_table(data: bytes) -> pa.Table:
    """A part's rows from its bytes."""
    return pq.read_table(pa.BufferReader(data))
