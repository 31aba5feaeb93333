"""Drafts: mixtures that are computed and lie on the object store, and that nobody but publish looks at."""

from pathlib import Path

from pydantic import ValidationError

from samplemix_core.config import FrozenModel
from samplemix_core.errors import ManifestError
from samplemix_core.identity import fingerprint
from samplemix_core.manifest.model import ManifestDraft, PartFile, content_digest
from samplemix_core.pipeline.keys import ClusterModelRef, Registered
from samplemix_core.store.object_store import ObjectStore

ROOT = "drafts"
DRAFT = "draft.json"


class Draft(FrozenModel):
    """A mixture before it has a version, with the parts that lie beside it."""

    manifest: ManifestDraft
    parts: tuple[PartFile, ...]
    registered: Registered
    cluster_model: ClusterModelRef

    @property
    def content_digest(self) -> str:
        """Digest of the parts."""
        return content_digest(self.parts)


def write_draft(store: ObjectStore, draft: Draft, directory: Path) -> str:
    """Put a draft and the parts in `directory` on the store; returns the draft's prefix. The same draft has one place."""
    prefix = f"{ROOT}/{fingerprint(draft.model_dump(mode='json'))}"
    for part in draft.parts:
        store.upload(f"{prefix}/{part.path}", directory / part.path)
    store.put(f"{prefix}/{DRAFT}", draft.model_dump_json().encode())
    return prefix


def read_draft(store: ObjectStore, prefix: str) -> Draft:
    """The draft at a prefix; ManifestError if there is none."""
    if store.head(f"{prefix}/{DRAFT}") is None:
        raise ManifestError(f"The draft {store.uri}/{prefix} is gone.", "Mix again.")
    try:
        return Draft.model_validate_json(store.get(f"{prefix}/{DRAFT}")[0])
    except ValidationError as error:
        raise ManifestError(f"The draft {store.uri}/{prefix} is damaged: {error}.", "Mix again.") from None


def delete_draft(store: ObjectStore, prefix: str) -> None:
    """Remove a draft, its description last, so that what is left of a broken removal is still known as a draft."""
    keys = [info.key for info in store.list(f"{prefix}/")]
    for key in sorted(keys, key=lambda key: key.endswith(DRAFT)):
        store.delete(key)
