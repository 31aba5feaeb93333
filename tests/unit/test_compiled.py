"""Machine code on disk: the next process finds it, unless a source file of its directory has changed."""

import subprocess
import sys
from pathlib import Path

CALLED = """
from samplemix_core.compiled import compiled

@compiled
def step(value):
    return value + {step}
"""
CALLER = """
from samplemix_core.compiled import compiled
from called import step

@compiled
def twice(value):
    return step(step(value))

print(twice(5), sum(twice.stats.cache_hits.values()))
"""


def run(directory: Path) -> tuple[int, int]:
    """The caller's result, and how often it was found on disk, in a process of its own."""
    done = subprocess.run([sys.executable, "caller.py"], cwd=directory, capture_output=True, text=True, check=True)
    result, found = map(int, done.stdout.split())
    return result, found


def test_the_next_process_finds_it_and_an_edit_of_what_it_calls_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "caller.py").write_text(CALLER)
    (tmp_path / "called.py").write_text(CALLED.format(step=1))
    assert [run(tmp_path), run(tmp_path)] == [(7, 0), (7, 1)]
    (tmp_path / "called.py").write_text(CALLED.format(step=2))
    assert [run(tmp_path), run(tmp_path)] == [(9, 0), (9, 1)]
