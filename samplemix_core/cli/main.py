"""The command `samplemix`: the services of one machine, runs without Airflow, and a look at what they made."""

import json
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from samplemix_core.cli.tables import output, print_rows
from samplemix_core.config import RunConfig, load_run_config
from samplemix_core.errors import ConfigError, CorpusError, SampleMixError
from samplemix_core.settings import Settings, home_directory

app = typer.Typer(
    name="samplemix",
    help="Mix pre-training corpora sample by sample, by quality and diversity.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
mixture_app = typer.Typer(help="Published mixtures: list, show, verify.", no_args_is_help=True)
app.add_typer(mixture_app, name="mixture")

console = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for scripts.")]


def main() -> None:
    """Entry point: every error a user can meet is one line with its remedy, and a non-zero exit."""
    try:
        app()
    except SampleMixError as error:
        console.print(f"[bold red]error[/]: {escape(error.what)}", highlight=False, soft_wrap=True)
        if error.remedy:
            console.print(f"[bold]what to do[/]: {escape(error.remedy)}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("interrupted: what is done is kept, run again to go on")
        sys.exit(130)


def _emit(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, default=str))


def _say(line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command()
def up(
    services: Annotated[list[str] | None, typer.Argument(help="postgres, s3, dask, airflow; all if none is named")] = None,
) -> None:
    """Start the embedded services, in order, and wait until each is ready. Running it twice is running it once.

    A service whose variable is set (SAMPLEMIX_DATABASE_URL, SAMPLEMIX_S3_ENDPOINT, SAMPLEMIX_DASK_SCHEDULER,
    SAMPLEMIX_AIRFLOW_URL) is external and is not started.

    Examples: `samplemix up`, `samplemix up postgres s3 dask`
    """
    from samplemix_core.cli.services import start_services

    start_services(home_directory(), services, _say)
    status(as_json=False)


@app.command()
def down(
    services: Annotated[list[str] | None, typer.Argument(help="postgres, s3, dask, airflow; all if none is named")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Also delete all they keep: databases, objects, secrets, logs")] = False,
) -> None:
    """Stop the embedded services, in order. What they keep stays under SAMPLEMIX_HOME, unless it is to be deleted.

    Examples: `samplemix down`, `samplemix down airflow`
    """
    from samplemix_core.local.stack import SERVICES, Stack

    stack = Stack(home_directory())
    if delete and services:
        raise ConfigError("What one service keeps can't be deleted by itself.", "Name no service with --delete.")
    if delete:
        stack.destroy()
    else:
        stack.down(services or SERVICES, on_progress=_say)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show each embedded service: its state, process and address."""
    from samplemix_core.local.stack import Stack

    print_rows([vars(item) for item in Stack(home_directory()).status()], as_json=as_json)


@app.command()
def logs(
    process: Annotated[str, typer.Argument(help="A process named by 'samplemix status'")],
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing as lines come")] = False,
) -> None:
    """Print the log of one process. Example: `samplemix logs dask-worker -f`"""
    from samplemix_core.local.stack import Stack

    for line in Stack(home_directory()).log_lines(process, lines=lines, follow=follow):
        typer.echo(line)


@app.command()
def migrate() -> None:
    """Bring the database to this version's tables. 'samplemix up' does it for the embedded one; run it for your own."""
    from samplemix_core.database.migrate import migrate as migrate_database

    migrate_database(Settings.load().require("database_url"))


@app.command()
def demo(
    documents: Annotated[int, typer.Option(help="About how many documents to collect from this machine")] = 3000,
) -> None:
    """Start everything, collect a corpus from this machine, and make a mixture of it through Airflow."""
    from samplemix_core.demo.run import run_demo

    run_demo(home_directory(), documents, console)


def _run_config(base: Path | None, options: dict[str, Any], assignments: Sequence[str]) -> RunConfig:
    """A run's configuration from a JSON file, then the options that were given, then --set a.b=value."""
    values: dict[str, Any] = {}
    if base is not None:
        try:
            values = json.loads(base.read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{base} is not a readable JSON file: {error}.", "Give --config a file that 'samplemix run' can parse."
            ) from error
    values.update({name: value for name, value in options.items() if value not in (None, [])})
    if isinstance(values.get("corpus_uri"), str):
        values["corpus_uri"] = _location(values["corpus_uri"])
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator:
            raise ConfigError(f"--set {assignment!r} has no '='.", "Write --set diversity.sample_size=5000.")
        *parents, leaf = name.split(".")
        target = values
        for parent in parents:
            target = target.setdefault(parent, {})
        try:
            target[leaf] = json.loads(text)
        except ValueError:
            target[leaf] = text
    return load_run_config(values)


def _location(corpus: str) -> str:
    """A corpus as it is stored: a directory by its absolute path, so that it is the same from wherever one stands."""
    corpus = corpus.strip().rstrip("/")
    return corpus if "://" in corpus or not corpus else str(Path(corpus).absolute())


def _help(name: str) -> str:
    field = RunConfig.model_fields[name]
    return (
        f"{field.description} (default: {field.default})"
        if not field.is_required() and field.default != ()
        else str(field.description)
    )


def _option(name: str, *flags: str) -> Any:
    return typer.Option(*flags, help=_help(name), show_default=False)


@app.command()
def run(
    corpus_uri: Annotated[str | None, typer.Argument(help=_help("corpus_uri"))] = None,
    snapshots: Annotated[list[str] | None, _option("snapshots", "--snapshot", "-s")] = None,
    mixture_name: Annotated[str | None, _option("mixture_name", "--name")] = None,
    policy: Annotated[str | None, _option("policy", "--policy")] = None,
    alpha: Annotated[float | None, _option("alpha", "--alpha")] = None,
    tau: Annotated[float | None, _option("tau", "--tau")] = None,
    budget: Annotated[str | None, _option("budget", "--budget")] = None,
    max_copies: Annotated[int | None, _option("max_copies", "--max-copies")] = None,
    seed: Annotated[int | None, _option("seed", "--seed")] = None,
    assignments: Annotated[list[str] | None, typer.Option("--set", help="Any other setting, as diversity.sample_size=5000")] = None,
    config_file: Annotated[Path | None, typer.Option("--config", help="A JSON file of settings; options override it")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be done, and do nothing")] = False,
    retry_refused: Annotated[bool, typer.Option("--retry-refused", help=_help("retry_refused"))] = False,
    accept_loss: Annotated[bool, typer.Option("--accept-loss", help="Go on whatever share of the documents was set aside")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn a corpus into a published mixture, without Airflow. Run it again to go on after an interruption.

    Examples:

    `samplemix run s3://samplemix/corpora/web --snapshot crawl-a --budget 20% --name web`

    `samplemix run ./corpus --budget 100M --policy natural --name baseline --dry-run`
    """
    options = {
        "corpus_uri": corpus_uri,
        "snapshots": snapshots,
        "mixture_name": mixture_name,
        "policy": policy,
        "alpha": alpha,
        "tau": tau,
        "budget": budget,
        "max_copies": max_copies,
        "seed": seed,
        "retry_refused": retry_refused or None,
        "max_loss": 1.0 if accept_loss else None,
    }
    config = _run_config(config_file, options, assignments or [])
    settings = Settings.load()
    from samplemix_core.cli.tables import terminal_progress
    from samplemix_core.pipeline.mixtures import open_version
    from samplemix_core.pipeline.run import plan_corpus, run_corpus
    from samplemix_core.report.text import print_mixture

    if dry_run:
        planned, ignored = plan_corpus(config, settings)
        print_rows(planned, as_json=as_json)
        for path in ignored:
            _say(f"ignored: {path} lies in no snapshot's directory")
        return
    with terminal_progress(console, quiet=as_json) as report:
        summary = run_corpus(config, settings, report)
    if as_json:
        _emit(summary.model_dump(mode="json"))
        return
    version = open_version(settings, summary.manifest_uri)
    print_mixture(output(), version.manifest)
    for kind, shards in (("refused", summary.scoring.refused), ("poison", summary.scoring.poison)):
        if shards:
            typer.echo(f"{kind} shards, left out as a whole: {', '.join(shards)} (see 'samplemix quarantine')")
    typer.echo(f"manifest: {version.uri}")


shard_app = typer.Typer(help="Shards of the ledger: what became of them, and trying them again.", no_args_is_help=True)
app.add_typer(shard_app, name="shard")

CorpusUri = Annotated[str | None, typer.Argument(help="Only this corpus")]
Limit = Annotated[int | None, typer.Option("--limit", help="At most so many rows")]


@shard_app.command("list")
def shard_list(
    corpus_uri: CorpusUri = None,
    snapshot: Annotated[str | None, typer.Option("--snapshot", "-s", help="Only this snapshot")] = None,
    states: Annotated[
        list[str] | None, typer.Option("--state", help="Only shards in this state: pending, done, refused, poison, failed")
    ] = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """List shards with their state, counts and errors.

    Example: `samplemix shard list s3://bucket/corpus --state refused --state poison`
    """
    from samplemix_core.database.connection import transaction
    from samplemix_core.database.ledger import list_shards

    with transaction(Settings.load().require("database_url")) as cursor:
        print_rows(
            islice(list_shards(cursor, corpus_uri and _location(corpus_uri), snapshot, states or ()), limit), as_json=as_json
        )


@shard_app.command("retry")
def shard_retry(
    corpus_uri: Annotated[str, typer.Argument(help="The corpus")],
    shards: Annotated[list[str] | None, typer.Argument(help="Paths of shards; all of that kind if none is named")] = None,
    as_json: AsJson = False,
) -> None:
    """Have refused or poison shards tried again by the next run.

    Example: `samplemix shard retry s3://bucket/corpus crawl-a/web/part-7.jsonl.gz`
    """
    from samplemix_core.database.connection import transaction
    from samplemix_core.database.ledger import retry_shards

    corpus_uri = _location(corpus_uri)
    with transaction(Settings.load().require("database_url")) as cursor:
        retried = retry_shards(cursor, corpus_uri, shards or ())
        missing = sorted(set(shards or ()) - set(retried))
        if missing:
            raise CorpusError(
                f"{corpus_uri} has no refused or poison shard {', '.join(map(repr, missing))}.",
                f"See 'samplemix shard list {corpus_uri} --state refused --state poison'.",
            )
    print_rows([{"shard": path, "state": "pending"} for path in retried], as_json=as_json)


@app.command()
def quarantine(
    corpus_uri: CorpusUri = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """List the records and shards that were set aside: file, row, byte offset, reason."""
    from samplemix_core.database.connection import transaction
    from samplemix_core.database.ledger import list_quarantine

    with transaction(Settings.load().require("database_url")) as cursor:
        print_rows(islice(list_quarantine(cursor, corpus_uri and _location(corpus_uri)), limit), as_json=as_json)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT over the tables and views, best over sample_scores")],
    as_json: AsJson = False,
) -> None:
    """Ask the scores by SQL, as the read-only role.

    Example: `samplemix sql "SELECT domain, count(*), avg(quality) FROM sample_scores GROUP BY domain"`
    """
    from samplemix_core.database.query import run_query

    print_rows(run_query(Settings.load().require("reader_database_url"), query), as_json=as_json)


Name = Annotated[str, typer.Argument(help="The mixture's name, or the URI of a manifest.json")]
Version = Annotated[int | None, typer.Option("--version", "-v", help="Which version; the latest if not given")]


@mixture_app.command("list")
def mixture_list(as_json: AsJson = False) -> None:
    """List every published version of every mixture."""
    from samplemix_core.pipeline.mixtures import own_mixtures

    mixtures = own_mixtures(Settings.load())
    print_rows((_short(mixtures.open(*item)) for item in mixtures.list()), as_json=as_json)


def _short(version: Any) -> dict[str, Any]:
    manifest = version.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "policy": manifest.policy.name,
        "budget_tokens": manifest.budget_tokens,
        "realised_tokens": manifest.realised_tokens,
        "samples": manifest.samples,
        "copies": manifest.copies,
        "content_digest": manifest.content_digest,
        "created_at": manifest.created_at,
        "manifest": version.uri,
    }


@mixture_app.command("show")
def mixture_show(
    name: Name,
    version: Version = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Also draw it into this .png or .svg file")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one version: its figures, its domains before and after, its lineage.

    Example: `samplemix mixture show demo --plot demo.png`
    """
    from samplemix_core.pipeline.mixtures import open_version

    settings = Settings.load()
    found = open_version(settings, name, version)
    manifest = found.manifest
    if plot is not None:
        from samplemix_core.pipeline.picture import draw_picture

        draw_picture(settings, manifest, plot)
    if as_json:
        _emit({"manifest": found.uri, **manifest.model_dump(mode="json")})
        return
    from samplemix_core.report.text import print_mixture

    print_mixture(output(), manifest)
    print_rows([{"lineage": key, "value": value} for key, value in manifest.lineage.model_dump(mode="json").items()])
    typer.echo(f"manifest: {found.uri}")


@mixture_app.command("verify")
def mixture_verify(
    name: Name,
    version: Version = None,
    corpus: Annotated[bool, typer.Option("--corpus", help="Also check that the corpus's shards still have their etags")] = False,
    as_json: AsJson = False,
) -> None:
    """Read a published version back: hash its parts, add up its copies and tokens. Exits 1 if anything disagrees."""
    from samplemix_core.pipeline.mixtures import open_version, verify_version

    settings = Settings.load()
    report = verify_version(settings, open_version(settings, name, version), check_corpus=corpus)
    if as_json:
        _emit(report.as_dict())
    else:
        for line in report.lines():
            typer.echo(line)
    if report.problems:
        raise typer.Exit(1)
