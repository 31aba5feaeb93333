"""The command `samplemix`: the services of one machine, runs without Airflow, and a look at what they made."""

import sys

import typer
from rich.markup import escape

from samplemix_core.cli import mixtures, run, scores, services
from samplemix_core.cli.common import console
from samplemix_core.errors import SampleMixError

app = typer.Typer(
    name="samplemix",
    help="Mix pre-training corpora sample by sample, by quality and diversity.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for commands in (services.app, run.app, scores.app):
    app.add_typer(commands)
app.add_typer(scores.shard_app, name="shard")
app.add_typer(mixtures.app, name="mixture")


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
