"""The ground everything stands on: an idle stack's cost, a killed owner's leftovers, a run's cost to its driver, test memory."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench import ledger
from samplemix_core.local.owner import Owner

IDLE_SECONDS = 60.0
SETTLE_SECONDS = 45.0
GONE_SECONDS = 30.0
TEST_PEAK = Path(__file__).parents[1] / ".pytest_cache" / "v" / "samplemix" / "peak_mb"


def hold(home: Path) -> None:
    """Own a whole stack until killed; prints this owner's mark when it is up."""
    from samplemix_core.local.stack import Stack

    owner = Owner.of(os.getpid())
    Stack(home, ports="free", owner=owner).up()
    print(owner.mark, flush=True)
    signal.pause()


def measure_stack() -> dict[str, float]:
    """Start a stack of its own, let it idle, kill its owner with SIGKILL."""
    with tempfile.TemporaryDirectory(prefix="samplemix-bench-", ignore_cleanup_errors=True) as directory:
        command = [sys.executable, "-m", "bench.ground", str(Path(directory) / "home")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            owner = Owner.parse(holder.stdout.readline().strip())
            time.sleep(SETTLE_SECONDS)
            before, start = cpu_seconds(family(owner)), time.monotonic()
            time.sleep(IDLE_SECONDS)
            processes = family(owner)
            after, seconds = cpu_seconds(processes), time.monotonic() - start
            memory = {process.pid: resident(process) for process in processes}
            print(f"{'idle for a minute':<28} {'cores':>7} {'MB':>7}")
            for process in sorted(processes, key=lambda item: -memory[item.pid]):
                used = (after[process.pid] - before.get(process.pid, 0.0)) / seconds
                print(f"{title(process):<28} {used:>7.3f} {memory[process.pid]:>7.0f}")
            cores = sum(after[pid] - before.get(pid, 0.0) for pid in after) / seconds
            print(f"{'together':<28} {cores:>7.3f} {sum(memory.values()):>7.0f}")
            holder.kill()
        deadline = time.monotonic() + GONE_SECONDS
        while (left := len(owner.processes()) + len(list(Path(directory).iterdir()))) and time.monotonic() < deadline:
            time.sleep(0.5)
    return {"stack_idle_mb": round(sum(memory.values())), "stack_idle_cores": round(cores, 3), "orphans_after_kill": left}


def family(owner: Owner) -> list[psutil.Process]:
    """Processes with the owner's mark, and their descendants: Postgres's sessions overwrite their environment."""
    marked = owner.processes()
    return list({process.pid: process for one in marked for process in (one, *one.children(recursive=True))}.values())


def cpu_seconds(processes: list[psutil.Process]) -> dict[int, float]:
    """Processor time of each so far, by pid, with that of children that have ended."""
    return {process.pid: sum(process.cpu_times()[:4]) for process in processes if process.is_running()}


def resident(process: psutil.Process) -> float:
    """Memory in MB, with shared memory counted in parts."""
    return float(process.memory_full_info().pss) / 1e6


def title(process: psutil.Process) -> str:
    """The process's name in supervisord."""
    return str(process.environ().get("SUPERVISOR_PROCESS_NAME") or process.name())


def last_test_peak() -> float | None:
    """The most memory in MB that the last test session and its children took together, as it noted; None without one.

    After `make test` that is its second session, which has the services and Airflow.
    """
    noted = TEST_PEAK.read_text() if TEST_PEAK.exists() else "null"
    peak: float | None = json.loads(noted)
    return peak


def main() -> None:
    """Measure an idle stack, then a run's driver, and print all figures as one line of JSON."""
    stack = measure_stack()
    figures = {"test_peak_mb": last_test_peak(), **stack, **ledger.run()}
    print(json.dumps(figures))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        hold(Path(sys.argv[1]))
    else:
        main()
