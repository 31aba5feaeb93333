"""The page on SQL lists the queries that there are."""

from pathlib import Path

from samplemix_core.database.query import ready_queries

PAGE = Path(__file__).parents[3] / "docs" / "sql.md"


def test_the_page_has_each_ready_query_as_it_is() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `") and line.count("|") == 4]
    for query in ready_queries().values():
        assert f"| `{query.name}` | {query.usage} | {query.answers} |" in rows
