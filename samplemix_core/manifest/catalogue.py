"""Mixtures on an object store, and reading them back: <root>/<name>/v000012/... and <root>/<name>/latest.json."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from samplemix_core.errors import ManifestError, ObjectStoreError, PreconditionFailedError
from samplemix_core.manifest.format import Manifest, PartFile, parse_json, parse_manifest, part_schema, unknown_columns
from samplemix_core.objects.interface import ObjectStore

MANIFEST = "manifest.json"
CROISSANT = "croissant.json"
LATEST = "latest.json"
SUMS = "SHA256SUMS"
"""The SHA-256 of every other file of a version, as `sha256sum --check` reads them."""

COLLECTED = "collected.json"
"""Says that a version's parts were removed, and why (see life.py)."""

EXPORTS, TAGS = "exports", "tags"
"""Directories of a mixture: a note for each export of one of its versions, and its tags."""

MAX_ATTEMPTS = 100
"""Each lost attempt means that another writer won; this many in a row mean that something else is wrong."""

_VERSION = re.compile(r"v(\d{6,})")


@dataclass(frozen=True)
class Mixtures:
    """The mixtures below a root of an object store ('' is the store's own)."""

    store: ObjectStore
    root: str = ""

    def prefix(self, name: str) -> str:
        """Prefix of every object of a mixture, with its final slash."""
        return f"{self.root}/{name}/" if self.root else f"{name}/"

    def key(self, name: str, version: int, file: str) -> str:
        """Key of a file of one version."""
        return f"{self.prefix(name)}{version_directory(version)}/{file}"

    def tag_key(self, name: str, tag: str) -> str:
        """Key of a tag of a mixture."""
        return f"{self.prefix(name)}{TAGS}/{tag}.json"

    def tags(self, name: str) -> dict[str, int]:
        """The versions of a mixture that have tags, by tag."""
        prefix = f"{self.prefix(name)}{TAGS}/"
        tags = [info.key[len(prefix) :].removesuffix(".json") for info in self.store.list(prefix)]
        return {tag: self.tagged(name, tag) for tag in tags}

    def tagged(self, name: str, tag: str) -> int:
        """The version that a tag names. Raises ManifestError if there is no such tag."""
        key = self.tag_key(name, tag)
        if self.store.head(key) is None:
            raise ManifestError(
                f"{name} has no tag {tag!r}.", "See samplemix mixture list, or tag a version: samplemix mixture tag."
            )
        version = parse_json(self.store.get(key)[0], f"{self.store.uri}/{key}").get("version")
        if not isinstance(version, int):
            raise ManifestError(f"{self.store.uri}/{key} names no version: {version!r}.", "Tag the version again.")
        return version

    def list(self) -> list[tuple[str, int]]:
        """(name, version) of every published version, sorted."""
        prefix = f"{self.root}/" if self.root else ""
        found = []
        for info in self.store.list(prefix):
            match info.key[len(prefix) :].split("/"):
                case [name, directory, "manifest.json"] if match := _VERSION.fullmatch(directory):
                    found.append((name, int(match[1])))
        return sorted(found)

    def versions(self, name: str) -> dict[int, bool]:
        """Every version of a mixture that has an object, ascending: True where it is published, False where it was only begun."""
        prefix = self.prefix(name)
        versions: dict[int, bool] = {}
        for info in self.store.list(prefix):
            directory, _, file = info.key[len(prefix) :].partition("/")
            if match := _VERSION.fullmatch(directory):
                versions[int(match[1])] = versions.get(int(match[1]), False) or file == MANIFEST
        return dict(sorted(versions.items()))

    def latest(self, name: str) -> int:
        """The version that latest.json names; raise ManifestError if the mixture has none."""
        key = self.prefix(name) + LATEST
        if self.store.head(key) is None:
            raise ManifestError(f"No mixture {name!r} is published at {self.store.uri}/{self.prefix(name)}.", "Check the name.")
        data, _ = self.store.get(key)
        version = parse_json(data, f"{self.store.uri}/{key}").get("version")
        if not isinstance(version, int):
            raise ManifestError(f"{self.store.uri}/{key} names no version: {version!r}.", "Publish again to rewrite it.")
        return version

    def open(self, name: str, version: int | None = None) -> "Version":
        """One version, or the latest. ManifestError if it is missing, malformed or of another format."""
        if version is None:
            version = self.latest(name)
        key = self.key(name, version, MANIFEST)
        place = f"{self.store.uri}/{key}"
        if self.store.head(key) is None:
            raise ManifestError(f"{place} does not exist.", "List the published versions; one without a manifest is not published.")
        data, _ = self.store.get(key)
        manifest, unknown = parse_manifest(data, place)
        if (manifest.name, manifest.version) != (name, version):
            raise ManifestError(
                f"{place} says it is {manifest.name!r} version {manifest.version}.", "Copy a version with its directories' names."
            )
        return Version(self, manifest, hashlib.sha256(data).hexdigest(), unknown)


@dataclass(frozen=True)
class Version:
    """A published version: what its manifest says, the SHA-256 of that file, and where it is.

    `unknown`: fields of its manifest that this SampleMix doesn't know, by dotted name.
    """

    mixtures: Mixtures
    manifest: Manifest
    sha256: str
    unknown: Mapping[str, Any] = field(default_factory=dict)

    def key(self, file: str) -> str:
        """Key of one of its files."""
        return self.mixtures.key(self.manifest.name, self.manifest.version, file)

    @property
    def uri(self) -> str:
        """URI of its manifest.json."""
        return f"{self.mixtures.store.uri}/{self.key(MANIFEST)}"

    def unknown_columns(self) -> list[str]:
        """Columns of its parts that this SampleMix doesn't know, by the first part; none if that can't be read (see verify)."""
        try:
            with self.mixtures.store.open(self.key(self.manifest.parts[0].path)) as stream:
                return unknown_columns(pq.read_schema(stream), self.manifest.phase_names)
        except (ObjectStoreError, OSError, pa.ArrowException):
            return []

    def rows(self) -> Iterator[pa.Table]:
        """Yield its samples (part_schema of its phases), a table per part, in order. ManifestError for a part that was changed."""
        for part in self.manifest.parts:
            yield self.table(part)

    def table(self, part: PartFile, columns: Sequence[str] | None = None) -> pa.Table:
        """The samples of a part, or some columns of them. ManifestError if it was changed, or lacks a column."""
        return part_table(self.file(part.path, part.sha256), self.manifest.phase_names, columns)

    def is_collected(self, name: str) -> bool:
        """Whether one of its files is gone because the version was collected."""
        store = self.mixtures.store
        return store.head(self.key(name)) is None and store.head(self.key(COLLECTED)) is not None

    def file(self, name: str, sha256: str) -> bytes:
        """One of its files; raise ManifestError if its bytes are not those that were published, or if they were collected."""
        try:
            data, _ = self.mixtures.store.get(self.key(name))
        except ObjectStoreError:
            if not self.is_collected(name):
                raise
            raise ManifestError(
                f"{self.manifest.name} version {self.manifest.version} was collected as garbage: {name} is gone.",
                "Mix again with the same configuration: publishing the same mixture fills the version again.",
            ) from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ManifestError(
                f"{self.mixtures.store.uri}/{self.key(name)} has changed since it was published.",
                "Restore it, or use another version.",
            )
        return data


def sums_text(digests: Mapping[str, str]) -> bytes:
    """The text of SHA256SUMS from the SHA-256 of files by name."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())).encode()


def parse_sums(data: bytes) -> dict[str, str] | None:
    """Return SHA-256 by file name, from the text of SHA256SUMS; None if the text is not valid."""
    pairs = [line.partition("  ") for line in data.decode(errors="replace").splitlines()]
    found = {name: digest for digest, _, name in pairs}
    return found if found and sums_text(found) == data else None


def version_directory(version: int) -> str:
    """A version's directory below its mixture: v000012."""
    return f"v{version:06d}"


def open_key(store: ObjectStore, key: str) -> Version:
    """The version at the key of a manifest.json or latest.json. ManifestError if it is neither, or as in Mixtures.open."""
    match key.strip("/").split("/"):
        case [*root, name, directory, "manifest.json"] if match := _VERSION.fullmatch(directory):
            return Mixtures(store, "/".join(root)).open(name, int(match[1]))
        case [*root, name, "latest.json"]:
            return Mixtures(store, "/".join(root)).open(name)
    raise ManifestError(
        f"{key!r} is not a manifest's key.", "It ends in <mixture>/v000001/manifest.json or in <mixture>/latest.json."
    )


def part_table(data: bytes, phases: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
    """A part's rows (part_schema of the phases), or some columns of them, from its bytes; columns of later releases are left out.

    Raises ManifestError if one is missing.
    """
    # Those who want some columns read several parts at once.
    file, names = pq.ParquetFile(pa.BufferReader(data)), part_schema(phases).names
    missing = [name for name in names if name not in file.schema_arrow.names]
    if missing:
        raise ManifestError(f"A part has no column {', '.join(missing)}.", "Restore it, or use another version.")
    return file.read(columns or names, use_threads=columns is None)


def move_latest(mixtures: Mixtures, name: str, version: int) -> None:
    """Move latest.json of a mixture to a published version, by compare-and-swap and never backwards.

    Raises ManifestError if other writers are always faster.
    """
    store, key = mixtures.store, mixtures.prefix(name) + LATEST
    sums_key = mixtures.key(name, version, SUMS)
    names: dict[str, object] = {"version": version, "manifest": f"{version_directory(version)}/{MANIFEST}"}
    sums = (parse_sums(store.get(sums_key)[0]) if store.head(sums_key) is not None else None) or {}
    if MANIFEST in sums:
        names["manifest_sha256"] = sums[MANIFEST]
    data = json.dumps(names).encode() + b"\n"
    for _ in range(MAX_ATTEMPTS):
        try:
            if store.head(key) is None:
                store.put(key, data, if_none_match=True)
                return
            current, info = store.get(key)
            if _named_version(current) < version:
                store.put(key, data, if_match=info.etag)
        except PreconditionFailedError:
            continue
        return
    raise ManifestError(
        f"{store.uri}/{key} changed under {MAX_ATTEMPTS} attempts to move it; version {version} itself is published.",
        "Publish again: that moves it.",
    )


def _named_version(data: bytes) -> int:
    """The version that a latest.json names; 0 if it is damaged, since it holds nothing that a listing does not."""
    try:
        return int(json.loads(data)["version"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return 0
