"""Commands on quality models: train one on labels, list them, and show how good they are."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from samplemix_core.cli.common import AsJson, print_json, print_rows, terminal_progress
from samplemix_core.cli.run import assigned
from samplemix_core.config.quality import TrainingConfig
from samplemix_core.config.run import AuditConfig, EmbeddingConfig
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError
from samplemix_core.frozen import load_config
from samplemix_core.progress import Progress
from samplemix_core.report.text import tell
from samplemix_core.settings import is_directory

app = typer.Typer()


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="The quality model's name; using a name again makes its next version")],
    annotator_names: Annotated[
        list[str], typer.Option("--annotator", help="Annotator whose labels to use; with several, each text gets their mean")
    ],
    encoder: Annotated[str, typer.Option("--encoder", help="Encoder of the vectors, by name or path")] = EmbeddingConfig().encoder,
    vectors: Annotated[
        bool, typer.Option(help="Use vectors; --no-vectors: only the composite score's features, weighted by the labels")
    ] = True,
    features: Annotated[bool, typer.Option(help="Also use measured features of the text")] = True,
    baselines: Annotated[bool, typer.Option(help="Also train simpler methods, for comparison")] = True,
    finetune: Annotated[
        bool,
        typer.Option(
            "--finetune", help="Also train the encoder itself, minutes on a GPU; for options see --set, such as finetune.epochs=2"
        ),
    ] = False,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw the evaluation to this .png or .svg")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting of a training, such as folds=10 or embedding.max_seq_tokens=512")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be used, and train nothing")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a quality model on labels: ordinal heads on document vectors, for each dimension and overall.

    Stored vectors are used; missing ones are made once and kept. Each document is scored by heads that have not seen it or its
    group, and by simpler methods for comparison; the final heads are fitted on all labels. With --finetune the encoder is trained
    too, on all but two folds. A training that was cut off continues where it was.

    Examples:

    `samplemix quality train legal --annotator lawyers --picture legal.png`

    `samplemix quality train general --annotator gpt --annotator team --encoder multilingual-e5-small --set folds=10`
    """
    from samplemix_core.models.train import describe_training
    from samplemix_core.models.train import train as train_model
    from samplemix_core.report.training import draw_training, method_rows

    options = {"name": name, "annotators": annotator_names, "vectors": vectors, "features": features, "baselines": baselines}
    options |= {"finetune": {}} if finetune else {}
    values = assigned(options, [f"embedding.encoder={encoder}", *(assignments or [])])
    config = load_config(TrainingConfig, values)
    if dry_run:
        print_json(describe_training(config))
        return
    with terminal_progress(quiet=as_json) as report:
        trained = train_model(
            config, lambda done, total, unit, what: report(Progress("train", done, total, message=what, unit=unit))
        )
    if picture:
        draw_training(picture, name, trained.report)
    if as_json:
        print_json(asdict(trained))
        return
    for score in trained.report.scores:
        print_rows(method_rows(score))
    tell(f"{name} ({trained.key[:12]}) is trained on {trained.report.documents:,} labels; {trained.embedded:,} texts embedded")


@app.command()
def models(as_json: AsJson = False) -> None:
    """List quality models: the composite score, and all that were trained or added."""
    from samplemix_core.database.quality_models import list_quality_models, quality_rows

    with Deployment.load().transaction() as cursor:
        print_rows(quality_rows(list_quality_models(cursor)), as_json=as_json)


@app.command("report")
def report_(
    name: Annotated[str, typer.Argument(help="A trained quality model, by name or the beginning of its key")],
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw it to this .png or .svg")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how a quality model was trained, and its evaluation on held-out documents.

    Example: `samplemix quality report legal --picture legal.png`
    """
    from pydantic import TypeAdapter

    from samplemix_core.database.quality_models import find_quality_model
    from samplemix_core.quality.training import TrainingReport
    from samplemix_core.report.training import draw_training, method_rows

    with Deployment.load().transaction() as cursor:
        model = find_quality_model(cursor, name)
    if model.report is None:
        raise ConfigError(f"{model.name} was not trained on labels.", "See 'samplemix quality models'.")
    found = TypeAdapter(TrainingReport).validate_python(model.report)
    if picture:
        draw_training(picture, model.name, found)
    if as_json:
        print_json(model.report)
        return
    for score in found.scores:
        print_rows(method_rows(score))
    print_rows(asdict(source) for source in found.sources)


@app.command()
def audit(
    corpus: Annotated[str, typer.Argument(help="A scored corpus, by its name or URI")],
    model_names: Annotated[
        list[str] | None, typer.Option("--model", help="Only these quality models; default: all that scored the corpus")
    ] = None,
    snapshots: Annotated[list[str] | None, typer.Option("--snapshot", "-s", help="Only these snapshots")] = None,
    by: Annotated[
        Literal["domain", "snapshot", "language", "content_type"], typer.Option("--by", help="Also list the scores by this")
    ] = "domain",
    extremes: Annotated[bool, typer.Option("--extremes", help="Also list documents with the highest and lowest quality")] = False,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw it to this .png or .svg")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the audit, such as documents=200000 or source_r2.warn=0.3")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Audit quality models on a corpus: do they measure quality, or only sources, languages, lengths, or nothing?

    Exits with 1 if one of them is beyond a limit that stops runs. The findings are stored, for SQL and the corpus's page.

    Examples:

    `samplemix quality audit web --picture audit.png`

    `samplemix quality audit web --model legal --by language --extremes`
    """
    from samplemix_core.cli.common import location
    from samplemix_core.operations.quality_audit import audit_corpus
    from samplemix_core.quality.audit import Verdict
    from samplemix_core.report.audit_figures import draw_audit, group_rows, summary_rows

    config = load_config(AuditConfig, assigned({}, assignments or []))
    place = location(corpus) if is_directory(corpus) else corpus
    found = audit_corpus(Deployment.load(), place, config, model_names or (), snapshots or ())
    if picture:
        draw_audit(picture, corpus, found.models, config)
    if as_json:
        print_json(asdict(found))
    else:
        print_rows(summary_rows(found.models))
        for model in found.models:
            tell(f"\n{model.model}, by {by}")
            print_rows(group_rows(model, by))
            if extremes:
                print_rows({**vars(item), **vars(found.places[item.document])} for item in model.extremes)
        for model in found.models:
            for finding in model.findings:
                tell(f"{finding.level}: {model.model}: {finding.said}")
    if any(model.verdict is Verdict.STOP for model in found.models):
        raise typer.Exit(1)
