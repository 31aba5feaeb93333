"""Commands on benchmarks that mixtures keep out."""

from typing import Annotated

import typer

from samplemix_core.cli.common import AsJson, location, print_json, print_rows
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError
from samplemix_core.frozen import NAME
from samplemix_core.report.text import tell

app = typer.Typer(
    help="Keep benchmarks out of mixtures: add their items, and name them in runs: --set 'decontaminate=[\"NAME\"]'.",
    no_args_is_help=True,
)

Files = Annotated[list[str], typer.Argument(help="Files of items (JSON lines or Parquet): paths or s3://bucket/key")]
Question = Annotated[str | None, typer.Option("--question", help="Field with the question; dots reach into nested objects")]
Answer = Annotated[str | None, typer.Option("--answer", help="Field with the answer")]
Passage = Annotated[str | None, typer.Option("--passage", help="Field with a passage that the question is about")]


def _fields(**fields: str | None) -> dict[str, str]:
    return {name: field for name, field in fields.items() if field}


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="The benchmark's name, for runs")],
    files: Files,
    question: Question = None,
    answer: Answer = None,
    passage: Passage = None,
    as_json: AsJson = False,
) -> None:
    """Add a benchmark. Documents that hold one of its questions, answers or passages are left out of runs that name it.

    Each is looked for by itself, if it has 8 words or more. Without options, the fields question, answer and passage are read.
    Texts are put into others, as they are and changed, to see how many are found: the shares are printed. Adding again under the
    same name makes a new version, and corpora are searched again.

    Examples:

    `samplemix decontaminate add gsm8k gsm8k-test.jsonl`

    `samplemix decontaminate add humaneval HumanEval.jsonl.gz --question prompt --answer canonical_solution`

    `samplemix run ./corpus --set 'decontaminate=["gsm8k", "humaneval"]'`
    """
    from samplemix_core.database.targets import PREFIX
    from samplemix_core.models.benchmarks import add_benchmark

    if not NAME.fullmatch(name):
        raise ConfigError(f"A benchmark can't be called {name!r}.", "Use small letters, digits, dots, underscores and hyphens.")
    if name.startswith(PREFIX):
        raise ConfigError(f"{name!r} would be taken for a target's texts.", f"Choose a name that doesn't begin with {PREFIX!r}.")
    fields = _fields(question=question, answer=answer, passage=passage)
    added = add_benchmark(name, [location(file) for file in files], fields, Deployment.load())
    report = added.report
    if as_json:
        print_json({"name": added.name, "key": added.benchmark_key, "items": added.items, "parts": added.parts, **report})
        return
    short = f"; {report['too_short']:,} have fewer than 8 words and are not looked for" if report["too_short"] else ""
    counts = ", ".join(f"{count:,} of field {field}" for field, count in report["parts"].items())
    tell(f"benchmark {added.name}, version {added.benchmark_key[:8]}: {added.items:,} items; texts: {counts}{short}")
    tell(f"found again within other texts: {', '.join(f'{kind} {share:.1%}' for kind, share in report['recall'].items())}")
    tell(f"keep it out of a run with --set 'decontaminate=[\"{added.name}\"]'")


@app.command(name="list")
def list_all(as_json: AsJson = False) -> None:
    """List benchmarks: items, where they were looked for, texts that hold something of them, and how well they are found.

    Example: `samplemix decontaminate list`
    """
    from samplemix_core.database.query import ask

    print_rows(ask(Deployment.load().require("reader_database_url"), "benchmarks"), as_json=as_json)


@app.command()
def find(
    name: Annotated[str, typer.Argument(help="A benchmark that was added")],
    files: Annotated[list[str], typer.Argument(help="Files of documents (JSON lines or Parquet): paths or s3://bucket/key")],
    text: Annotated[str, typer.Option("--text", help="Field with the text; dots reach into nested objects")] = "text",
    as_json: AsJson = False,
) -> None:
    """Look for a benchmark in files, outside of any corpus: which records hold which item, and by how much they overlap.

    Example: `samplemix decontaminate find gsm8k ./crawl/web/part-0.jsonl.gz`
    """
    from samplemix_core.models.benchmarks import find_in_files

    rows = find_in_files(name, [location(file) for file in files], text, Deployment.load())
    print_rows(rows, as_json=as_json)
