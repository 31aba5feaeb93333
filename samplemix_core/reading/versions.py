"""Published mixtures of a deployment, by name or by URI."""

from collections.abc import Container, Iterator
from pathlib import Path

from samplemix_core.corpus.shards import is_shard
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ManifestError
from samplemix_core.manifest.catalogue import Version, open_key
from samplemix_core.manifest.format import ShardEntry
from samplemix_core.manifest.verify import VerifyReport, verify


def open_version(deployment: Deployment, name: str, version: int | None = None) -> Version:
    """Open a version by name, or by the URI of its manifest.json or of a latest.json.

    A name is web (then the version, or the latest), web@12 or web@stable. Raises ManifestError if there is none.
    """
    if "/" not in name:
        mixture, at, number = name.partition("@")
        if at and version is not None:
            raise ManifestError(f"{name!r} already names one version, so --version {version} can't be given.", "Leave one out.")
        if at:
            version = int(number) if number.isdecimal() else deployment.mixtures.tagged(mixture, number)
        return deployment.mixtures.open(mixture, version)
    if version is not None:
        raise ManifestError(f"{name} already names one version, so --version {version} can't be given.", "Leave --version out.")
    # A manifest's place is <root>/<mixture>/<version>/manifest.json: the store is opened three levels up.
    place = name if "://" in name else str(Path(name).absolute())
    pieces = place.rstrip("/").rsplit("/", 3)
    if len(pieces) < 4:
        raise ManifestError(f"{name!r} is not the URI of a manifest.", "It ends in <mixture>/v000001/manifest.json.")
    return open_key(deployment.store(pieces[0]), "/".join(pieces[1:]))


def verify_version(
    deployment: Deployment, version: Version, *, check_corpus: bool = False, among: Container[str] | None = None
) -> VerifyReport:
    """Check a published version; with `check_corpus`, also that its corpus has not changed.

    `among` limits that check to these shards, as others may have landed since.
    """

    def shards(snapshot: str) -> Iterator[ShardEntry]:
        corpus = deployment.store(version.manifest.corpus_root)
        for info in corpus.list(f"{snapshot}/"):
            if is_shard(info.key) and info.trouble is None and (among is None or info.key in among):
                yield info.key, info.etag, info.size

    return verify(version, shards if check_corpus else None)
