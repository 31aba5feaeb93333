"""Drafts: computed mixtures on the object store that only publishing reads."""

import re
from dataclasses import fields
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from samplemix_core.database.selection import LeftOut
from samplemix_core.deployment import Prefix
from samplemix_core.errors import ManifestError
from samplemix_core.frozen import FrozenModel
from samplemix_core.identity import fingerprint
from samplemix_core.manifest.format import ManifestDraft, PartFile, content_digest, files_of
from samplemix_core.mixing.plan import Plan
from samplemix_core.mixing.rollup import MixtureRollup
from samplemix_core.objects.interface import ObjectInfo, ObjectStore
from samplemix_core.pipeline.handoff import ClusterModelRef, Registered

DRAFT = "draft.json"
NEAR_DUPLICATES = "near_duplicates"
KEPT_DAYS = 7
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


class Draft(FrozenModel):
    """A mixture before it has a version, with the parts that lie next to it; and as a plan, where a person is asked about it."""

    manifest: ManifestDraft
    parts: tuple[PartFile, ...]
    registered: Registered
    cluster_model: ClusterModelRef
    left_out: tuple[LeftOut, ...] = ()
    plan: Plan | None = None

    @property
    def content_digest(self) -> str:
        """Digest of the parts."""
        return content_digest(self.parts)


def write_draft(
    store: ObjectStore, draft: Draft, rollup: MixtureRollup, near_duplicates: pa.Table | None, directory: Path, today: date
) -> str:
    """Put a draft, the parts in `directory`, its roll-up and its near-duplicates on the store.

    Returns its prefix, the same for equal drafts of a day.

    Drafts are kept for KEPT_DAYS, so that tasks of a finished run can be cleared and equal runs don't remove each other's. Older
    ones are removed here.
    """
    collect_drafts(store, today)
    prefix = f"{Prefix.DRAFTS}/{today.isoformat()}/{fingerprint(draft.model_dump(mode='json'))}"
    for file in files_of(draft.manifest, draft.parts):
        store.upload(f"{prefix}/{file}", directory / file)
    for name, table in (vars(rollup) | ({} if near_duplicates is None else {NEAR_DUPLICATES: near_duplicates})).items():
        pq.write_table(table, directory / name, write_page_checksum=True)
        store.upload(f"{prefix}/{name}.parquet", directory / name)
    store.put(f"{prefix}/{DRAFT}", draft.model_dump_json().encode())
    return prefix


def read_draft(store: ObjectStore, prefix: str) -> Draft:
    """Return the draft at a prefix; raise ManifestError if it is missing or damaged."""
    if store.head(f"{prefix}/{DRAFT}") is None:
        raise ManifestError(f"The draft {store.uri}/{prefix} is gone; drafts are kept for {KEPT_DAYS} days.", "Mix again.")
    try:
        return Draft.model_validate_json(store.get(f"{prefix}/{DRAFT}")[0])
    except ValidationError as error:
        raise ManifestError(f"The draft {store.uri}/{prefix} is damaged: {error}.", "Mix again.") from None


def read_rollup(store: ObjectStore, prefix: str) -> MixtureRollup:
    """Return the roll-up of the draft at a prefix; raise ManifestError if it is missing or damaged."""
    return MixtureRollup(**{field.name: _read_table(store, f"{prefix}/{field.name}.parquet") for field in fields(MixtureRollup)})


def read_near_duplicates(store: ObjectStore, prefix: str) -> pa.Table | None:
    """Return for whom documents are left out of the draft at a prefix; None where that isn't asked for. Raises as read_rollup."""
    key = f"{prefix}/{NEAR_DUPLICATES}.parquet"
    return None if store.head(key) is None else _read_table(store, key)


def _read_table(store: ObjectStore, key: str) -> pa.Table:
    if store.head(key) is None:
        raise ManifestError(f"{store.uri}/{key} is missing: the draft is of an earlier release, or damaged.", "Mix again.")
    try:
        return pq.read_table(pa.BufferReader(store.get(key)[0]), page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"{store.uri}/{key} is damaged: {error}.", "Mix again.") from error


def collect_drafts(store: ObjectStore, today: date, *, dry_run: bool = False) -> list[ObjectInfo]:
    """Remove drafts older than KEPT_DAYS and return their files. A dry run leaves them."""
    oldest = (today - timedelta(days=KEPT_DAYS)).isoformat()
    days = [(info, info.key.split("/")[1]) for info in store.list(f"{Prefix.DRAFTS}/")]
    old = [info for info, day in days if not _DAY.fullmatch(day) or day < oldest]
    for info in old if not dry_run else ():
        store.delete(info.key)
    return old
