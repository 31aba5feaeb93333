"""Machine code on disk: the next process finds it, unless a source file of its directory has changed or the file is damaged."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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

print(twice(5), sum(twice.stats.cache_hits.values()) if hasattr(twice, "stats") else -1)
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with a compiled function that calls another one in another file."""
    (tmp_path / "caller.py").write_text(CALLER)
    (tmp_path / "called.py").write_text(CALLED.format(step=1))
    return tmp_path


def run(directory: Path, *environment: str) -> tuple[int, int]:
    """The caller's result, and how often it was found on disk, in a process of its own."""
    command = ["env", *environment, sys.executable, "caller.py"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True)
    result, found = map(int, done.stdout.split())
    return result, found


def kept(directory: Path) -> list[Path]:
    return [path for path in (directory / "__pycache__").glob("caller.twice-*") if path.suffix == ".nbc"]


def test_the_next_process_finds_it_and_an_edit_of_what_it_calls_is_noticed(directory: Path) -> None:
    assert [run(directory), run(directory)] == [(7, 0), (7, 1)]
    before = kept(directory)
    (directory / "called.py").write_text(CALLED.format(step=2))
    assert [run(directory), run(directory)] == [(9, 0), (9, 1)]
    (after,) = kept(directory)
    assert after not in before, "what was made from other sources is removed"


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:500], lambda data: data[:-9] + b"x" + data[-8:]])
def test_a_damaged_file_is_made_again(directory: Path, damage: Callable[[bytes], bytes]) -> None:
    run(directory)
    (path,) = kept(directory)
    path.write_bytes(damage(path.read_bytes()))
    assert [run(directory), run(directory)] == [(7, 0), (7, 1)]


def test_where_nothing_can_be_written_and_without_a_compiler_it_runs(directory: Path) -> None:
    assert run(directory, "NUMBA_DISABLE_JIT=1") == (7, -1)
    run(directory)
    (path,) = kept(directory)
    path.unlink()
    path.mkdir()
    assert run(directory) == (7, 0)
