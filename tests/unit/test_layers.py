"""The arrows of docs/architecture.md: which room may import which. Read from the source, nothing is imported."""

import ast
import re
from itertools import takewhile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "samplemix_core"


def rooms() -> dict[str, set[str]]:
    """What each room imports, as the table in docs/architecture.md says, in its order. The base's files are rooms of their own."""
    lines = (ROOT / "docs" / "architecture.md").read_text().split("| room | holds | imports |\n")[1].splitlines()[1:]
    cells = [line.split("|")[1:-1] for line in takewhile(lambda line: line.startswith("|"), lines)]
    named = [[re.findall(r"`(\w+)(?:/|\.py)`", cell) for cell in (row[0], row[2])] for row in cells]
    base = {"__init__", *named[0][0]}
    found = dict.fromkeys(base, base)
    for (own, imported), row in zip(named[1:], cells[1:], strict=True):
        found |= {name: {name, *imported} | (base if "base" in row[2] else set()) for name in own}
    return found


IMPORTS = rooms()
BASE = IMPORTS["__init__"]
PURE = {"corpus", "quality", "embedding", "diversity", "overlap", "mixing", "evaluation", "manifest", "scorers"}
KEEPERS = {"objects", "database", "compute"}
KNOWN_TO_PURE = {"samplemix_core.objects.interface"}
"""What a pure room may know of those that keep things: what an object store is, not one of them."""

OFFERED = {"samplemix_core.reading.mixture", "samplemix_core.reading.mixture.open_mixture"}
"""What the package's top offers, and imports when it is asked for."""

PURE_ROOMS_NEVER = {"sqlalchemy", "psycopg2", "boto3", "botocore", "dask", "distributed", "httpx", "httpx2"}


def imports(path: Path) -> set[str]:
    """Every absolute module a file imports, at any depth of the code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(str(node.module))
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def place(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


SOURCES = sorted(CORE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(CORE)) for path in SOURCES])
def test_arrows_run_one_way(path: Path) -> None:
    room = path.relative_to(CORE).parts[0].removesuffix(".py")
    found = imports(path)
    core = {name for name in found if name == "samplemix_core" or name.startswith("samplemix_core.")}
    core -= OFFERED if path == CORE / "__init__.py" else set()
    others = {name.split(".")[0] for name in found}
    allowed = IMPORTS[room]
    assert {place(name) for name in core} <= allowed, f"{path.relative_to(CORE)} imports {sorted(core)}"
    assert "airflow" not in others, f"{path.relative_to(CORE)} imports Airflow"
    if room in PURE | BASE:
        assert not others & PURE_ROOMS_NEVER, f"{path.relative_to(CORE)} is pure, yet imports {others & PURE_ROOMS_NEVER}"
        kept = {name for name in core if place(name) in KEEPERS and not name.startswith(tuple(KNOWN_TO_PURE))}
        assert not kept, f"{path.relative_to(CORE)} is pure, yet imports {kept}"


def test_every_room_is_listed_after_those_that_it_imports() -> None:
    assert {path.relative_to(CORE).parts[0].removesuffix(".py") for path in SOURCES} == IMPORTS.keys()
    order = list(IMPORTS)
    for room in IMPORTS.keys() - BASE:
        assert all(order.index(other) <= order.index(room) for other in IMPORTS[room]), f"{room} imports a room below it"


def test_no_room_is_listed_with_an_arrow_that_it_does_not_need() -> None:
    for room in IMPORTS.keys() - BASE:
        own = [path for path in SOURCES if path.relative_to(CORE).parts[0].removesuffix(".py") == room]
        used = {place(name) for path in own for name in imports(path) if name.startswith("samplemix_core.")}
        assert IMPORTS[room] - BASE - {room} <= used, f"{room} does not import {sorted(IMPORTS[room] - BASE - {room} - used)}"
