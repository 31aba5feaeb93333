"""A directory as an object store: atomic writes, conditions that hold between processes, nothing outside the root."""

import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import lru_cache, partial
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from samplemix_core.errors import ObjectAccessError, ObjectStoreError, PreconditionFailedError
from samplemix_core.objects.interface import ObjectInfo, ObjectStore

_SETTLED_SECONDS = 2.0

RESERVED = ".samplemix-store"
"""Directory below the root that holds the lock and the files being written. Never listed, never a key."""


@lru_cache(maxsize=1024)
def _digest_of(path: Path, inode: int, size: int, modified_ns: int) -> str | None:
    """Return the SHA-256 of a file with this inode, size and time; None if these have changed once it has been read."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        now = os.fstat(file.fileno())
    return digest if (now.st_ino, now.st_size, now.st_mtime_ns) == (inode, size, modified_ns) else None


class FileStore(ObjectStore):
    """Objects as files below a directory. An etag is the SHA-256 of the content, so copying or touching changes nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.uri = self.root.as_uri()

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See ObjectStore.list. No file is read until its etag is asked for; a link to a directory is not followed."""
        directory = prefix.rpartition("/")[0]
        start = self._path(directory) if directory else self.root
        with self._errors(directory):
            is_there = start.is_dir()
            is_file = not directory and not is_there and start.exists()
        if is_file:
            raise ObjectAccessError(
                f"{self.uri}: this is a file, not a directory.",
                "Give the directory that holds <snapshot>/<domain>/<file>.",
            )
        if not is_there:
            return
        # Not by recursion: directories may be nested deeper than Python's calls can be.
        ahead = [self._entries(start, directory and directory + "/")]
        while ahead:
            key = next(ahead[-1], None)
            if key is None:
                ahead.pop()
            elif key == RESERVED + "/" or not (key.startswith(prefix) or prefix.startswith(key)):
                continue
            elif not key.endswith("/"):
                if key.startswith(prefix):
                    yield self._listed(key)
            else:
                try:
                    ahead.append(self._entries(self.root / key, key))
                except ObjectStoreError as error:
                    yield _troubled(key, error)

    def _entries(self, directory: Path, base: str) -> Iterator[str]:
        """Return a directory's entries as keys, sorted; those of directories end in a slash."""
        with self._errors(base), os.scandir(directory) as scan:
            return iter(sorted(base + entry.name + ("/" if entry.is_dir(follow_symlinks=False) else "") for entry in scan))

    def _listed(self, key: str) -> ObjectInfo:
        """Return the entry of a listed file; for anything else, one that says what is wrong with it."""
        try:
            return self._info(key, self._path(key))
        except ObjectStoreError as error:
            return _troubled(key, error)

    def directories(self) -> Iterator[str]:
        """See ObjectStore.directories. Names that are not UTF-8 are left out: they can't be in an object's key."""
        with self._errors(""):
            is_there = self.root.is_dir()
        if is_there:
            with self._errors(""), os.scandir(self.root) as scan:
                found = [entry.name for entry in scan if entry.is_dir(follow_symlinks=False) and entry.name != RESERVED]
            yield from sorted(name for name in found if name.isascii() or os.fsencode(name).decode(errors="ignore") == name)

    def head(self, key: str) -> ObjectInfo | None:
        """See ObjectStore.head."""
        path = self._path(key)
        with self._errors(key):
            is_there = path.is_file()
        return self._info(key, path) if is_there else None

    def open(self, key: str, version: ObjectInfo | None = None) -> BinaryIO:
        """See ObjectStore.open. Writers replace files, so an open file stays the version that was opened."""
        path = self._path(key)
        with self._errors(key), ExitStack() as stack:
            file = stack.enter_context(path.open("rb"))
            if version is not None and not _is_of(version, file):
                raise ObjectStoreError(f"{self.uri}/{key} changed when it was opened.", "Stop what writes to it, then run again.")
            stack.pop_all()
            return file

    def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        """See ObjectStore.get."""
        with self.open(key) as file, self._errors(key):
            data = file.read()
        return data, ObjectInfo(key, len(data), hashlib.sha256(data).hexdigest())

    def put(self, key: str, data: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> ObjectInfo:
        """See ObjectStore.put."""

        def check(path: Path) -> None:
            if if_none_match and path.exists():
                raise PreconditionFailedError(f"{self.uri}/{key} exists already.", "Another writer was first.")
            if if_match is not None and (not path.is_file() or self._info(key, path).etag != if_match):
                raise PreconditionFailedError(
                    f"{self.uri}/{key} is not the version {if_match!r} any more.", "Read it again, then retry."
                )

        self._write(key, lambda file: file.write(data), check)
        return ObjectInfo(key, len(data), hashlib.sha256(data).hexdigest())

    def upload(self, key: str, path: Path) -> ObjectInfo:
        """See ObjectStore.upload."""
        with self._errors(key), path.open("rb") as source:
            target = self._write(key, lambda file: shutil.copyfileobj(source, file, 2**20), lambda _: None)
        return self._info(key, target)

    def delete(self, key: str) -> None:
        """See ObjectStore.delete."""
        path = self._path(key)
        with self._errors(key):
            if path.exists():
                with self._lock():
                    path.unlink(missing_ok=True)

    def _write(self, key: str, fill: Callable[[BinaryIO], object], check: Callable[[Path], None]) -> Path:
        target = self._path(key)
        with self._errors(key):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._reserved() / uuid4().hex
            try:
                with temporary.open("xb") as file:
                    fill(file)
                    file.flush()
                    os.fsync(file.fileno())
                with self._lock():
                    check(target)
                    temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
        return target

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with (self._reserved() / "lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _reserved(self) -> Path:
        directory = self.root / RESERVED
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def _path(self, key: str) -> Path:
        segments = key.split("/")
        if "\0" in key or segments[0] == RESERVED or any(segment in ("", ".", "..") for segment in segments):
            raise ObjectStoreError(
                f"{key!r} is not a key of {self.uri}.", "A key is a relative path without empty, '.' or '..' parts."
            )
        path = self.root.joinpath(*segments)
        with self._errors(key):
            is_inside = path.resolve().is_relative_to(self.root.resolve())
        if not is_inside:
            raise ObjectStoreError(
                f"{self.uri}/{key} is a link to a place outside {self.uri}.", "Open the store at a directory that holds both."
            )
        return path

    def _info(self, key: str, path: Path) -> ObjectInfo:
        with self._errors(key):
            if not path.is_file():
                raise ObjectStoreError(
                    f"{self.uri}/{key} is not a regular file.",
                    "Remove it, or replace a link to a directory by the directory itself.",
                )
            found = path.stat()
            # A clock ticks every few milliseconds: a file written just now may be written again with the same time.
            settled = time.time() - found.st_mtime > _SETTLED_SECONDS
            stamp = str(found.st_mtime_ns) if settled else None
            digest = partial(self._digest, key, path, found, settled=settled)
            return ObjectInfo(key, found.st_size, digest, stamp, _modified(found))

    def _digest(self, key: str, path: Path, found: os.stat_result, *, settled: bool) -> str:
        read = _digest_of if settled else _digest_of.__wrapped__
        with self._errors(key):
            digest = read(path, found.st_ino, found.st_size, found.st_mtime_ns)
        if digest is None:
            raise ObjectStoreError(f"{self.uri}/{key} is being written.", "Try again when nothing writes to it.")
        return digest

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            # Before Python 3.13, pathlib raises this for links that lead to each other.
            raise ObjectAccessError(f"{self.uri}/{key} is a link to itself.", "Remove it.") from error
        except OSError as error:
            misnamed = isinstance(error, FileNotFoundError) or error.errno in (errno.ENAMETOOLONG, errno.ELOOP)
            lacking = misnamed or isinstance(error, PermissionError | IsADirectoryError | NotADirectoryError)
            kind = ObjectAccessError if lacking else ObjectStoreError
            remedy = "Check the name." if misnamed else "Check the directory's permissions and free space."
            raise kind(f"{self.uri}/{key}: {error}.", remedy) from error


def _is_of(version: ObjectInfo, file: BufferedReader) -> bool:
    found = os.fstat(file.fileno())
    if version.modified is not None:
        return (version.size, version.modified) == (found.st_size, _modified(found))
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return digest == version.etag


def _modified(found: os.stat_result) -> datetime:
    return datetime.fromtimestamp(found.st_mtime, UTC)


def _troubled(key: str, problem: ObjectStoreError) -> ObjectInfo:
    """Return the listing's entry for a file or directory that can't be read."""

    def content() -> str:
        raise problem

    return ObjectInfo(key, 0, content, trouble=problem.what)
