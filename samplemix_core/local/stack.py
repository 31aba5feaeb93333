"""The embedded services as one: up, down, status, logs."""

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from samplemix_core.database.migrate import migrate
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ServiceError
from samplemix_core.local import airflow, dask_cluster, databases, machine, postgres, s3
from samplemix_core.local.home import KEPT, Credentials, Home, State, load_credentials, read_json, write_json
from samplemix_core.local.owner import OWNER_VARIABLE, Owner, kill_all, take_over
from samplemix_core.local.ports import PortPolicy, assign_ports, tail, wait_until
from samplemix_core.local.ports import follow as follow_log
from samplemix_core.local.service import PROCESSES, SERVICES, EmbeddedService
from samplemix_core.local.supervisor import (
    STACK_VARIABLE,
    ServiceStatus,
    Supervisor,
    base_environment,
    end_strays,
    service_rows,
    stack_processes,
)
from samplemix_core.settings import ENVIRONMENT, HOME_MARK

_CONNECTIONS = {
    "postgres": ("database_url", "reader_database_url", "pages_database_url"),
    "s3": ("s3_endpoint", "s3_bucket", "s3_access_key", "s3_secret_key"),
    "dask": ("dask_scheduler", "dask_certificate"),
    "airflow": ("airflow_url", "airflow_user", "airflow_password"),
}
"""Service -> its fields of Settings. A service is external if the environment sets the first of them."""

_GIVEN_UP = {"fatal", "stopped", "unknown"}


class Stack:
    """The embedded services whose state is in one home directory.

    A stack with an `owner` does not outlive it: when that process is gone, however it ended, the services are killed and the home
    is removed. Without an owner they run until `down`.
    """

    def __init__(
        self,
        home: Path,
        *,
        ports: PortPolicy = "default",
        environ: Mapping[str, str] = os.environ,
        owner: Owner | None = None,
    ) -> None:
        self._home = Home(home.absolute())
        self._owner = owner
        self._policy = ports
        self._environ = environ
        self._supervisor = Supervisor(self._home)

    def up(self, services: Collection[str] = SERVICES, *, on_progress: Callable[[str], None] = lambda _: None) -> Deployment:
        """Start those of these services that are neither running nor external, in order, each when the one before it is ready.

        Returns how to connect to the services of this home, which it also writes to the home's services file (mode 0600) for
        Deployment.load. Raises ServiceError if the machine lacks the memory or the disk for them, or if a service does not become
        ready; those started before it stay up.
        """
        wanted = _known(services)
        self._home.create()
        if self._owner:
            take_over(self._owner, self._home.root)
        with self._home.locked(lambda: on_progress("waiting for another samplemix that starts or stops the services")):
            cold = not self._supervisor.is_running()
            if cold:
                end_strays(self._home.read_state().stack, on_progress)
            external = [service for service in SERVICES if self._environ.get(ENVIRONMENT[_CONNECTIONS[service][0]])]
            embedded = self._embedded_services(wanted - set(external), on_progress)
            if cold and any(service.name == "postgres" for service in embedded):
                # Without its database no step can be running, so whatever is there was left by a killed one.
                self._home.clear_scratch()
            machine.require_room(self._absent(embedded), self._home.root, dask_cluster.WORKERS_VARIABLE)
            settings = self._write_services(embedded, external)
            for name in external:
                on_progress(f"{name}: external")
            if embedded:
                programs = [program for service in embedded for program in service.programs]
                self._supervisor.apply(programs, self._inherited(), set(self._home.read_state().ports.values()))
            for service in embedded:
                self._start(service, on_progress)
        return settings

    def down(self, services: Collection[str] = SERVICES, *, on_progress: Callable[[str], None] = lambda _: None) -> None:
        """Stop these services in reverse order, Postgres last. If that is all of them, no process of the stack is left.

        Airflow stops with the Postgres that holds its tables.
        """
        wanted = _known(services)
        if "postgres" in wanted:
            wanted.add("airflow")
        if not self._home.root.exists():
            return
        self._home.create()
        with self._home.locked(lambda: on_progress("waiting for another samplemix that starts or stops the services")):
            kept = self._kept_services()
            settings = read_json(self._home.services_file)
            for service in wanted:
                for field in _CONNECTIONS[service]:
                    settings.pop(field, None)
            write_json(self._home.services_file, settings)
            for service in reversed(kept):
                if service in wanted:
                    on_progress(f"{service}: stopping")
                    self._supervisor.stop(service)
            if wanted.issuperset(kept):
                self._home.services_file.unlink()
                if self._supervisor.is_running():
                    self._supervisor.shutdown()
                end_strays(self._home.read_state().stack, on_progress)

    def destroy(self) -> list[Path]:
        """Kill all services and delete what they keep: data, logs and secrets. Returns what is left because it isn't SampleMix's.

        Raises ServiceError, and does nothing, if SampleMix did not make the home.
        """
        if not self._home.root.exists():
            return []
        self._home.recognise()
        self._home.create()
        left: list[Path] = []
        with self._home.locked(lambda: None):
            state = self._home.read_state()
            kill_all(lambda: stack_processes(state.stack))
            for socket in s3.sockets(state.ports) if "s3" in state.ports else ():
                socket.unlink(missing_ok=True)
            if state.postgres_directory:
                left += _delete(Path(state.postgres_directory), postgres.KEPT)
            left += _delete(self._home.root, (*KEPT, *(f"{name}.partial" for name in KEPT), HOME_MARK))
        return left

    def status(self) -> list[ServiceStatus]:
        """Return a row for each process, in the order they start, and for each external service."""
        return service_rows(self._home.read_state(), self._supervisor.processes())

    def log_path(self, process: str) -> Path:
        """The log file of a process, which may not exist yet; raise ServiceError if there is no such process."""
        known = [name for names in PROCESSES.values() for name in names] + ["supervisord"]
        if process not in known:
            raise ServiceError(f"There is no process {process!r}.", f"Processes are {', '.join(known)}.")
        return self._home.log(process)

    def log_lines(self, process: str, *, lines: int = 50, follow: bool = False) -> Iterator[str]:
        """Yield the last lines of a process's log, and with `follow` new ones forever; raise ServiceError as log_path does."""
        path = self.log_path(process)
        return follow_log(path, lines) if follow else iter(tail(path, lines))

    def _inherited(self) -> dict[str, str]:
        owner = {OWNER_VARIABLE: self._owner.mark} if self._owner else {}
        return base_environment(self._environ) | owner | {STACK_VARIABLE: self._home.read_state().stack}

    def _absent(self, embedded: list[EmbeddedService]) -> list[EmbeddedService]:
        """Return the services of which no process is running."""
        processes = self._supervisor.processes()
        running = {name for name, info in processes.items() if info.pid is not None}
        return [service for service in embedded if running.isdisjoint(program.name for program in service.programs)]

    def _kept_services(self) -> list[str]:
        """Services that supervisord keeps, in the order they start."""
        processes = self._supervisor.processes()
        return [service for service, names in PROCESSES.items() if any(name in processes for name in names)]

    def _embedded_services(self, wanted: set[str], on_progress: Callable[[str], None]) -> list[EmbeddedService]:
        """Return the wanted services and those that supervisord keeps already, with ports, places and secrets decided and saved."""
        wanted |= set(self._kept_services())
        airflow_database = self._environ.get(airflow.DATABASE_VARIABLE)
        if "airflow" in wanted and not airflow_database:
            wanted.add("postgres")
        credentials = load_credentials(self._home)
        state = self._with_ports(self._home.read_state(), wanted, on_progress)
        ports = state.ports
        if "postgres" in wanted:
            place = Path(state.postgres_directory) if state.postgres_directory else postgres.choose_place(self._home)
            if not place.is_relative_to(self._home.root):
                state = replace(state, postgres_directory=str(place))
        self._home.write_state(state)
        if self._owner:
            take_over(self._owner, *_outside(state))
        embedded = []
        if "postgres" in wanted:
            files = postgres.prepare(self._home, place, credentials.postgres_superuser)
            embedded.append(postgres.service(self._home, files, ports["postgres"], credentials))
        if "s3" in wanted:
            bucket = self._environ.get(ENVIRONMENT["s3_bucket"]) or s3.DEFAULT_BUCKET
            embedded.append(s3.service(self._home, ports, credentials, bucket))
        if "dask" in wanted:
            embedded.append(dask_cluster.service(self._home, ports, self._environ))
        if "airflow" in wanted:
            url = airflow_database or databases.airflow_database_url(ports["postgres"], credentials)
            embedded.append(self._airflow(url, ports["airflow"], credentials))
        return embedded

    def _airflow(self, database_url: str, port: int, credentials: Credentials) -> EmbeddedService:
        def started(process: str) -> datetime | None:
            info = self._supervisor.process(process)
            return info.since if info.pid else None

        setup = airflow.Setup(self._home, port, credentials, database_url, self._environ)
        return airflow.service(setup, self._inherited(), started)

    def _with_ports(self, state: State, wanted: set[str], on_progress: Callable[[str], None]) -> State:
        processes = self._supervisor.processes()
        for service in SERVICES:
            if service not in wanted:
                continue
            alive = any(name in processes and processes[name].state not in _GIVEN_UP for name in PROCESSES[service])
            ports = assign_ports(
                service, state.ports, policy=self._policy, running=alive, environ=self._environ, on_moved=on_progress
            )
            state = replace(state, ports=state.ports | ports)
        return state

    def _write_services(self, embedded: list[EmbeddedService], external: list[str]) -> Deployment:
        """Write how to connect, before anything that reads it starts."""
        settings: dict[str, str] = {}
        addresses: dict[str, str] = {}
        for service in embedded:
            addresses[service.name] = service.address
            settings |= service.settings
        for name in external:
            for field in _CONNECTIONS[name]:
                settings.pop(field, None)
                value = self._environ.get(ENVIRONMENT[field])
                if value:
                    settings[field] = value
            addresses[name] = _without_password(settings[_CONNECTIONS[name][0]])
        write_json(self._home.services_file, settings)
        self._home.write_state(replace(self._home.read_state(), addresses=addresses, external=external))
        return Deployment.load({**self._environ, "SAMPLEMIX_HOME": str(self._home.root)})

    def _start(self, service: EmbeddedService, on_progress: Callable[[str], None]) -> None:
        for step in service.steps:
            absent = [program for program in step.programs if self._supervisor.process(program.name).pid is None]
            if absent and step.before:
                step.before()
            for program in absent:
                on_progress(f"{program.name}: starting")
                self._supervisor.start(program)
            for program in step.programs:
                wait_until(
                    program.missing,
                    what=program.name,
                    timeout=program.ready_seconds,
                    log=self._home.log(program.name),
                    gave_up=partial(self._has_given_up, program.name),
                )
            state = self._home.read_state()
            pids = {program.name: self._supervisor.process(program.name).pid or 0 for program in step.programs}
            self._home.write_state(replace(state, ready=state.ready | pids))
        on_progress(f"{service.name}: ready at {service.address}")

    def _has_given_up(self, process: str) -> bool:
        return self._supervisor.process(process).state == "fatal"


def start_services(home: Path, services: Collection[str] | None, on_progress: Callable[[str], None]) -> Deployment:
    """Start the requested embedded services (all, by default) and bring the database to this version's tables.

    Airflow starts last, so that its tasks find the tables they need.
    """
    wanted = tuple(services or SERVICES)
    if os.geteuid() == 0 and (others := machine.other_users()):
        on_progress(
            f"warning: what runs here may do all that root may, and others have an account on this machine "
            f"({', '.join(others[:3])}{', ...' if len(others) > 3 else ''}): better start it as a user of its own"
        )
    stack = Stack(home)
    settings = stack.up([name for name in wanted if name != "airflow"], on_progress=on_progress)
    if settings.database_url is not None:
        migrate(settings.database_url)
    return stack.up(["airflow"], on_progress=on_progress) if "airflow" in wanted else settings


def _known(services: Collection[str]) -> set[str]:
    unknown = sorted(set(services) - set(SERVICES))
    if unknown:
        raise ServiceError(f"There is no service {unknown[0]!r}.", f"Services are {', '.join(SERVICES)}.")
    return set(services)


def _outside(state: State) -> list[Path]:
    """What the services keep outside of their home."""
    database = [Path(state.postgres_directory)] if state.postgres_directory else []
    return database + (s3.sockets(state.ports) if "s3" in state.ports else [])


def _delete(directory: Path, names: Iterable[str]) -> list[Path]:
    """Delete these entries of a directory, and the directory if nothing else is in it; returns what is left, if anything.

    If an entry is a link, what it leads to is not ours, and stays.
    """
    left = []
    for name in names:
        path = directory / name
        if path.is_symlink():
            left += [path.resolve()] if path.exists() else []
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if directory.is_dir():
        others = sorted(directory.iterdir())
        if others:
            return left + others
        directory.resolve().rmdir()
        if directory.is_symlink():
            directory.unlink()
    return left


def _without_password(url: str) -> str:
    """A URL without user and password, fit to be shown."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
