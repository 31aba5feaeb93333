"""Drafts: mixtures that are computed and lie on the object store, and that nobody but publish looks at."""

import re
from datetime import date, timedelta
from pathlib import Path

from pydantic import ValidationError

from samplemix_core.config import FrozenModel
from samplemix_core.errors import ManifestError
from samplemix_core.identity import fingerprint
from samplemix_core.manifest.format import ManifestDraft, PartFile, content_digest
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.pipeline.handoff import ClusterModelRef, Registered

ROOT = "drafts"
DRAFT = "draft.json"
KEPT_DAYS = 7
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


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


def write_draft(store: ObjectStore, draft: Draft, directory: Path, today: date) -> str:
    """Put a draft and the parts in `directory` on the store; returns the draft's prefix. The same draft of a day has one place.

    Drafts stay for KEPT_DAYS, so that tasks of a finished run can be cleared and equal runs don't remove each other's; older ones
    are removed here.
    """
    _collect(store, today)
    prefix = f"{ROOT}/{today.isoformat()}/{fingerprint(draft.model_dump(mode='json'))}"
    for part in draft.parts:
        store.upload(f"{prefix}/{part.path}", directory / part.path)
    store.put(f"{prefix}/{DRAFT}", draft.model_dump_json().encode())
    return prefix


def read_draft(store: ObjectStore, prefix: str) -> Draft:
    """The draft at a prefix; ManifestError if there is none."""
    if store.head(f"{prefix}/{DRAFT}") is None:
        raise ManifestError(f"The draft {store.uri}/{prefix} is gone; drafts are kept for {KEPT_DAYS} days.", "Mix again.")
    try:
        return Draft.model_validate_json(store.get(f"{prefix}/{DRAFT}")[0])
    except ValidationError as error:
        raise ManifestError(f"The draft {store.uri}/{prefix} is damaged: {error}.", "Mix again.") from None


def _collect(store: ObjectStore, today: date) -> None:
    """Remove the drafts of days that are over for long."""
    oldest = (today - timedelta(days=KEPT_DAYS)).isoformat()
    for info in store.list(f"{ROOT}/"):
        day = info.key.split("/")[1]
        if not _DAY.fullmatch(day) or day < oldest:
            store.delete(info.key)
