"""Commands on labels: the rubric, and documents that people or language models judge by it."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samplemix_core.cli.common import AsJson, location, print_json, print_rows, say, terminal_progress
from samplemix_core.cli.run import assigned
from samplemix_core.config.quality import AnnotationConfig
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError
from samplemix_core.frozen import load_config
from samplemix_core.report.text import tell

if TYPE_CHECKING:
    from samplemix_core.models.annotate import AnnotationResult

app = typer.Typer(help="Quality: its rubric, labels by annotators, models trained on them.", no_args_is_help=True)

RubricFile = Annotated[
    Path | None, typer.Option("--rubric", help="A rubric of your own, a JSON file; without one, the seven dimensions of the paper")
]


@app.command()
def rubric(file: RubricFile = None, as_json: AsJson = False) -> None:
    """Show a rubric: its dimensions, their best scores, and their meaning.

    Examples:

    `samplemix quality rubric`

    `samplemix quality rubric --json > my-rubric.json` (a start for your own)
    """
    from samplemix_core.quality.rubric import DEFAULT_RUBRIC, read_rubric

    found = read_rubric(file) if file else DEFAULT_RUBRIC
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    print_rows(dimension.model_dump() for dimension in found.dimensions)
    tell(f"{found.name} ({found.rubric_key[:12]}): quality is the sum, 0 to {found.maximum}")


@app.command()
def annotators(as_json: AsJson = False) -> None:
    """List annotators: name, rubric, number of texts judged."""
    from samplemix_core.database.labels import list_annotators

    with Deployment.load().transaction() as cursor:
        found = list_annotators(cursor)
    print_rows(
        (
            {
                "annotator": each.name,
                "kind": each.spec.get("kind"),
                "annotations": each.annotations,
                "rubric": each.rubric.name,
                "dimensions": ", ".join(f"{dimension.name} 0..{dimension.maximum}" for dimension in each.rubric.dimensions),
            }
            for each in found
        ),
        as_json=as_json,
    )


@app.command("import")
def import_(
    file: Annotated[str, typer.Argument(help="JSON lines, compressed or not, or Parquet: a path or s3://bucket/key")],
    annotator: Annotated[str, typer.Option("--annotator", help="Name of the annotator who made the labels")],
    file_of_rubric: RubricFile = None,
    scores: Annotated[
        list[str] | None,
        typer.Option(
            "--score", help="Field of a dimension's score, such as knowledge=scores.knowledge; default: the field of the same name"
        ),
    ] = None,
    text_field: Annotated[str, typer.Option("--text", help="Field of the text; dots reach into nested objects")] = "text",
    id_field: Annotated[str, typer.Option("--id", help="Field of the document's own id")] = "id",
    source_field: Annotated[str, typer.Option("--source", help="Field with the document's source; default: the file")] = "source",
    language_field: Annotated[str, typer.Option("--language", help="Field of the language")] = "language",
    group_field: Annotated[
        str, typer.Option("--group", help="Field with a group, such as a site, that is never split between training and testing")
    ] = "group",
    rationale_field: Annotated[str, typer.Option("--rationale", help="Field of the reason")] = "rationale",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file, and import nothing")] = False,
    as_json: AsJson = False,
) -> None:
    """Import labels: documents scored by a rubric, in whole numbers from 0 to each dimension's best.

    Records that can't be used are listed with the reason; the rest are imported. Importing a file again adds nothing twice.

    Examples:

    `samplemix quality import labels.jsonl.zst --annotator team-2026 --score clarity=scores.clarity`

    `samplemix quality import legal.parquet --annotator lawyers --rubric legal.json --score legal_value=label --group url`
    """
    from samplemix_core.models.import_labels import import_labels
    from samplemix_core.quality.labels import LabelFields
    from samplemix_core.quality.rubric import DEFAULT_RUBRIC, read_rubric

    judged_by = read_rubric(file_of_rubric) if file_of_rubric else DEFAULT_RUBRIC
    names = LabelFields(
        text=text_field,
        doc_id=id_field,
        source=source_field,
        language=language_field,
        group=group_field,
        rationale=rationale_field,
        scores=dict(_score_field(item, judged_by.names) for item in scores or ()),
    )
    with terminal_progress(quiet=as_json) as report:
        found = import_labels(location(file), annotator, judged_by, names, Deployment.load(), report, dry_run=dry_run)
    if as_json:
        print_json(found.as_json())
        return
    for item in found.set_aside[:10]:
        say(f"record {item.record} set aside: {item.detail}")
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in Counter(item.reason for item in found.set_aside).items())
    tell(
        f"{'would enter' if dry_run else 'entered'} {found.new:,} of {found.records:,} records for {annotator}; known before:"
        f" {found.known:,}, repeated: {found.repeated:,}, set aside: {len(found.set_aside):,}"
        + (f" ({reasons})" if reasons else "")
    )


def _score_field(item: str, names: tuple[str, ...]) -> tuple[str, str]:
    dimension, equals, field = item.partition("=")
    if not equals or not field or dimension not in names:
        raise ConfigError(
            f"--score {item!r} is not of the form dimension=field.", f"Write it as dimension=field, with one of {', '.join(names)}."
        )
    return dimension, field


@app.command()
def annotate(
    corpus: Annotated[str, typer.Argument(help="A scored corpus, by its name or URI")],
    model: Annotated[str, typer.Option("--model", help="The model's name at the endpoint")],
    documents: Annotated[int, typer.Option("--documents", min=1, help="Largest number of documents")] = 1000,
    snapshots: Annotated[list[str] | None, typer.Option("--snapshot", "-s", help="Only these snapshots")] = None,
    annotator: Annotated[
        str | None, typer.Option("--annotator", help="Annotator's name; default: made from the model and the prompt")
    ] = None,
    file_of_rubric: RubricFile = None,
    uniform: Annotated[bool, typer.Option("--uniform", help="Sample documents uniformly; default: some of every domain")] = False,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Questions in flight at once")] = 16,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting, such as requests_per_minute=500, input_price=0.15 or response_format=text"),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Also retry documents that were set aside")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the number of documents and tokens, and ask nothing")] = False,
    as_json: AsJson = False,
) -> None:
    """Have a language model label documents of a corpus by a rubric. Run it again to continue: nothing is asked twice.

    Works with any endpoint that speaks OpenAI's protocol: set OPENAI_BASE_URL and OPENAI_API_KEY.

    Examples:

    `samplemix quality annotate web --model gpt-4o-mini --documents 5000 --dry-run --set input_price=0.15 --set output_price=0.6`

    `samplemix quality annotate web --model qwen3-32b --documents 5000 --concurrency 64`
    """
    from samplemix_core.models.annotate import annotate as ask
    from samplemix_core.quality.rubric import read_rubric

    options: dict[str, Any] = {
        "corpus": corpus,
        "model": model,
        "documents": documents,
        "snapshots": snapshots or [],
        "annotator": annotator,
        "strategy": "uniform" if uniform else "stratified",
        "concurrency": concurrency,
        "retry_refused": retry,
    }
    if file_of_rubric:
        options["rubric"] = read_rubric(file_of_rubric).model_dump(mode="json")
    config = load_config(AnnotationConfig, assigned(options, assignments or []))
    with terminal_progress(quiet=as_json) as report:
        found = ask(config, Deployment.load(), report, dry_run=dry_run)
    if as_json:
        print_json(found.as_json())
    else:
        _tell_annotated(found, config, dry_run=dry_run)


def _tell_annotated(found: "AnnotationResult", config: AnnotationConfig, *, dry_run: bool) -> None:
    left = found.documents - found.known - found.set_aside_before
    cost = "" if found.cost is None else f", cost {found.cost:,.2f}"
    tokens = f"{found.input_tokens:,} tokens read and {found.output_tokens:,} written{cost}"
    if dry_run:
        tell(f"{found.annotator} would be asked about {left:,} of {found.documents:,} documents: about {tokens}")
        if config.attempts > 1:
            tell(f"answers that can't be used are asked for again, {config.attempts} times at most; --set most_cost= sets a limit")
        return
    reasons = "".join(f", {reason} {count:,}" for reason, count in found.set_aside.items())
    tell(
        f"{found.annotator} judged {found.judged:,} of {left:,} documents ({found.known:,} before), set aside"
        f" {sum(found.set_aside.values()):,}{reasons}; {found.unread:,} could not be read; {tokens}"
    )


@app.command()
def agreement(
    one: Annotated[str, typer.Argument(help="An annotator")],
    other: Annotated[str, typer.Argument(help="Another annotator, with the same rubric")],
    as_json: AsJson = False,
) -> None:
    """Show the agreement of two annotators on the texts that both judged: quadratic weighted kappa, and mean difference.

    Example: `samplemix quality agreement team gpt-4o-mini-1f3a9c`
    """
    from samplemix_core.models.import_labels import agreement as compared

    print_rows(compared(one, other, Deployment.load()), as_json=as_json)
