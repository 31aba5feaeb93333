"""Files of quality models: kept on the object store by their content, fetched once to a machine, and known by their digests."""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from samplemix_core.errors import ModelError, ObjectAccessError
from samplemix_core.identity import fingerprint
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.settings import make_home

MODELS = "quality-models"
"""Where artifacts lie, below the state root; and below a machine's home, what it has fetched of them."""


def store_files(directory: Path, store: ObjectStore) -> dict[str, str]:
    """Keep a directory's files by their content; returns the SHA-256 of each by its path in the directory."""
    found = {}
    for path in sorted(item for item in directory.rglob("*") if item.is_file()):
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if store.head(f"{MODELS}/files/{digest}") is None:
            store.upload(f"{MODELS}/files/{digest}", path)
        found[path.relative_to(directory).as_posix()] = digest
    return found


def fetch_files(files: Mapping[str, str], store: ObjectStore, home: Path) -> Path:
    """A directory with files of these paths and SHA-256; what this machine has already is not fetched again.

    Raises ModelError if one is gone or another than it was, or its path leads out of the directory.
    """
    kept = make_home(home) / MODELS / fingerprint(dict(files))
    if kept.is_dir():
        return kept
    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(dir=kept.parent))
    try:
        for name, digest in files.items():
            place = PurePosixPath(name)
            if place.is_absolute() or ".." in place.parts:
                raise ModelError(f"A quality model names a file {name!r}, which is not within its directory.")
            path = directory / place
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with store.open(f"{MODELS}/files/{digest}") as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target, 2**20)
            except ObjectAccessError as error:
                raise ModelError(
                    f"The file {name} of a quality model is gone from {store.uri}: {error}", "Add the model again."
                ) from error
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != digest:
                raise ModelError(
                    f"The file {name} of a quality model has SHA-256 {found}; {digest} was stored.", "Add the model again."
                )
        directory.rename(kept)
    except OSError:
        if not kept.is_dir():
            raise
        # Another process of this machine was first.
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return kept
