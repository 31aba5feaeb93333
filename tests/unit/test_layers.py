"""The arrows of docs/architecture.md: which room may import which. Read from the source, nothing is imported."""

import ast
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "samplemix_core"
BASE = {"__init__", "frozen", "policies", "config", "progress", "settings", "errors", "logs", "schemas", "identity", "sample_key"}
PURE = {"corpus", "quality", "embedding", "diversity", "mixing", "manifest", "scorers"}
KEEPERS = {"objects", "database", "compute"}
MAY_IMPORT = {
    **{room: BASE | {room} for room in PURE},
    **{room: BASE | {"compiled", room} for room in ("quality", "diversity", "mixing")},
    "compiled": {"compiled"},
    "corpus": BASE | {"corpus", "objects"},
    "manifest": BASE | {"manifest", "objects"},
    "scorers": BASE | {"scorers", "quality", "embedding"},
    "objects": BASE | {"objects"},
    "database": BASE | PURE | {"objects", "database"},
    "steps": BASE | {"steps", "pipeline"},
    "deployment": BASE | {"deployment", "database", "manifest", "objects"},
    "compute": BASE | {"compute"},
    "reading": BASE | PURE | {"deployment", "objects", "reading"},
    "crawls": BASE | PURE | KEEPERS | {"deployment", "crawls"},
    "worker": BASE | PURE | {"deployment", "objects", "database", "worker"},
    "pipeline": BASE | PURE | KEEPERS | {"deployment", "steps", "reading", "crawls", "worker", "pipeline"},
    "models": BASE | PURE | KEEPERS | {"deployment", "worker", "pipeline", "models"},
    "operations": BASE | PURE | KEEPERS | {"deployment", "reading", "pipeline", "operations"},
    "report": BASE | {"deployment", "quality", "manifest", "database", "report"},
    "pages": BASE | PURE | KEEPERS | {"deployment", "reading", "report", "pages"},
    "local": BASE | {"deployment", "local", "database", "objects"},
    "demo": BASE | PURE | KEEPERS | {"deployment", "reading", "report", "local", "demo"},
    "cli": BASE
    | PURE
    | KEEPERS
    | {"deployment", "reading", "crawls", "worker", "pipeline", "models", "operations", "report", "local", "demo", "cli"},
}
KNOWN_TO_PURE = {"samplemix_core.objects.interface"}
"""What a pure room may know of those that keep things: what an object store is, not one of them."""

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
    others = {name.split(".")[0] for name in found}
    allowed = MAY_IMPORT.get(room, BASE)
    assert {place(name) for name in core} <= allowed, f"{path.relative_to(CORE)} imports {sorted(core)}"
    assert "airflow" not in others, f"{path.relative_to(CORE)} imports Airflow"
    if room in PURE | BASE:
        assert not others & PURE_ROOMS_NEVER, f"{path.relative_to(CORE)} is pure, yet imports {others & PURE_ROOMS_NEVER}"
        kept = {name for name in core if place(name) in KEEPERS and not name.startswith(tuple(KNOWN_TO_PURE))}
        assert not kept, f"{path.relative_to(CORE)} is pure, yet imports {kept}"


def test_every_room_is_listed() -> None:
    assert {path.relative_to(CORE).parts[0].removesuffix(".py") for path in SOURCES} == BASE | MAY_IMPORT.keys()
