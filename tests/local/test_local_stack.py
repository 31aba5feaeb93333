"""Postgres and S3 embedded: what `up` promises, and that it holds after every kind of death."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil
import psycopg2
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from samplemix_core.deployment import Deployment
from samplemix_core.errors import ServiceError
from samplemix_core.local.home import Home, State
from samplemix_core.local.owner import Owner
from samplemix_core.local.ports import GRPC_OFFSET, free_port, wait_until
from samplemix_core.local.stack import Stack
from samplemix_core.local.supervisor import stack_processes

BOTH = ("postgres", "s3")
PRIVATE = ("secrets.json", "services.json", "supervisord.conf", "supervisord.json", "state.json", "certificate.pem")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack") / "home"


@pytest.fixture(scope="module")
def stack(home: Path, owner: Owner) -> Iterator[Stack]:
    stack = Stack(home, ports="free", environ={"PATH": os.environ["PATH"]}, owner=owner)
    yield stack
    assert stack.destroy() == []
    assert not home.exists()


@pytest.fixture
def settings(stack: Stack) -> Deployment:
    return stack.up(BOTH)


def query(url: str | None, statement: str) -> Any:
    connection = psycopg2.connect(str(url).replace("+psycopg2", ""))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone() if cursor.description else None
    finally:
        connection.close()


def bucket_client(settings: Deployment, **options: Any) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=settings.s3_secret_key,
        region_name="us-east-1",
        **options,
    )


def pids(stack: Stack) -> dict[str, int]:
    return {row.process: row.pid for row in stack.status() if row.pid is not None}


def processes(home: Path) -> list[psutil.Process]:
    return stack_processes(Home(home).read_state().stack)


def await_other_pid(stack: Stack, process: str, killed: int) -> None:
    def same() -> str | None:
        return None if pids(stack).get(process, killed) != killed else "the killed process is still the one that is kept"

    wait_until(same, what=process, timeout=60, log=stack.log_path(process))


def test_the_owner_owns_the_database_and_the_reader_may_connect(settings: Deployment) -> None:
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    assert query(settings.database_url, owner) == ("samplemix",)
    assert query(settings.reader_database_url, "SELECT current_user, current_database()") == ("samplemix_reader", "samplemix")
    assert query(settings.database_url, "SELECT current_setting('fsync'), current_setting('password_encryption')") == (
        "on",
        "scram-sha-256",
    )
    assert query(settings.database_url, "SELECT count(*) FROM pg_database WHERE datname = 'airflow'") == (1,)
    assert query(settings.database_url, "SELECT count(*) FROM pg_roles WHERE rolsuper AND rolname <> 'postgres'") == (0,)


def test_postgres_refuses_a_wrong_password_and_another_roles_database(settings: Deployment) -> None:
    url = str(settings.reader_database_url)
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        query(url.replace("samplemix_reader:", "samplemix_reader:x"), "SELECT 1")
    with pytest.raises(psycopg2.OperationalError, match="permission denied"):
        query(url.removesuffix("/samplemix") + "/airflow", "SELECT 1")


def test_the_bucket_takes_objects_from_whoever_has_the_keys_only(settings: Deployment) -> None:
    bucket_client(settings).put_object(Bucket="samplemix", Key="a/b", Body=b"kept")
    assert bucket_client(settings).get_object(Bucket="samplemix", Key="a/b")["Body"].read() == b"kept"
    stranger = bucket_client(settings, config=Config(signature_version=UNSIGNED))
    with pytest.raises(ClientError, match="AccessDenied"):
        stranger.get_object(Bucket="samplemix", Key="a/b")


def test_the_inner_parts_of_the_store_are_shut(settings: Deployment, home: Path) -> None:
    client = bucket_client(settings)
    client.put_object(Bucket=settings.s3_bucket, Key="guarded", Body=b"as it was")
    ports = Home(home).read_state().ports
    master, volume, filer = (f"127.0.0.1:{ports[f's3_{part}']}" for part in ("master", "volume", "filer"))
    there = f"http://{filer}/buckets/{settings.s3_bucket}/guarded"
    with httpx.Client(trust_env=False, timeout=10) as stranger:
        answers = [
            stranger.get(there),
            stranger.delete(there),
            stranger.put(there, content=b"other"),
            stranger.post(there, files={"file": b"other"}),
            stranger.get(f"http://{master}/dir/assign"),
            stranger.get(f"http://{master}/dir/status"),
            stranger.get(f"http://{volume}/1,0100000000"),
            stranger.post(f"http://{volume}/1,0100000000", files={"file": b"other"}),
        ]
    assert {answer.status_code for answer in answers} <= {401, 404}
    # Its own shell, which speaks gRPC to them, waits for ever without the certificate.
    weed = Path(sys.executable).with_name("weed")
    grpc = {name: f"127.0.0.1:{ports[f's3_{name}']}.{ports[f's3_{name}'] + GRPC_OFFSET}" for name in ("master", "filer")}
    command = [str(weed), "shell", *(f"-{name}={address}" for name, address in grpc.items())]
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(command, input=b"fs.rm -r /buckets\n", capture_output=True, timeout=4, cwd=home.parent)
    assert client.get_object(Bucket=settings.s3_bucket, Key="guarded")["Body"].read() == b"as it was"


def test_settings_are_found_again_through_the_home(settings: Deployment, home: Path) -> None:
    assert Deployment.load({"SAMPLEMIX_HOME": str(home)}) == settings


def test_secrets_lie_in_private_files_and_in_no_command_line_or_log(settings: Deployment, home: Path) -> None:
    assert {name: oct((home / name).stat().st_mode & 0o777) for name in PRIVATE} == dict.fromkeys(PRIVATE, "0o600")
    secrets = json.loads((home / "secrets.json").read_text())
    # SeaweedFS logs its access key, the public half of the pair.
    private = {value for name, value in secrets.items() if name != "s3_access_key"}
    assert len(private) == len(secrets) - 1
    commands = subprocess.run(["ps", "-ww", "-A", "-o", "args="], capture_output=True, text=True, check=True).stdout
    assert str(home) in commands
    exposed = [commands, repr(settings), *(path.read_text() for path in (home / "logs").iterdir())]
    assert not [text for text in exposed if any(secret in text for secret in private)]


def test_every_port_is_on_the_loopback_address_only(settings: Deployment, home: Path) -> None:
    listening = {
        connection.laddr.ip
        for process in processes(home)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_up_twice_is_up_once(stack: Stack, settings: Deployment) -> None:
    before = pids(stack)
    assert set(before) == {"postgres", "postgres-guard", "s3"}
    assert stack.up(BOTH) == settings
    assert pids(stack) == before


@pytest.mark.parametrize("process", BOTH)
def test_a_killed_process_comes_back_with_its_data(stack: Stack, settings: Deployment, process: str) -> None:
    query(settings.database_url, f"CREATE TABLE kept_{process} AS SELECT 7 AS seven")
    bucket_client(settings).put_object(Bucket="samplemix", Key=process, Body=b"7")
    killed = pids(stack)[process]
    os.kill(killed, signal.SIGKILL)
    await_other_pid(stack, process, killed)
    assert stack.up(BOTH) == settings
    assert query(settings.database_url, f"SELECT seven FROM kept_{process}") == (7,)
    assert bucket_client(settings).get_object(Bucket="samplemix", Key=process)["Body"].read() == b"7"


def test_up_after_the_supervisors_death_leaves_one_set_of_processes(stack: Stack, settings: Deployment, home: Path) -> None:
    before = {process.pid for process in processes(home)}
    supervisor = psutil.Process(int((home / "supervisord.pid").read_text()))
    supervisor.kill()
    supervisor.wait(10)
    assert {row.state for row in stack.status()} == {"stopped"}
    assert stack.up(BOTH) == settings
    after = processes(home)
    assert not before & {process.pid for process in after}
    assert len(after) == len(before)


def test_up_after_a_crash_of_the_machine(stack: Stack, settings: Deployment, home: Path) -> None:
    crashed = processes(home)
    for process in crashed:
        process.kill()
    assert psutil.wait_procs(crashed, timeout=10)[1] == []
    # After a reboot the number of the server that was may be that of any process.
    lock = Path(Home(home).read_state().postgres_directory or home / "postgres") / "data" / "postmaster.pid"
    lock.write_text("\n".join([str(os.getpid()), *lock.read_text().split("\n")[1:]]))
    assert stack.up(BOTH) == settings
    assert query(settings.database_url, "SELECT 1") == (1,)


def test_down_leaves_no_process_and_no_connections(stack: Stack, settings: Deployment, home: Path) -> None:
    stack.down()
    assert processes(home) == []
    assert {row.state for row in stack.status()} == {"stopped"}
    assert Deployment.load({"SAMPLEMIX_HOME": str(home)}) == Deployment(home=home)
    stack.down()
    assert stack.up(BOTH) == settings


def test_a_taken_port_is_an_error_if_it_was_asked_for_else_another_is_used(tmp_path: Path, owner: Owner) -> None:
    said: list[str] = []
    with socket.create_server(("127.0.0.1", free_port(set()))) as taken:
        port = taken.getsockname()[1]
        asking = Stack(tmp_path / "asking", ports="free", environ={"SAMPLEMIX_POSTGRES_PORT": str(port)}, owner=owner)
        with pytest.raises(ServiceError, match=rf"Port {port} .* SAMPLEMIX_POSTGRES_PORT, is in use"):
            asking.up({"postgres"})
        home = Home(tmp_path / "moving")
        home.create()
        state = home.read_state()
        state.ports["postgres"] = port
        home.write_state(state)
        moving = Stack(home.root, ports="free", environ={"PATH": os.environ["PATH"]}, owner=owner)
        try:
            settings = moving.up({"postgres"}, on_progress=said.append)
            assert query(settings.database_url, "SELECT 1") == (1,)
        finally:
            moving.destroy()
    assert any(line.startswith(f"port {port} is in use by another process: postgres moves to port ") for line in said)


def test_an_external_service_is_not_started_and_its_password_not_shown(tmp_path: Path) -> None:
    environ = {
        "SAMPLEMIX_DATABASE_URL": "postgresql+psycopg2://me:hidden@db.example:5432/mix",
        "SAMPLEMIX_S3_ENDPOINT": "https://s3.example",
        "SAMPLEMIX_S3_BUCKET": "mixtures",
    }
    stack = Stack(tmp_path / "home", ports="free", environ=environ)
    settings = stack.up(BOTH)
    assert settings.database_url == environ["SAMPLEMIX_DATABASE_URL"]
    assert (settings.s3_endpoint, settings.s3_bucket, settings.s3_secret_key) == ("https://s3.example", "mixtures", None)
    rows = [(row.name, row.state, row.address) for row in stack.status() if row.name in BOTH]
    assert rows == [("postgres", "external", "postgresql+psycopg2://db.example:5432/mix"), ("s3", "external", "https://s3.example")]
    assert processes(tmp_path / "home") == []
    stack.destroy()


@pytest.mark.parametrize(
    "theirs", ['{"theirs": 1}', '{"stack": "prod", "ports": {}}', '{"stack": "0123456789abcdef", "resources": []}', "[]"]
)
def test_a_directory_of_other_things_is_neither_deleted_nor_made_a_home(tmp_path: Path, theirs: str) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "thesis.txt").write_text("years of work")
    (tmp_path / "state.json").write_text(theirs)
    stack = Stack(tmp_path, ports="free")
    for action in (stack.destroy, stack.down, lambda: stack.up(BOTH)):
        with pytest.raises(ServiceError, match=r"not a home that SampleMix made: it holds 2 other things.*SAMPLEMIX_HOME"):
            action()
    with Deployment.load({"SAMPLEMIX_HOME": str(tmp_path)}).scratch():
        pass
    with pytest.raises(ServiceError, match="not a home"):
        stack.destroy()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["scratch", "state.json", "thesis.txt"]


def test_deleting_leaves_what_others_put_into_a_home_and_what_links_lead_to(tmp_path: Path) -> None:
    home, disk, database = tmp_path / "home", tmp_path / "disk", tmp_path / "database"
    for directory in (disk, database):
        directory.mkdir()
        (directory / "kept").touch()
    with Deployment.load({"SAMPLEMIX_HOME": str(home)}).scratch():
        pass
    Home(home).create()
    Home(home).write_state(State(postgres_directory=str(database)))
    (database / "data").mkdir()
    (home / "s3").symlink_to(disk)
    (home / "notes.txt").touch()
    assert Stack(home).destroy() == [database / "kept", disk, home / "notes.txt"]
    assert sorted(path.name for path in home.iterdir()) == ["notes.txt"]
    assert (disk / "kept").exists()
    assert not (database / "data").exists()
    # It is no home any more: deleting again finds nothing that SampleMix made.
    with pytest.raises(ServiceError, match="not a home"):
        Stack(home).destroy()


def test_of_a_linked_scratch_only_what_steps_left_is_removed(tmp_path: Path) -> None:
    disk, home = tmp_path / "disk", Home(tmp_path / "home")
    (disk / "precious").mkdir(parents=True)
    home.create()
    home.scratch.symlink_to(disk)
    with Deployment.load({"SAMPLEMIX_HOME": str(home.root)}).scratch() as directory:
        home.clear_scratch()
        assert not directory.exists()
        directory.mkdir()
    assert [path.name for path in disk.iterdir()] == ["precious"]


def test_there_is_no_such_service_or_process(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "home", ports="free")
    with pytest.raises(ServiceError, match=r"no service 's4'.*postgres, s3, dask, airflow"):
        stack.up({"s4"})
    with pytest.raises(ServiceError, match="no process 's4'"):
        stack.log_path("s4")
    assert not (tmp_path / "home").exists()


def test_what_killed_steps_left_is_removed_when_the_services_start(stack: Stack, settings: Deployment, home: Path) -> None:
    left = home / "scratch" / "left" / "part-00000.parquet"
    left.parent.mkdir(parents=True)
    left.touch()
    # A step may be at work while its services run.
    stack.up(BOTH)
    assert left.exists()
    stack.down()
    stack.up(BOTH)
    assert not left.parent.exists()


def test_a_query_can_not_fill_the_disk_or_the_memory(settings: Deployment) -> None:
    assert query(settings.database_url, "SELECT current_setting('temp_file_limit')") == ("20GB",)
    with pytest.raises(psycopg2.OperationalError, match="out of memory"):
        query(settings.reader_database_url, "SELECT length(repeat('x', 600000000) || repeat('y', 400000000))")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT lo_create(0)",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT set_config('work_mem', '4GB', false)",
        "SELECT pg_logical_emit_message(false, 'a', 'b')",
        "SELECT pg_advisory_lock(1)",
        "CREATE TEMP TABLE mine (x int)",
    ],
)
def test_a_role_that_only_reads_writes_nothing_even_if_it_lifts_its_limits(settings: Deployment, statement: str) -> None:
    for url in (settings.reader_database_url, settings.pages_database_url):
        with pytest.raises(psycopg2.Error, match="permission denied"):
            query(url, f"SET default_transaction_read_only = off; COMMIT; BEGIN READ WRITE; {statement}")


@pytest.mark.parametrize("database", ["postgres", "template1", "airflow"])
def test_a_role_that_only_reads_is_at_home_in_one_database(settings: Deployment, database: str) -> None:
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        query(str(settings.reader_database_url).removesuffix("/samplemix") + f"/{database}", "SELECT 1")


def test_what_a_role_changes_of_itself_is_set_back_and_the_pages_have_another(settings: Deployment) -> None:
    for change in ("PASSWORD 'mine'", "SET search_path = nowhere", "IN DATABASE samplemix SET statement_timeout = 0"):
        wait_until(partial(changed, settings, change), what="the change", timeout=20, log=Path(os.devnull))
        assert query(settings.pages_database_url, "SHOW search_path") == ('"$user", public',)
        wait_until(lambda: as_it_was(settings), what="the guard", timeout=20, log=Path(os.devnull))


def changed(settings: Deployment, change: str) -> str | None:
    """Change the analysts' role as it may itself; what kept it from that, if the guard was at it in the same moment."""
    try:
        query(settings.reader_database_url, f"BEGIN READ WRITE; ALTER ROLE samplemix_reader {change}; COMMIT")
    except psycopg2.errors.InternalError_ as error:
        return str(error)
    return None


def as_it_was(settings: Deployment) -> str | None:
    """What differs from the limits of the analysts' role."""
    try:
        found = query(settings.reader_database_url, "SELECT current_setting('search_path'), current_setting('statement_timeout')")
    except psycopg2.OperationalError as error:
        return str(error)
    return None if found == ('"$user", public', "1min") else str(found)


def test_one_service_can_be_stopped_and_started_again(stack: Stack, settings: Deployment, home: Path) -> None:
    kept = {name: pid for name, pid in pids(stack).items() if name.startswith("postgres")}
    stack.down({"s3"})
    assert pids(stack) == kept
    assert Deployment.load({"SAMPLEMIX_HOME": str(home)}).s3_endpoint is None
    assert query(settings.database_url, "SELECT 1") == (1,)
    # Another service's start leaves it stopped.
    stack.up({"postgres"})
    assert pids(stack) == kept
    assert stack.up(BOTH) == settings
    assert bucket_client(settings).list_buckets()["Buckets"]
