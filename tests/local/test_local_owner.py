"""What belongs to a process ends with it, however it ends; what belongs to nobody does not."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from samplemix_core.local import owner as owners
from samplemix_core.local.home import Home
from samplemix_core.local.owner import OWNER_VARIABLE, Owner, abandoned, clean_up_after, records_directory, take_over
from samplemix_core.local.ports import GRPC_OFFSET, wait_until
from samplemix_core.local.stack import Stack
from samplemix_core.local.supervisor import stack_processes

REPOSITORY = Path(__file__).parents[2]
BENCHMARK = """
import json, os, signal, subprocess, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # Ignored in what a shell runs in the background.
from pathlib import Path
from samplemix_core.local.home import Home
from samplemix_core.local.owner import Owner
from samplemix_core.local.stack import Stack

owner = Owner.of(os.getpid())
stack = Stack(Path(sys.argv[1]), ports="free", environ={"PATH": os.environ["PATH"]}, owner=owner)
stack.up({"postgres", "s3"})
os.environ["SAMPLEMIX_OWNER"] = owner.mark
subprocess.Popen(["sleep", "600"], start_new_session=True)
print(owner.mark, json.dumps(Home(Path(sys.argv[1])).read_state().ports), flush=True)
if len(sys.argv) > 2:
    stack.destroy()
else:
    sys.stdin.read()
"""


@contextmanager
def benchmark(home: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], Owner, dict[str, int]]]:
    """A process that owns Postgres, S3 and a process of its own, with its mark and the services' ports; killed on leaving."""
    command = [sys.executable, "-c", BENCHMARK, str(home), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        mark, _, ports = process.stdout.readline().partition(" ")
        try:
            yield process, Owner.parse(mark), json.loads(ports)
        finally:
            process.kill()


def sockets_outside(ports: dict[str, int]) -> list[str]:
    """What SeaweedFS leaves in /tmp, by the numbers of its ports."""
    numbers = {port + offset for port in ports.values() for offset in (0, GRPC_OFFSET)}
    return [path.name for path in Path("/tmp").glob("*.sock") if numbers & {int(n) for n in re.findall(r"\d+", path.name)}]


def wait_for(condition: Callable[[], bool], what: str, seconds: float, log: Path) -> None:
    wait_until(lambda: None if condition() else "not yet", what=what, timeout=seconds, log=log)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stack_and_all_else_ends_with_its_owner(tmp_path: Path, how: signal.Signals) -> None:
    home = tmp_path / "home"
    with benchmark(home) as (process, owner, ports):
        state = Home(home).read_state()
        assert len(stack_processes(state.stack)) >= 3
        assert sockets_outside(ports)
        log = tmp_path / "no log"

        def all_there() -> bool:
            commands = " ".join(part for item in owner.processes() for part in item.cmdline())
            return all(name in commands for name in ("supervisord", "postgres", "weed", "sleep"))

        # A process that begins another program has no environment for a moment.
        wait_for(all_there, "what it started", 10, log)
        process.send_signal(how)
        process.wait(30)
        wait_for(lambda: not owner.processes() and not stack_processes(state.stack), "the end of its processes", 30, log)
        wait_for(lambda: not home.exists(), "the end of its home", 30, log)
        if state.postgres_directory is not None:
            wait_for(lambda: not Path(str(state.postgres_directory)).exists(), "the end of its database", 30, log)
        wait_for(lambda: not (records_directory() / owner.mark).exists(), "the end of its record", 30, log)
        assert sockets_outside(ports) == []


def test_an_owner_that_ends_by_itself_leaves_nothing_either(tmp_path: Path) -> None:
    with benchmark(tmp_path / "home", "and end") as (process, owner, ports):
        assert process.wait(60) == 0
        wait_for(lambda: not (records_directory() / owner.mark).exists(), "the end of its record", 30, tmp_path / "no log")
        assert not owner.processes()
    assert not (tmp_path / "home").exists()
    assert sockets_outside(ports) == []


def test_the_next_session_cleans_up_where_the_guard_was_killed_too(tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.mkdir()
    (left / "file").touch()
    parent = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    owner = Owner.of(parent.pid)
    child = subprocess.Popen(["sleep", "600"], env={**os.environ, OWNER_VARIABLE: owner.mark}, start_new_session=True)
    take_over(owner, left)
    guard = [owners.__name__, owner.mark]
    guards = [process for process in psutil.process_iter(["cmdline"]) if (process.info["cmdline"] or [])[-2:] == guard]
    assert len(guards) == 1
    guards[0].kill()
    assert owner not in list(abandoned())
    parent.kill()
    parent.communicate()
    assert owner in list(abandoned())
    clean_up_after(owner)
    assert child.poll() is not None
    assert not left.exists()
    assert owner not in list(abandoned())


def test_a_stack_of_nobody_runs_on(tmp_path: Path, owner: Owner) -> None:
    """As after `samplemix up`: the command has ended, the services have not. (They are this session's in fact, and end with it.)"""
    home = tmp_path / "home"
    program = f"""
import os
from pathlib import Path
from samplemix_core.local.stack import Stack
Stack(Path({str(home)!r}), ports="free", environ=os.environ).up({{"postgres"}})
"""
    take_over(owner, home)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    stack = Stack(home, ports="free")
    try:
        assert [row.state for row in stack.status() if row.name == "postgres"] == ["running", "running"]
    finally:
        stack.destroy()
    assert not home.exists()


def test_a_number_that_is_used_again_is_another_process() -> None:
    now = Owner.of(os.getpid())
    earlier = Owner(now.pid, now.started - 1)
    assert now.is_alive()
    assert not earlier.is_alive()
    earlier.wait()
    assert Owner.parse(now.mark) == now


def test_a_second_session_waits_and_says_for_whom() -> None:
    """This one holds the lock. The other would have nothing to do but to collect a file."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/unit/test_identity.py"]
    environment = {name: value for name, value in os.environ.items() if name != OWNER_VARIABLE}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True) as other:
        try:
            assert other.stderr is not None
            said = other.stderr.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                other.wait(0.5)
        finally:
            other.kill()
    assert said == f"waiting for the test session of process {Owner.parse(os.environ[OWNER_VARIABLE]).pid} in {REPOSITORY}\n"
