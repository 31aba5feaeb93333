"""The life of versions: tags that name them, copies in other places, and what may be removed.

Manifests stay for ever. Of a version that is collected, the parts and the sources are removed; collected.json says when. Mixing
again with the same configuration gives the same bytes, and publishing them fills the version again.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from samplemix_core.errors import ConfigError, ManifestError, PreconditionFailedError
from samplemix_core.frozen import NAME, FrozenModel
from samplemix_core.identity import canonical_json
from samplemix_core.manifest.catalogue import (
    COLLECTED,
    CROISSANT,
    EXPORTS,
    MANIFEST,
    SUMS,
    Mixtures,
    Version,
    move_latest,
)
from samplemix_core.objects.interface import ObjectInfo

BEGUN_AGE = timedelta(days=1)
"""A version that was begun, but not committed, may still be worked on for so long."""


def tag(mixtures: Mixtures, name: str, version: int, tag: str) -> int | None:
    """Have a tag name a published version; return the version that it named before. Raises ConfigError for another kind of name."""
    if not NAME.fullmatch(tag) or tag.isdecimal() or tag == "latest":
        raise ConfigError(
            f"{tag!r} can't be a tag.",
            "Use small letters, digits, dots, dashes and underscores, neither digits alone nor latest, which is the newest.",
        )
    mixtures.open(name, version)
    key, data = mixtures.tag_key(name, tag), canonical_json({"version": version}) + b"\n"
    while True:
        info = mixtures.store.head(key)
        before = None if info is None else mixtures.tagged(name, tag)
        try:
            mixtures.store.put(key, data, if_none_match=info is None, if_match=None if info is None else info.etag)
        except PreconditionFailedError:
            continue
        return before


def untag(mixtures: Mixtures, name: str, tag: str) -> int:
    """Remove a tag; return the version that it named. Raises ManifestError if there is no such tag."""
    version = mixtures.tagged(name, tag)
    mixtures.store.delete(mixtures.tag_key(name, tag))
    return version


class Garbage(FrozenModel):
    """Objects that may be removed: of a mixture's version, why, and how many bytes."""

    mixture: str
    version: int
    why: str
    objects: int
    bytes: int


@dataclass(frozen=True)
class Rule:
    """Which versions are past use: all but the `keep` newest of a mixture, and older than `age`; None stands for no version."""

    keep: int | None = None
    age: timedelta | None = None

    def past(self, published: Mapping[int, datetime], now: datetime) -> set[int]:
        """The versions past use, by when each was made."""
        if self.keep is None and self.age is None:
            return set()
        old = set(published) if self.age is None else {number for number, made in published.items() if now - made > self.age}
        newest = sorted(published)[-max(1, self.keep or 1) :]
        return old - set(newest)


def collect(
    mixtures: Mixtures, name: str, rule: Rule, now: datetime, *, dry_run: bool, on_found: Callable[[Garbage], None]
) -> None:
    """Find, and unless it is a dry run remove, what no version of a mixture needs.

    Objects of versions that were begun and not committed, a day ago or longer; objects in a version's directory that are no part of
    it; and the parts and sources of versions past use, unless a tag or an export names them, or a version that is kept has them as
    its parent.
    """
    for number, objects in _by_version(mixtures, name).items():
        directory = mixtures.key(name, number, "")
        own = {info.key[len(directory) :]: info for info in objects}
        if MANIFEST not in own:
            if all(info.modified is not None and now - info.modified > BEGUN_AGE for info in objects):
                _remove(mixtures, name, number, "was begun and never published", objects, dry_run, on_found)
            continue
        with suppress(ManifestError):
            known = {MANIFEST, CROISSANT, SUMS, COLLECTED, *mixtures.open(name, number).manifest.files}
            strange = [info for file, info in own.items() if file not in known]
            _remove(mixtures, name, number, "is no part of the version", strange, dry_run, on_found)
    for version, why in _past_use(mixtures, name, rule, now):
        store, manifest = mixtures.store, version.manifest
        infos = [info for file in manifest.files if (info := store.head(version.key(file))) is not None]
        if infos and not dry_run:
            # First, so that a reader that finds no part knows why.
            store.put(version.key(COLLECTED), canonical_json({"at": now.isoformat(), "why": why}) + b"\n")
        _remove(mixtures, name, manifest.version, why, infos, dry_run, on_found)


def _by_version(mixtures: Mixtures, name: str) -> dict[int, list[ObjectInfo]]:
    found: dict[int, list[ObjectInfo]] = {}
    prefix = mixtures.prefix(name)
    for info in mixtures.store.list(prefix):
        if match := re.match(r"v(\d{6,})/", info.key[len(prefix) :]):
            found.setdefault(int(match[1]), []).append(info)
    return found


def _remove(
    mixtures: Mixtures,
    name: str,
    version: int,
    why: str,
    objects: list[ObjectInfo],
    dry_run: bool,
    on_found: Callable[[Garbage], None],
) -> None:
    if not objects:
        return
    for info in objects if not dry_run else ():
        mixtures.store.delete(info.key)
    on_found(Garbage(mixture=name, version=version, why=why, objects=len(objects), bytes=sum(info.size for info in objects)))


def _past_use(mixtures: Mixtures, name: str, rule: Rule, now: datetime) -> Iterator[tuple[Version, str]]:
    versions: dict[int, Version] = {}
    for number, is_published in mixtures.versions(name).items():
        if is_published:
            with suppress(ManifestError):
                versions[number] = mixtures.open(name, number)
    past = rule.past({number: version.manifest.created_at for number, version in versions.items()}, now)
    named = {*mixtures.tags(name).values(), *_exported(mixtures, name), mixtures.latest(name) if versions else 0}
    kept = (set(versions) - past) | named
    parents = {versions[number].manifest.parent_version for number in kept if number in versions}
    reasons = [f"is not among the {rule.keep} newest"] if rule.keep else []
    reasons += [f"is older than {rule.age.days} days"] if rule.age else []
    for number in sorted(past - named - parents):
        yield versions[number], ", ".join([*reasons, "nothing names it"])


def _exported(mixtures: Mixtures, name: str) -> set[int]:
    """The versions that exports name."""
    prefix = f"{mixtures.prefix(name)}{EXPORTS}/v"
    return {int(match[1]) for info in mixtures.store.list(prefix) if (match := re.match(r"(\d+)-", info.key[len(prefix) :]))}


def copy_version(version: Version, to: Mixtures) -> Version:
    """Copy a version to another place, under its own name and number; each file is checked when it is read and when it is written.

    The manifest is written when its files are there, and latest.json is moved there if the version is later. What is there already
    is left if it is the same. Raises ManifestError if another version is there, if a file was changed, or if it was collected.
    """
    manifest, store = version.manifest, version.mixtures.store
    files: dict[str, bytes | None] = dict.fromkeys(manifest.files)
    for name in (CROISSANT, SUMS, MANIFEST):
        if store.head(version.key(name)) is not None:
            # The manifest commits the version, so it comes last.
            files[name] = store.get(version.key(name))[0]
    digests = {**manifest.files, MANIFEST: version.sha256}
    for name, data in files.items():
        data = version.file(name, digests[name]) if data is None else data
        key = to.key(manifest.name, manifest.version, name)
        with suppress(PreconditionFailedError):
            to.store.put(key, data, if_none_match=True)
        if hashlib.sha256(to.store.get(key)[0]).digest() != hashlib.sha256(data).digest():
            raise ManifestError(
                f"{to.store.uri}/{key} holds something else.", "Copy to a place that has no other mixture of this name."
            )
    move_latest(to, manifest.name, manifest.version)
    return to.open(manifest.name, manifest.version)
