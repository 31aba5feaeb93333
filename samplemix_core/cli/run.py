"""The command `run`: a corpus becomes a published mixture, without Airflow."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from samplemix_core.cli.common import AsJson, location, print_json, print_rows, say, terminal_progress
from samplemix_core.config.run import RunConfig
from samplemix_core.errors import ConfigError
from samplemix_core.frozen import load_config
from samplemix_core.report.text import tell
from samplemix_core.settings import Settings, is_directory, is_path

app = typer.Typer()


def stored_values(file: Path | None) -> dict[str, Any]:
    """The settings in a JSON file; none where no file is given."""
    if file is None:
        return {}
    try:
        values = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is not a readable JSON file: {error}.", _CONFIG_FILE) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file} holds no JSON object.", _CONFIG_FILE)
    return values


_CONFIG_FILE = 'Give --config a JSON file of settings, as {"budget": "10%", "diversity": {"sample_size": 5000}}.'


def assigned(values: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Settings with those of --set a.b=value in their places; a value is JSON or, where it is none, text."""
    values = copy.deepcopy(values)
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
    return values


def run_config(base: dict[str, Any], options: dict[str, Any], assignments: Sequence[str]) -> RunConfig:
    """A run's configuration: a base, then the options that were given, then --set a.b=value.

    A corpus that has a name (samplemix corpus) may be given by it: then its own configuration is below all of these. A directory of
    that name where one stands comes first.
    """
    from samplemix_core.pipeline.configure import merged, named_values

    values = base | {name: value for name, value in options.items() if value not in (None, [])}
    if isinstance(values.get("corpus_uri"), str):
        named = {} if is_directory(values["corpus_uri"]) else named_values(Settings.load(), values["corpus_uri"])
        values = merged(named, {**values, "corpus_uri": named.get("corpus_uri") or location(values["corpus_uri"])})
    return load_config(RunConfig, assigned(values, assignments))


def _help(name: str) -> str:
    field = RunConfig.model_fields[name]
    return (
        f"{field.description} (default: {field.default})"
        if not field.is_required() and field.default != ()
        else str(field.description)
    )


def _option(name: str, *flags: str) -> Any:
    return typer.Option(*flags, help=_help(name), show_default=False)


MixtureName = Annotated[str | None, _option("mixture_name", "--name")]
Policy = Annotated[str | None, _option("policy", "--policy")]
Scorers = Annotated[list[str] | None, _option("scorers", "--scorer")]
Alpha = Annotated[float | None, _option("alpha", "--alpha")]
Tau = Annotated[float | None, _option("tau", "--tau")]
BudgetText = Annotated[str | None, _option("budget", "--budget")]
Tokenizer = Annotated[str | None, _option("tokenizer", "--tokenizer")]
MaxCopies = Annotated[int | None, _option("max_copies", "--max-copies")]
Seed = Annotated[int | None, _option("seed", "--seed")]
Assignments = Annotated[list[str] | None, typer.Option("--set", help="Any other setting, as diversity.sample_size=5000")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A JSON file of settings; options override it")]


def run_options(
    policy: str | None,
    scorers: list[str] | None,
    alpha: float | None,
    tau: float | None,
    budget: str | None,
    tokenizer: str | None,
    max_copies: int | None,
    seed: int | None,
) -> dict[str, Any]:
    """Options on how a corpus is mixed, by the names of their settings. A tokenizer's file is given by its absolute path."""
    return {
        "policy": policy,
        "scorers": scorers,
        "alpha": alpha,
        "tau": tau,
        "budget": budget,
        "tokenizer": location(tokenizer) if tokenizer and is_path(tokenizer) else tokenizer,
        "max_copies": max_copies,
        "seed": seed,
    }


@app.command()
def run(
    corpus: Annotated[
        str | None, typer.Argument(help="Where the corpus lies: a directory, or s3://bucket/prefix; or the name it was added under")
    ] = None,
    snapshots: Annotated[list[str] | None, _option("snapshots", "--snapshot", "-s")] = None,
    mixture_name: MixtureName = None,
    policy: Policy = None,
    scorers: Scorers = None,
    alpha: Alpha = None,
    tau: Tau = None,
    budget: BudgetText = None,
    tokenizer: Tokenizer = None,
    max_copies: MaxCopies = None,
    seed: Seed = None,
    assignments: Assignments = None,
    config_file: ConfigFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be done, and do nothing")] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Register it and say, from a sample, how many tokens, how long and how much space")
    ] = False,
    retry_refused: Annotated[bool, typer.Option("--retry-refused", help=_help("retry_refused"))] = False,
    accept_loss: Annotated[bool, typer.Option("--accept-loss", help="Go on whatever share of the documents was set aside")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn a corpus into a published mixture, without Airflow. Run it again to go on after an interruption.

    Examples:

    `samplemix run s3://samplemix/corpora/web --snapshot crawl-a --budget 20% --name web`

    `samplemix run web` (a corpus that 'samplemix corpus add' gave this name)

    `samplemix run ./corpus --budget 100M --policy natural --name baseline --dry-run`

    `samplemix run web --scorer legal --scorer composite` (mixed by legal, which 'samplemix quality train' made)

    `samplemix run ./corpus --budget 2B --tokenizer ~/models/ours/tokenizer.json`
    """
    options = {
        "corpus_uri": corpus,
        "snapshots": snapshots,
        "mixture_name": mixture_name,
        **run_options(policy, scorers, alpha, tau, budget, tokenizer, max_copies, seed),
        "retry_refused": retry_refused or None,
        "max_loss": 1.0 if accept_loss else None,
    }
    config = run_config(stored_values(config_file), options, assignments or [])
    # Of a corpus with a name, only what has landed is taken.
    named = corpus if corpus is not None and config.corpus_uri != location(corpus) else None
    if estimate:
        _estimate(config, named, as_json)
    elif dry_run:
        _plan(config, named, as_json)
    else:
        _run(config, named, as_json)


def _plan(config: RunConfig, corpus: str | None, as_json: bool) -> None:
    from samplemix_core.pipeline.register import plan_corpus

    planned, unread = plan_corpus(config, Settings.load(), corpus)
    if as_json:
        files = [{"path": file.path, "bytes": file.size_bytes, "reason": file.reason} for file in unread]
        print_json({"snapshots": planned, "unread": files})
        return
    print_rows(planned, as_json=False)
    for file in unread:
        say(f"not read: {file.path}: {file.reason.why}")


def _estimate(config: RunConfig, corpus: str | None, as_json: bool) -> None:
    from samplemix_core.pipeline.estimate import estimate
    from samplemix_core.pipeline.register import register
    from samplemix_core.pipeline.run import RunContext

    with terminal_progress() as report:
        context = RunContext(config, Settings.load(), report, corpus=corpus)
        found = estimate(context, register(context))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_rows([{"estimate": name, "value": value} for name, value in found.model_dump(mode="json").items()])


def _run(config: RunConfig, corpus: str | None, as_json: bool) -> None:
    from samplemix_core.pipeline.mixtures import open_version
    from samplemix_core.pipeline.progress import describe_cost
    from samplemix_core.pipeline.run import RunContext, run_corpus
    from samplemix_core.report.text import output, print_mixture

    settings = Settings.load()
    with terminal_progress(quiet=as_json) as report:
        summary = run_corpus(RunContext(config, settings, report, corpus=corpus))
    if as_json:
        print_json(summary.model_dump(mode="json"))
        return
    version = open_version(settings, summary.manifest_uri)
    print_mixture(output(), version.manifest, summary.warnings)
    if summary.unread:
        named = ", ".join(f"{file['path']} ({file['reason']})" for file in summary.unread[:10])
        tell(f"not read: {named}{', ...' if len(summary.unread) > 10 else ''} (see 'samplemix sql --query unread_files')")
    for kind, shards in (("refused", summary.scoring.refused), ("poison", summary.scoring.poison)):
        if shards:
            tell(f"{kind} shards, left out as a whole: {', '.join(shards)} (see 'samplemix quarantine')")
    tell(describe_cost(summary.cost))
    tell(f"manifest: {version.uri}")
