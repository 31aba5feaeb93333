"""The state of the code: files and functions, duplicates, the files a policy touches, and how long imports and tests take.

Figures, not ratios: each is held to a bound. Last line JSON.
"""

import ast
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
CORE = REPOSITORY / "samplemix_core"
LEAST_LINES = 6
"""Shorter functions are alike by nature."""

IMPORTS = 7
_IMPORT = """
import time
start = time.perf_counter()
import samplemix_core.manifest.catalogue
print(1000 * (time.perf_counter() - start))
"""


LAST = REPOSITORY / ".pytest_cache" / "v" / "samplemix"
"""Where the last run of all tests, and of .ci/run, noted its time."""

PARAMETER = "tau"
"""A parameter of policy samplemix, and a word used for nothing else."""


def last_seconds(name: str) -> float | None:
    """How long the last whole run took here, if there was one."""
    try:
        return round(float((LAST / name).read_text()))
    except FileNotFoundError:
        return None


def files_of_a_policy() -> list[Path]:
    """The files of the product that a policy with a parameter touches: those that name it."""
    rooms = [REPOSITORY / room for room in ("samplemix_core", "dags", "plugins", "sql")]
    files = [path for room in rooms for path in room.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return [path for path in files if re.search(rf"\b{PARAMETER}\b".encode(), path.read_bytes())]


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    """The functions of a file, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function):
            yield node


def is_kernel(function: Function) -> bool:
    """Whether numba compiles it: one loop over bytes can't be split at will."""
    return any(name in ast.unparse(item) for item in function.decorator_list for name in ("njit", "compiled"))


def lines_of(function: Function) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


class Anonymous(ast.NodeTransformer):
    """Strips names, constants and types from a function."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name("x", node.ctx)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant(type(node.value).__name__)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg("x")

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Attribute(self.visit(node.value), "x", node.ctx)


def shape_of(function: Function) -> str:
    """The text that two functions share if they do the same to things with different names."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return "\n".join(ast.dump(Anonymous().visit(node)) for node in body)


def import_milliseconds(directory: Path) -> float:
    """Median time to import the manifest's catalogue with the wheel installed without extras."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(directory), str(REPOSITORY)], check=True)
    (wheel,) = directory.glob("samplemix-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory / "light")], check=True)
    python = directory / "light" / "bin" / "python"
    locked = ["--constraint", str(REPOSITORY / "requirements.lock")]
    subprocess.run([*pip, "--python", str(python), "install", *locked, str(wheel)], check=True)
    run = [str(python), "-c", _IMPORT]
    times = [float(subprocess.run(run, capture_output=True, text=True, check=True, cwd=directory).stdout) for _ in range(IMPORTS)]
    return statistics.median(times)


def main() -> None:
    paths = sorted(path for path in CORE.rglob("*.py") if path.name != "__init__.py")
    lengths = {path: len(path.read_text().splitlines()) for path in paths}
    found = [(path, function) for path in paths for function in functions(path)]
    longest_path, longest = max((item for item in found if not is_kernel(item[1])), key=lambda item: lines_of(item[1]))
    kernel_lines = max(lines_of(function) for _, function in found if is_kernel(function))
    shapes = Counter(shape_of(function) for _, function in found if lines_of(function) >= LEAST_LINES)
    alike = [shape for shape, times in shapes.items() if times > 1]
    for path, lines in sorted(lengths.items(), key=lambda item: -item[1])[:3]:
        print(f"{lines:5} lines   {path.relative_to(REPOSITORY)}")
    print(f"{lines_of(longest):5} lines   {longest_path.relative_to(REPOSITORY)}: {longest.name}, the longest function")
    print(f"{kernel_lines:5} lines   the longest compiled kernel")
    for shape in alike:
        print("alike:", ", ".join(f"{path.relative_to(CORE)}:{item.name}" for path, item in found if shape_of(item) == shape))
    with tempfile.TemporaryDirectory(prefix="samplemix-bench-") as directory:
        milliseconds = import_milliseconds(Path(directory))
    print(f"{milliseconds:5.0f} ms to import the manifest's catalogue with the light base")
    wheel = subprocess.run([sys.executable, "-m", "pytest", "-q", "tests/e2e/test_wheel.py"], cwd=REPOSITORY, check=False)
    rooms = Counter(path.name for path in paths)
    policy = files_of_a_policy()
    print(f"{len(policy):5} files   a policy with a parameter: {', '.join(str(path.relative_to(REPOSITORY)) for path in policy)}")
    figures = {
        "files": len(paths),
        "median_lines": statistics.median(lengths.values()),
        "longest_function_lines": lines_of(longest),
        "longest_kernel_lines": kernel_lines,
        "duplicate_pairs": sum(times * (times - 1) // 2 for times in shapes.values()),
        "import_light_ms": round(milliseconds),
        "wheel_demo_ok": wheel.returncode == 0,
        "policy_files": len(policy),
        "same_named_files": sum(times > 2 for times in rooms.values()),
        "test_seconds": last_seconds("seconds"),
        "ci_seconds": last_seconds("ci_seconds"),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
