"""supervisord: starting and stopping it, and what it says about the processes it keeps."""

import base64
import contextlib
import http.client
import os
import secrets
import signal
import subprocess
import sys
import xmlrpc.client
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import Faults

from samplemix_core.errors import ServiceError
from samplemix_core.local.home import Home, State, read_json, write_json, write_private
from samplemix_core.local.ports import HOST, failure, free_port, wait_until
from samplemix_core.local.service import PROCESSES, Program, render
from samplemix_core.settings import ENVIRONMENT

STACK_VARIABLE = "SAMPLEMIX_STACK"
"""In the environment of every process of a stack: the stack's id, by which strays are found."""

_STRAY_SECONDS = 5.0
_STRAY_POSTGRES_SECONDS = 60.0
_START_TRIES = 5
_START_SECONDS = 30.0
# A call returns when the processes it stops are gone, so it may take as long as they do.
_CALL_SECONDS = 180.0


@dataclass(frozen=True)
class ProcessInfo:
    """What supervisord says about a process; `state` is its state in lower case, `since` when the process started or ended."""

    state: str
    pid: int | None
    since: datetime | None


class Supervisor:
    """The supervisord of one home."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._log = home.log("supervisord")
        self._access_file = home.root / "supervisord.json"

    def is_running(self) -> bool:
        """Whether this home's supervisord answers."""
        return self._missing() is None

    def apply(self, programs: Iterable[Program], environment: Mapping[str, str], reserved: set[int]) -> None:
        """Make supervisord keep these programs: start it, or tell it the changes. Services whose programs changed are stopped.

        A newly started supervisord and its processes inherit `environment`; supervisord itself takes none of the `reserved` ports.
        """
        programs = tuple(programs)
        if not self.is_running():
            self._start(programs, environment, reserved)
            return
        write_private(self._home.supervisor_config, render(programs, self._home, **self._access()))
        added, changed, removed = self._call("reloadConfig")[0]
        for service in (*changed, *removed):
            self._call("stopProcessGroup", service)
            self._call("removeProcessGroup", service)
        for service in (*added, *changed):
            self._call("addProcessGroup", service)

    def start(self, program: Program) -> None:
        """Start a program, unless it is already running or about to. Does not wait until it is ready."""
        try:
            self._ask("startProcess", f"{program.service}:{program.name}", False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != Faults.ALREADY_STARTED:
                raise failure(f"{program.name} can't be started: {fault.faultString}.", self._home.log(program.name)) from fault

    def stop(self, service: str) -> None:
        """Stop a service's processes together, wait until they are gone, and stop keeping them."""
        self._call("stopProcessGroup", service)
        self._call("removeProcessGroup", service)

    def processes(self) -> dict[str, ProcessInfo]:
        """State of every process by name; empty if supervisord does not run."""
        try:
            rows = self._ask("getAllProcessInfo")
        except (OSError, xmlrpc.client.Error):
            return {}
        return {row["name"]: _process_info(row) for row in rows}

    def process(self, name: str) -> ProcessInfo:
        """State of one process; raise ServiceError if supervisord does not answer or does not keep it."""
        info = self.processes().get(name)
        if info is None:
            raise failure(f"supervisord no longer keeps {name}.", self._log)
        return info

    def shutdown(self) -> None:
        """End supervisord and wait until it is gone."""
        process = psutil.Process(self._call("getPID"))
        self._call("shutdown")
        wait_until(
            lambda: "it still runs" if process.is_running() else None, what="The end of supervisord", timeout=60, log=self._log
        )

    def _start(self, programs: tuple[Program, ...], environment: Mapping[str, str], reserved: set[int]) -> None:
        # Between choosing a port and listening on it, another process may take it; then another port is chosen.
        for _ in range(_START_TRIES):
            access: dict[str, Any] = {"port": free_port(reserved), "password": secrets.token_urlsafe(32)}
            write_json(self._access_file, access)
            write_private(self._home.supervisor_config, render(programs, self._home, **access))
            command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._home.supervisor_config)]
            done = subprocess.run(  # noqa: S603 no untrusted text
                command, env=dict(environment), cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                wait_until(self._missing, what="supervisord", timeout=_START_SECONDS, log=self._log)
                return
        # Its message may state its whole environment, so it goes into a private file and not into an exception.
        said = self._home.log("supervisord-start")
        write_private(said, done.stdout + done.stderr)
        raise ServiceError(f"supervisord ended with exit code {done.returncode}.", f"Correct the cause, which {said} states.")

    def _missing(self) -> str | None:
        try:
            self._ask("getSupervisorVersion")
        except (OSError, xmlrpc.client.Error) as error:
            return str(error)
        return None

    def _access(self) -> dict[str, Any]:
        access = read_json(self._access_file)
        if not access:
            raise ConnectionRefusedError("no supervisord was started in this home")
        return access

    def _call(self, method: str, *arguments: Any) -> Any:
        """Return supervisord's answer; raise ServiceError if it does not answer or refuses."""
        try:
            return self._ask(method, *arguments)
        except (OSError, xmlrpc.client.Error) as error:
            raise failure(f"supervisord did not do {method}{arguments}: {error}.", self._log) from error

    def _ask(self, method: str, *arguments: Any) -> Any:
        access = self._access()
        # In a header and not in the URL, which exceptions quote.
        credentials = base64.b64encode(f"samplemix:{access['password']}".encode()).decode()
        headers = [("Authorization", f"Basic {credentials}")]
        with xmlrpc.client.ServerProxy(f"http://{HOST}:{access['port']}/RPC2", _Transport(headers=headers)) as server:
            try:
                return getattr(server.supervisor, method)(*arguments)
            except http.client.HTTPException as error:
                raise ConnectionError(f"what listens on port {access['port']} is not supervisord") from error


class _Transport(xmlrpc.client.Transport):
    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = _CALL_SECONDS
        return connection


def base_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the services inherit: the caller's environment without anything that would redirect them.

    Connections come from the home's services file alone, Airflow's and Dask's settings from their programs. 127.0.0.1 is never
    reached through a proxy, and this Python's commands come first.
    """
    redirecting = {*ENVIRONMENT.values(), "SAMPLEMIX_AIRFLOW_DATABASE_URL", "AWS_SESSION_TOKEN"}
    kept = {
        name: value
        for name, value in environ.items()
        if name not in redirecting and not name.startswith(("AIRFLOW_", "PG", "DASK_"))
    }
    path = os.pathsep.join((str(Path(sys.executable).parent), environ.get("PATH", os.defpath)))
    # Without SPT_NOENV a process that sets its title overwrites the environment by which it is found.
    return kept | {"PATH": path, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost", "SPT_NOENV": "1"}


def stack_processes(stack: str) -> list[psutil.Process]:
    """Processes that carry the stack's id in their environment, apart from this one."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(STACK_VARIABLE) == stack:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def end_processes(processes: list[psutil.Process], polite: signal.Signals, grace: float) -> None:
    """Send the polite signal, and kill those still there after `grace` seconds; raise ServiceError if one survives that."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(polite)
    _, alive = psutil.wait_procs(processes, timeout=grace)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _, alive = psutil.wait_procs(alive, timeout=10)
    if alive:
        pids = ", ".join(str(process.pid) for process in alive)
        raise ServiceError(f"Processes {pids} of the embedded services can't be ended.", "End them as the user who owns them.")


def end_strays(stack: str, on_progress: Callable[[str], None]) -> None:
    """End a stack's processes that outlived their supervisord or their parent; Postgres after those that use it."""
    strays = stack_processes(stack)
    if not strays:
        return
    on_progress(f"ending {len(strays)} processes that were left behind")
    servers = [process for process in strays if process.name() == "postgres"]
    end_processes([process for process in strays if process not in servers], signal.SIGTERM, _STRAY_SECONDS)
    end_processes(servers, signal.SIGINT, _STRAY_POSTGRES_SECONDS)


@dataclass(frozen=True)
class ServiceStatus:
    """A process of a service, or an external service as a whole: its process is empty and its state "external".

    `state` is starting, running, stopping, stopped, exited, backoff (ended early, will be tried again) or fatal (given up);
    `since` is when the process that runs started, or the last one ended.
    """

    name: str
    process: str
    state: str
    pid: int | None
    address: str
    since: datetime | None


def service_rows(state: State, processes: Mapping[str, ProcessInfo]) -> list[ServiceStatus]:
    """Return every service's status, from what the home and supervisord know: a row per process, and per external service."""
    rows = []
    for service, names in PROCESSES.items():
        address = state.addresses.get(service, "")
        if service in state.external:
            rows.append(ServiceStatus(service, "", "external", None, address, None))
        for name in names:
            info = processes.get(name)
            if info is not None:
                # supervisord calls a process running only after its start_seconds; it can be ready before that.
                ready = info.state == "starting" and info.pid is not None and info.pid == state.ready.get(name)
                rows.append(ServiceStatus(service, name, "running" if ready else info.state, info.pid, address, info.since))
            elif service not in state.external:
                rows.append(ServiceStatus(service, name, "stopped", None, address, None))
    return rows


def _process_info(row: dict[str, Any]) -> ProcessInfo:
    state = str(row["statename"]).lower()
    moment = row["start"] if state in {"starting", "running", "stopping"} else row["stop"]
    return ProcessInfo(state, row["pid"] or None, datetime.fromtimestamp(moment, UTC) if moment else None)
