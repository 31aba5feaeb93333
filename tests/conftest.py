"""The real services tests run against: one stack for the session, a fresh database or prefix for each test.

One session runs at a time on a machine, and what it starts ends with it, however it ends.
With SAMPLEMIX_TEST_HOME set, the services of that home are used, started if need be, and left running for the next session.
"""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

import hypothesis
import psutil
import psycopg2
import pytest
from psycopg2 import sql
from sqlalchemy.engine import URL, make_url
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from samplemix_core.database.connection import connect
from samplemix_core.database.migrate import migrate
from samplemix_core.deployment import Deployment
from samplemix_core.local.dask_cluster import MEMORY_VARIABLE, WORKERS_VARIABLE
from samplemix_core.local.home import Home, load_credentials
from samplemix_core.local.owner import OWNER_VARIABLE, Owner, abandoned, clean_up_after, take_over
from samplemix_core.local.stack import Stack
from samplemix_core.objects import open_store
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.settings import ADDRESSES, ENVIRONMENT

REPOSITORY = Path(__file__).parents[1]
SESSION_LOCK = Path(tempfile.gettempdir()) / f"samplemix-tests-{os.geteuid()}.lock"
TOGETHER = ("tests/e2e/airflow/", "tests/e2e/", "tests/unit/embedding/")
"""The tests of each of these share what takes long: a platform, or an encoder."""
LONGEST = (*TOGETHER, "tests/local/", "tests/integration/", "tests/dags/")
LOCK = pytest.StashKey[TextIO]()
MEMORY = pytest.StashKey["Memory"]()
STACK = pytest.StashKey[Stack]()

# Examples are compiled code's first calls, on busy machines: how long one takes says nothing about the code.
hypothesis.settings.register_profile("samplemix", deadline=None, derandomize=True)
# Other examples each time, ten times as many; what fails is printed with the seed that brings it back (`make fuzz SEED=...`).
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=1000, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("SAMPLEMIX_HYPOTHESIS", "samplemix"))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Wait for the session that runs, clean up after those that were killed, and own what this one starts."""
    if hasattr(session.config, "workerinput"):
        return  # One of several processes of a session.
    session.stash[LOCK] = lock = SESSION_LOCK.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        print(f"waiting for the test session of {lock.read().strip()}", file=sys.__stderr__, flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    lock.truncate(0)
    print(f"process {os.getpid()} in {REPOSITORY}", file=lock, flush=True)
    for owner in abandoned():
        clean_up_after(owner)
    owner = Owner.of(os.getpid())
    os.environ[OWNER_VARIABLE] = owner.mark
    take_over(owner)
    session.config.stash[MEMORY] = memory = Memory(owner)
    memory.start()


class ByPlatform(LoadScopeScheduling):  # type: ignore[misc] # xdist states no types for its schedulers
    """Of several processes, one runs what belongs together, and else a file at a time: xdist_group has no effect in pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        return next((room for room in TOGETHER if nodeid.startswith(room)), nodeid.partition("::")[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByPlatform:
    """See ByPlatform."""
    return ByPlatform(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: next((i for i, room in enumerate(LONGEST) if item.nodeid.startswith(room)), len(LONGEST)))


class Memory(threading.Thread):
    """Looks every five seconds how much this process and all that it started take together; what several share counts in parts."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(daemon=True)
        self.owner = owner
        self.peak_mb = 0.0

    def run(self) -> None:
        me = psutil.Process()
        while True:
            together = {process.pid: process for process in (me, *me.children(recursive=True), *self.owner.processes())}
            taken = 0
            for process in together.values():
                with contextlib.suppress(psutil.Error):
                    taken += process.memory_full_info().pss
            self.peak_mb = max(self.peak_mb, taken / 1e6)
            time.sleep(5.0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how much memory the session took at most, and note it for bench.ground."""
    if MEMORY in config.stash:
        peak = round(config.stash[MEMORY].peak_mb)
        terminalreporter.write_line(f"most memory taken together: {peak:,} MB")
        if config.pluginmanager.has_plugin("cacheprovider"):
            config.cache.set("samplemix/peak_mb", peak)


@pytest.fixture(scope="session")
def owner() -> Owner:
    """This test session, which stacks that tests start are not to outlive."""
    return Owner.parse(os.environ[OWNER_VARIABLE])


@pytest.fixture(scope="session")
def dask_workers() -> str:
    """How many workers Dask has."""
    return "2"


@pytest.fixture(scope="session")
def stack(
    tmp_path_factory: pytest.TempPathFactory, owner: Owner, dask_workers: str, pytestconfig: pytest.Config
) -> Iterator[Stack]:
    """The session's embedded services, none of them started."""
    kept = os.environ.get("SAMPLEMIX_TEST_HOME")
    # Of several processes each has services of its own, as some of their tests kill them.
    home = Path(kept, os.environ.get("PYTEST_XDIST_WORKER", "alone")) if kept else tmp_path_factory.mktemp("samplemix")
    hidden = {*ENVIRONMENT.values(), *([OWNER_VARIABLE] if kept else [])}
    environ = {name: value for name, value in os.environ.items() if name not in hidden}
    environ.setdefault(MEMORY_VARIABLE, "2GiB")
    environ.setdefault(WORKERS_VARIABLE, dask_workers)
    stack = Stack(home, ports="free", environ=environ, owner=None if kept else owner)
    if not kept:
        pytestconfig.stash[STACK] = stack
    yield stack
    if not kept:
        assert stack.destroy() == []


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop Dask when only tests that need no service are left in this process: its workers keep models in memory."""
    stack = item.config.stash.get(STACK, None)
    was_used = item.nodeid.startswith("tests/e2e/") and not item.nodeid.startswith("tests/e2e/airflow/")
    if stack and was_used and nextitem and nextitem.nodeid.startswith(("tests/unit/", "tests/property/")):
        stack.down({"dask"})


def forgetful(settings: Deployment) -> Deployment:
    """The same, with a Postgres that doesn't wait for the disk: what these tests write need not outlive the machine."""
    superuser = superuser_of(settings)
    for option in ("fsync", "synchronous_commit", "full_page_writes"):
        _execute(superuser, f"ALTER SYSTEM SET {option} = off")
    _execute(superuser, "SELECT pg_reload_conf()")
    return settings


def superuser_of(settings: Deployment) -> URL:
    """Where and as whom to create databases."""
    password = load_credentials(Home(settings.home)).postgres_superuser
    return make_url(settings.database).set(username="postgres", password=password, database="postgres")


@pytest.fixture(scope="session")
def services(stack: Stack) -> Deployment:
    """Postgres and S3, up. Its database is not migrated: tests take `database`."""
    return forgetful(stack.up({"postgres", "s3"}))


@pytest.fixture(scope="session")
def platform(stack: Stack) -> Deployment:
    """Postgres, S3 and Dask, up, with the database migrated: what a run needs. Workers know this database only."""
    settings = forgetful(stack.up({"postgres", "s3", "dask"}))
    migrate(settings.database)
    return settings


@pytest.fixture(scope="session")
def airflow_json(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Run a program that imports Airflow, on an Airflow of its own with SQLite; returns the JSON of its last line."""
    home = tmp_path_factory.mktemp("airflow")
    environment = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT.values()} | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    }

    def call(command: list[str], **variables: str) -> dict[str, Any]:
        done = subprocess.run(command, env=environment | variables, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    return call


@dataclass(frozen=True)
class PostgresServer:
    """A server on which tests create databases, and one that is migrated, to copy from."""

    superuser: URL
    owner: str
    template: str


@pytest.fixture(scope="session")
def postgres_server(services: Deployment) -> Iterator[PostgresServer]:
    url = make_url(services.database)
    server = PostgresServer(superuser_of(services), str(url.username), f"template_{uuid4().hex}")
    with _created(server, server.template):
        template = url.set(database=server.template).render_as_string(hide_password=False)
        migrate(template)
        connect(template).dispose()
        yield server


@pytest.fixture
def database(services: Deployment, postgres_server: PostgresServer) -> Iterator[Deployment]:
    """The services' settings, with a fresh and migrated database."""
    with database_of(services, postgres_server, postgres_server.template) as settings:
        yield settings


@pytest.fixture
def empty_database(services: Deployment, postgres_server: PostgresServer) -> Iterator[Deployment]:
    """The services' settings, with a fresh database that is not migrated."""
    with database_of(services, postgres_server, "template1") as settings:
        yield settings


@pytest.fixture
def object_store(services: Deployment) -> ObjectStore:
    """A fresh prefix in S3."""
    return open_store(f"{services.state_root}/test-{uuid4().hex}", services)


@contextmanager
def database_of(services: Deployment, server: PostgresServer, template: str) -> Iterator[Deployment]:
    """The services' settings with a database made from a template, which may go on with further options; dropped on leaving."""
    name = f"test_{uuid4().hex}"

    def on_it(url: str | None) -> str:
        return make_url(str(url)).set(database=name).render_as_string(hide_password=False)

    urls: dict[str, Any] = {name: on_it(getattr(services, name)) for name in ADDRESSES["database_url"]}
    settings = replace(services, **urls)
    with _created(server, name, template):
        yield settings
        for url in urls.values():
            connect(url).dispose()


@contextmanager
def _created(server: PostgresServer, name: str, template: str = "template1") -> Iterator[None]:
    create = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE " + template)
    _execute(server.superuser, create.format(*map(sql.Identifier, (name, server.owner))))
    try:
        yield
    finally:
        _execute(server.superuser, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _execute(url: URL, statement: Any) -> None:
    connection = psycopg2.connect(host=url.host, port=url.port, user=url.username, password=url.password, dbname=url.database)
    # CREATE and DROP DATABASE, and ALTER SYSTEM, can't run within a transaction.
    connection.autocommit = True
    try:
        connection.cursor().execute(statement)
    finally:
        connection.close()
