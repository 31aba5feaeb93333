"""What this room needs of an object store; store/objects.py has it for S3 and for directories."""

from collections.abc import Iterator
from typing import Protocol


class ObjectInfo(Protocol):
    """An object's key relative to the store's root, and the tag of its content."""

    @property
    def key(self) -> str: ...  # noqa: D102

    @property
    def etag(self) -> str: ...  # noqa: D102


class ObjectStore(Protocol):
    """Objects below `uri`, with conditional writes that have one winner."""

    uri: str

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """The objects whose key starts with `prefix`, sorted by key."""

    def head(self, key: str) -> ObjectInfo | None:
        """One object's tag; None if there is no such object."""

    def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        """An object's content and tag; ObjectStoreError if it is missing."""

    def put(self, key: str, data: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> ObjectInfo:
        """Write an object whole; PreconditionFailedError if it exists (if_none_match) or has another tag (if_match)."""
