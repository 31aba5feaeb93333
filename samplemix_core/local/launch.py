"""Start a supervised program after ending what an earlier one of its name left behind; the kernel may be told to end it first.

A scheduler of Airflow that is killed leaves its executor's processes, which have inherited its database connection. The locks of
the transaction it died in stay held, and its successor would wait for them forever.
"""

import os
import signal
import sys
from pathlib import Path

import psutil

from samplemix_core.local.supervisor import STACK_VARIABLE, end_processes, stack_processes

NAME_VARIABLE = "SUPERVISOR_PROCESS_NAME"
"""supervisord puts a program's name here, and all its descendants inherit it."""


def command(*program: str, oom_score_adj: int = 0) -> tuple[str, ...]:
    """Return the command that launches `program` this way.

    If memory runs out, the kernel first ends processes with the highest `oom_score_adj` (0 to 1000), which children inherit.
    """
    return (sys.executable, "-m", __name__, str(oom_score_adj), *program)


def main() -> None:
    """End what earlier processes of this program's name left behind, then become the program that the arguments name."""
    end_processes(_remains(os.environ[STACK_VARIABLE], os.environ[NAME_VARIABLE]), signal.SIGKILL, grace=10)
    oom_score_adj, program = sys.argv[1], sys.argv[2:]
    if oom_score_adj != "0":
        Path("/proc/self/oom_score_adj").write_text(oom_score_adj)
    os.execv(program[0], program)  # noqa: S606 the arguments are supervisord's configuration, which is ours


def _remains(stack: str, name: str) -> list[psutil.Process]:
    found = []
    for process in stack_processes(stack):
        try:
            if process.environ().get(NAME_VARIABLE) == name:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


if __name__ == "__main__":
    main()
