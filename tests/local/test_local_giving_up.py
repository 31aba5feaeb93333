"""What can't live is given up, and what has no room is not started: nothing loops for ever, and the reason is said."""

import os
import signal
import sys
from pathlib import Path

import pytest

from samplemix_core.errors import ServiceError
from samplemix_core.local import machine
from samplemix_core.local.home import Home
from samplemix_core.local.owner import OWNER_VARIABLE, Owner, take_over
from samplemix_core.local.ports import wait_until
from samplemix_core.local.service import Program
from samplemix_core.local.stack import Stack
from samplemix_core.local.supervisor import Supervisor, stack_processes


def test_a_program_that_can_not_live_is_given_up(tmp_path: Path, owner: Owner) -> None:
    """It lives for a while each time: what supervisord by itself would take for started, and start again for ever."""
    take_over(owner, tmp_path)
    home = Home(tmp_path / "home")
    home.create()
    starts = tmp_path / "starts"
    code = f"import time; open({str(starts)!r}, 'a').write('x'); print('no such table'); time.sleep(1.2); raise SystemExit(1)"
    program = Program(
        service="frail",
        name="frail",
        command=(sys.executable, "-c", code),
        directory=tmp_path,
        missing=lambda: None,
        start_seconds=3,
    )
    supervisor = Supervisor(home)
    environment = {"PATH": os.environ["PATH"], OWNER_VARIABLE: owner.mark}
    supervisor.apply([program], environment, set())
    try:
        supervisor.start(program)

        def given_up() -> bool:
            return supervisor.process("frail").state == "fatal"

        with pytest.raises(ServiceError, match=r"(?s)frail failed to start: it is not of use.*no such table"):
            wait_until(lambda: "it is not of use", what="frail", timeout=60, log=home.log("frail"), gave_up=given_up)
        assert starts.read_text() == "xxxxx"
    finally:
        supervisor.shutdown()


def test_without_postgres_nothing_loops_for_ever(tmp_path: Path, owner: Owner) -> None:
    stack = Stack(tmp_path / "home", ports="free", environ={"PATH": os.environ["PATH"]}, owner=owner)
    stack.up({"postgres"})
    data = Path(Home(tmp_path / "home").read_state().postgres_directory or tmp_path / "home" / "postgres") / "data"
    (data / "global" / "pg_control").rename(data / "pg_control.away")
    (pid,) = (row.pid for row in stack.status() if row.process == "postgres")
    assert pid
    os.kill(pid, signal.SIGKILL)
    try:
        with pytest.raises(ServiceError, match=r"(?s)postgres failed to start.*pg_control"):
            stack.up({"postgres"})
        assert {row.process: row.state for row in stack.status()}["postgres"] == "fatal"
    finally:
        stack.destroy()


@pytest.mark.parametrize(
    ("lacking", "message"),
    [
        ({"available_memory": 2**29}, r"0\.5 GiB of memory left, and the services need 1\.1 \(postgres 0\.4, s3 0\.7\)"),
        ({"free_disk": 2**30}, r"1\.0 GiB left on the disk of .*; the services need 2"),
    ],
)
def test_up_says_what_the_machine_lacks_before_it_starts_anything(
    tmp_path: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch, lacking: dict[str, int], message: str
) -> None:
    for name, value in lacking.items():
        monkeypatch.setattr(machine, name, lambda *_, value=value: value)
    stack = Stack(tmp_path / "home", ports="free", environ={"PATH": os.environ["PATH"]}, owner=owner)
    try:
        with pytest.raises(ServiceError, match=message):
            stack.up({"postgres", "s3"})
        assert stack_processes(Home(tmp_path / "home").read_state().stack) == []
    finally:
        stack.destroy()
