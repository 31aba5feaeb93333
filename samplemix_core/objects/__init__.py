"""Object storage: one interface over S3 and directories, and notifications of buckets."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from samplemix_core.errors import ConfigError
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.settings import Settings

_PLACES = "Use s3://bucket/prefix, file:///directory or a path."


def open_store(uri: str, settings: Settings) -> ObjectStore:
    """The store at s3://bucket[/prefix], file:///directory, or a plain directory path; raise ConfigError for anything else."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise ConfigError(f"{uri!r} is no URI: {error}.", _PLACES) from error
    if parts.scheme == "s3":
        from samplemix_core.objects.s3 import S3Store

        if not parts.netloc or parts.query or parts.fragment:
            raise ConfigError(f"{uri!r} is not an S3 location.", "Write it as s3://bucket or s3://bucket/prefix.")
        return S3Store(parts.netloc, parts.path.strip("/"), settings)
    from samplemix_core.objects.directory import FileStore

    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return FileStore(Path(unquote(parts.path)))
    if "://" in uri or not uri:
        raise ConfigError(f"{uri!r} is not a location this platform can read.", _PLACES)
    return FileStore(Path(uri))
