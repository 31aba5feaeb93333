"""The embedded Airflow: four processes and one login, with everything below the home directory and on 127.0.0.1."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import psycopg2

from samplemix_core.errors import ServiceError
from samplemix_core.local import databases, launch
from samplemix_core.local.home import Credentials, Home, load_credentials, read_json, write_json
from samplemix_core.local.machine import MIB
from samplemix_core.local.ports import HOST, NotAnsweringError, failure, get_json
from samplemix_core.local.service import EmbeddedService, Program, Step
from samplemix_core.settings import shipped_directory

DATABASE_VARIABLE = "SAMPLEMIX_AIRFLOW_DATABASE_URL"
USER = "admin"

_MIGRATION_SECONDS = 300
_HEARTBEATS = {
    "airflow-scheduler": "scheduler",
    "airflow-dag-processor": "dag_processor",
    "airflow-triggerer": "triggerer",
}
"""Process -> its name in Airflow's health report."""


@dataclass(frozen=True)
class Setup:
    """The settings of an embedded Airflow. `environ` may set the folders of DAGs and plugins."""

    home: Home
    port: int
    credentials: Credentials
    database_url: str
    environ: Mapping[str, str]

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"

    @property
    def directory(self) -> Path:
        """Its own directory."""
        return self.home.root / "airflow"

    @property
    def passwords(self) -> Path:
        """The file with its login."""
        return self.directory / "passwords.json"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that make Airflow's processes and commands use this Airflow."""
        return {"SAMPLEMIX_HOME": str(self.home.root), "AIRFLOW_HOME": str(self.directory), **_settings(self)}


def command_environment(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which Airflow's own command acts on a home's Airflow; raise ServiceError if the home has none."""
    state = home.read_state()
    database_url = environ.get(DATABASE_VARIABLE)
    if "airflow" not in state.ports or not (database_url or "postgres" in state.ports):
        raise ServiceError(
            f"{home.root} has no Airflow.",
            "Start it with 'samplemix up', or set SAMPLEMIX_HOME; call 'airflow' for one of your own.",
        )
    credentials = load_credentials(home)
    database_url = database_url or databases.airflow_database_url(state.ports["postgres"], credentials)
    return {**environ, **Setup(home, state.ports["airflow"], credentials, database_url, environ).environment}


def service(setup: Setup, inherited: Mapping[str, str], started: Callable[[str], datetime | None]) -> EmbeddedService:
    """Return Airflow as a service over a Postgres database.

    `inherited` is the environment of the services' processes, for Airflow's migration; `started` tells when a process started, so
    that an earlier process's heartbeat is not taken for its own.
    """
    home, url, credentials, passwords = setup.home, setup.url, setup.credentials, setup.passwords
    setup.directory.mkdir(mode=0o700, exist_ok=True)
    environment = setup.environment

    def process(name: str, *options: str) -> Program:
        full_name = f"airflow-{name}"
        return Program(
            service="airflow",
            name=full_name,
            command=launch.command(sys.executable, "-m", "airflow", name, *options),
            directory=home.working_directory,
            missing=lambda: _missing_heartbeat(url, full_name, started),
            environment=environment,
            # Longer than its imports take on a busy machine, so that a process that dies of a missing database dies within this
            # time.
            start_seconds=60,
            ready_seconds=180,
            stop_seconds=60,
        )

    def prepare() -> None:
        if read_json(passwords) != {USER: credentials.airflow_admin}:
            write_json(passwords, {USER: credentials.airflow_admin})
        _migrate(home, setup.directory / "migrated.json", setup.database_url, {**inherited, **environment})

    return EmbeddedService(
        name="airflow",
        address=url,
        steps=(
            Step(programs=(process("api-server"),), before=prepare),
            Step(
                programs=(
                    process("scheduler", "--skip-serve-logs"),
                    process("dag-processor"),
                    process("triggerer", "--skip-serve-logs"),
                )
            ),
        ),
        settings={"airflow_url": url, "airflow_user": USER, "airflow_password": credentials.airflow_admin},
        memory=1500 * MIB,
    )


def _settings(setup: Setup) -> dict[str, str]:
    credentials, url = setup.credentials, setup.url
    sections = {
        "core": {
            "executor": "LocalExecutor",
            "parallelism": "4",
            "load_examples": "False",
            "dags_folder": str(shipped_directory("dags", setup.environ)),
            "plugins_folder": str(shipped_directory("plugins", setup.environ)),
            "fernet_key": credentials.airflow_fernet_key,
            "execution_api_server_url": f"{url}/execution/",
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": str(setup.passwords),
        },
        # Without an asynchronous connection, which needs a second driver, everything works except the REST API's waiting for a
        # run's end.
        "database": {"sql_alchemy_conn": setup.database_url, "sql_alchemy_conn_async": ""},
        "api": {
            "host": HOST,
            "port": str(setup.port),
            "base_url": url,
            "workers": "1",
            "secret_key": credentials.airflow_api_secret,
        },
        "api_auth": {"jwt_secret": credentials.airflow_jwt_secret},
        # If the triggerer is killed, crawls that land are noticed 20 seconds later instead of 30.
        "triggerer": {"triggerer_health_check_threshold": "20"},
        # If the scheduler is killed, its tasks are started again within half a minute instead of five. A silent task counts as lost
        # after two minutes instead of five. It sends a heartbeat every five seconds, but may just be slow on a busy machine.
        "scheduler": {
            "scheduler_idle_sleep_time": "0.5",
            "scheduler_health_check_threshold": "20",
            "orphaned_tasks_check_interval": "10",
            "task_instance_heartbeat_timeout": "120",
            "task_instance_heartbeat_timeout_detection_interval": "10",
        },
        "dag_processor": {
            "refresh_interval": "15",
            "min_file_process_interval": "30",
            "bundle_refresh_check_interval": "5",
        },
        # For a running task, the api-server reads the log file and then also asks a log server. That would listen on all addresses
        # and is not started; nobody has this port, so the api-server is refused at once.
        "logging": {
            "base_log_folder": str(setup.directory / "logs"),
            "worker_log_server_port": "1",
            "trigger_log_server_port": "1",
        },
    }
    return {
        f"AIRFLOW__{section.upper()}__{option.upper()}": value
        for section, options in sections.items()
        for option, value in options.items()
    }


def _migrate(home: Home, marker: Path, database_url: str, environment: Mapping[str, str]) -> None:
    """Migrate the database to this Airflow's schema; skipped, as it takes seconds, if this Airflow left the database like that."""
    mark = {"airflow": version("apache-airflow"), "revision": _revision(database_url)}
    if mark["revision"] is not None and read_json(marker) == mark:
        return
    log = home.log("airflow-migrate")
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as output:
        try:
            done = subprocess.run(  # noqa: S603 no untrusted text
                command,
                env=dict(environment),
                cwd=home.working_directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=_MIGRATION_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise failure(f"The migration of Airflow's database did not end within {_MIGRATION_SECONDS} s.", log) from None
    if done.returncode != 0:
        raise failure(f"The migration of Airflow's database ended with exit code {done.returncode}.", log)
    write_json(marker, mark | {"revision": _revision(database_url)})


def _revision(database_url: str) -> str | None:
    """The schema revision that Airflow's database has, if it has one."""
    connection = psycopg2.connect(database_url.replace("+psycopg2", "", 1))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('alembic_version')")
            if cursor.fetchone() == (None,):
                return None
            cursor.execute("SELECT version_num FROM alembic_version")
            row = cursor.fetchone()
            return str(row[0]) if row else None
    finally:
        connection.close()


def _missing_heartbeat(url: str, process: str, started: Callable[[str], datetime | None]) -> str | None:
    """Return None if a process has reported since it started, else why not: the api-server or its database may not answer."""
    try:
        health = get_json(f"{url}/api/v2/monitor/health")
    except NotAnsweringError as error:
        return str(error)
    if health["metadatabase"]["status"] != "healthy":
        return "its database does not answer"
    part = _HEARTBEATS.get(process)
    if part is not None:
        since = started(process)
        heartbeat = health[part][f"latest_{part}_heartbeat"]
        if health[part]["status"] != "healthy" or since is None or heartbeat is None or datetime.fromisoformat(heartbeat) < since:
            return f"no heartbeat of {process}"
    return None
