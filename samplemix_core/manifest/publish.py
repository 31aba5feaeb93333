"""A draft becomes a version: conditional writes only, so that publishers may race, crash and resume.

The protocol, for a mixture with published versions up to 12:
1. croissant.json of the next free version, 13, is created only if it does not exist. It names the identity of what is published
(the parts, the corpus and its files), so it is the claim of version 13 for that and nothing else. A second publisher, of a
different mixture, goes on to 14.
2. The parts and the sources are created only if they do not exist. One that exists with the same bytes is ours, from a publisher
of the same content that died or is working at the same time.
3. manifest.json is created only if it does not exist. That is the commit. A second publisher finds the same content, and the
two are one version.
4. SHA256SUMS is created only if it does not exist: the SHA-256 of the other files, as they are then.
5. latest.json is moved by compare-and-swap to the greatest published version; never backwards.

An earlier version whose manifest is damaged is skipped: `samplemix check` names it. One of a newer format stops publishing.

A mixture that is already published, from the same files of the same corpus, is not published again: its version is returned, and
latest is not moved back to it. One that was claimed but not committed is continued.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime

from samplemix_core.errors import AccountingError, ManifestError, NewerFormatError, PreconditionFailedError
from samplemix_core.manifest.catalogue import (
    COLLECTED,
    CROISSANT,
    MANIFEST,
    MAX_ATTEMPTS,
    SUMS,
    Mixtures,
    Version,
    move_latest,
    sums_text,
)
from samplemix_core.manifest.croissant import croissant_bytes, described_version
from samplemix_core.manifest.format import ManifestDraft, PartFile, content_digest, files_of, manifest_bytes, publishable
from samplemix_core.manifest.verify import manifest_problems

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """A version, and whether this call made it."""

    version: Version
    created: bool


def publish(
    mixtures: Mixtures,
    draft: ManifestDraft,
    parts: Sequence[PartFile],
    read_file: Callable[[str], bytes],
    now: datetime,
    committing: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Published:
    """Publish a draft and its parts as the next version of the mixture it names.

    `read_file` gives the bytes of a part, or of the sources, by name, one at a time; `now` (with a time zone) becomes created_at;
    the commit is made within `committing`, and an error from that keeps the version from being published. Raises AccountingError if
    the draft and the parts do not add up (nothing is written then), ManifestError if a file's bytes don't match its hash or no
    version can be had, and ObjectStoreError from the store.
    """
    publisher = _Publisher(mixtures, draft, tuple(parts), read_file, now, committing)
    for _ in range(MAX_ATTEMPTS):
        published = publisher.attempt()
        if published is not None:
            return published
    raise ManifestError(
        f"{mixtures.store.uri}/{mixtures.prefix(draft.name)} has refused {MAX_ATTEMPTS} attempts to publish.",
        "Look for many publishers at once, or for a store that does not honour conditional writes.",
    )


class _Publisher:
    def __init__(
        self,
        mixtures: Mixtures,
        draft: ManifestDraft,
        parts: tuple[PartFile, ...],
        read_file: Callable[[str], bytes],
        now: datetime,
        committing: Callable[[], AbstractContextManager[None]],
    ) -> None:
        problems = manifest_problems(publishable(draft, 1, None, parts, now))
        if problems:
            raise AccountingError(
                f"Mixture {draft.name!r} does not add up, and is not published: {'; '.join(map(str, problems))}.",
                "This is a defect of SampleMix: please report it.",
            )
        self.mixtures, self.draft, self.parts, self.read_file, self.now = mixtures, draft, parts, read_file, now
        self.committing = committing
        self.store = mixtures.store
        self.identity = draft.version_identity(content_digest(parts))
        self.known: dict[int, Version | None] = {}
        self.spoiled: set[int] = set()

    def attempt(self) -> Published | None:
        """Find this mixture, or publish it as one version; None if another publisher was faster."""
        versions = self.mixtures.versions(self.draft.name)
        published = [version for version, committed in reversed(versions.items()) if committed]
        for version in published:
            found = self._version(version)
            if found is not None and found.manifest.version_identity(found.manifest.content_digest) == self.identity:
                # In case its publisher died after the commit, or was an earlier release.
                self._put_sums(found)
                self._fill(found)
                move_latest(self.mixtures, self.draft.name, published[0])
                return Published(found, created=False)
        version = self._begun(versions) or max(versions, default=0) + 1
        parent = max((earlier for earlier in published if earlier < version), default=None)
        if not (self._claim(version, parent) and self._put_files(version)):
            return None
        result = self._commit(version, parent)
        if result is not None:
            self._put_sums(result.version)
            move_latest(self.mixtures, self.draft.name, max([version, *published]))
        return result

    def _version(self, version: int) -> Version | None:
        """Return a published version; None if it can't be read, which does not keep others from being published."""
        if version not in self.known:
            try:
                self.known[version] = self.mixtures.open(self.draft.name, version)
            except NewerFormatError:
                # Its content can't be known, so neither can whether this mixture is that version.
                raise
            except ManifestError as error:
                self.known[version] = None
                log.warning("an earlier version can't be read: %s", error)
        return self.known[version]

    def _begun(self, versions: dict[int, bool]) -> int | None:
        """The version that is claimed for this mixture but not committed, if there is one."""
        for version, committed in reversed(versions.items()):
            if not committed and version not in self.spoiled and self._claimed(version):
                return version
        return None

    def _key(self, version: int, name: str) -> str:
        return self.mixtures.key(self.draft.name, version, name)

    def _existing(self, version: int, name: str) -> bytes | None:
        key = self._key(version, name)
        return None if self.store.head(key) is None else self.store.get(key)[0]

    def _claimed(self, version: int) -> bool:
        data = self._existing(version, CROISSANT)
        return data is not None and described_version(data) == self.identity

    def _claim(self, version: int, parent: int | None) -> bool:
        url, parent_url = (
            None if number is None else f"{self.store.uri}/{self._key(number, MANIFEST)}" for number in (version, parent)
        )
        data = croissant_bytes(self.draft, version, self.parts, str(url), self.now, parent_url)
        try:
            self.store.put(self._key(version, CROISSANT), data, if_none_match=True)
        except PreconditionFailedError:
            return self._claimed(version)
        return True

    def _put_files(self, version: int) -> bool:
        for name, sha256 in files_of(self.draft, self.parts).items():
            data = self.read_file(name)
            if hashlib.sha256(data).hexdigest() != sha256:
                raise ManifestError(f"The bytes of {name} are not those it was written with.", "Mix again.")
            try:
                self.store.put(self._key(version, name), data, if_none_match=True)
            except PreconditionFailedError:
                existing = self._existing(version, name)
                if existing is None:
                    return False
                if existing != data:
                    # Not written by this protocol. The version can't be completed: leave it, it is not published.
                    self.spoiled.add(version)
                    return False
        return True

    def _commit(self, version: int, parent: int | None) -> Published | None:
        manifest = publishable(self.draft, version, parent, self.parts, self.now)
        data = manifest_bytes(manifest)
        try:
            with self.committing():
                self.store.put(self._key(version, MANIFEST), data, if_none_match=True)
        except PreconditionFailedError:
            # Most likely a publisher of the same content was faster: the next attempt finds its manifest.
            return None
        return Published(Version(self.mixtures, manifest, hashlib.sha256(data).hexdigest()), created=True)

    def _fill(self, version: Version) -> None:
        """Put back the files of a version that was collected."""
        key = version.key(COLLECTED)
        if self.store.head(key) is not None and self._put_files(version.manifest.version):
            self.store.delete(key)

    def _put_sums(self, version: Version) -> None:
        key, croissant = version.key(SUMS), self._existing(version.manifest.version, CROISSANT)
        if croissant is None or self.store.head(key) is not None:
            return
        digests = version.manifest.files | {MANIFEST: version.sha256, CROISSANT: hashlib.sha256(croissant).hexdigest()}
        with suppress(PreconditionFailedError):
            self.store.put(key, sums_text(digests), if_none_match=True)
