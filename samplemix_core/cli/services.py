"""Commands on the services of this machine."""

import contextlib
import os
import sys
from typing import Annotated, Any

import typer
from rich.text import Text

from samplemix_core.cli.common import AsJson, Services, console, print_rows, say
from samplemix_core.config.form import Upkeep, upkeep_form
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError
from samplemix_core.frozen import load_config
from samplemix_core.report.text import tell
from samplemix_core.settings import home_directory

app = typer.Typer()


@app.command()
def up(
    services: Services = None,
) -> None:
    """Start the embedded services in order and wait until each is ready. Running it again changes nothing.

    A service whose variable is set (SAMPLEMIX_DATABASE_URL, SAMPLEMIX_S3_ENDPOINT, SAMPLEMIX_DASK_SCHEDULER,
    SAMPLEMIX_AIRFLOW_URL) is external and is not started.

    Examples: `samplemix up`, `samplemix up postgres s3 dask`
    """
    from samplemix_core.local.stack import start_services

    start_services(home_directory(), services, say)
    status(as_json=False)


@app.command()
def down(
    services: Services = None,
    delete: Annotated[bool, typer.Option("--delete", help="Also delete all data: databases, objects, secrets, logs")] = False,
) -> None:
    """Stop the embedded services in order. Their data stays under SAMPLEMIX_HOME, unless you add --delete.

    --delete removes only what SampleMix made, in a home that it made. Other files there are kept and named.

    Examples: `samplemix down`, `samplemix down airflow`
    """
    from samplemix_core.local.service import SERVICES
    from samplemix_core.local.stack import Stack

    stack = Stack(home_directory())
    if delete and services:
        raise ConfigError("The data of one service can't be deleted alone.", "Name no service with --delete.")
    if delete:
        home = home_directory()
        existed = home.exists()
        left = stack.destroy()
        say(f"deleted what SampleMix kept in {home}" if existed else f"there is no {home}: nothing is deleted")
        for path in left:
            say(f"left: {path}, which SampleMix did not make")
    else:
        stack.down(services or SERVICES, on_progress=say)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show each embedded service: its state, process and address."""
    from samplemix_core.local.stack import Stack

    print_rows([vars(item) for item in Stack(home_directory()).status()], as_json=as_json)


@app.command()
def logs(
    process: Annotated[str, typer.Argument(help="A process named by 'samplemix status'")],
    lines: Annotated[int, typer.Option("--lines", "-n", help="Number of lines, from the end")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new lines")] = False,
) -> None:
    """Print the log of one process. Example: `samplemix logs dask-worker -f`"""
    from samplemix_core.local.stack import Stack

    # Following ends with an interrupt.
    with contextlib.suppress(KeyboardInterrupt):
        for line in Stack(home_directory()).log_lines(process, lines=lines, follow=follow):
            # The colours of a process's own log are for its terminal.
            tell(Text.from_ansi(line).plain)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def airflow(context: typer.Context) -> None:
    """Run Airflow's own command on the embedded Airflow, with its database and folders.

    Examples: `samplemix airflow dags list`,
    `samplemix airflow backfill create --dag-id samplemix_score_crawl --from-date 2026-01-01 --to-date 2026-01-31 --dry-run`
    """
    from samplemix_core.local.airflow import command_environment
    from samplemix_core.local.home import Home

    environment = command_environment(Home(home_directory()), os.environ)
    os.execve(sys.executable, [sys.executable, "-m", "airflow", *context.args], environment)  # noqa: S606 the user's own words


@app.command()
def migrate() -> None:
    """Create or upgrade the database's tables. 'samplemix up' does it for the embedded Postgres; run it for your own."""
    from samplemix_core.database.migrate import migrate as migrate_database

    migrate_database(Deployment.load().database)


@app.command()
def demo(
    documents: Annotated[int, typer.Option(min=100, help="Approximate number of documents to collect from this machine")] = 3000,
) -> None:
    """Start everything, collect a corpus from this machine, and mix it through Airflow."""
    from samplemix_core.demo.demo import run_demo

    run_demo(home_directory(), documents, console)


def _upkeep(name: str) -> Any:
    """The option for a field of Upkeep."""
    field = upkeep_form()[name]
    return typer.Option(f"--{name.replace('_', '-')}", min=field.get("minimum"), help=field["description"])


@app.command()
def maintain(
    keep_versions: Annotated[int | None, _upkeep("keep_versions")] = None,
    unused_days: Annotated[int | None, _upkeep("unused_days")] = None,
    delete_orphans: Annotated[bool, _upkeep("delete_orphans")] = False,
    dry_run: Annotated[bool, _upkeep("dry_run")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the upkeep that Airflow runs each night: drafts, old versions, unused scores, orphans, statistics.

    This is safe while runs are active. All versions are kept unless you set --keep-versions.

    Example: `samplemix maintain --keep-versions 10 --unused-days 30 --delete-orphans --dry-run`
    """
    from samplemix_core.operations.maintenance import keep_up

    options = {"keep_versions": keep_versions, "unused_days": unused_days, "delete_orphans": delete_orphans, "dry_run": dry_run}
    wanted = load_config(Upkeep, options, "upkeep")
    print_rows((kept.model_dump() for kept in keep_up(Deployment.load(), wanted)), as_json=as_json)
