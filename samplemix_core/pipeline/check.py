"""The whole of a deployment, added up again: snapshots and versions in Postgres, and the versions that lie on the object store."""

from collections.abc import Iterator
from typing import Any

from samplemix_core.config import FrozenModel
from samplemix_core.database import check as database
from samplemix_core.database.connection import repeatable_read, transaction
from samplemix_core.database.mixtures import recorded_figures
from samplemix_core.errors import ManifestError
from samplemix_core.manifest.verify import Problem
from samplemix_core.pipeline.mixtures import own_mixtures, verify_version
from samplemix_core.pipeline.progress import Progress, Report
from samplemix_core.settings import Settings


class Checked(FrozenModel):
    """A snapshot or a version that was checked, and everything that disagrees in it."""

    what: str
    name: str
    problems: tuple[str, ...]


def check(settings: Settings, report: Report, corpus_uri: str | None = None, *, parts: bool = True) -> Iterator[Checked]:
    """Check all corpora and mixtures, or those of one corpus, one after the other; each is read as of one moment.

    With `parts`, each version's parts are read and hashed too, which takes as long as reading the mixture.
    """
    url = settings.require("database_url")
    with transaction(url) as cursor:
        snapshots, versions = database.snapshots_of(cursor, corpus_uri), database.versions_of(cursor, corpus_uri)
    total = len(snapshots) + len(versions)
    for done, snapshot in enumerate(snapshots):
        report(Progress("check", done, total, unit="checks", message=snapshot.label))
        with transaction(url) as cursor:
            repeatable_read(cursor)
            problems = [str(problem) for problem in database.snapshot_problems(cursor, snapshot)]
        yield Checked(what="snapshot", name=snapshot.label, problems=tuple(problems))
    for done, (name, version) in enumerate(versions, len(snapshots)):
        report(Progress("check", done, total, unit="checks", message=f"{name} version {version}"))
        with transaction(url) as cursor:
            repeatable_read(cursor)
            problems = [str(problem) for problem in database.mixture_problems(cursor, name, version)]
            recorded = recorded_figures(cursor, name, version)
        problems += map(str, _published_problems(settings, name, version, recorded, parts=parts))
        yield Checked(what="mixture", name=f"{name} version {version}", problems=tuple(problems))
    yield from _unrecorded(settings, corpus_uri)
    report(Progress("check", total, total, unit="checks", message="done"))


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
    for column, value in recorded.items():
        claimed = getattr(published.manifest, column)
        if claimed != value:
            yield Problem(published.uri, f"{column} is {claimed}, Postgres has {value}")
    if parts:
        yield from verify_version(settings, published).problems
