"""Published mixtures, by name or by URI."""

from collections.abc import Container, Iterator

from samplemix_core.corpus.listing import is_shard
from samplemix_core.errors import ManifestError
from samplemix_core.manifest import read
from samplemix_core.manifest.layout import MANIFEST, version_prefix
from samplemix_core.manifest.lineage import ShardEntry
from samplemix_core.manifest.model import Manifest
from samplemix_core.manifest.verify import VerifyReport
from samplemix_core.manifest.verify import verify as verify_parts
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.objects.open import open_store
from samplemix_core.settings import Settings

MIXTURES_ROOT = "mixtures"
"""Where mixtures lie below the state root."""


def manifest_uri(store: ObjectStore, root: str, manifest: Manifest) -> str:
    """URI of a manifest."""
    return f"{store.uri}/{version_prefix(root, manifest.name, manifest.version)}{MANIFEST}"


def list_manifests(settings: Settings) -> Iterator[tuple[str, Manifest]]:
    """Every published version with its URI, sorted by name and version."""
    store = open_store(settings.state_root, settings)
    for name, version in read.list_mixtures(store, MIXTURES_ROOT):
        manifest = read.read_manifest(store, MIXTURES_ROOT, name, version)
        yield manifest_uri(store, MIXTURES_ROOT, manifest), manifest


def load_manifest(settings: Settings, name: str, version: int | None = None) -> tuple[str, Manifest]:
    """The manifest of a version (the latest, if none is given) of a mixture by name, or the one at a URI; and its URI."""
    store, root, manifest = _find(settings, name, version)
    return manifest_uri(store, root, manifest), manifest


def verify_manifest(
    settings: Settings,
    name: str,
    version: int | None = None,
    *,
    check_corpus: bool = False,
    among: Container[str] | None = None,
) -> VerifyReport:
    """Check a published version, by name or URI; with `check_corpus`, also that its corpus still is what it was.

    `among` names the shards to look at, where others may have landed since.
    """
    store, root, manifest = _find(settings, name, version)

    def shards(snapshot: str) -> Iterator[ShardEntry]:
        corpus = open_store(manifest.corpus_root, settings)
        for info in corpus.list(f"{snapshot}/"):
            if is_shard(info.key) and (among is None or info.key in among):
                yield info.key, info.etag, info.size

    return verify_parts(store, root, manifest, shards if check_corpus else None)


def _find(settings: Settings, name: str, version: int | None) -> tuple[ObjectStore, str, Manifest]:
    if "/" not in name:
        store = open_store(settings.state_root, settings)
        return store, MIXTURES_ROOT, read.read_manifest(store, MIXTURES_ROOT, name, version)
    if version is not None:
        raise ManifestError(f"{name} names one version already, so --version {version} can't be given.", "Leave --version out.")
    # A manifest's place is <root>/<mixture>/<version>/manifest.json: the store is opened three levels up.
    pieces = name.rstrip("/").rsplit("/", 3)
    if len(pieces) < 4:
        raise ManifestError(f"{name!r} is not the URI of a manifest.", "It ends in <mixture>/v000001/manifest.json.")
    root, key = pieces[0], "/".join(pieces[1:])
    store = open_store(root, settings)
    location, manifest = read.open_manifest(store, key)
    return store, location.root, manifest
