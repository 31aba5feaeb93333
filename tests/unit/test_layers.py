"""The arrows of docs/architecture.md: which room may import which. Read from the source, nothing is imported."""

import ast
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "samplemix_core"
BASE = {"__init__", "config", "settings", "errors", "schemas", "identity", "sample_key"}
ROOMS = {"corpus", "quality", "embedding", "diversity", "mixing", "manifest"}
MAY_IMPORT = {
    **{room: BASE | {room} for room in ROOMS},
    "manifest": BASE | {"mixing", "manifest"},
    "store": BASE | ROOMS | {"store"},
    "compute": BASE | {"compute"},
    "pipeline": BASE | ROOMS | {"store", "compute", "pipeline", "plots"},
    "plots": BASE | {"plots"},
    "local": BASE | {"local", "store", "compute"},
    "cli": BASE | ROOMS | {"store", "compute", "pipeline", "plots", "local", "cli"},
}
PURE_ROOMS_NEVER = {"sqlalchemy", "psycopg2", "boto3", "botocore", "dask", "distributed", "httpx"}


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
def test_arrows_run_one_way(path):
    room = path.relative_to(CORE).parts[0].removesuffix(".py")
    allowed = MAY_IMPORT.get(room, BASE)
    core = {place(name) for name in imports(path) if name == "samplemix_core" or name.startswith("samplemix_core.")}
    assert core <= allowed, f"{path.relative_to(CORE)} imports {sorted(core - allowed)}"
    others = {name.split(".")[0] for name in imports(path)}
    assert "airflow" not in others, f"{path.relative_to(CORE)} imports Airflow"
    if room in ROOMS | BASE:
        assert not others & PURE_ROOMS_NEVER, f"{path.relative_to(CORE)} is pure, yet imports {others & PURE_ROOMS_NEVER}"


def test_every_room_is_listed():
    assert {path.relative_to(CORE).parts[0].removesuffix(".py") for path in SOURCES} == BASE | MAY_IMPORT.keys()
