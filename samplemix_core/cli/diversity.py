"""Commands on diversity: how steady a corpus's clusters are, which settings are steadier, and what new crawls and refits change."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from samplemix_core.cli.common import AsJson, print_json, print_rows, say, terminal_progress
from samplemix_core.cli.run import run_config
from samplemix_core.config.run import RunConfig
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, ModelError
from samplemix_core.report.text import tell

app = typer.Typer(
    help="Diversity: how steady it is on a corpus, which settings are steadier, and what new crawls and refits change.",
    no_args_is_help=True,
)

Corpus = Annotated[str, typer.Argument(help="A scored corpus: its URI, directory or name")]
Snapshots = Annotated[list[str] | None, typer.Option("--snapshot", "-s", help="Only these snapshots of the corpus")]
Documents = Annotated[int, typer.Option("--documents", min=50, help="Number of documents in the sample")]
Assignments = Annotated[list[str] | None, typer.Option("--set", help="Any setting of a run, such as diversity.umap_neighbors=30")]


def _config(corpus: str, snapshots: list[str] | None, assignments: list[str] | None) -> RunConfig:
    return run_config({}, {"corpus_uri": corpus, "snapshots": snapshots or []}, assignments or [])


@app.command()
def health(
    corpus: Corpus,
    documents: Documents = 8000,
    sensitivity: Annotated[
        bool,
        typer.Option(
            "--sensitivity/--no-sensitivity", help="Whether to change settings of the clustering in turn, and name cliffs"
        ),
    ] = True,
    snapshots: Snapshots = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Measure diversity on a sample: does another seed, or a fifth of the documents, give the same d? What do settings do?

    Fits are made on the workers; nothing is stored. A cliff is a setting of which twice or half as much gives three times as many
    clusters, a quarter more noise, or another d.

    Examples:

    `samplemix diversity health web`

    `samplemix diversity health s3://bucket/corpus --documents 20000 --set 'diversity.modes=["kmeans"]' --no-sensitivity`
    """
    from dataclasses import asdict

    from samplemix_core.pipeline.context import RunContext
    from samplemix_core.pipeline.register import register
    from samplemix_core.pipeline.tuning import measure_health
    from samplemix_core.report.diversity_figures import health_rows

    with terminal_progress(quiet=as_json) as report:
        run = RunContext(_config(corpus, snapshots, assignments), Deployment.load(), report, step="health")
        found = measure_health(run, register(run), documents, sensitivity=sensitivity)
    if as_json:
        pairs = {"seed": found.seed, "fifth": found.fifth}
        print_json({**asdict(found), **{name: pair and pair._asdict() for name, pair in pairs.items()}, "advice": found.advice})
        return
    print_rows(health_rows(found))
    if found.trials:
        print_rows(asdict(trial) for trial in found.trials)
    for line in found.advice:
        say(line)
    tell(f"{found.report.documents:,} documents, {found.seconds:.0f} s of a core for a model")


@app.command()
def tune(
    corpus: Corpus,
    tries: Annotated[
        list[str] | None,
        typer.Option(
            "--try", help="Values of a setting, such as umap_neighbors=10,15,30; several make a grid. Default: a small one"
        ),
    ] = None,
    documents: Documents = 8000,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw the grid into this .png or .svg file")] = None,
    snapshots: Snapshots = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Try a small grid of diversity settings on a sample, and list them, the steadiest first, with what they cost.

    Each point is fitted three times, on the workers; nothing is stored. Points that fail a gate come last.

    Examples:

    `samplemix diversity tune web --picture tuned.png`

    `samplemix diversity tune web --try umap_neighbors=10,20,40 --try selection=eom,leaf`
    """
    from samplemix_core.diversity.health import best_first, grid
    from samplemix_core.pipeline.context import RunContext
    from samplemix_core.pipeline.register import register
    from samplemix_core.pipeline.tuning import tune as tune_settings
    from samplemix_core.report.diversity_figures import draw_tuned, tuned_rows

    config = _config(corpus, snapshots, assignments)
    changes = _grid(config, tries) if tries else grid(config.diversity)
    with terminal_progress(quiet=as_json) as report:
        run = RunContext(config, Deployment.load(), report, step="tune")
        points = best_first(tune_settings(run, register(run), documents, changes))
    if picture is not None:
        draw_tuned(picture, corpus, max(point.report.documents for point in points), points)
    rows = tuned_rows(points)
    if as_json:
        print_json([{**row, "set": _flags(point.settings)} for row, point in zip(rows, points, strict=True)])
        return
    print_rows(rows)
    best = points[0]
    if best.failed:
        say(f"None passes the gates. The first: {best.failed}")
    elif best.settings:
        tell(f"steadiest: {' '.join(_flags(best.settings))}")
    else:
        tell("steadiest: the settings as they are")
    if picture is not None:
        tell(f"picture: {picture}")


MOST_POINTS = 60


def _grid(config: RunConfig, tries: list[str]) -> list[dict[str, Any]]:
    """The points that values of settings make together, each validated."""
    points: list[dict[str, Any]] = [{}]
    for each in tries:
        name, equals, values = each.partition("=")
        if not equals or not values:
            raise ConfigError(f"--try {each!r} names no values.", "Write --try umap_neighbors=10,20.")
        if any(name in point for point in points):
            raise ConfigError(f"--try names {name} twice.", f"Write its values once, with commas: --try {name}=...")
        points = [{**point, name: value} for point in points for value in _values(values)]
        if len(points) > MOST_POINTS:
            raise ConfigError(f"These make more than {MOST_POINTS} points.", "Try fewer values at once.")
    found = []
    for point in points:
        whole = run_config(config.canonical(), {}, [f"diversity.{name}={json.dumps(value)}" for name, value in point.items()])
        found.append({name: getattr(whole.diversity, name) for name in point})
    return found


def _values(text: str) -> list[Any]:
    """Values between commas, each JSON or, failing that, text; a list in brackets is one value."""
    try:
        found = json.loads(f"[{text}]")
    except ValueError:
        return [_value(part) for part in text.split(",")]
    return list(found)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _flags(settings: dict[str, Any]) -> list[str]:
    return [f"--set 'diversity.{name}={json.dumps(value)}'" for name, value in settings.items()]


@app.command()
def drift(corpus: Corpus, as_json: AsJson = False) -> None:
    """Show how far each crawl is from the sample that the clusters were fitted on, in all and by language.

    far: share of documents beyond the radius of their cluster. distance_shift: greatest difference of the distributions of
    distances. share_shift: stability index of the clusters' shares. Measured whenever documents are assigned.

    Examples:

    `samplemix diversity drift web`
    """
    print_rows(_asked("drift", corpus), as_json=as_json)


@app.command()
def models(corpus: Corpus, as_json: AsJson = False) -> None:
    """List the corpus's cluster models, the newest first: which one versions have, and what each changed against the one before.

    Examples:

    `samplemix diversity models web`
    """
    print_rows(_asked("cluster_models", corpus), as_json=as_json)


def _asked(query: str, corpus: str) -> list[dict[str, Any]]:
    from samplemix_core.database.query import ask

    deployment = Deployment.load()
    return ask(deployment.require("reader_database_url"), query, corpus=_config(corpus, None, None).corpus_uri)


@app.command()
def refit(corpus: Corpus, snapshots: Snapshots = None, assignments: Assignments = None, as_json: AsJson = False) -> None:
    """Fit the clusters of a corpus again, over all that is scored, and say what changes: names, d, and the next version.

    Nothing is embedded again, and nothing published. The next version is made with the new clusters; 'samplemix diversity use'
    takes the earlier ones instead. In Airflow: samplemix_fit_diversity with diversity.refit, which a landed crawl that drifts
    starts.

    Examples:

    `samplemix diversity refit web`
    """
    from samplemix_core.pipeline.context import RunContext
    from samplemix_core.pipeline.corpus_run import refit_diversity

    config = _config(corpus, snapshots, [*(assignments or []), "diversity.refit=true"])
    with terminal_progress(quiet=as_json) as report:
        found = refit_diversity(RunContext(config, Deployment.load(), report))
    if as_json:
        print_json(found.model_dump(mode="json"))


@app.command()
def use(
    corpus: Corpus,
    model: Annotated[str, typer.Argument(help="The beginning of its key, see 'samplemix diversity models'")],
    as_json: AsJson = False,
) -> None:
    """Have the next versions of a corpus's mixtures made with this cluster model, as long as its settings are theirs.

    Examples:

    `samplemix diversity use web 3f1c08d2a6b9`
    """
    from samplemix_core.database import clusters

    deployment = Deployment.load()
    with deployment.transaction() as cursor:
        record = clusters.find_by_key(cursor, _config(corpus, None, None).corpus_uri, model)
        if deployment.state.head(record.artifact_key) is None:
            raise ModelError(f"The file of cluster model {record.cluster_model_key[:12]} is gone.", "Restore it, or use another.")
        is_new = clusters.adopt(cursor, record)
    if as_json:
        print_json({"model": record.cluster_model_key, "is_new": is_new})
        return
    said = "the next version is made with it" if is_new else "versions are made with it already"
    tell(f"cluster model {record.cluster_model_key[:12]}, {record.n_clusters} clusters: {said}")
