"""Amazon S3, or any store that speaks its protocol, as an object store."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast

import boto3
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError, NoCredentialsError, ParamValidationError
from urllib3.exceptions import HTTPError

from samplemix_core.errors import ObjectAccessError, ObjectStoreError, PreconditionFailedError
from samplemix_core.objects.interface import ObjectInfo, ObjectStore
from samplemix_core.settings import Settings

MAX_RESUMES = 5
"""Dropped connections in a row, without a byte between them, after which a read fails."""

BUFFER_BYTES = 2**20
CHUNK_BYTES = 8 * 2**20
RANGE_BYTES = 64 * 2**20
"""The longest range of what is read in small pieces from within an object."""

PART_BYTES = 64 * 2**20

_MISSING = {"404", "NoSuchKey", "NotFound"}
_CONFLICT = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}
_DENIED = {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}


@lru_cache(maxsize=8)
def _client(endpoint: str | None, access_key: str | None, secret_key: str | None) -> Any:
    """Return one client per process and account: boto3 clients are thread-safe and slow to make."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1" if endpoint else None,
        config=Config(
            signature_version="s3v4",
            retries={"mode": "standard", "max_attempts": 5},
            connect_timeout=10,
            read_timeout=60,
            s3={"addressing_style": "path" if endpoint else "auto"},
        ),
    )


# Connections can't be shared with a child process.
os.register_at_fork(after_in_child=_client.cache_clear)


class S3Store(ObjectStore):
    """Objects of one bucket below a prefix. Credentials not in the settings come from boto3's own chain."""

    def __init__(self, bucket: str, prefix: str, settings: Settings) -> None:
        self.bucket = bucket
        self.uri = f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
        self._base = prefix + "/" if prefix else ""
        self._settings, self._endpoint = settings, settings.s3_endpoint
        self._client = _client(settings.s3_endpoint, settings.s3_access_key, settings.s3_secret_key)

    def __reduce__(self) -> tuple[type["S3Store"], tuple[str, str, Settings]]:
        return S3Store, (self.bucket, self._base.rstrip("/"), self._settings)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See ObjectStore.list. Keys that end in '/' are the folder markers of some tools, not objects.

        Sorted here, because not every store of this protocol lists in the order of keys.
        """
        found = []
        with self._errors(prefix):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._base + prefix):
                for item in page.get("Contents", ()):
                    if not item["Key"].endswith("/"):
                        key = item["Key"][len(self._base) :]
                        found.append(ObjectInfo(key, item["Size"], _etag(item), modified=item["LastModified"]))
        yield from sorted(found, key=lambda info: info.key)

    def directories(self) -> Iterator[str]:
        """See ObjectStore.directories."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._base, Delimiter="/")
        with self._errors(""):
            found = {item["Prefix"][len(self._base) : -1] for page in pages for item in page.get("CommonPrefixes", ())}
        yield from sorted(found)

    def head(self, key: str) -> ObjectInfo | None:
        """See ObjectStore.head."""
        with self._errors(key):
            try:
                answer = self._client.head_object(Bucket=self.bucket, Key=self._base + key)
            except ClientError as error:
                if _code(error) in _MISSING:
                    return None
                if _code(error) not in _DENIED:
                    # The answer to a HEAD has no body that says what is wrong, as an expired token; that to a GET has one.
                    self._read(key, 0, 1, None)
                raise
        return ObjectInfo(key, answer["ContentLength"], _etag(answer), modified=answer["LastModified"])

    def open(self, key: str, version: ObjectInfo | None = None) -> BinaryIO:
        """See ObjectStore.open. A dropped connection is resumed where it broke, on the same version of the object."""
        # The answer to a HEAD doesn't say whether the object is missing or its bucket.
        version = version or self.head(key) or self.get(key)[1]
        return cast(BinaryIO, _BufferedS3Reader(_S3Reader(self, version)))

    def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        """See ObjectStore.get."""
        with self._errors(key):
            answer = self._read(key, 0, None, None)
        with _S3Reader(self, ObjectInfo(key, answer["ContentLength"], _etag(answer)), answer["Body"]) as reader:
            return reader.readall(), reader.info

    def put(self, key: str, data: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> ObjectInfo:
        """See ObjectStore.put."""
        condition = {"IfNoneMatch": "*"} if if_none_match else {}
        if if_match is not None:
            condition["IfMatch"] = f'"{if_match}"'
        with self._errors(key, if_match=if_match):
            try:
                answer = self._client.put_object(Bucket=self.bucket, Key=self._base + key, Body=data, **condition)
            except ClientError as error:
                if _code(error) in _CONFLICT and error.response["ResponseMetadata"].get("RetryAttempts", 0):
                    # The first attempt may have been written and only its answer lost: then the object is ours.
                    stored, info = self.get(key)
                    if stored == data:
                        return info
                raise
        return ObjectInfo(key, len(data), _etag(answer))

    def upload(self, key: str, path: Path) -> ObjectInfo:
        """See ObjectStore.upload."""
        with self._errors(key):
            large = path.stat().st_size >= PART_BYTES
            config = TransferConfig(
                multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=4, use_threads=large
            )
            self._client.upload_file(str(path), self.bucket, self._base + key, Config=config)
        info = self.head(key)
        if info is None:
            raise ObjectStoreError(
                f"{self.uri}/{key} vanished right after it was uploaded.", "Look for another writer or a lifecycle rule."
            )
        return info

    def delete(self, key: str) -> None:
        """See ObjectStore.delete."""
        with self._errors(key):
            self._client.delete_object(Bucket=self.bucket, Key=self._base + key)

    def _read(self, key: str, position: int, end: int | None, etag: str | None) -> Any:
        """A response with the bytes [position, end) as its body, of the version `etag` if one is given."""
        options = {}
        if position or end is not None:
            options["Range"] = f"bytes={position}-" if end is None else f"bytes={position}-{end - 1}"
        if etag is not None:
            options["IfMatch"] = f'"{etag}"'
        return self._client.get_object(Bucket=self.bucket, Key=self._base + key, **options)

    @contextmanager
    def _errors(self, key: str, *, if_match: str | None = None) -> Iterator[None]:
        uri = f"{self.uri}/{key}"
        try:
            yield
        except ClientError as error:
            code = _code(error)
            if code in _CONFLICT or (if_match is not None and code in _MISSING):
                wanted = f"is not the version {if_match!r} any more" if if_match else "exists already, or is being written"
                raise PreconditionFailedError(f"{uri} {wanted}.", "Another writer was first: read it again, then retry.") from error
            if code == "NoSuchBucket":
                raise ObjectAccessError(f"{uri}: there is no bucket {self.bucket!r}.", "Create it, or correct the URI.") from error
            if code in _MISSING:
                raise ObjectAccessError(f"{uri} does not exist.", "Check the key, and that nothing deleted it.") from error
            if code in _DENIED:
                raise ObjectAccessError(
                    f"{uri}: access denied ({code}).", "Check the access key, its secret and its rights."
                ) from error
            raise ObjectStoreError(f"{uri}: {error}.", "See the store's own log.") from error
        except NoCredentialsError as error:
            raise ObjectAccessError(f"{uri}: no credentials.", "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.") from error
        except S3UploadFailedError as error:
            raise ObjectStoreError(f"{uri}: {error}.", "Check the bucket and the rights of the access key.") from error
        except OSError as error:
            raise ObjectStoreError(f"{uri}: {error}.", "Check the local file.") from error
        except ParamValidationError as error:
            raise ObjectAccessError(f"{uri}: {error}.", "Correct the URI.") from error
        except (BotoCoreError, HTTPError) as error:
            endpoint = self._endpoint or "Amazon S3"
            raise ObjectStoreError(
                f"{uri}: {endpoint} does not answer ({type(error).__name__}).",
                "Check that it runs and that SAMPLEMIX_S3_ENDPOINT is right.",
            ) from error


class _S3Reader(io.RawIOBase):
    """A seekable stream over one version of an object, by requests that carry on after a dropped connection.

    A connection can be used again only after its whole answer was read, so each request asks for what will be read: up to
    `announced_end` if that is known; from the start, the whole object; elsewhere a read as long as it is (`read_end`), and then
    ranges that double while they follow each other, up to RANGE_BYTES. `body` is the answer to a request for the whole object, if
    there was one.
    """

    def __init__(self, store: S3Store, info: ObjectInfo, body: Any = None) -> None:
        self._store, self.info, self._body = store, info, body
        self._position = self._range = 0
        # Where the body ends, which the position reaches unless the connection breaks.
        self._end = 0 if body is None else info.size
        self.announced_end = self.read_end = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.info.size}[whence]
        if position < 0:
            raise ValueError(f"seek to {position}, before the start of {self._store.uri}/{self.info.key}")
        if position != self._position:
            self._drop()
            self._position, self._range, self._end = position, 0, position
            self.announced_end = self.read_end = 0
        return position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self.info.size - self._position)
        if wanted <= 0:
            return 0
        data = self._read_some(wanted)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def readall(self) -> bytes:
        chunks = []
        while self._position < self.info.size:
            chunks.append(self._read_some(min(CHUNK_BYTES, self.info.size - self._position)))
            self._position += len(chunks[-1])
        return b"".join(chunks)

    def _read_some(self, wanted: int) -> bytes:
        """Between 1 and `wanted` bytes from the current position, over as many connections as it takes."""
        failure: Exception | None = None
        for _ in range(MAX_RESUMES):
            try:
                if self._body is None:
                    self._end = self._next_end(wanted)
                    self._body = self._request()
                data: bytes = self._body.read(min(wanted, self._end - self._position))
                if self._position + len(data) == self._end:
                    # It compares the checksum at its end.
                    self._body.read(1)
                    self._drop()
                if data:
                    return data
                failure = EOFError("the connection ended early")
            except FlexibleChecksumError as error:
                raise ObjectStoreError(
                    f"{self._store.uri}/{self.info.key} arrived damaged: {error}.", "Run again; if it persists, restore the object."
                ) from error
            except (BotoCoreError, HTTPError, OSError) as error:
                failure = error
            self._drop()
        raise ObjectStoreError(
            f"{self._store.uri}/{self.info.key}: reading broke off {MAX_RESUMES} times at byte {self._position} ({failure}).",
            "Check the network and the store, then run again.",
        ) from failure

    def _next_end(self, wanted: int) -> int:
        """Where the next answer ends: where one that broke would have, or where the class says."""
        if self._position < self._end:
            return self._end
        if self._position < self.announced_end:
            return min(self.announced_end, self.info.size)
        if self._position == 0:
            return self.info.size
        self._range = max(wanted, self.read_end - self._position, min(2 * self._range, RANGE_BYTES))
        return min(self._position + self._range, self.info.size)

    def _request(self) -> Any:
        try:
            with self._store._errors(self.info.key):
                end = None if self._end == self.info.size else self._end
                answer = self._store._read(self.info.key, self._position, end, self.info.etag)
        except PreconditionFailedError as error:
            raise ObjectStoreError(
                f"{self._store.uri}/{self.info.key} changed while it was being read.", "Stop what writes to it, then run again."
            ) from error
        if answer["ContentLength"] != self._end - self._position:
            answer["Body"].close()
            raise ObjectStoreError(
                f"{self._store.uri}/{self.info.key}: the answer to a request for {self._end - self._position:,} bytes from byte"
                f" {self._position:,} on has {answer['ContentLength']:,}.",
                "The store, or a proxy before it, has to answer requests for ranges.",
            )
        return answer["Body"]

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def close(self) -> None:
        self._drop()
        super().close()


class _BufferedS3Reader(io.BufferedReader):
    """Gets small reads from a buffer, and lets the reader know of long ones, which it would see in pieces."""

    def __init__(self, reader: _S3Reader) -> None:
        super().__init__(reader, BUFFER_BYTES)
        self._reader = reader

    def read(self, size: int | None = -1, /) -> bytes:
        length = self._reader.info.size if size is None or size < 0 else size
        if length > BUFFER_BYTES:
            self._reader.read_end = self.tell() + length
        return super().read(size)

    def announce(self, n_bytes: int) -> None:
        """See Announced."""
        self._reader.announced_end = max(self._reader.announced_end, self.tell() + n_bytes)


def _etag(answer: dict[str, Any]) -> str:
    return str(answer["ETag"]).strip('"')


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
