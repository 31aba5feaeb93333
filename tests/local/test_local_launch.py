"""What a killed program leaves behind is gone before its successor starts."""

import os
import signal
import subprocess
import sys
from uuid import uuid4

import psutil

from samplemix_core.local import launch
from samplemix_core.local.supervisor import STACK_VARIABLE

PARENT_WITH_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def start(stack: str, name: str, *program: str) -> subprocess.Popen[str]:
    environment = os.environ | {STACK_VARIABLE: stack, launch.NAME_VARIABLE: name}
    return subprocess.Popen(launch.command(*program), env=environment, stdout=subprocess.PIPE, text=True)


def test_the_kernel_is_told_whom_to_end_first() -> None:
    environment = os.environ | {STACK_VARIABLE: uuid4().hex, launch.NAME_VARIABLE: "one"}
    command = launch.command("/bin/cat", "/proc/self/oom_score_adj", oom_score_adj=321)
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "321\n"


def test_remains_of_the_same_program_are_ended_and_others_are_not() -> None:
    stack = uuid4().hex
    parents = {name: start(stack, name, sys.executable, "-c", PARENT_WITH_CHILD) for name in ("one", "other")}
    pipes = {name: parent.stdout for name, parent in parents.items() if parent.stdout}
    children = {name: psutil.Process(int(pipe.readline())) for name, pipe in pipes.items()}
    try:
        for parent in parents.values():
            parent.send_signal(signal.SIGKILL)
            parent.wait()
        assert all(child.is_running() for child in children.values())
        successor = start(stack, "one", sys.executable, "-c", "print('started')")
        assert successor.communicate()[0] == "started\n"
        assert successor.returncode == 0
        psutil.wait_procs([children["one"]], timeout=10)
        assert not children["one"].is_running() or children["one"].status() == psutil.STATUS_ZOMBIE
        assert children["other"].status() != psutil.STATUS_ZOMBIE
    finally:
        for pipe in pipes.values():
            pipe.close()
        for child in children.values():
            if child.is_running():
                child.kill()
