"""The examples of docs/manifest.md run as they stand."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from samplemix_core.manifest.format import Manifest, columns_table
from samplemix_core.objects.directory import FileStore

PAGE = (Path(__file__).parents[3] / "docs" / "manifest.md").read_text()


def example(language: str) -> str:
    (code,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(code)


@pytest.fixture
def manifest(store: FileStore, make_mixture: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Manifest:
    manifest: Manifest = make_mixture().publish(store).version.manifest
    monkeypatch.chdir(store.root)
    return manifest


def test_the_pyarrow_example_counts_the_realised_tokens(manifest: Manifest) -> None:
    names: dict[str, Any] = {}
    exec(example("python"), names)
    assert names["tokens"] == manifest.realised_tokens


def test_the_duckdb_example_gives_the_domains_of_the_manifest(manifest: Manifest) -> None:
    found = duckdb.execute(example("sql")).fetchall()
    expected = [(row.domain, row.samples, row.copies, row.mixture_tokens, round(row.mixture_share, 4)) for row in manifest.domains]
    assert sorted(found) == sorted(expected)


def test_every_column_and_every_field_is_described() -> None:
    assert columns_table() in PAGE
    assert set(Manifest.model_fields) <= set(re.findall(r"`(\w+)`", PAGE))
