"""The whole of a deployment, added up again: snapshots and versions in Postgres, and the versions that lie on the object store."""

import hashlib
import shlex
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

from samplemix_core.config import FrozenModel
from samplemix_core.database import check as database
from samplemix_core.database.check import Artifact
from samplemix_core.database.connection import repeatable_read, transaction
from samplemix_core.database.embeddings import files_of_snapshot
from samplemix_core.database.mixtures import recorded_figures
from samplemix_core.errors import ManifestError
from samplemix_core.manifest.catalogue import LATEST, SUMS
from samplemix_core.manifest.verify import Problem
from samplemix_core.objects import open_store
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.pipeline.mixtures import own_mixtures, verify_version
from samplemix_core.pipeline.progress import Progress, Report
from samplemix_core.settings import Settings
from samplemix_core.worker.artifacts import MODELS

_READS_AT_ONCE = 8


class Checked(FrozenModel):
    """A snapshot or a version that was checked, and everything that disagrees in it."""

    what: str
    name: str
    problems: tuple[str, ...]


def check(
    settings: Settings, report: Report, corpus_uri: str | None = None, *, parts: bool = True, deep: bool = False
) -> Iterator[Checked]:
    """Check all corpora and mixtures, or those of one corpus, one after the other; each is read as of one moment.

    With `parts`, each version's parts are read and hashed too, which takes as long as reading the mixture. Files of vectors and of
    models have to be there; `deep` reads and hashes them too.
    """
    url, store = settings.require("database_url"), open_store(settings.state_root, settings)
    with transaction(url) as cursor:
        snapshots, versions = database.snapshots_of(cursor, corpus_uri), database.versions_of(cursor, corpus_uri)
        artifacts = database.artifacts_of(cursor, f"{MODELS}/files", corpus_uri)
    total = len(snapshots) + len(versions) + 1
    for done, snapshot in enumerate(snapshots):
        report(Progress("check", done, total, unit="checks", message=snapshot.label))
        with transaction(url) as cursor:
            repeatable_read(cursor)
            problems = [str(problem) for problem in database.snapshot_problems(cursor, snapshot)]
            files = files_of_snapshot(cursor, snapshot.id)
        uri = snapshot.label.rpartition("/")[0]
        wanted = [Artifact(path, file.key, file.sha256) for path, its_files in files.items() for file in its_files]
        for path, trouble in _file_problems(store, wanted, deep=deep):
            remedy = f"'samplemix shard retry {shlex.join((uri, path))} --force' has the next run make it again"
            problems.append(f"{path}: its file of vectors {trouble}; {remedy}")
        yield Checked(what="snapshot", name=snapshot.label, problems=tuple(problems))
    report(Progress("check", len(snapshots), total, unit="checks", message="models"))
    troubles = [f"{label}: its file {trouble}" for label, trouble in _file_problems(store, artifacts, deep=deep)]
    yield Checked(what="models", name=corpus_uri or "of all corpora", problems=tuple(troubles))
    for done, (name, version) in enumerate(versions, len(snapshots) + 1):
        report(Progress("check", done, total, unit="checks", message=f"{name} version {version}"))
        with transaction(url) as cursor:
            repeatable_read(cursor)
            problems = [str(problem) for problem in database.mixture_problems(cursor, name, version)]
            recorded = recorded_figures(cursor, name, version)
        problems += map(str, _published_problems(settings, name, version, recorded, parts=parts))
        yield Checked(what="mixture", name=f"{name} version {version}", problems=tuple(problems))
    yield from _unrecorded(settings, corpus_uri)
    report(Progress("check", total, total, unit="checks", message="done"))


def _file_problems(store: ObjectStore, files: Sequence[Artifact], *, deep: bool) -> Iterator[tuple[str, str]]:
    """Label and trouble of each of these files that is gone or, if they are read, is another than it was."""
    # A listing of each snapshot's vectors, in place of a question for each file.
    places = {"/".join(file.key.split("/")[:4]) for file in files}
    there = {info.key for place in sorted(places) for info in store.list(place)}

    def trouble(file: Artifact) -> str | None:
        if file.key not in there:
            return f"{file.key} is gone"
        if not deep:
            return None
        with store.open(file.key) as stream:
            found = _sha256(stream)
        return None if found == file.sha256 else f"{file.key} is damaged: it has SHA-256 {found}, {file.sha256} was stored"

    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        for file, said in zip(files, pool.map(trouble, files), strict=True):
            if said is not None:
                yield file.label, said


def _sha256(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(2**20):
        digest.update(chunk)
    return digest.hexdigest()


def _unrecorded(settings: Settings, corpus_uri: str | None) -> Iterator[Checked]:
    """Versions that lie on the object store, which is what training jobs read, and that Postgres does not know."""
    mixtures, url = own_mixtures(settings), settings.require("database_url")
    lying = set(mixtures.list())
    with transaction(url) as cursor:
        recorded = set(database.versions_of(cursor))
    for name, version in sorted(lying - recorded):
        try:
            published = mixtures.open(name, version)
        except ManifestError as error:
            problem = str(error)
        else:
            if corpus_uri not in (None, published.manifest.corpus_root):
                continue
            problem = (
                f"{published.uri}: is published, but Postgres does not know it. Start the step 'publish' of its run"
                f" {published.manifest.lineage.airflow_run_id or ''} again, or delete {published.uri.rpartition('/')[0]}/"
            )
        yield Checked(what="mixture", name=f"{name} version {version}", problems=(problem,))


def _published_problems(settings: Settings, name: str, version: int, recorded: dict[str, Any], *, parts: bool) -> Iterator[Problem]:
    """What disagrees between a recorded version, its manifest and, if they are read, its parts."""
    try:
        published = own_mixtures(settings).open(name, version)
    except ManifestError as error:
        yield Problem(f"{name} version {version}", f"is recorded, but can't be opened: {error.what}")
        return
    sha256 = recorded.pop("manifest_sha256")
    if sha256 not in (None, published.sha256):
        yield Problem(published.uri, f"has SHA-256 {published.sha256}, Postgres has {sha256}")
    if sha256 is not None and published.mixtures.store.head(published.key(SUMS)) is None:
        yield Problem(published.key(SUMS), "is missing")
    latest = published.mixtures.prefix(name) + LATEST
    if published.mixtures.store.head(latest) is None:
        yield Problem(latest, "is missing; publishing the mixture again writes it")
    for column, value in recorded.items():
        claimed = getattr(published.manifest, column)
        if claimed != value:
            yield Problem(published.uri, f"{column} is {claimed}, Postgres has {value}")
    if parts:
        yield from verify_version(settings, published).problems
