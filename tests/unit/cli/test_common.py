"""What is printed for people and for scripts: what strangers wrote is neither markup nor an order to the terminal."""

import json

import pytest

from samplemix_core.cli import common, main
from samplemix_core.cli.common import print_rows
from samplemix_core.errors import CorpusError
from samplemix_core.logs import visible
from samplemix_core.manifest.format import domain_shares
from samplemix_core.report.text import MOST_DOMAINS, output, print_mixture, tell
from tests.manifests import manifest_of

ROWS = [{"doc_id": "[bold]a[/bold]", "[i]n": 1}, {"doc_id": "[/x] \\[y]", "[i]n": 2}]

HOSTILE = ("[/b]", "[docs]", ":smile:", "a\x1b]0;title\x07", "\x9b31m", "\u202eback", "a\rb", "\udce9")
SEEN = ("[/b]", "[docs]", ":smile:", "a\\x1b]0;title\\x07", "\\x9b31m", "\\u202eback", "a\\rb", "\\udce9")


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


def test_what_a_terminal_would_obey_is_an_escape_and_what_people_read_is_as_it_is() -> None:
    assert tuple(map(visible, HOSTILE)) == SEEN
    for text in ("Ünïcode 東京 العربية\u00a0\u3000", "\U0001f468\u200d\U0001f469", "C:\\dir", ""):
        assert visible(text) == text
    assert visible("web\u3164\u115f\u1160\uffa0\u2800") == "web\\u3164\\u115f\\u1160\\uffa0\\u2800"
    assert visible("two\nlines") == "two\\nlines"
    assert visible("two\nlines", "\n") == "two\nlines"


def test_hostile_names_are_printed_by_every_way(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise CorpusError(" ".join(HOSTILE), " ".join(HOSTILE))

    counts = [1] * len(HOSTILE)
    shares = domain_shares(
        HOSTILE, source_samples=counts, source_tokens=counts, samples=counts, copies=counts, mixture_tokens=counts
    )
    for line in HOSTILE:
        tell(line)
        common.say(line)
    print_rows([dict.fromkeys(HOSTILE, "[i]"), *({**dict.fromkeys(HOSTILE, ""), HOSTILE[0]: name} for name in HOSTILE)])
    print_mixture(output(), manifest_of(1, shares))
    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit):
        main.main()
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert not [c for c in text if not c.isprintable() and c != "\n"]
    for name in SEEN:
        # A line, a column's name, a cell, and a domain of a mixture.
        assert printed.out.count(name) == 4
        assert printed.err.count(name) == 3


def test_many_domains_share_the_last_row_of_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    n = 3000
    tokens = list(range(n, 0, -1))
    shares = domain_shares(
        [f"d{i:04d}" for i in range(n)], source_samples=[1] * n, source_tokens=tokens, samples=[1] * n, copies=[2] * n,
        mixture_tokens=tokens,
    )  # fmt: skip
    print_mixture(output(), manifest_of(1, shares))
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│ ")]
    assert len(rows) == MOST_DOMAINS + 1
    assert f"{n - MOST_DOMAINS:,} smaller domains" in rows[-1]
    assert [cell.strip() for cell in rows[-1].split("│")[2:4]] == [f"{n - MOST_DOMAINS:,}", f"{sum(tokens[MOST_DOMAINS:]):,}"]
