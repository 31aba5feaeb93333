"""Files made by steps: kept on the object store, known by their SHA-256, and checked against it whenever they are read.

Those of quality models are stored by their content and fetched once per machine.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from samplemix_core.database.embeddings import EmbeddingFile
from samplemix_core.deployment import Prefix, model_file
from samplemix_core.diversity.cluster_model import ClusterModel
from samplemix_core.errors import ModelError, ObjectAccessError, ObjectStoreError
from samplemix_core.identity import fingerprint
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.settings import make_home

_CHUNK_BYTES = 2**20


def download(store: ObjectStore, key: str, sha256: str, path: Path, *, what: str, remedy: str) -> Path:
    """Copy an object to a file, and return its path; raise ModelError if it is gone, or its bytes have a different SHA-256."""
    digest = hashlib.sha256()
    try:
        with store.open(key) as stream, path.open("wb") as file:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
    except ObjectAccessError as error:
        raise ModelError(f"{what} is gone: {error.what}", remedy) from error
    except ObjectStoreError as error:
        raise ObjectStoreError(f"{what} can't be read: {error.what}", f"Run again. If it stays so: {remedy}") from error
    if digest.hexdigest() != sha256:
        raise ModelError(f"{what} is damaged: {store.uri}/{key} has SHA-256 {digest.hexdigest()}, {sha256} was stored.", remedy)
    return path


def download_embeddings(store: ObjectStore, file: EmbeddingFile, path: Path) -> Path:
    """Copy the embedding file of a block to a file, as download does."""
    return download(
        store,
        file.key,
        file.sha256,
        path,
        what="An embedding file",
        remedy="'samplemix check --deep' names its shard, and the command that has the next run make it again.",
    )


def load_cluster_model(store: ObjectStore, key: str, sha256: str) -> ClusterModel:
    """Load a fitted model from its artifact; raise ModelError if that is gone or has changed."""
    try:
        data, _ = store.get(key)
    except ObjectAccessError as error:
        raise ModelError(f"A cluster model is gone: {error.what}", _REFIT) from error
    except ObjectStoreError as error:
        raise ObjectStoreError(f"A cluster model can't be read: {error.what}", f"Run again. If it stays so: {_REFIT}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ModelError(f"A cluster model is damaged: {store.uri}/{key} has SHA-256 {found}, {sha256} was stored.", _REFIT)
    return ClusterModel.from_bytes(data)


_REFIT = "Restore the file, or fit again with --set diversity.refit=true: the same vectors and settings give the same file."


_found_whole: set[Path] = set()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def store_files(directory: Path, store: ObjectStore) -> dict[str, str]:
    """Store a directory's files by their content; return the SHA-256 of each by its path in the directory."""
    found = {}
    for path in sorted(item for item in directory.rglob("*") if item.is_file()):
        digest = _sha256(path)
        if store.head(model_file(digest)) is None:
            store.upload(model_file(digest), path)
        found[path.relative_to(directory).as_posix()] = digest
    return found


def fetch_files(files: Mapping[str, str], store: ObjectStore, home: Path) -> Path:
    """Return a directory with files of these paths and SHA-256. An undamaged copy on this machine is not fetched again.

    Raises ModelError if a file is gone or has changed, or its path leads out of the directory.
    """
    kept = make_home(home) / Prefix.QUALITY_MODELS / fingerprint(dict(files))
    if kept in _found_whole:
        return kept
    if kept.is_dir():
        if all((kept / name).is_file() and _sha256(kept / name) == digest for name, digest in files.items()):
            _found_whole.add(kept)
            return kept
        shutil.rmtree(kept)
    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(dir=kept.parent))
    try:
        for name, digest in files.items():
            place = PurePosixPath(name)
            if place.is_absolute() or ".." in place.parts:
                raise ModelError(f"A quality model names a file {name!r}, which is not within its directory.")
            path = directory / place
            path.parent.mkdir(parents=True, exist_ok=True)
            key, what = model_file(digest), f"The file {name} of a quality model"
            download(store, key, digest, path, what=what, remedy="Add the model again.")
        directory.rename(kept)
    except OSError:
        if not kept.is_dir():
            raise
        # Another process on this machine was first.
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return kept
