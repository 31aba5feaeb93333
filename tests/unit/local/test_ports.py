import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from samplemix_core.errors import ServiceError
from samplemix_core.local import ports
from samplemix_core.local.ports import DEFAULT_PORTS, GRPC_OFFSET, assign_ports, free_port, is_free


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", free_port(set()))) as server:
        yield server.getsockname()[1]


def test_a_free_port_has_a_free_neighbour_and_is_not_reserved() -> None:
    reserved = {free_port(set()) for _ in range(5)}
    port = free_port(reserved)
    assert is_free(port)
    assert is_free(port + GRPC_OFFSET)
    assert not {port, port + GRPC_OFFSET} & reserved


def test_a_port_with_a_listener_is_not_free(taken: int) -> None:
    assert not is_free(taken)


def test_a_service_keeps_its_ports_while_it_runs_and_moves_if_another_has_them(taken: int) -> None:
    said: list[str] = []
    stored = {"dask": taken, "dask_dashboard": free_port({taken})}
    kept = assign_ports("dask", stored, policy="default", running=True, environ={}, on_moved=said.append)
    assert kept == stored
    moved = assign_ports("dask", stored, policy="default", running=False, environ={}, on_moved=said.append)
    assert moved["dask_dashboard"] == stored["dask_dashboard"]
    assert moved["dask"] not in stored.values()
    assert said == [f"port {taken} is in use by another process: dask moves to port {moved['dask']}"]


def test_the_environment_decides(taken: int) -> None:
    port = free_port({taken})
    environ = {"SAMPLEMIX_AIRFLOW_PORT": str(port)}
    assert assign_ports("airflow", {"airflow": taken}, policy="default", running=True, environ=environ, on_moved=pytest.fail) == {
        "airflow": port
    }
    with pytest.raises(ServiceError, match=f"Port {taken} .* in use by another process.* unset it"):
        assign_ports(
            "airflow", {}, policy="default", running=False, environ={"SAMPLEMIX_AIRFLOW_PORT": str(taken)}, on_moved=pytest.fail
        )


@pytest.mark.parametrize("text", ["0", "65536", "-1", "http", "80 80"])
def test_what_is_not_a_port_is_refused(text: str) -> None:
    with pytest.raises(ServiceError, match=f"SAMPLEMIX_S3_PORT is '{text}', not a port"):
        assign_ports("s3", {}, policy="default", running=False, environ={"SAMPLEMIX_S3_PORT": text}, on_moved=pytest.fail)


def test_free_ports_are_none_of_the_default_ones_and_all_different() -> None:
    ports = assign_ports("s3", {}, policy="free", running=False, environ={}, on_moved=pytest.fail)
    numbers = [*ports.values(), *(port + GRPC_OFFSET for port in ports.values())]
    assert len(set(numbers)) == len(numbers)
    assert not set(numbers) & set(DEFAULT_PORTS.values())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that go with their process")
def test_two_processes_that_choose_at_once_do_not_choose_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    only = free_port(set())
    script = (
        f"from samplemix_core.local import ports; ports._FREE_RANGE = range({only}, {only + 1});"
        "print(ports.free_port(set()), flush=True); input()"
    )
    monkeypatch.setattr(ports, "_FREE_RANGE", range(only, only + 1))
    for port in (only, only + GRPC_OFFSET):
        os.close(ports._claims.pop(port))
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == f"{only}\n"
        with pytest.raises(ServiceError, match="No free pair of ports"):
            free_port(set())
        other.communicate("\n")
    assert free_port(set()) == only
