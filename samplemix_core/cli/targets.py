"""Commands on targets: the texts that mixtures are evaluated on."""

from typing import TYPE_CHECKING, Annotated

import typer

from samplemix_core.cli.common import AsJson, location, print_json, print_rows, terminal_progress
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError
from samplemix_core.frozen import NAME
from samplemix_core.report.text import tell
from samplemix_core.settings import is_directory

if TYPE_CHECKING:
    from samplemix_core.database.targets import Target

app = typer.Typer(help="Targets: the held-out texts that mixtures are evaluated on.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The target's name; using a name again makes its next version")]


def _require_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ConfigError(f"A target can't be called {name!r}.", "Use small letters, digits, dots, underscores and hyphens.")


@app.command()
def draw(
    name: Name,
    corpus: Annotated[str, typer.Argument(help="A scored corpus: its URI, directory or name")],
    documents: Annotated[int, typer.Option("--documents", min=1, help="How many to draw; at most a tenth of the corpus")] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="Another seed draws others")] = 0,
    snapshots: Annotated[list[str] | None, typer.Option("--snapshot", "-s", help="Only from these snapshots")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw documents of a corpus, to see how well a mixture teaches text like its source. Draw before you mix.

    Half of them are dealt out evenly over the domains, so that small ones are measured too. From then on, mixtures of the corpus
    keep them out: documents that hold one, word for word or nearly, get no copy.

    Example: `samplemix target draw web-held-out web --documents 5000`
    """
    from samplemix_core.models.targets import draw_target

    _require_name(name)
    place = corpus if "://" in corpus or not is_directory(corpus) else location(corpus)
    with terminal_progress(quiet=as_json) as report:
        target = draw_target(
            name, place, Deployment.load(), report, documents=documents, seed=seed, snapshots=tuple(snapshots or ())
        )
    said = target.report
    _show(target, as_json)
    if as_json:
        return
    if said["drawn"] < documents:
        tell(f"fewer than the {documents:,} asked for: at most a tenth of the corpus is drawn")
    if said["unread"]:
        tell(f"{said['unread']:,} documents are no longer where they were scored, and are left out; see 'samplemix check'")
    if said["without"]:
        tell(f"no document of {', '.join(said['without'])}; draw more to have some")
    tell("mixtures of the corpus keep them out from the next run on; published versions stay as they are")


@app.command()
def add(
    name: Name,
    files: Annotated[list[str], typer.Argument(help="Files of texts (JSON lines or Parquet): paths or s3://bucket/key")],
    text: Annotated[
        list[str] | None, typer.Option("--text", help="Field with text; give it again to join several. Default: text")
    ] = None,
    group: Annotated[str | None, typer.Option("--group", help="Field whose values are groups, such as a language or level")] = None,
    as_json: AsJson = False,
) -> None:
    """Add a target of your own: texts like those that your model is for.

    Documents of a corpus that hold one of them, re-wrapped or lightly edited too, are left out of the mixtures when these are
    evaluated, and counted. To publish mixtures without them, name the target in a run: --set 'decontaminate=["target.NAME"]'.

    Examples:

    `samplemix target add news ./news-2026.jsonl --group level`

    `samplemix target add human-eval HumanEval.jsonl.gz --text prompt --text canonical_solution`
    """
    from samplemix_core.models.targets import add_target

    _require_name(name)
    places = [location(file) for file in files]
    target = add_target(name, places, Deployment.load(), fields=tuple(text or ("text",)), group=group)
    _show(target, as_json)


def _show(target: "Target", as_json: bool) -> None:
    said, benchmark = target.report, target.benchmark
    if as_json:
        values = {"name": target.name, "key": benchmark.benchmark_key, "texts": benchmark.items, "bytes": target.n_bytes}
        print_json({**values, "drawn_from": target.corpus_uri, **said, "recall": benchmark.report["recall"]})
        return
    tell(f"target {target.name}, version {benchmark.benchmark_key[:8]}: {benchmark.items:,} texts, {target.n_bytes / 1e6:,.2f} MB")
    if said["too_short"]:
        tell(f"{said['too_short']:,} texts are left out: of so few words they can't be told from what documents hold by chance")
    if said["twice"]:
        tell(f"{said['twice']:,} texts were there twice")
    found = ", ".join(f"{kind} {share:.1%}" for kind, share in benchmark.report["recall"].items())
    tell(f"found again within other texts: {found}")
    if list(said["groups"]) != [""]:
        print_rows([{"group": group, **counts} for group, counts in said["groups"].items()])


@app.command(name="list")
def list_all(as_json: AsJson = False) -> None:
    """List targets: their texts, where they come from, and how many texts of corpora hold something of them.

    Example: `samplemix target list`
    """
    from samplemix_core.database.query import ask

    print_rows(ask(Deployment.load().require("reader_database_url"), "targets"), as_json=as_json)


@app.command()
def drop(name: Annotated[str, typer.Argument(help="The target's name")]) -> None:
    """Give up a target: mixtures don't keep it out any more, and nothing is evaluated on it. Earlier evaluations stay.

    Example: `samplemix target drop web-held-out`
    """
    from samplemix_core.database.targets import drop_target, find_targets

    with Deployment.load().transaction() as cursor:
        find_targets(cursor, [name])
        versions = drop_target(cursor, name)
    tell(f"target {name} is given up, in {versions} version{'s' if versions > 1 else ''}")
