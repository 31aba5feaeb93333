"""Rows for people and for scripts: what a document is called is never read as markup."""

import json

import pytest

from samplemix_core.cli.common import print_rows

ROWS = [{"doc_id": "[bold]a[/bold]", "[i]n": 1}, {"doc_id": "[/x] \\[y]", "[i]n": 2}]


def test_markup_in_ids_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS)
    printed = capsys.readouterr().out
    for text in ("[bold]a[/bold]", "[/x] \\[y]", "[i]n"):
        assert text in printed
    print_rows(ROWS, as_json=True)
    assert json.loads(capsys.readouterr().out) == ROWS


def test_no_rows_are_said_to_be_none(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([])
    assert capsys.readouterr().out == "(no rows)\n"
