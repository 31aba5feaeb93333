"""The command `run`: a corpus becomes a published mixture, without Airflow."""

import copy
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from samplemix_core.cli.common import AsJson, location, print_json, print_rows, say, terminal_progress
from samplemix_core.config.files import read_settings
from samplemix_core.config.form import PHASES_EXAMPLE, form_schema
from samplemix_core.config.run import RunConfig, merged
from samplemix_core.deployment import Deployment
from samplemix_core.errors import CancelledRunError, ConfigError
from samplemix_core.frozen import load_config
from samplemix_core.policies.registry import all_parameters
from samplemix_core.report.text import tell
from samplemix_core.settings import is_directory, is_path

app = typer.Typer()


def stored_values(file: Path | None) -> dict[str, Any]:
    """The settings in a JSON or YAML file; none if no file is given."""
    if file is None:
        return {}
    values = read_settings(file, _CONFIG_FILE)
    if not isinstance(values, dict):
        raise ConfigError(f"{file} holds no settings by name.", _CONFIG_FILE)
    return values


_CONFIG_FILE = 'Give --config a JSON or YAML file of settings, as {"budget": "10%", "diversity": {"sample_size": 5000}}.'


def stored_phases(file: Path | None) -> list[Any] | None:
    """The phases in a JSON or YAML file, which holds a list of them, or settings with `phases`; None if no file is given."""
    if file is None:
        return None
    values = read_settings(file, _PHASES_FILE)
    phases = values["phases"] if isinstance(values, dict) and values.keys() == {"phases"} else values
    if not isinstance(phases, list) or not phases:
        raise ConfigError(f"{file} holds no list of phases.", _PHASES_FILE)
    return phases


_PHASES_FILE = f"Give --phases a JSON or YAML file of a list of phases, as {PHASES_EXAMPLE}."


def assigned(values: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Return the settings with those of --set a.b=value in their places; a value is JSON or, failing that, text."""
    values = copy.deepcopy(values)
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator:
            raise ConfigError(f"--set {assignment!r} has no '='.", "Write --set diversity.sample_size=5000.")
        *parents, leaf = name.split(".")
        target = values
        for parent in parents:
            if not isinstance(target.get(parent), dict):
                target[parent] = {}
            target = target[parent]
        try:
            target[leaf] = json.loads(text)
        except ValueError:
            target[leaf] = text
    return values


def run_config(base: dict[str, Any], options: dict[str, Any], assignments: Sequence[str]) -> RunConfig:
    """Return a run's configuration: a base, then the given options, then --set a.b=value.

    A saved corpus (samplemix corpus) may be given by its name. All of these then override its own configuration. A directory with
    that name in the current directory takes precedence.
    """
    from samplemix_core.pipeline.configure import named_values

    values = merged(base, given(options))
    if isinstance(values.get("corpus_uri"), str):
        named = {} if is_directory(values["corpus_uri"]) else named_values(Deployment.load(), values["corpus_uri"])
        values = merged(named, {**values, "corpus_uri": named.get("corpus_uri") or location(values["corpus_uri"])})
    return load_config(RunConfig, merged(values, assigned({}, assignments)))


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value not in (None, [])}


def _help(field: Mapping[str, Any], default: str | None = None) -> str:
    words, separator, own = str(field["description"]).partition("Default: the corpus's setting, or ")
    return f"{words}Default: {default or own}" if separator else words


def _flags(name: str) -> tuple[str, ...]:
    return {"mixture_name": ("--name",), "scorers": ("--scorer",), "snapshots": ("--snapshot", "-s")}.get(
        name, (f"--{name.replace('_', '-')}",)
    )


_TYPES: dict[str, Any] = {"string": str, "number": float, "integer": int, "boolean": bool, "array": list[str]}
"""Type that an option is read as, by its type in JSON; settings of other types are reached by --set."""


def _read_as(types: set[str]) -> Any:
    if types == {"number", "integer"}:
        return float
    if len(types) > 1 and types <= {"string", "number", "integer", "boolean"}:
        return str  # Each policy reads it in its own way.
    return _TYPES.get(min(types))


OPTIONS = ("mixture_name", "policy", "scorers", "budget", "tokenizer", "max_copies", "max_share", "seed")
"""Settings of a run that have their own option, as every policy parameter does."""

Command = TypeVar("Command", bound=Callable[..., None])


def with_settings(*names: str, default: Callable[[str], str | None] = lambda _: None) -> Callable[[Command], Command]:
    """Decorator: replace a command's parameter `chosen` with an option for each of these settings.

    `default` gives the words for a setting's default, where they are not the run's own.

    `policy` brings the parameters of all policies. The command is called with the given options by name, and a tokenizer's path is
    made absolute.
    """
    schema = form_schema()
    kinds = {name: _read_as(set(field["type"]) - {"null"}) for name, field in schema.items()}
    parameters_too = all_parameters() if "policy" in names else ()
    wanted = [name for name in schema if kinds[name] and (name in names or name in parameters_too)]

    def option(name: str) -> inspect.Parameter:
        flags = (f"{_flags(name)[0]}/--no-{name.replace('_', '-')}",) if kinds[name] is bool else _flags(name)
        shown = typer.Option(*flags, help=_help(schema[name], default(name)), show_default=False)
        kind: Any = kinds[name]
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, shown])

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True)
        # A parameter of a policy that is called like an argument of the command is reached by --set.
        offered = [name for name in wanted if name in names or name not in _taken(own)]
        parameters: list[inspect.Parameter] = []
        for parameter in own.parameters.values():
            if parameter.name == "chosen":
                parameters += [option(name) for name in offered]
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

        @wraps(command)
        def called(**values: Any) -> None:
            chosen = given({name: values.pop(name) for name in offered})
            if is_path(chosen.get("tokenizer", "")):
                chosen["tokenizer"] = location(chosen["tokenizer"])
            command(**values, chosen=chosen)

        # Typer reads options from these. Neither type checkers nor wraps handle a signature made at run time.
        called.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": None}
        return called  # type: ignore[return-value]

    return decorate


def _taken(command: inspect.Signature) -> set[str]:
    """Names of a command's own parameters and options."""
    taken = set(command.parameters)
    for parameter in command.parameters.values():
        for item in getattr(parameter.annotation, "__metadata__", ()):
            flags = getattr(item, "param_decls", None) or ()
            taken |= {flag.lstrip("-").replace("-", "_") for text in flags for flag in text.split("/")}
    return taken


Assignments = Annotated[list[str] | None, typer.Option("--set", help="Any other setting, such as diversity.sample_size=5000")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="JSON or YAML file of settings; options override it")]


@app.command()
@with_settings("snapshots", *OPTIONS)
def run(
    chosen: dict[str, Any],
    corpus: Annotated[
        str | None, typer.Argument(help="The corpus: a directory, s3://bucket/prefix, or a saved corpus's name")
    ] = None,
    assignments: Assignments = None,
    config_file: ConfigFile = None,
    phases: Annotated[
        Path | None,
        typer.Option("--phases", help="JSON or YAML file of phases, each with a name, a share of the budget, and its own policy"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be done, and do nothing")] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Register the corpus and estimate tokens, time and disk space from a sample")
    ] = False,
    retry_refused: Annotated[bool, typer.Option("--retry-refused", help=_help(form_schema()["retry_refused"]))] = False,
    accept_loss: Annotated[bool, typer.Option("--accept-loss", help="Continue however many documents were set aside")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn a corpus into a published mixture, without Airflow. After an interruption, run it again to continue.

    Examples:

    `samplemix run s3://samplemix/corpora/web --snapshot crawl-a --budget 20% --name web`

    `samplemix run web` (a corpus that 'samplemix corpus add' gave this name)

    `samplemix run ./corpus --budget 100M --policy natural --name baseline --dry-run`

    `samplemix run web --scorer legal --scorer composite` (mixed by legal, which 'samplemix quality train' made)

    `samplemix run ./corpus --budget 2B --tokenizer ~/models/ours/tokenizer.json`

    `samplemix run web --budget 100B --phases phases.yaml` (a broad phase and then a clean one; see docs/training.md)
    """
    options = {
        "corpus_uri": corpus,
        **chosen,
        "phases": stored_phases(phases),
        "retry_refused": retry_refused or None,
        "max_loss": 1.0 if accept_loss else None,
    }
    config = run_config(stored_values(config_file), options, assignments or [])
    # For a saved corpus, only landed crawls are used.
    named = corpus if corpus is not None and config.corpus_uri != location(corpus) else None
    if estimate:
        _estimate(config, named, as_json)
    elif dry_run:
        _plan(config, named, as_json)
    else:
        _run(config, named, as_json)


def _plan(config: RunConfig, corpus: str | None, as_json: bool) -> None:
    from samplemix_core.pipeline.register import plan_corpus

    planned, unread = plan_corpus(config, Deployment.load(), corpus)
    if as_json:
        files = [{"path": file.path, "bytes": file.size_bytes, "reason": file.reason} for file in unread]
        print_json({"snapshots": planned, "unread": files})
        return
    print_rows(planned, as_json=False)
    for file in unread:
        say(f"not read: {file.path}: {file.reason.why}")


def _estimate(config: RunConfig, corpus: str | None, as_json: bool) -> None:
    from samplemix_core.pipeline.context import RunContext
    from samplemix_core.pipeline.corpus_run import estimate_corpus

    with terminal_progress() as report:
        found = estimate_corpus(RunContext(config, Deployment.load(), report, corpus=corpus))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_rows([{"estimate": name, "value": value} for name, value in found.model_dump(mode="json").items()])


def _run(config: RunConfig, corpus: str | None, as_json: bool) -> None:
    from samplemix_core.pipeline.approval import described, subject
    from samplemix_core.pipeline.context import RunContext
    from samplemix_core.pipeline.corpus_run import draft_corpus, publish_corpus
    from samplemix_core.pipeline.drafts import read_draft
    from samplemix_core.pipeline.handoff import DraftRef
    from samplemix_core.progress import describe_cost
    from samplemix_core.reading.versions import open_version
    from samplemix_core.report.text import output, print_mixture

    deployment = Deployment.load()
    if config.approval and (as_json or not sys.stdin.isatty()):
        raise ConfigError(
            "The settings want a person to approve the version, and nobody can be asked here.",
            "Run it in Airflow or in a terminal without --json; or, if it is approved already, with --set approval=false.",
        )
    with terminal_progress(quiet=as_json) as report:
        context = RunContext(config, deployment, report, corpus=corpus)
        drafted = draft_corpus(context)
    if config.approval:
        found: DraftRef = drafted["draft"]
        draft = read_draft(deployment.state, found.draft)
        say(described(draft.manifest, draft.plan, found.warnings))
        if not typer.confirm(subject(draft.manifest), err=True):
            raise CancelledRunError("Not approved: nothing is published.", "Run again with other settings; scores are kept.")
    with terminal_progress(quiet=as_json) as report:
        summary = publish_corpus(replace(context, report=report), drafted)
    if as_json:
        print_json(summary.model_dump(mode="json"))
        return
    version = open_version(deployment, summary.manifest_uri)
    print_mixture(output(), version.manifest, summary.warnings)
    if summary.unread:
        named = ", ".join(f"{file['path']} ({file['reason']})" for file in summary.unread[:10])
        tell(f"not read: {named}{', ...' if len(summary.unread) > 10 else ''} (see 'samplemix sql --query unread_files')")
    for kind, shards in (("refused", summary.scoring.refused), ("poison", summary.scoring.poison)):
        if shards:
            tell(f"{kind} shards, left out as a whole: {', '.join(shards)} (see 'samplemix quarantine')")
    tell(describe_cost(summary.cost))
    tell(f"manifest: {version.uri}")
