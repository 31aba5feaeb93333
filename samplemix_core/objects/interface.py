"""One small interface over S3 and over a directory: objects under a root URI.

Both stores give the same answers to the same calls: keys are relative to the root, a prefix is a plain string prefix,
listings are sorted by key, and a conditional write has one winner.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable


@dataclass(frozen=True, eq=False)
class ObjectInfo:
    """One object of a listing: its key relative to the store's root, its size in bytes, and a tag of its content.

    A store that has to read the content for its etag gives `content` as a function and, if it can be trusted, a `stamp`: as long as
    that and the size are the same, so is the etag. `modified` is when the object was last written, by the store's clock; None if it
    was not asked for. `trouble` says why the object can't be read, if it can't: a directory may hold things that aren't regular
    files.
    """

    key: str
    size: int
    content: str | Callable[[], str]
    stamp: str | None = None
    modified: datetime | None = None
    trouble: str | None = None

    @cached_property
    def etag(self) -> str:
        """A tag of the content, different for different content. May read the whole object, the first time."""
        return self.content if isinstance(self.content, str) else self.content()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectInfo) and (self.key, self.size, self.etag) == (other.key, other.size, other.etag)

    def __hash__(self) -> int:
        return hash((self.key, self.size))


@runtime_checkable
class Announced(Protocol):
    """A stream that reads better if it knows how much will be read."""

    def announce(self, n_bytes: int) -> None:
        """Say how many bytes will be read from here on, before they are read in pieces."""


class ObjectStore(ABC):
    """Objects below `uri`. Every method raises ObjectStoreError where the object or the store can't be reached."""

    uri: str

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """The objects whose key starts with `prefix`, sorted by key (code point order)."""

    @abstractmethod
    def directories(self) -> Iterator[str]:
        """Names of the directories right below the root, sorted: what comes before the first '/' of keys."""

    @abstractmethod
    def head(self, key: str) -> ObjectInfo | None:
        """One object's size and etag; None if there is no such object."""

    @abstractmethod
    def open(self, key: str, version: ObjectInfo | None = None) -> BinaryIO:
        """A seekable stream over one version of an object: `version`, if it is given, which is this key's.

        Raises ObjectStoreError if it is missing or isn't that version any more: at once, or when it is read.
        """

    @abstractmethod
    def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        """An object's whole content, with its etag; raise ObjectStoreError if it is missing."""

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
