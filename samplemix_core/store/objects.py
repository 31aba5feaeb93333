"""Objects under a root URI: one small interface over S3 and over a directory.

Both stores give the same answers to the same calls: keys are relative to the root, a prefix is a plain string prefix,
listings are sorted by key, and a conditional write has one winner.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from samplemix_core.errors import ConfigError
from samplemix_core.settings import Settings


@dataclass(frozen=True)
class ObjectInfo:
    """One object of a listing: its key relative to the store's root, its size in bytes, and a tag of its content."""

    key: str
    size: int
    etag: str


class ObjectStore(ABC):
    """Objects below `uri`. Every method raises ObjectStoreError where the object or the store can't be reached."""

    uri: str

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """The objects whose key starts with `prefix`, sorted by key (code point order)."""

    @abstractmethod
    def head(self, key: str) -> ObjectInfo | None:
        """One object's size and etag; None if there is no such object."""

    @abstractmethod
    def open(self, key: str) -> BinaryIO:
        """A seekable stream over one version of an object; ObjectStoreError if it is missing, or changes while it is read."""

    @abstractmethod
    def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        """An object's whole content, with its etag; ObjectStoreError if it is missing."""

    @abstractmethod
    def put(self, key: str, data: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> ObjectInfo:
        """Write an object whole or not at all.

        With `if_none_match`, only where no such object exists; with `if_match`, only over the version with that etag.
        Raises PreconditionFailedError where the condition does not hold.
        """

    @abstractmethod
    def upload(self, key: str, path: Path) -> ObjectInfo:
        """Write a file as an object, whole or not at all, in parts where it is large."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; nothing happens if there is none."""


def open_store(uri: str, settings: Settings) -> ObjectStore:
    """The store at s3://bucket[/prefix], file:///directory, or a plain directory path; ConfigError for anything else."""
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        from samplemix_core.store.s3_store import S3Store

        if not parts.netloc or parts.query or parts.fragment:
            raise ConfigError(f"{uri!r} is not an S3 location.", "Write it as s3://bucket or s3://bucket/prefix.")
        return S3Store(parts.netloc, parts.path.strip("/"), settings)
    from samplemix_core.store.file_store import FileStore

    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return FileStore(Path(unquote(parts.path)))
    if "://" in uri or not uri:
        raise ConfigError(
            f"{uri!r} is not a location this platform can read.", "Use s3://bucket/prefix, file:///directory or a path."
        )
    return FileStore(Path(uri))
