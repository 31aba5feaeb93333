"""The command `run`: a corpus becomes a published mixture, without Airflow."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from samplemix_core.cli.common import AsJson, location, print_json, print_rows, say, terminal_progress
from samplemix_core.config import RunConfig, load_run_config
from samplemix_core.errors import ConfigError
from samplemix_core.settings import Settings

app = typer.Typer()


def run_config(base: Path | None, options: dict[str, Any], assignments: Sequence[str]) -> RunConfig:
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
        values["corpus_uri"] = location(values["corpus_uri"])
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
    tokenizer: Annotated[str | None, _option("tokenizer", "--tokenizer")] = None,
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

    `samplemix run ./corpus --budget 2B --tokenizer ~/models/ours/tokenizer.json`
    """
    options = {
        "corpus_uri": corpus_uri,
        "snapshots": snapshots,
        "mixture_name": mixture_name,
        "policy": policy,
        "alpha": alpha,
        "tau": tau,
        "budget": budget,
        "tokenizer": location(tokenizer) if tokenizer and Path(tokenizer).exists() else tokenizer,
        "max_copies": max_copies,
        "seed": seed,
        "retry_refused": retry_refused or None,
        "max_loss": 1.0 if accept_loss else None,
    }
    config = run_config(config_file, options, assignments or [])
    if dry_run:
        _plan(config, as_json)
    else:
        _run(config, as_json)


def _plan(config: RunConfig, as_json: bool) -> None:
    from samplemix_core.pipeline.register import plan_corpus

    planned, ignored = plan_corpus(config, Settings.load())
    print_rows(planned, as_json=as_json)
    for path in ignored:
        say(f"ignored: {path} lies in no snapshot's directory")


def _run(config: RunConfig, as_json: bool) -> None:
    from samplemix_core.pipeline.mixtures import open_version
    from samplemix_core.pipeline.progress import describe_cost
    from samplemix_core.pipeline.run import RunContext, run_corpus
    from samplemix_core.report.text import output, print_mixture

    settings = Settings.load()
    with terminal_progress(quiet=as_json) as report:
        summary = run_corpus(RunContext(config, settings, report))
    if as_json:
        print_json(summary.model_dump(mode="json"))
        return
    version = open_version(settings, summary.manifest_uri)
    print_mixture(output(), version.manifest)
    for kind, shards in (("refused", summary.scoring.refused), ("poison", summary.scoring.poison)):
        if shards:
            typer.echo(f"{kind} shards, left out as a whole: {', '.join(shards)} (see 'samplemix quarantine')")
    typer.echo(describe_cost(summary.cost))
    typer.echo(f"manifest: {version.uri}")
