"""Check a whole deployment by adding it up again: snapshots and versions in Postgres, and the versions on the object store."""

import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, BinaryIO

from samplemix_core.database import check as database
from samplemix_core.database.check import Artifact
from samplemix_core.database.connection import repeatable_read, transaction
from samplemix_core.database.embeddings import files_of_snapshot
from samplemix_core.database.mixtures import phase_figures, recorded_figures
from samplemix_core.deployment import MODEL_FILES, Deployment
from samplemix_core.errors import ManifestError, ObjectStoreError
from samplemix_core.frozen import FrozenModel
from samplemix_core.manifest.catalogue import LATEST, SUMS, Version
from samplemix_core.manifest.verify import Problem, VerifyReport
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.progress import Progress, Report
from samplemix_core.reading.versions import verify_version

_READS_AT_ONCE = 8


class Checked(FrozenModel):
    """A snapshot or a version that was checked, and everything that disagrees in it."""

    what: str
    name: str
    problems: tuple[str, ...]


def check(
    deployment: Deployment, report: Report, corpus_uri: str | None = None, *, parts: bool = True, deep: bool = False
) -> Iterator[Checked]:
    """Check all corpora and mixtures, or those of one corpus, one after another; each is read as of one moment.

    With `parts`, each version's parts are read and hashed too, which takes as long as reading the mixture. Files of vectors and of
    models have to be there; `deep` reads and hashes them too.
    """
    url, store = deployment.database, deployment.state
    with transaction(url) as cursor:
        snapshots, versions = database.snapshots_of(cursor, corpus_uri), database.versions_of(cursor, corpus_uri)
        artifacts = database.artifacts_of(cursor, MODEL_FILES, corpus_uri)
    total = len(snapshots) + len(versions) + 1
    for done, snapshot in enumerate(snapshots):
        report(Progress("check", done, total, unit="checks", message=snapshot.label))
        with transaction(url) as cursor:
            repeatable_read(cursor)
            problems = [str(problem) for problem in database.snapshot_problems(cursor, snapshot)]
            files = files_of_snapshot(cursor, snapshot.id)
        uri = snapshot.label.rpartition("/")[0]
        wanted = [Artifact(path, file.key, file.sha256) for path, its_files in files.items() for file in its_files]
        for path, trouble, is_lost in _file_problems(store, wanted, deep=deep):
            remedy = f"; 'samplemix shard retry {shlex.join((uri, path))} --force' has the next run make it again"
            problems.append(f"{path}: its file of vectors {trouble}{remedy if is_lost else ''}")
        yield Checked(what="snapshot", name=snapshot.label, problems=tuple(problems))
    report(Progress("check", len(snapshots), total, unit="checks", message="models"))
    troubles = [f"{label}: its file {trouble}" for label, trouble, _ in _file_problems(store, artifacts, deep=deep)]
    yield Checked(what="models", name=corpus_uri or "of all corpora", problems=tuple(troubles))
    for done, (name, version) in enumerate(versions, len(snapshots) + 1):
        report(Progress("check", done, total, unit="checks", message=f"{name} version {version}"))
        with transaction(url) as cursor:
            repeatable_read(cursor)
            problems = [str(problem) for problem in database.mixture_problems(cursor, name, version)]
            recorded = recorded_figures(cursor, name, version)
        try:
            problems += map(str, _published_problems(deployment, name, version, recorded, parts=parts))
        except ObjectStoreError as error:
            problems.append(f"can't be read: {error}")
        yield Checked(what="mixture", name=f"{name} version {version}", problems=tuple(problems))
    yield from _unrecorded(deployment, corpus_uri)
    report(Progress("check", total, total, unit="checks", message="done"))


def _file_problems(store: ObjectStore, files: Sequence[Artifact], *, deep: bool) -> Iterator[tuple[str, str, bool]]:
    """Label and trouble of each of these files that is gone or, if they are read, unreadable or damaged; and whether it is lost."""
    # List each snapshot's vectors, instead of asking for each file.
    places = {"/".join(file.key.split("/")[:4]) for file in files}
    there = {info.key for place in sorted(places) for info in store.list(place)}

    def look(file: Artifact) -> tuple[str, bool] | None:
        if file.key not in there:
            return f"{file.key} is gone", True
        if not deep:
            return None
        try:
            with store.open(file.key) as stream:
                found = _sha256(stream)
        except ObjectStoreError as error:
            return f"{file.key} can't be read: {error}", False
        if found == file.sha256:
            return None
        return f"{file.key} is damaged: it has SHA-256 {found}, {file.sha256} was stored", True

    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        for file, found in zip(files, pool.map(look, files), strict=True):
            if found is not None:
                yield file.label, *found


def _sha256(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(2**20):
        digest.update(chunk)
    return digest.hexdigest()


def _unrecorded(deployment: Deployment, corpus_uri: str | None) -> Iterator[Checked]:
    """Versions on the object store, where training jobs read them, that Postgres does not know."""
    mixtures, url = deployment.mixtures, deployment.database
    lying = set(mixtures.list())
    with transaction(url) as cursor:
        recorded = set(database.versions_of(cursor))
    for name, version in sorted(lying - recorded):
        try:
            published = mixtures.open(name, version)
        except (ManifestError, ObjectStoreError) as error:
            problem = str(error)
        else:
            if corpus_uri not in (None, published.manifest.corpus_root):
                continue
            problem = (
                f"{published.uri}: is published, but Postgres does not know it. Start the step 'publish' of its run"
                f" {published.manifest.lineage.airflow_run_id or ''} again, or delete {published.uri.rpartition('/')[0]}/"
            )
        yield Checked(what="mixture", name=f"{name} version {version}", problems=(problem,))


def _published_problems(
    deployment: Deployment, name: str, version: int, recorded: dict[str, Any], *, parts: bool
) -> Iterator[Problem]:
    """Disagreements between a recorded version, its manifest and, if they are read, its parts."""
    try:
        published = deployment.mixtures.open(name, version)
    except ManifestError as error:
        yield Problem(f"{name} version {version}", f"is recorded, but can't be opened: {error}")
        return
    yield from _recorded_problems(published, recorded)
    latest = published.mixtures.prefix(name) + LATEST
    if published.mixtures.store.head(latest) is None:
        yield Problem(latest, "is missing; publishing the mixture again writes it")
    if parts and not published.is_collected(published.manifest.parts[0].path):
        yield from verify_version(deployment, published).problems


def verify_own(deployment: Deployment, version: Version, *, check_corpus: bool = False) -> VerifyReport:
    """Check a published version as verify_version does; one of this deployment is also compared with Postgres."""
    report = verify_version(deployment, version, check_corpus=check_corpus)
    own, manifest = deployment.mixtures, version.manifest
    is_own = version.uri == Version(own, manifest, version.sha256).uri
    if deployment.database_url is None or not is_own:
        return report
    with transaction(deployment.database_url) as cursor:
        if (manifest.name, manifest.version) not in database.versions_of(cursor):
            return report
        recorded = recorded_figures(cursor, manifest.name, manifest.version)
    return replace(report, problems=(*report.problems, *_recorded_problems(version, recorded)))


def _recorded_problems(version: Version, recorded: Mapping[str, Any]) -> Iterator[Problem]:
    """Disagreements between a version's manifest and its record in Postgres."""
    for column, value in recorded.items():
        if column == "manifest_sha256":
            # An earlier release kept no digest, neither there nor next to the manifest.
            if value not in (None, version.sha256):
                yield Problem(version.uri, f"has SHA-256 {version.sha256}, Postgres has {value}")
            if value is not None and version.mixtures.store.head(version.key(SUMS)) is None:
                yield Problem(version.key(SUMS), "is missing")
        elif column == "phases":
            claims = phase_figures(version.manifest)
            if len(claims) != len(value):
                yield Problem(version.uri, f"has {len(claims)} phases, Postgres has {len(value)}")
            for claim, held in zip(claims, value, strict=False):
                for name in (name for name in claim if claim[name] != held[name]):
                    yield Problem(version.uri, f"phase {claim['phase']}, {name} is {claim[name]}, Postgres has {held[name]}")
        elif (claimed := getattr(version.manifest, column)) != value:
            yield Problem(version.uri, f"{column} is {claimed}, Postgres has {value}")
