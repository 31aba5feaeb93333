"""Commands on what the database knows: shards, progress, quarantine, and whether it all adds up."""

from itertools import islice
from typing import Annotated, Any

import typer

from samplemix_core.cli.common import AsJson, Limit, location, print_json, print_rows, terminal_progress
from samplemix_core.database.scope import ScoreState
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, CorpusError
from samplemix_core.frozen import NAME
from samplemix_core.report.text import tell
from samplemix_core.settings import is_directory

app = typer.Typer()
shard_app = typer.Typer(help="Shards: their state in the ledger, and retries.", no_args_is_help=True)


StoredCorpus = Annotated[str | None, typer.Argument(help="Only this corpus, by its name or URI")]


def _stored(cursor: Any, corpus: str | None) -> Any:
    """Return the URI of a stored corpus, given by name, URI or directory; None for all corpora."""
    from samplemix_core.database.corpora import uri_of

    if corpus is None:
        return None
    is_name = NAME.fullmatch(corpus) and not is_directory(corpus)
    return uri_of(cursor, corpus if is_name else location(corpus))


@shard_app.command("list")
def shard_list(
    corpus: StoredCorpus = None,
    snapshot: Annotated[str | None, typer.Option("--snapshot", "-s", help="Only this snapshot")] = None,
    states: Annotated[
        list[ScoreState] | None, typer.Option("--state", help="Only shards in this state; may be given several times")
    ] = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """List shards with their state, counts and errors.

    Example: `samplemix shard list s3://bucket/corpus --state refused --state poison`
    """
    from samplemix_core.database.ledger import list_shards

    with Deployment.load().transaction() as cursor:
        print_rows(islice(list_shards(cursor, _stored(cursor, corpus), snapshot, states or ()), limit), as_json=as_json)


@shard_app.command("retry")
def shard_retry(
    corpus: Annotated[str, typer.Argument(help="The corpus, by its name or URI")],
    shards: Annotated[list[str] | None, typer.Argument(help="Paths of shards; default: all refused and poison ones")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also shards that are done: delete their results and make them again")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the next run try refused or poison shards again.

    With --force, everything stored of the named shards is deleted, whatever their state: the next run scores and embeds them again.

    Examples: `samplemix shard retry s3://bucket/corpus crawl-a/web/part-7.jsonl.gz`,
    `samplemix shard retry s3://bucket/corpus crawl-a/web/part-7.jsonl.gz --force`
    """
    from samplemix_core.database.ledger import retry_shards
    from samplemix_core.database.registration import forget_shards

    if force and not shards:
        raise ConfigError("--force deletes scores, so it needs the paths of shards.", "Name them: 'samplemix shard list' does.")
    with Deployment.load().transaction() as cursor:
        corpus_uri = _stored(cursor, corpus)
        retried = forget_shards(cursor, corpus_uri, shards or ()) if force else retry_shards(cursor, corpus_uri, shards or ())
        missing = sorted(set(shards or ()) - set(retried))
        if missing:
            kind, narrowed = ("", "") if force else ("refused or poison ", " --state refused --state poison")
            raise CorpusError(
                f"{corpus_uri} has no {kind}shard {', '.join(map(repr, missing))}.",
                f"See 'samplemix shard list {corpus_uri}{narrowed}'.",
            )
    print_rows([{"shard": path, "state": ScoreState.PENDING} for path in retried], as_json=as_json)


@app.command()
def progress(corpus: StoredCorpus = None, as_json: AsJson = False) -> None:
    """Show the progress of scoring by snapshot and domain: blocks, documents, tokens, and worker time spent and left.

    Example: `samplemix progress s3://bucket/corpus`
    """
    from samplemix_core.database.ledger import scoring_progress

    with Deployment.load().transaction() as cursor:
        print_rows(scoring_progress(cursor, _stored(cursor, corpus)), as_json=as_json)


@app.command()
def quarantine(
    corpus: StoredCorpus = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """List the records and shards that were set aside: file, row, byte offset, reason."""
    from samplemix_core.database.ledger import list_quarantine

    with Deployment.load().transaction() as cursor:
        print_rows(islice(list_quarantine(cursor, _stored(cursor, corpus)), limit), as_json=as_json)


@app.command()
def check(
    corpus: StoredCorpus = None,
    parts: Annotated[bool, typer.Option("--parts/--no-parts", help="Also read and hash the parts of every version")] = True,
    deep: Annotated[bool, typer.Option("--deep", help="Also read and hash all vectors and the files of models")] = False,
    as_json: AsJson = False,
) -> None:
    """Add everything up again: ledger, roll-ups and samples, files of vectors and models, mixtures and their published parts.

    Exits with 1 if anything disagrees. Files of vectors and models must exist; --deep also reads them.

    Examples: `samplemix check s3://bucket/corpus --no-parts`, `samplemix check --deep`
    """
    from samplemix_core.operations.check import Checked
    from samplemix_core.operations.check import check as check_all

    deployment = Deployment.load()
    with deployment.transaction() as cursor:
        corpus_uri = _stored(cursor, corpus)
    checked: list[Checked] = []
    try:
        with terminal_progress(quiet=as_json) as report:
            checked.extend(check_all(deployment, report, corpus_uri, parts=parts, deep=deep))
    finally:
        # Show what was found even if the rest can't be checked.
        if as_json:
            print_json([item.model_dump() for item in checked])
        else:
            for item in checked:
                tell(f"{item.what} {item.name}: {f'{len(item.problems)} problems' if item.problems else 'all agrees'}")
                for problem in item.problems:
                    tell(f"  {problem}")
    if any(item.problems for item in checked):
        raise typer.Exit(1)
