"""The command `samplemix`: the services of one machine, runs without Airflow, and ways to inspect their results."""

import sys
from io import TextIOWrapper
from traceback import walk_tb

import typer
from rich.text import Text

from samplemix_core.cli import (
    benchmarks,
    corpora,
    diversity,
    encoders,
    evaluations,
    mixtures,
    quality,
    questions,
    run,
    scorers,
    scores,
    services,
    targets,
    train,
)
from samplemix_core.cli.common import console
from samplemix_core.errors import MissingPackageError, SampleMixError
from samplemix_core.logs import visible

app = typer.Typer(
    name="samplemix",
    help="Mix pre-training corpora sample by sample, by quality and diversity.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for commands in (services.app, run.app, scores.app, mixtures.trace_app, evaluations.app, questions.app):
    app.add_typer(commands)
app.add_typer(scores.shard_app, name="shard")
mixtures.app.add_typer(evaluations.frontier_app)
app.add_typer(mixtures.app, name="mixture")
app.add_typer(encoders.app, name="encoder")
quality.app.add_typer(train.app)
quality.app.add_typer(scorers.app, name="add")
app.add_typer(quality.app, name="quality")
app.add_typer(corpora.app, name="corpus")
app.add_typer(benchmarks.app, name="decontaminate")
app.add_typer(diversity.app, name="diversity")
app.add_typer(targets.app, name="target")

INTERRUPTED = 130
"""The exit code that Typer gives after SIGINT."""


def missing_package(error: ModuleNotFoundError) -> SampleMixError:
    """Return the error to show for a missing package, naming the extra that installs it; re-raise if the module is ours."""
    name = (error.name or "").partition(".")[0]
    if not name or name == "samplemix_core":
        raise error
    wanted_by = {str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(error.__traceback__)}
    extra = "local" if any(room.startswith(("samplemix_core.local", "samplemix_core.demo")) for room in wanted_by) else "platform"
    return MissingPackageError(
        f"This needs the package {name}, which is not installed: SampleMix alone only reads mixtures.",
        f"Install it with: pip install 'samplemix[{extra}]'.",
    )


def main() -> None:
    """Entry point: print any error that a user can meet with its remedy, and exit with a non-zero code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # If the terminal has no Unicode, print escapes for characters that it lacks instead of failing.
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except (SampleMixError, ModuleNotFoundError) as raised:
        error = raised if isinstance(raised, SampleMixError) else missing_package(raised)
        for label, style, said in (("error", "bold red", error.what), ("what to do", "bold", error.remedy)):
            if said:
                console.print(Text.assemble((label, style), ": ", visible(said, "\n")), soft_wrap=True)
        sys.exit(1)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            console.print("interrupted: what is done is kept, run again to go on")
        raise
